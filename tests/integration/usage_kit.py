"""Raw readings planted past the wire and what is said over them, for tests that rest on usage."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from cloud.ingest.rules.packing import DAY_MS, Readings, encode, joined
from cloud.ingest.store import readings as store
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.reading import Channel, Status
from protocols.timeline import to_ms

KNOWN = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
"""When planted things became known: before every question."""

_ASSETS = (
    "INSERT INTO assets.transformer (id) VALUES ('T-PLANT') ON CONFLICT DO NOTHING",
    "INSERT INTO assets.concentrator (id) VALUES ('C-PLANT') ON CONFLICT DO NOTHING",
    "INSERT INTO assets.usage_point (id, kind, transformer, zone)"
    " VALUES (%(point)s, 'customer', 'T-PLANT', 'Asia/Shanghai') ON CONFLICT DO NOTHING",
    "INSERT INTO assets.meter (id, model, protocol, max_w, has_relay, can_close_remotely)"
    " VALUES (%(meter)s, 'x', 'dlms', 5000000, false, false) ON CONFLICT DO NOTHING",
    "INSERT INTO assets.installation (meter, usage_point, concentrator, installed_at)"
    " SELECT %(meter)s, %(point)s, 'C-PLANT', '2000-01-01' WHERE NOT EXISTS"
    " (SELECT FROM assets.installation AS i WHERE i.usage_point = %(point)s)",
)


def put_registers(
    db: Database, usage_point: str, values: Mapping[datetime, int], *, quality: str = "valid"
) -> None:
    """Let the meter of a usage point have shown so many Wh at each instant."""
    if quality == "estimated":
        for at, wh in values.items():
            say_register(db, usage_point, at, wh, kind=1)
        return
    status = int(Status.CLOCK_INVALID) if quality == "questionable" else 0
    with db.transaction() as conn:
        _plant(conn, usage_point, Channel.IMPORT_WH, 0, values, status)


def put_intervals(
    db: Database, usage_point: str, values: Mapping[datetime, int], *, seconds: int = 3600
) -> None:
    """Let the meter of a usage point have counted so many Wh from each instant on."""
    with db.transaction() as conn:
        _plant(conn, usage_point, Channel.IMPORT_INTERVAL_WH, seconds, values, 0)


def say_register(db: Database, usage_point: str, at: datetime, wh: int, *, kind: int = 2) -> None:
    """Say over a register: 1 estimated by the machine, 2 edited or 3 cancelled by two people."""
    with db.transaction() as conn:
        _meter(conn, usage_point)
        conn.execute(
            "INSERT INTO vee.register_overlay (usage_point, at, layer, version, created_at, kind,"
            " wh, actor, verified_by, reason)"
            " SELECT %(point)s, %(at)s, %(layer)s, 1 + count(*), %(known)s, %(kind)s, %(wh)s,"
            " 'user:lin', 'user:reza', 'read again'"
            " FROM vee.register_overlay WHERE usage_point = %(point)s AND at = %(at)s"
            " AND layer = %(layer)s",
            {"point": usage_point, "at": at, "layer": "machine" if kind == 1 else "person",
             "known": KNOWN, "kind": kind, "wh": wh},
        )  # fmt: skip
        usage.rebuild(conn, UsagePointId(usage_point), now=KNOWN)
        usage.refresh(conn, [UsagePointId(usage_point)])


def _meter(conn: Connection, usage_point: str) -> str:
    """Return the meter of a usage point, installed long ago where there is none."""
    names = {"point": usage_point, "meter": usage_point.replace("UP", "M")}
    for statement in _ASSETS:
        conn.execute(statement, names)
    row = conn.execute(
        "SELECT i.meter FROM assets.installation AS i WHERE i.usage_point = %s"
        " ORDER BY i.installed_at DESC", (usage_point,),
    ).fetchone()  # fmt: skip
    assert row is not None
    return str(row[0])


def _plant(
    conn: Connection,
    usage_point: str,
    channel: Channel,
    seconds: int,
    values: Mapping[datetime, int],
    status: int,
) -> None:
    names: dict[str, Any] = {
        "meter": _meter(conn, usage_point), "channel": int(channel), "seconds": seconds
    }  # fmt: skip
    conn.execute(
        "INSERT INTO ingest.series (meter, channel, seconds)"
        " VALUES (%(meter)s, %(channel)s, %(seconds)s) ON CONFLICT DO NOTHING", names,
    )  # fmt: skip
    row = conn.execute(
        "SELECT no FROM ingest.series"
        " WHERE (meter, channel, seconds) = (%(meter)s, %(channel)s, %(seconds)s)", names,
    ).fetchone()  # fmt: skip
    assert row is not None
    series = int(row[0])
    by_day: dict[int, dict[int, int]] = {}
    for at, wh in values.items():
        day, ms = divmod(to_ms(at), DAY_MS)
        by_day.setdefault(day, {})[ms] = wh
    days = np.array(sorted(by_day), dtype=np.int64)
    store.ready_packed(conn, days, KNOWN, ahead=[])
    before = store.days_named(conn, np.full(len(days), series), days)
    rows = []
    for n, day in enumerate(days.tolist()):
        at_ms = np.array(sorted(by_day[day]), dtype=np.int64)
        fresh = Readings(
            at_ms=at_ms, wh=np.array([by_day[day][ms] for ms in at_ms.tolist()], dtype=np.int64),
            status=np.full(len(at_ms), status), received_ms=at_ms,
            batch=np.zeros(len(at_ms), dtype=np.int64),
        )  # fmt: skip
        rows.append((series, day, encode(joined([*([before[n]] if n in before else []), fresh]))))
    store.upsert_days(conn, rows)
    usage.rebuild(conn, UsagePointId(usage_point), now=KNOWN)
