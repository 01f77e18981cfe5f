"""The screen of balances on tariffs of periods: columns say of every point what rows say."""

import importlib
import json
import random
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from billing.prepaid import rules, store
from billing.prepaid import service as prepaid
from billing.prepaid.service import registers
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.store.db import Connection, Database
from tests.integration.billing_kit import CODE, HOUR, YUAN, customer, read, rows, street
from tests.integration.test_billing_prepaid_periods import DAY, START, publish, two_part
from tests.integration.usage_kit import put_intervals

PEOPLE = 24
KINDS = (CODE, "cq-household-period", "two-part")
SCREEN: Any = importlib.import_module("billing.prepaid.service.screen")
PERIODS: Any = importlib.import_module("billing.prepaid.service.screen_periods")


def _town(db: Database) -> None:
    publish(db, two_part())
    rating.publish(db, tariffs.shipped("cq-household-period"), actor="user:reza", now=START)
    street(
        db,
        *(
            customer(
                n, tariff_code=KINDS[n % 3], started_at=START, opening_year_wh=n * 40_000,
                opening_balance_micros=(n % 5) * 4 * YUAN,
                attributes={"veteran": "true"} if n % 4 == 0 else {},
            )
            for n in range(1, PEOPLE + 1)
        ),
    )  # fmt: skip


def _live(db: Database, dice: random.Random, at: int) -> None:
    """Let hours and registers come up to an hour; some are late, some doubtful, some missing."""
    for n in range(1, PEOPLE + 1):
        point, until = f"UP-{n:06}", at - dice.choice((0, 0, 0, 1, 30))
        if until <= 0:
            continue
        if n % 3 == 2:
            known = until - dice.choice((0, 0, 5))
            put_intervals(db, point, {START + h * HOUR: 100 * n + h for h in range(max(known, 0))})
        wh = 1_000_000 + sum(100 * n + h for h in range(until)) - dice.choice((0, 0, 0, 1_000_000))
        if dice.random() < 0.8:
            quality = dice.choice(("valid", "questionable"))
            read(db, point, START + until * HOUR, wh, quality=quality)


def _points(conn: Connection) -> dict[str, int]:
    return dict(conn.execute("SELECT agreement, point FROM prepaid.state").fetchall())


def _by_rows(conn: Connection, now: Any) -> dict[int, tuple[Any, ...]]:
    """Return figures of every point as the locked rows of a sweep are priced."""
    states = store.states(conn)
    tariff_of = rating.compiled(conn, states.tariff_hash)
    found = registers.newest(conn, states)
    said = rules.figures(states, tariff_of, found.wh, found.uses)
    point = _points(conn)
    stale = int((now - rules.MISSING_AFTER).timestamp() * 1000)
    heard = found.at_ms if found.ahead_ms is None else found.ahead_ms
    left, quality = rules.available(states, said.fee), found.qualities(now)
    return {
        point[name]: (
            int(said.fee[n]), int(found.wh[n]), int(found.at_ms[n]), bool(said.beyond[n]),
            bool(said.below_opening[n]), bool(heard[n] < stale),
            bool(
                said.tier[n] != states.tier[n] or quality[n] != states.quality[n]
                or found.wh[n] != states.register[n] or left[n] != states.available[n]
                or found.at_ms[n] != states.register_ms[n]
            ),
        )
        for n, name in enumerate(states.agreement)
    }  # fmt: skip


def _by_columns(db: Database, conn: Connection, now: Any) -> dict[int, tuple[Any, ...]]:
    found: dict[int, tuple[Any, ...]] = {}
    kept = PERIODS.by_period

    def heard(*given: Any, **named: Any) -> Any:
        parts = kept(*given, **named)
        for part in parts:
            fees = part.fees
            for n, point in enumerate(fees.point.tolist()):
                assert point not in found
                found[point] = (
                    int(fees.fee_micros[n]), int(fees.register_wh[n]), int(fees.register_ms[n]),
                    bool(part.beyond[n]), bool(part.below_opening[n]), bool(part.missing[n]),
                    bool(part.moved[n]),
                )  # fmt: skip
        return parts

    SCREEN.by_period = heard
    try:
        seen = SCREEN.screen(db, conn, now=now, since=None, progress=None)
    finally:
        SCREEN.by_period = kept
    assert seen.points == PEOPLE
    return found


@pytest.mark.req("C4", "C7", "G1")
@pytest.mark.parametrize(("few", "page"), [(200_000, 20_000), (0, 3)])
def test_columns_say_of_every_point_what_its_rows_say(
    db: Database, monkeypatch: pytest.MonkeyPatch, few: int, page: int
) -> None:
    monkeypatch.setattr(SCREEN, "FEW", few)
    monkeypatch.setattr(PERIODS, "HOURS_PAGE", page)
    dice = random.Random(20261122)
    _town(db)
    for n in range(1, PEOPLE + 1):
        if n % 3 == 2:
            put_intervals(db, f"UP-{n:06}", {START: 100 * n})
        read(db, f"UP-{n:06}", START + HOUR, 1_000_000 + 100 * n)
    prepaid.sweep(db, now=START + HOUR)
    assert rows(db, "SELECT count(*)::int FROM prepaid.hot_stretch") == [(PEOPLE * 2 // 3,)]
    for hour in (7, 23, 40, 26 * 24):  # over days and into another month
        _live(db, dice, hour)
        now = START + hour * HOUR + timedelta(minutes=1)
        with db.transaction() as conn:
            expected = _by_rows(conn, now)
            found = _by_columns(db, conn, now)
        assert len(found) == PEOPLE * 2 // 3
        assert found == {point: expected[point] for point in found}
        prepaid.sweep(db, now=now)
    assert {row[0] for row in rows(db, "SELECT seq FROM prepaid.segment")} >= {1, 2}


def test_the_octets_of_a_stretch_follow_its_row(db: Database, database_dsn: str) -> None:
    _town(db)
    for n in range(1, PEOPLE + 1):
        if n % 3 == 2:
            put_intervals(db, f"UP-{n:06}", {START: 100 * n})
        read(db, f"UP-{n:06}", START + HOUR, 1_000_000 + 100 * n)
    prepaid.sweep(db, now=START + HOUR)
    for days in (2, 30):
        with Database(database_dsn, user="meterloop_billing") as own:
            prepaid.sweep(own, now=START + days * DAY)
        with db.transaction() as conn:
            names = [row[0] for row in conn.execute("SELECT agreement FROM prepaid.state")]
            opened = store.open_uses(conn, names)
            point = _points(conn)
            wanted = np.array([point[name] for name in opened], dtype=np.int64)
            found = {
                int(stretch.point[n]): (stretch, n)
                for _, stretch in store.stretches_at(conn, wanted)
                for n in range(len(stretch.point))
            }
            shapes: dict[int, str] = dict(
                conn.execute("SELECT shape_no, shape FROM prepaid.shape").fetchall()
            )
        assert len(found) == len(opened) == PEOPLE * 2 // 3
        for name, use in opened.items():
            stretch, n = found[point[name]]
            assert stretch.start_day[n] == use.start.toordinal()
            assert shapes[int(stretch.shape_no[n])] == use.shape
            assert stretch.day_wh[:, n].tolist() == list(use.day_wh)
            stated = use.before.get("calendar_year", (0,) * len(use.day_wh))
            assert stretch.before_wh[1, :, n].tolist() == list(stated)
    with db.transaction() as conn:
        conn.execute("DELETE FROM prepaid.open_stretch")
    assert rows(db, "SELECT count(*)::int FROM prepaid.hot_stretch") == [(0,)]
    assert set(shapes.values()) >= {"{}", json.dumps({"veteran": "true"}, separators=(",", ":"))}
