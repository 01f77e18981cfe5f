"""
What the agent sends up: batches of readings as columns, presence, acks of commands.

A batch is a dictionary of meters and eight parallel integer columns. Point values have length 0
seconds and the device time in `at_ms`; intervals carry their length and are named by their start.
`at_ms`, `received_ms` and `raw` travel as first differences, which compresses them well.
An agent writes batches and never reads one: numpy is loaded by those alone who read.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from protocols.errors import PeerError
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import BatchId, CommandId, ConcentratorId, MeterId, are_names, is_name
from protocols.mqtt.envelope import Packed
from protocols.reading import RelayReading, RelayState
from protocols.timeline import from_ms, to_ms

VERSION = 1
MAX_ROWS = 20_000

COLUMNS: dict[str, str] = {
    "meter": "<u2",
    "channel": "u1",
    "at_ms": "<i8",
    "seconds": "<u4",
    "received_ms": "<i8",
    "raw": "<i8",
    "scaler": "i1",
    "status": "<u4",
}
"""Names and types on the wire, in order."""
_CODE = {"<u2": "H", "u1": "B", "<i8": "q", "<u4": "I", "i1": "b"}
_DELTA = frozenset({"at_ms", "received_ms", "raw"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReport:
    """A switch as read at `at` (receive time at the concentrator)."""

    meter: MeterId
    at: datetime
    relay: RelayReading


@dataclass(frozen=True, slots=True, kw_only=True)
class DataBatch:
    """
    One batch of one concentrator.

    *Shape*: `columns[name]` are equally long 1-D integer arrays, names as in the module text:
    `array.array` in a batch that was made, numpy in one that was received. `columns["meter"]`
    indexes `meters`. *Units*: value = raw * 10**scaler in the channel's unit.
    """

    id: BatchId
    made_at: datetime
    meters: tuple[MeterId, ...]
    columns: Mapping[str, Any]
    relays: tuple[RelayReport, ...] = ()
    events: tuple[EndDeviceEvent, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns["meter"])


def columns_of(rows: Mapping[str, Sequence[int]]) -> dict[str, "array[int]"]:
    """Return the eight columns from lists of equal length, in their wire types."""
    return {name: _packed(name, rows[name]) for name in COLUMNS}


def _packed(name: str, numbers: Sequence[int]) -> "array[int]":
    return array(_CODE[COLUMNS[name]], numbers)


def _wrapped(number: int) -> int:
    """Return a difference as 64 bits hold it; the receiver's sum wraps back."""
    return (number + 2**63) % 2**64 - 2**63


def batch_to_plain(batch: DataBatch) -> dict[str, Any]:
    """Return the value that `envelope.encode` turns into the payload of a batch."""
    columns = {}
    for name in COLUMNS:
        numbers = batch.columns[name].tolist()
        if name in _DELTA:
            numbers = [_wrapped(after - before) for before, after in pairwise([0, *numbers])]
        columns[name] = Packed(_packed(name, numbers))
    return {
        "v": VERSION,
        "concentrator": batch.id.concentrator,
        "boot": batch.id.boot,
        "seq": batch.id.seq,
        "made_ms": to_ms(batch.made_at),
        "meters": list(batch.meters),
        "columns": columns,
        "relays": [
            [r.meter, to_ms(r.at), int(r.relay.output_closed), int(r.relay.control_state),
             r.relay.control_mode]
            for r in batch.relays
        ],
        "events": [[e.meter, e.code.value, to_ms(e.at), e.origin, e.detail] for e in batch.events],
    }  # fmt: skip


def batch_from_plain(value: Any) -> DataBatch:
    """
    Return the batch in a decoded payload; every octet string either parses or is refused.

    Raises: PeerError `batch.version`, `batch.shape`, `batch.rows`, naming the field at fault.
    """
    fields = _mapping(value, "batch")
    version = fields.get("v")
    if version != VERSION:
        raise PeerError("batch.version", f"version {version!r:.40} is not {VERSION}")
    try:
        meters = _meters(_list(fields["meters"], "meters"))
        columns = _columns(_mapping(fields["columns"], "columns"), meters=len(meters))
        return DataBatch(
            id=BatchId(
                concentrator=ConcentratorId(_name(fields["concentrator"], "concentrator")),
                boot=_integer(fields["boot"], "boot"),
                seq=_integer(fields["seq"], "seq"),
            ),
            made_at=from_ms(_integer(fields["made_ms"], "made_ms")),
            meters=meters,
            columns=columns,
            relays=tuple(_relay(item) for item in _list(fields.get("relays", []), "relays")),
            events=tuple(_event(item) for item in _list(fields.get("events", []), "events")),
        )
    except KeyError as error:
        raise PeerError("batch.shape", f"field {error} is missing") from error
    except (OverflowError, ValueError, TypeError) as error:
        raise PeerError("batch.shape", str(error)[:200]) from error


def _meters(found: list[Any]) -> tuple[MeterId, ...]:
    if are_names(found):
        return tuple(found)
    # the slow way says which of them is none
    return tuple(MeterId(_name(item, "meters")) for item in found)


def _columns(found: Mapping[str, Any], *, meters: int) -> dict[str, Any]:
    import numpy as np

    columns: dict[str, Any] = {}
    for name, dtype in COLUMNS.items():
        raw = found[name]
        if isinstance(raw, list) and not all(type(item) is int for item in raw):
            raise PeerError("batch.shape", f"column {name!r} holds something that is no integer")
        column = np.asarray(raw, dtype=dtype)
        if column.ndim != 1 or len(column) > MAX_ROWS:
            raise PeerError("batch.rows", f"column {name!r} must be flat, at most {MAX_ROWS} long")
        columns[name] = np.cumsum(column, dtype=dtype) if name in _DELTA else column
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise PeerError("batch.shape", f"columns differ in length: {sorted(lengths)}")
    if len(columns["meter"]) and int(columns["meter"].max()) >= meters:
        raise PeerError("batch.shape", "a row points past the list of meters")
    return columns


def _relay(item: Any) -> RelayReport:
    meter, at_ms, output, control, mode = _list(item, "relays")
    return RelayReport(
        meter=MeterId(_name(meter, "relays.meter")),
        at=from_ms(_integer(at_ms, "relays.at")),
        relay=RelayReading(
            output_closed=bool(_integer(output, "relays.output")),
            control_state=RelayState(_integer(control, "relays.control")),
            control_mode=_integer(mode, "relays.mode"),
        ),
    )


def _event(item: Any) -> EndDeviceEvent:
    meter, code, at_ms, origin, detail = _list(item, "events")
    return EndDeviceEvent(
        meter=MeterId(_name(meter, "events.meter")),
        code=EventCode(code),
        at=from_ms(_integer(at_ms, "events.at")),
        origin=str(origin)[:200],
        detail=str(detail)[:500],
    )


class Stage(StrEnum):
    """
    How far a command has come at the edge.

    accepted -> challenge (disconnect only) -> started -> one of the six ends; `refused` may come
    first. `unknown` is not an end: it has a deadline by which the switch is read.
    """

    ACCEPTED = "accepted"
    CHALLENGE = "challenge"
    STARTED = "started"
    DONE = "done"
    ARMED = "armed"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


FINAL = frozenset({Stage.DONE, Stage.ARMED, Stage.REFUSED, Stage.FAILED, Stage.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """
    What became of a command so far. `(id, stage)` is its natural key; a repeat means nothing new.

    `nonce` only with `challenge`. `evidence` holds states read before and after, times, reasons.
    """

    id: CommandId
    meter: MeterId
    stage: Stage
    at: datetime
    nonce: bytes = b""
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


def ack_to_plain(ack: Ack) -> dict[str, Any]:
    """Return the value that `envelope.encode` turns into the payload of an ack."""
    return {
        "v": VERSION, "id": ack.id, "meter": ack.meter, "stage": ack.stage.value,
        "at_ms": to_ms(ack.at), "nonce": ack.nonce, "reason": ack.reason,
        "evidence": dict(ack.evidence),
    }  # fmt: skip


def ack_from_plain(value: Any) -> Ack:
    """Return the ack in a decoded payload. Raises: PeerError `ack.shape`."""
    try:
        fields = _mapping(value, "ack")
        if fields["v"] != VERSION:
            raise PeerError("ack.shape", f"version {fields['v']!r:.40} is not {VERSION}")
        nonce = fields.get("nonce", b"")
        if not isinstance(nonce, bytes) or len(nonce) > 64:
            raise PeerError("ack.shape", "nonce must be at most 64 octets")
        return Ack(
            id=CommandId(_name(fields["id"], "id")),
            meter=MeterId(_name(fields["meter"], "meter")),
            stage=Stage(fields["stage"]),
            at=from_ms(_integer(fields["at_ms"], "at_ms")),
            nonce=nonce,
            reason=str(fields.get("reason", ""))[:500],
            evidence=_mapping(fields.get("evidence", {}), "evidence"),
        )
    except KeyError as error:
        raise PeerError("ack.shape", f"field {error} is missing") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise PeerError("ack.shape", str(error)[:200]) from error


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PeerError("batch.shape", f"{name} must be a map, not {type(value).__name__}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise PeerError("batch.shape", f"{name} must be a list, not {type(value).__name__}")
    return value


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise PeerError("batch.shape", f"{name} must be an id, not {value!r:.60}")
    return value


def _integer(value: Any, name: str) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise PeerError("batch.shape", f"{name} must be a 64-bit integer, not {value!r:.40}")
    return value
