"""Verbs that serve until Ctrl-C: the whole installation, or one process of it."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud.store.clock import Clock
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, installation_from, say
from meterloop.config import DISTRIBUTED, ConfigError, Installation, write_private
from meterloop.frame import log_as_json, run_process
from meterloop.runners import part_of, told_of
from meterloop.stack import (
    Stack,
    address_of_database,
    broker_of,
    kafka_servers_of,
    settings_of,
)
from protocols.timeline import TimeScale

_CLOUD = ("ingest", *DISTRIBUTED, "control", "signer", "messages")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("up")(up)
    app.command("edge")(edge)
    app.command("cloud")(cloud)
    app.command("billing")(billing)
    app.command("portal")(portal)
    app.command("simulate")(simulate)


def up(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Start everything an installation file names, keep it alive, end it on Ctrl-C."""
    with failures_told(as_json=as_json):
        log_as_json("up")
        asyncio.run(_up(installation_from(config), as_json=as_json))


async def _up(installation: Installation, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    began = loop.time()
    async with Stack(installation) as stack:
        if installation.simulator is not None:
            await stack.start_simulator()
        await asyncio.gather(stack.start_services(), stack.start_edges())
        rows = stack.supervisor.status()
        answer: dict[str, Any] = {
            "event": "ready",
            "seconds": round(loop.time() - began, 1),
            "data": str(installation.data),
            "processes": [row.name for row in rows],
        }
        if "portal" in installation.services:
            answer["portal"] = stack.portal_url
        say(answer, as_json=as_json)
        await stop.wait()


def edge(
    file: Annotated[Path, typer.Option("--config", help="Agent file (JSON).")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Run one concentrator's agent: poll, keep, forward, obey."""
    with failures_told(as_json=as_json):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(str(file), [f"cannot be read ({error})"]) from error
        _serve("edge", settings, source=str(file))


def cloud(
    part: Annotated[str, typer.Argument(help=" | ".join(_CLOUD))],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Run one process of the cloud on a running database and broker."""
    with failures_told(as_json=as_json):
        if part not in _CLOUD:
            raise ConfigError("command line", [f"no part {part!r}; choose {', '.join(_CLOUD)}"])
        _serve_service(part, installation_from(config))


def billing(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Run balances, crossings and collections on a running database and broker."""
    with failures_told(as_json=as_json):
        _serve_service("billing", installation_from(config))


def portal(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Run the pages and the API on a running database and broker."""
    with failures_told(as_json=as_json):
        _serve_service("portal", installation_from(config))


def simulate(
    *,
    truth: Annotated[Path, typer.Option(help="File of what truly happened (SQLite).")],
    seed: Annotated[int, typer.Option(min=0, help="Which fleet.")] = 1,
    speed: Annotated[int, typer.Option(min=1, help="Business seconds per wall second.")] = 1,
    scale: Annotated[str, typer.Option(help="WALL,ORIGIN,SPEED; overrides --speed.")] = "",
    listen: Annotated[str, typer.Option(help="Host that the meters listen on.")] = "127.0.0.1",
    fleet_file: Annotated[
        Path | None, typer.Option(help="Where ports and keys of the fleet are written.")
    ] = None,
    hands_port: Annotated[int, typer.Option(min=0, max=65535)] = 0,
    sms_port: Annotated[int, typer.Option(min=0, max=65535)] = 0,
    replay: Annotated[
        Path | None, typer.Option(help="Parquet with customer, start, kwh instead of a seed.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run simulated meters on real sockets, with a truth file for the audit."""
    with failures_told(as_json=as_json):
        settings: dict[str, Any] = {
            "seed": seed,
            "scale": scale or _lasting_scale(truth, speed, replay),
            "truth": str(truth),
            "fleet_file": str(fleet_file or truth.with_suffix(".fleet.json")),
            "listen": listen,
            "hands_port": hands_port,
            "sms_port": sms_port,
            "replay": str(replay) if replay else None,
        }
        _serve("simulator", settings, source="command line")


def _lasting_scale(truth: Path, speed: int, replay: Path | None) -> str:
    """Return the scale of the truth file's first run, so that its time goes on; else a new one."""
    kept = truth.with_suffix(".scale")
    if kept.exists():
        return kept.read_text(encoding="ascii").strip()
    now = Clock().wall_now()
    origin = now
    if replay is not None:
        from simulators.replay import load_replay

        origin = load_replay(replay).origin
    scale = str(TimeScale(wall_origin=now, origin=origin, speed=speed))
    write_private(kept, scale + "\n")
    return scale


def _serve_service(kind: str, installation: Installation) -> None:
    broker = broker_of(installation)
    dsn = address_of_database(installation)
    servers = kafka_servers_of(installation) if kind in DISTRIBUTED else ""
    settings = settings_of(installation, kind, dsn=dsn, broker=broker, kafka_servers=servers)
    _serve(kind, settings, source="installation")


def _serve(kind: str, settings: dict[str, Any], *, source: str) -> None:
    part = part_of(kind, settings, source=source)
    code = run_process(kind, [part], told=told_of(kind, settings))
    if code:
        sys.stdout.flush()
        raise typer.Exit(code)
