"""Reads the evidence: database as auditor, truth file and outboxes as files; changes nothing."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries
from meterloop.audit.model import EndedCommand, OutboxState, SwitchMove
from protocols.errors import PeerError
from protocols.identity import MeterId
from protocols.mqtt import envelope
from protocols.mqtt.uplink import batch_from_plain
from protocols.reading import Channel
from simulators.truth import TruthFile

SQL = Queries(Path(__file__).parent / "sql")


def freeze(conn: Connection) -> None:
    """Let every later question of this transaction see one and the same instant."""
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    conn.execute(SQL["seen_registers"])
    conn.execute(SQL["seen_intervals"])
    # from here on not even a temporary table may be made
    conn.execute("SET TRANSACTION READ ONLY")


def violations(
    conn: Connection, block: str, parameters: Mapping[str, object] | None = None
) -> list[str]:
    """Return the texts of a block whose rows are violations."""
    return [str(row[0]) for row in conn.execute(SQL[block], dict(parameters or {}))]


def counts(conn: Connection) -> dict[str, int]:
    """Return how many rows of each kind there are."""
    cursor = conn.execute(SQL["reading_counts"])
    row = cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return {column.name: int(value) for column, value in zip(cursor.description, row, strict=True)}


def missing_batches(conn: Connection) -> list[tuple[str, int, int]]:
    """Return (concentrator, boot, seq) of every number that was skipped."""
    return [(str(c), int(b), int(s)) for c, b, s in conn.execute(SQL["r1_missing_batches"])]


def stored_intervals(conn: Connection) -> dict[str, dict[int, int]]:
    """Return per meter start -> Wh of its import intervals."""
    return _by_meter(conn, "r1_stored_intervals")


def stored_registers(conn: Connection) -> dict[str, dict[int, int]]:
    """Return per meter instant -> Wh of its import registers."""
    return _by_meter(conn, "r3_stored_registers")


def _by_meter(conn: Connection, block: str) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for meter, at_ms, wh in conn.execute(SQL[block]):
        found[meter][at_ms] = wh
    return found


def quarantined_intervals(conn: Connection) -> frozenset[tuple[str, int]]:
    """Return (meter, start) of every import interval in quarantine."""
    rows = conn.execute(SQL["r1_quarantined_intervals"])
    return frozenset((str(meter), int(start)) for meter, start in rows)


def ended_commands(conn: Connection) -> list[EndedCommand]:
    """Return every ended command with its outcome."""
    names = ("id", "meter", "usage_point", "verb", "result", "issued_ms", "ended_ms", "released")
    return [
        EndedCommand(**dict(zip(names, row, strict=True)))
        for row in conn.execute(SQL["commands_with_ends"])
    ]


def released_cuts(conn: Connection) -> dict[str, list[int]]:
    """Return per meter when it was allowed to open."""
    released: dict[str, list[int]] = defaultdict(list)
    for meter, at_ms in conn.execute(SQL["released_cuts"]):
        released[str(meter)].append(int(at_ms))
    return released


def protected_meters(conn: Connection) -> dict[str, int]:
    """Return per meter of a protected supply since when it is protected."""
    return {str(meter): int(since) for meter, since in conn.execute(SQL["protected_meters"])}


def outbox_state(path: Path) -> OutboxState:
    """Return what an agent keeps, seen at one instant; works while the agent runs."""
    with _frozen(path) as db:
        marks = {MeterId(meter): mark for meter, mark in db.execute("SELECT * FROM mark")}
        holes: dict[MeterId, list[tuple[int, int]]] = defaultdict(list)
        for meter, start, end in db.execute("SELECT meter, start_ms, end_ms FROM gap"):
            holes[MeterId(meter)].append((start, end))
        batches = db.execute("SELECT boot, seq, content_type, payload FROM batch").fetchall()
    pending: set[tuple[str, int]] = set()
    for _, _, content_type, payload in batches:
        pending.update(_intervals_in(payload, content_type))
    return OutboxState(
        concentrator=path.stem,
        marks=marks,
        holes={meter: tuple(found) for meter, found in holes.items()},
        pending=frozenset(pending),
        numbers=frozenset((boot, seq) for boot, seq, _, _ in batches),
    )


def _intervals_in(payload: bytes, content_type: str) -> Iterator[tuple[str, int]]:
    try:
        batch = batch_from_plain(envelope.decode(payload, content_type))
    except PeerError:
        return  # it will be quarantined whole, and counted there
    columns = batch.columns
    for index, channel in enumerate(columns["channel"].tolist()):
        if channel == Channel.IMPORT_INTERVAL_WH:
            meter = batch.meters[int(columns["meter"][index])]
            yield str(meter), int(columns["at_ms"][index])


@contextmanager
def _frozen(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        db.execute("BEGIN")
        yield db


def true_moves(truth: TruthFile) -> dict[str, list[SwitchMove]]:
    """Return per meter every move of its switch, in order."""
    moves: dict[str, list[SwitchMove]] = defaultdict(list)
    query = "SELECT meter, at_ms, output_closed, control_state, cause FROM relay ORDER BY rowid"
    for meter, at_ms, closed, state, cause in truth.rows(query):
        moves[str(meter)].append(
            SwitchMove(
                at_ms=int(str(at_ms)),
                closed=bool(closed),
                control_state=int(str(state)),
                cause=str(cause),
            )
        )
    return moves


def true_registers(truth: TruthFile, meter: str) -> dict[int, frozenset[int]]:
    """Return per instant what a meter answered for its import register, in Wh."""
    answers: dict[int, set[int]] = defaultdict(set)
    query = "SELECT at_ms, raw, scaler FROM served WHERE meter = ? AND channel = ?"
    for at_ms, raw, scaler in truth.rows(query, meter, int(Channel.IMPORT_WH)):
        factor = int(str(scaler))
        value = int(str(raw))
        wh = value * 10**factor if factor >= 0 else value // 10**-factor
        answers[int(str(at_ms))].add(wh)
    return {at_ms: frozenset(found) for at_ms, found in answers.items()}


def metered(truth: TruthFile) -> list[tuple[str, bool]]:
    """Return every simulated meter and whether it keeps a profile."""
    rows = truth.rows("SELECT meter, has_profile FROM meter ORDER BY meter")
    return [(str(meter), bool(profile)) for meter, profile in rows]
