"""Verbs of the quarantine: what is in it, why, and what becomes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import typer

from cloud.ingest import service as ingest
from cloud.ingest.model import QuarantineItem, QuarantineState
from cloud.ingest.service.showing import Shown, shown
from cloud.rollups import service as rollups
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.usage import service as usage
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
    who_types,
)
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

_FEW_OCTETS = 256
_FEW_VALUES = 8


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    kept = typer.Typer(no_args_is_help=True, help="What could not be believed, with its octets.")
    kept.command("list")(list_)
    kept.command("show")(show)
    kept.command("redrive")(redrive)
    kept.command("dismiss")(dismiss)
    app.add_typer(kept, name="quarantine")


def list_(
    *,
    state: Annotated[QuarantineState, typer.Option(help="Which state.")] = QuarantineState.OPEN,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 200,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List what is kept, newest first, and how much there is of each cause."""
    with failures_told(as_json=as_json), _opened(config) as (db, _), db.transaction() as conn:
        items = ingest.quarantined(conn, state=state, limit=limit)
        counts = ingest.quarantine_counts(conn)
        causes = {cause: n for (cause, found), n in counts.items() if found == state}
        say(
            {"items": [_plain(item) for item in items], "causes": causes}, as_json=as_json,
            text=_lines(items, causes),
        )  # fmt: skip


def show(
    id_: Annotated[int, typer.Argument(metavar="ID", help="The number of `quarantine list`.")],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one thing: why it is here, the refused row, and the payload with its octets."""
    with failures_told(as_json=as_json), _opened(config) as (db, _):
        found = shown(db, id_)
        answer = {
            **_plain(found.item), "topic": found.topic, "content_type": found.content_type,
            "payload": _few(found.plain), "unread": found.unread, "hex": found.octets.hex(),
        }  # fmt: skip
        say(answer, as_json=as_json, text=_page(found))


def redrive(
    id_: Annotated[int, typer.Argument(metavar="ID", help="The number of `quarantine list`.")],
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge one thing once more, after its cause was mended; store it, or say what still stands."""
    with failures_told(as_json=as_json), _opened(config) as (db, clock):
        stored = usage.redrive(
            db, id_, actor=who_types(), now=clock.now(), wall_now=clock.wall_now(),
            derive=rollups.derive,
        )  # fmt: skip
        say({"id": id_, "stored": stored}, as_json=as_json,
            text=f"{id_}: {stored} readings stored")  # fmt: skip


def dismiss(
    id_: Annotated[int, typer.Argument(metavar="ID", help="The number of `quarantine list`.")],
    *,
    reason: Annotated[str, typer.Option(help="Why it is never to be stored.")],
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Settle one thing as never to be stored; its octets stay."""
    with failures_told(as_json=as_json), _opened(config) as (db, clock):
        ingest.dismiss(db, id_, actor=who_types(), reason=reason, now=clock.now())
        say({"id": id_, "state": "dismissed"}, as_json=as_json, text=f"{id_}: dismissed")


@contextmanager
def _opened(config: Any) -> Iterator[tuple[Database, Clock]]:
    installation = installation_from(config)
    clock = Clock(scale=TimeScale.parse(installation.time.scale))
    with Database(
        address_of_database(installation), application="meterloop-quarantine", size=1
    ) as db:
        yield db, clock


def _plain(item: QuarantineItem) -> dict[str, Any]:
    return {
        "id": item.id, "concentrator": item.concentrator, "boot": item.boot, "seq": item.seq,
        "cause": item.cause, "detail": item.detail, "row": item.row,
        "received_at": item.received_at.isoformat(), "state": item.state.value,
        "octets": item.octets,
    }  # fmt: skip


def _lines(items: list[QuarantineItem], causes: dict[str, int]) -> str:
    if not items:
        return "nothing is in quarantine"
    most = max(causes.values())
    drawn = [
        f"  {cause:<32} {'█' * max(1, 24 * n // most)} {n}"
        for cause, n in sorted(causes.items(), key=lambda found: -found[1])
    ]
    told = [
        f"{item.id:>8}  {item.received_at:%Y-%m-%d %H:%M:%S}Z  {item.concentrator:<12} "
        f"{item.cause:<28} {item.detail[:60]}"
        for item in items
    ]
    return "\n".join([*drawn, "", *told])


def _page(found: Shown) -> str:
    item = found.item
    lines = [
        f"{item.id}: {item.cause} ({item.state.value})",
        f"  {item.detail}",
        f"  from {item.concentrator}, batch {item.boot}/{item.seq}, "
        f"received {item.received_at:%Y-%m-%d %H:%M:%S}Z",
        f"  topic {found.topic}, {found.content_type}, {len(found.octets)} octets",
    ]
    if item.row is not None:
        lines += ["  the row:", *(f"    {name}: {value}" for name, value in item.row.items())]
    if found.unread:
        lines.append(f"  the payload does not open: {found.unread}")
    elif isinstance(found.plain, dict):
        lines += ["  the payload:", *(f"    {k}: {v}" for k, v in _few(found.plain).items())]
    few = found.octets[:_FEW_OCTETS]
    for at in range(0, len(few), 16):
        part = few[at : at + 16]
        seen = "".join(chr(octet) if 32 <= octet < 127 else "." for octet in part)
        lines.append(f"  {at:04x}  {part.hex(' '):<47}  {seen}")
    if len(found.octets) > _FEW_OCTETS:
        lines.append(f"  … {len(found.octets) - _FEW_OCTETS} octets more: --json has them all")
    return "\n".join(lines)


def _few(plain: Any) -> Any:
    """Return a payload for people: long columns cut, their length said."""
    if isinstance(plain, dict):
        return {str(name): _few(value) for name, value in plain.items()}
    if isinstance(plain, np.ndarray):
        plain = plain.tolist()
    if isinstance(plain, bytes):
        return plain.hex()
    if isinstance(plain, list | tuple):
        first = [_few(value) for value in plain[:_FEW_VALUES]]
        return first if len(plain) <= _FEW_VALUES else [*first, f"… {len(plain)} in all"]
    return plain
