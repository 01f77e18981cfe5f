"""Verbs that ask or tell one thing: read a meter, halt or resume cutting, list or make users."""

import asyncio
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import orders
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
    who_types,
)
from meterloop.cli.people import who_resumes
from meterloop.config import ConfigError, Installation
from meterloop.runners import config_of
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]

_SERIAL_LINKS = {"modbus": "rtu-serial", "dlms": "hdlc-serial"}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("read")(read)
    control = typer.Typer(no_args_is_help=True, help="Halt all cutting; order one meter.")
    control.command("halt")(halt)
    control.command("resume")(resume)
    orders.register(control)
    app.add_typer(control, name="control")
    app.command("users")(users)


def read(
    meter: Annotated[str, typer.Argument(help="The meter's id, such as M-000042.")],
    *,
    config: ConfigFile = None,
    host: Annotated[str, typer.Option(help="Read at this address instead of a file's.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 0,
    protocol: Annotated[str, typer.Option(help="dlms, modbus or dlt645")] = "dlms",
    serial_port: Annotated[str, typer.Option(help="Read on this port, such as /dev/ttyUSB0.")] = "",
    baud: Annotated[int, typer.Option(min=50, help="Baud rate of the serial port.")] = 9600,
    parity: Annotated[str, typer.Option(help="N, E or O, on the serial port")] = "N",
    model: Annotated[str, typer.Option(help="Modbus register map, or sunspec.")] = "",
    map_file: Annotated[str, typer.Option(help="A register map of your own (YAML).")] = "",
    unit: Annotated[int, typer.Option(min=0, max=255, help="Modbus unit.")] = 1,
    serial: Annotated[str, typer.Option(help="Number on the plate; DL/T 645 address.")] = "",
    authentication: Annotated[str, typer.Option(help="none, lls or hls5")] = "none",
    client_sap: Annotated[int, typer.Option(help="DLMS client address.")] = 1,
    link: Annotated[str, typer.Option(help="wrapper, hdlc-tcp; by port it is hdlc-serial.")] = "",
    hdlc_physical: Annotated[int, typer.Option(help="Lower HDLC address, -1 for none.")] = -1,
    mode_e: Annotated[bool, typer.Option("--mode-e", help="Sign on by IEC 62056-21.")] = False,
    keys: Annotated[Path | None, typer.Option(help="Key file (JSON, mode 0600).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Read one meter now and print its registers."""
    with failures_told(as_json=as_json):
        if host or serial_port:
            entry: dict[str, Any] = {
                "meter": meter,
                "usage_point": meter,
                "protocol": protocol,
                "host": host,
                "port": port or (502 if protocol == "modbus" else 4059),
                "serial_port": serial_port,
                "baud": baud,
                "parity": parity,
                "link": link or (_SERIAL_LINKS.get(protocol) if serial_port else "") or "wrapper",
                "hdlc_physical": hdlc_physical if hdlc_physical >= 0 else None,
                "mode_e": mode_e,
                "model": model,
                "map_file": map_file,
                "unit": unit,
                "serial": serial,
                "authentication": authentication,
                "client_sap": client_sap,
                "history_from": datetime.now(UTC).isoformat(),
            }
            scale, keys_file = TimeScale(), keys
            counters = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
        else:
            installation = installation_from(config)
            entry, found_keys = _entry_of(installation, meter)
            keys_file = keys or found_keys
            scale, counters = TimeScale.parse(installation.time.scale), installation.data / "edge"
        answer = asyncio.run(_read(entry, keys_file, scale, counters / "meterloop-read.sqlite"))
        lines = [f"{name:<24} {value}" for name, value in answer["registers"].items()]
        say(answer, as_json=as_json, text="\n".join([f"{meter} ({answer['identity']})", *lines]))


def _entry_of(installation: Installation, meter: str) -> tuple[dict[str, Any], Path]:
    for section in installation.concentrator:
        try:
            meters = json.loads(Path(section.meters_file).read_text(encoding="utf-8"))
        except OSError:
            continue
        for entry in meters:
            if entry["meter"] == meter:
                return dict(entry), Path(section.keys_file)
    fault = f"no concentrator's meters_file lists {meter}; correct the id, or give --host"
    raise ConfigError("command line", [fault])


async def _read(
    entry: dict[str, Any], keys_file: Path | None, scale: TimeScale, counters: Path
) -> dict[str, Any]:
    """
    Read through the same driver as the agent's, with a system title and counters of its own.

    A title of its own, because two clients of one title and key could repeat a nonce.
    """
    from edge.acquire.drivers import build_driver
    from edge.clock import EdgeClock
    from edge.config import KeyRing, load_keys
    from edge.outbox import Outbox

    agent = {
        "concentrator": "read",
        "broker": {"host": "127.0.0.1", "port": 1},
        "outbox": str(counters),
        "keys_file": str(keys_file or ""),
        "control_public_key": "0" * 64,
        "meters": [entry],
    }
    config = config_of("edge", agent, source="command line")
    ring = load_keys(keys_file) if keys_file else KeyRing(system_title=bytes(8), meters={})
    own_title = ring.system_title[:3] + b"READ" + ring.system_title[-1:]
    ring = KeyRing(system_title=own_title, meters=ring.meters)
    counters.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    clock = EdgeClock(scale)
    outbox = Outbox(counters, wall_ms=int(clock.wall_now().timestamp() * 1000))
    driver = build_driver(config.meters[0], ring, outbox.counters, clock)
    try:
        read_out = await driver.read_now()
    finally:
        await driver.close()
        outbox.close()
    registers = dict(read_out.raw) or {
        sample.channel.name.lower(): f"{sample.raw}e{sample.scaler}" for sample in read_out.samples
    }
    return {
        "meter": entry["meter"],
        "identity": read_out.identity,
        "registers": {name: str(value) for name, value in registers.items()},
        "clock_offset_ms": read_out.clock.offset_ms if read_out.clock else None,
        "output_closed": read_out.relay.output_closed if read_out.relay else None,
    }


def halt(*, reason: Reason, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Stop every cut at once; reconnects go on."""
    _switch(halted=True, reason=reason, config=config, as_json=as_json)


def resume(*, reason: Reason, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Allow cuts again."""
    _switch(halted=False, reason=reason, config=config, as_json=as_json)


def _switch(*, halted: bool, reason: str, config: Path | None, as_json: bool) -> None:
    from cloud.control import service

    with failures_told(as_json=as_json):
        installation = installation_from(config)
        now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
        dsn = address_of_database(installation)
        with Database(dsn, application="meterloop-cli", size=1) as db:
            # whoever sits here may stop cuts; to allow them again takes a person who may
            actor = who_types() if halted else who_resumes(db)
            act = service.halt if halted else service.resume
            act(db, actor=actor, reason=reason, now=now)
        text = "all cutting is halted" if halted else "cutting is allowed again"
        say({"halted": halted, "actor": actor, "reason": reason}, as_json=as_json, text=text)


def users(
    login: Annotated[str, typer.Argument(help="Login to make or change.")],
    *,
    name: Annotated[str, typer.Option(help="The person's name.")],
    role: Annotated[list[str], typer.Option(help="Role; may be given several times.")],
    language: Annotated[str, typer.Option(help="fa, zh, uz, ru or en")] = "en",
    usage_point: Annotated[list[str] | None, typer.Option(help="A customer's supply.")] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a person who can sign in, with a password that is shown once."""
    from portal.auth.model import Role, UserSpec
    from portal.auth.service import ensure_users

    with failures_told(as_json=as_json):
        known = [item.value for item in Role]
        wrong = sorted(set(role) - set(known))
        if wrong:
            fault = f"--role {', '.join(wrong)}: no such role; choose {', '.join(known)}"
            raise ConfigError("command line", [fault])
        installation = installation_from(config)
        password = secrets.token_urlsafe(12)
        spec = UserSpec(
            login=login,
            name=name,
            roles=tuple(Role(item) for item in role),
            language=language,
            password=password,
            usage_points=tuple(usage_point or ()),
        )
        now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
        with Database(address_of_database(installation), application="meterloop-cli", size=1) as db:
            ensure_users(db, [spec], now)
        text = f"{login} may sign in as {', '.join(role)}; password, shown once: {password}"
        say({"login": login, "roles": role, "password": password}, as_json=as_json, text=text)
