"""Verbs that keep agents and meters in good order: settings, firmware, keys, and their rollouts."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.upkeep import service
from cloud.upkeep.model import Image, Kind, RolloutId, Stages, Target, Wish
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.people import who_orders
from meterloop.cli.rollouts import image_row, rollout_row, tell_rollout
from meterloop.config import ConfigError, write_private
from meterloop.stack import address_of_database
from protocols.identity import ConcentratorId, MeterId
from protocols.mqtt.upkeep import NONCE_OCTETS, SETTINGS, NewKeys, seal_keys
from protocols.timeline import TimeScale

Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]
Meters = Annotated[list[str] | None, typer.Option("--meter", help="A meter; several times.")]
First = Annotated[int, typer.Option(min=1, help="How many go first, alone.")]
Success = Annotated[int, typer.Option(min=0, max=100, help="Percent that must succeed to go on.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Most on their way at once.")]
Hours = Annotated[int, typer.Option(min=1, max=168, help="Business hours until it must be over.")]
RolloutName = Annotated[str, typer.Argument(help="The rollout, such as RO-000001.")]


class _Desk(NamedTuple):
    """Who sits here, at what database, at what time."""

    db: Database
    now: datetime

    @property
    def actor(self) -> str:
        """Return who signed in here. Raises: RefusedError when nobody did who may."""
        return who_orders(self.db)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(no_args_is_help=True, help="Settings, firmware and keys from afar.")
    for name, verb in (
        ("configure", configure),
        ("firmware", firmware),
        ("activate", activate),
        ("rekey", rekey),
        ("approve", approve),
        ("stop", stop),
        ("show", show),
    ):
        verbs.command(name)(verb)
    app.add_typer(verbs, name="upkeep")


def configure(
    *,
    setting: Annotated[list[str], typer.Option("--set", help="NAME=NUMBER; several times.")],
    concentrator: Annotated[list[str], typer.Option(help="A concentrator; several times.")],
    reason: Reason,
    first: First = 1,
    success: Success = 100,
    at_once: AtOnce = 50,
    hours: Hours = 24,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Give agents settings, instead of all given before; the others are as their file says."""
    with failures_told(as_json=as_json), _desk(config) as desk:
        wish = Wish(
            kind=Kind.CONFIGURATION,
            requested_by=desk.actor,
            reason=reason,
            until=desk.now + timedelta(hours=hours),
            stages=_stages(first, success, at_once),
            targets=service.concentrators_as_targets([ConcentratorId(c) for c in concentrator]),
            settings=_settings(setting),
        )
        _ask(desk, wish, as_json=as_json)


def firmware(
    *,
    file: Annotated[Path | None, typer.Option(help="The image; stored if it is new.")] = None,
    image: Annotated[str, typer.Option(help="Instead: the SHA-256 of a stored one.")] = "",
    model: Annotated[str, typer.Option(help="Model of meter that a new image is for.")] = "",
    version: Annotated[str, typer.Option(help="Version of a new image.")] = "",
    identifier: Annotated[str, typer.Option(help="What meters call it; else the version.")] = "",
    meter: Meters = None,
    every: Annotated[bool, typer.Option("--every", help="Every meter of that model.")] = False,
    later: Annotated[bool, typer.Option("--later", help="Leave activation to `activate`.")] = False,
    activate_at: Annotated[str, typer.Option(help="Activate then, 2026-06-01T02:00:00Z.")] = "",
    reason: Reason,
    first: First = 1,
    success: Success = 100,
    at_once: AtOnce = 50,
    hours: Hours = 24,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask to bring firmware into meters; it starts when somebody else has approved it."""
    with failures_told(as_json=as_json), _desk(config) as desk:
        if file is not None:
            found = _stored(desk, file, model=model, version=version, identifier=identifier)
        else:
            found = _image(desk, image)
        wish = _meters_wish(
            desk, Kind.FIRMWARE, reason=reason, hours=hours,
            stages=_stages(first, success, at_once),
            meters=_meters(desk, meter, found, every=every),
        )  # fmt: skip
        wish = replace(
            wish, image=found.sha256, activate=not later, activate_at=_instant(activate_at)
        )
        _ask(desk, wish, as_json=as_json)


def activate(
    *,
    image: Annotated[str, typer.Option(help="SHA-256 of the image, or how it begins.")],
    meter: Meters = None,
    every: Annotated[bool, typer.Option("--every", help="Every meter of its model.")] = False,
    reason: Reason,
    first: First = 1,
    success: Success = 100,
    at_once: AtOnce = 50,
    hours: Hours = 24,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask to activate firmware that `firmware --later` brought; somebody else must approve."""
    with failures_told(as_json=as_json), _desk(config) as desk:
        found = _image(desk, image)
        wish = _meters_wish(
            desk, Kind.ACTIVATION, reason=reason, hours=hours, activates=found.sha256,
            stages=_stages(first, success, at_once),
            meters=_meters(desk, meter, found, every=every),
        )  # fmt: skip
        _ask(desk, replace(wish, image=found.sha256), as_json=as_json)


def rekey(
    *,
    meter: Annotated[list[str], typer.Option(help="A meter; several times, of one concentrator.")],
    keys: Annotated[Path, typer.Option(help="The concentrator's key file, with transport_key.")],
    out: Annotated[Path, typer.Option(help="New file for the new keys (JSON, mode 0600).")],
    octets: Annotated[int, typer.Option(help="16 for suite 0, 32 for suite 2.")] = 16,
    reason: Reason,
    first: First = 1,
    success: Success = 100,
    at_once: AtOnce = 50,
    hours: Hours = 24,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Draw new keys, seal them for their concentrator and ask to change; another must approve."""
    with failures_told(as_json=as_json), _desk(config) as desk:
        transport = _transport_key(keys)
        if octets not in (16, 32) or out.exists():
            fault = "--octets: 16 or 32" if octets not in (16, 32) else f"{out}: exists already"
            raise ConfigError("command line", [fault])
        names = [MeterId(name) for name in meter]
        plain = _meters_wish(
            desk, Kind.REKEY, reason=reason, hours=hours, meters=names,
            stages=_stages(first, success, at_once),
        )  # fmt: skip
        if len({target.concentrator for target in plain.targets}) != 1:
            raise ConfigError("command line", ["--meter: name meters of one concentrator"])
        drawn = {name: _new_keys(octets) for name in names}
        targets = tuple(_sealed(item, drawn[item.meter], transport) for item in plain.targets)
        # on disk before anything can be approved; of no use when it is refused
        write_private(out, _keys_text(drawn))
        try:
            _ask(desk, replace(plain, targets=targets), as_json=as_json)
        except BaseException:
            out.unlink()
            raise


def approve(rollout: RolloutName, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Approve what somebody else asked for, which starts it."""
    with failures_told(as_json=as_json), _desk(config) as desk:
        service.approve(desk.db, RolloutId(rollout), actor=desk.actor, now=desk.now)
        tell_rollout(desk.db, RolloutId(rollout), as_json=as_json)


def stop(
    rollout: RolloutName, *, reason: Reason, config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Send nothing more of a rollout; what was sent goes on to its end."""
    with failures_told(as_json=as_json), _desk(config) as desk:
        id_ = RolloutId(rollout)
        service.withdraw(desk.db, id_, actor=desk.actor, reason=reason, now=desk.now)
        tell_rollout(desk.db, id_, as_json=as_json)


def show(
    rollout: Annotated[str, typer.Argument(help="A rollout; else the newest of all.")] = "",
    *,
    images: Annotated[bool, typer.Option("--images", help="The stored images instead.")] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a rollout and what became of each target, or the newest rollouts, or the images."""
    with failures_told(as_json=as_json), _desk(config) as desk:
        if rollout:
            tell_rollout(desk.db, RolloutId(rollout), as_json=as_json)
            return
        with desk.db.transaction() as conn:
            rows = (
                [image_row(item) for item in service.images(conn)]
                if images
                else [rollout_row(item) for item in service.rollouts(conn)]
            )
        text = "\n".join("  ".join(str(v) for v in row.values() if v) for row in rows)
        answer = {"images" if images else "rollouts": rows}
        say(answer, as_json=as_json, text=text or "nothing yet")


@contextmanager
def _desk(config: Path | None) -> Iterator[_Desk]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    dsn = address_of_database(installation)
    with Database(dsn, application="meterloop-cli", size=1) as db:
        yield _Desk(db, now)


def _meters_wish(
    desk: _Desk,
    kind: Kind,
    *,
    reason: str,
    hours: int,
    stages: Stages,
    meters: list[MeterId],
    activates: bytes | None = None,
) -> Wish:
    with desk.db.transaction() as conn:
        targets = service.targets_of(conn, meters, activates=activates)
    until = desk.now + timedelta(hours=hours)
    return Wish(
        kind=kind, requested_by=desk.actor, reason=reason, until=until, stages=stages,
        targets=targets,
    )  # fmt: skip


def _stages(first: int, success: int, at_once: int) -> Stages:
    return Stages(first=first, success_permille=success * 10, most_open=at_once)


def _settings(pairs: list[str]) -> dict[str, int | float]:
    found: dict[str, int | float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        read: Callable[[str], int | float] = int if text.lstrip("-").isdecimal() else float
        try:
            found[name] = read(text)
        except ValueError:
            known = ", ".join(sorted(SETTINGS))
            fault = f"--set {pair}: must be NAME=NUMBER; names are {known}"
            raise ConfigError("command line", [fault]) from None
    return found


def _stored(desk: _Desk, file: Path, *, model: str, version: str, identifier: str) -> Image:
    if not model or not version:
        raise ConfigError("command line", ["--model and --version must be given with --file"])
    try:
        octets = file.read_bytes()
    except OSError as error:
        raise ConfigError(str(file), [f"cannot be read ({error.strerror})"]) from error
    return service.upload_image(
        desk.db, octets, model=model, version=version, actor=desk.actor, now=desk.now,
        identifier=(identifier or version).encode(),
    )  # fmt: skip


def _image(desk: _Desk, begin: str) -> Image:
    with desk.db.transaction() as conn:
        found = [item for item in service.images(conn) if item.sha256.hex().startswith(begin)]
    if not begin or len(found) != 1:
        fault = f"--image {begin!r}: {len(found)} stored images begin so; see show --images"
        raise ConfigError("command line", [fault])
    return found[0]


def _meters(desk: _Desk, named: list[str] | None, image: Image, *, every: bool) -> list[MeterId]:
    if every == bool(named):
        raise ConfigError("command line", ["give either --meter or --every"])
    if named:
        return [MeterId(name) for name in named]
    with desk.db.transaction() as conn:
        return service.meters_of_model(conn, image.model)


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        fault = f"--activate-at {text}: must be like 2026-06-01T02:00:00Z, with its zone"
        raise ConfigError("command line", [fault])
    return instant


def _transport_key(file: Path) -> bytes:
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(str(file), ["other users may read the keys; chmod 600 it"])
        key = bytes.fromhex(json.loads(file.read_text(encoding="utf-8"))["transport_key"])
    except OSError as error:
        raise ConfigError(str(file), [f"cannot be read ({error.strerror})"]) from error
    except (ValueError, KeyError, TypeError):
        # the text of such an error may quote a key
        raise ConfigError(str(file), ["holds no transport_key as hex"]) from None
    if len(key) != 32:
        raise ConfigError(str(file), ["transport_key must be 32 octets as hex"])
    return key


def _new_keys(octets: int) -> NewKeys:
    return NewKeys(
        encryption_key=secrets.token_bytes(octets), authentication_key=secrets.token_bytes(octets)
    )


def _sealed(target: Target, keys: NewKeys, transport: bytes) -> Target:
    args = seal_keys(
        keys, transport, nonce=secrets.token_bytes(NONCE_OCTETS),
        concentrator=target.concentrator, meter=target.meter,
    )  # fmt: skip
    return replace(target, sealed=args["sealed"])


def _keys_text(drawn: dict[MeterId, NewKeys]) -> str:
    plain = {
        name: {
            "encryption_key": keys.encryption_key.hex(),
            "authentication_key": keys.authentication_key.hex(),
        }
        for name, keys in drawn.items()
    }
    return json.dumps(plain, indent=1) + "\n"


def _ask(desk: _Desk, wish: Wish, *, as_json: bool) -> None:
    tell_rollout(desk.db, service.ask(desk.db, wish, now=desk.now), as_json=as_json)
