"""Registers of days: midnights that nobody read, and usage points with registers alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloud.store.db import Database
from cloud.usage import service as usage
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import DayPolicy
from protocols.reading import Channel, Quality
from protocols.timeline import Interval
from tests.integration.ingest_kit import M1, ORIGIN, UP1
from tests.integration.vee_kit import (
    POLICY,
    Sender,
    build_one,
    date_of,
    end_of,
    register,
    rows,
    slots_of,
    work,
)

TOLD = replace(POLICY, queue_from="warning", long_every=1)
SAID = (
    "SELECT o.at, o.kind, o.wh, o.method, o.reason, o.references_n FROM vee.register_overlay AS o"
    " WHERE o.layer = 'machine' AND NOT EXISTS (SELECT FROM vee.register_overlay AS x WHERE"
    " x.usage_point = o.usage_point AND x.at = o.at AND x.layer = o.layer"
    " AND x.version > o.version) ORDER BY o.at"
)
DAILY_WH = 12_000


def said(db: Database) -> list[tuple[Any, ...]]:
    with db.transaction() as conn:
        return conn.execute(SAID).fetchall()


def figures(last: int, *, without: set[int], more: Mapping[int, int] | None = None) -> list[Any]:
    """A register at every midnight of the days up to `last`; `more` Wh at some, and from then."""
    extra, wh, found = more or {}, 0, []
    for day in range(last + 1):
        wh += DAILY_WH + extra.get(day, 0)
        if day not in without:
            found.append((M1, Channel.IMPORT_WH, end_of(day), wh))
    return [(M1, Channel.IMPORT_WH, ORIGIN, 0), *found]


def sound(db: Database) -> None:
    """Nothing that usage keeps contradicts its readings."""
    with db.transaction() as conn:
        assert list(usage.contradictions(conn)) == []


@pytest.mark.req("B17")
def test_a_midnight_nobody_read_is_made_of_the_intervals_since_the_last(db: Database) -> None:
    build_one(db)
    tell = Sender(db)
    midnights = {day: slots_of(day).stop for day in range(6)}
    read = [0, *(slot for day, slot in midnights.items() if day not in {3, 4})]
    tell(rows([n for day in range(7) for n in slots_of(day)], reads=read))
    work(db, 4)
    # no register is known after it yet: an estimate is never the newest
    assert said(db) == []
    work(db, 5)
    assert [(at, kind, wh) for at, kind, wh, *_ in said(db)] == [
        (end_of(day), 1, register(midnights[day])) for day in (3, 4)
    ]
    assert {tuple(row[3:5]) for row in said(db)} == {
        ("register_from_intervals", "register_missing")
    }
    assert [row[5] for row in said(db)] == [49, 97]
    with db.transaction() as conn:
        found = usage.register_at(conn, UP1, end_of(3))
    assert found is not None
    assert (found.at, found.cumulative_wh, found.quality) == (
        end_of(3), register(midnights[3]), Quality.ESTIMATED
    )  # fmt: skip
    sound(db)
    # one that was read after all takes its place
    tell(rows([], reads=[midnights[3]]))
    work(db, 5)
    assert [(row[0], row[1]) for row in said(db)] == [(end_of(3), 5), (end_of(4), 1)]
    assert said(db)[1][5] == 49
    with db.transaction() as conn:
        found = usage.register_at(conn, UP1, end_of(3))
    assert found is not None
    assert found.quality is Quality.VALID
    assert work(db, 5).changed == 0
    sound(db)
    with db.transaction() as conn:
        told = vee.register_history(conn, UP1, date_of(3), date_of(4)).said
    assert [(each.at, each.version, each.kind.name) for each in told] == [
        (end_of(3), 1, "ESTIMATE"), (end_of(3), 2, "WITHDRAWN"),
        (end_of(4), 1, "ESTIMATE"), (end_of(4), 2, "ESTIMATE"),
    ]  # fmt: skip
    assert told[-1].rests_from == end_of(3)


def test_a_register_is_never_made_of_estimates(db: Database) -> None:
    build_one(db)
    tell = Sender(db)
    gap = range(slots_of(3).start + 10, slots_of(3).start + 14)
    read = [0, *(slots_of(day).stop for day in range(6) if day != 3)]
    tell(rows([n for day in range(7) for n in slots_of(day) if n not in gap], reads=read))
    work(db, 5)
    assert said(db) == []
    with db.transaction() as conn:
        found = vee.register_history(conn, UP1, date_of(3), date_of(3))
    assert found.said == ()
    assert (found.days[-1].missing, found.days[-1].refused[0]["reason"]) == (
        1, "interval_missing"
    )  # fmt: skip
    tell(rows(list(gap)))
    work(db, 5)
    assert [(at, kind) for at, kind, *_ in said(db)] == [(end_of(3), 1)]


@pytest.mark.req("B17")
def test_where_registers_are_all_there_is_their_checks_look(db: Database) -> None:
    build_one(db, interval_seconds=None)
    tell = Sender(db)
    # on day 20 more than 8 kW can bring in 24 hours with a tenth of margin; then much as before
    tell(figures(22, without=set(), more={20: 250_000}))
    done = vee.work_all(db, RawSupply(), now=end_of(22) + timedelta(hours=2), policy=TOLD)
    assert done.days == 23
    with db.transaction() as conn:
        found = {
            (each.kind.value, each.day): (each.severity, each.value, each.allowed)
            for each in vee.queue(conn)
            if each.day is not None
        }
    day = date_of(20)
    assert found["register_step", day] == ("error", 262_000, 8_000 * 24 * 1_100 // 1_000)
    assert found["delta_percent", day][0] == "warning"
    # a day later the week has 14 days before it: 334 kWh in 7 days for 180 in 14 and 16 hours
    assert ("high_low", day) not in found
    assert found["high_low", date_of(21)] == ("warning", 3_887, 2_000)
    assert {each for _, each in found} <= {date_of(n) for n in range(20, 23)}
    # nothing of it has intervals, so no gap and no gate
    assert {kind for kind, _ in found} == {"register_step", "delta_percent", "high_low"}


def test_a_midnight_between_two_reads_gets_the_average_daily_use(db: Database) -> None:
    build_one(db, interval_seconds=None)
    tell = Sender(db)
    tell(figures(8, without={5, 6}))
    vee.work_all(db, RawSupply(), now=end_of(8) + timedelta(hours=2), policy=TOLD)
    first = end_of(0) - ORIGIN
    assert first == timedelta(hours=16)
    # 60 kWh in 4 days and 16 hours before: 12.86 kWh a day
    last = 5 * DAILY_WH
    assert [row[2] for row in said(db)] == [last + 12_860, last + 25_720]
    assert {row[3] for row in said(db)} == {"monthly_adu"}
    with db.transaction() as conn:
        days = usage.registers(conn, UP1, Interval(start=ORIGIN, end=end_of(9)))
    assert [each.quality is Quality.ESTIMATED for each in days].count(True) == 2
    assert [each.cumulative_wh for each in days] == sorted(each.cumulative_wh for each in days)
    sound(db)


def test_any_order_of_reads_says_the_same(db: Database) -> None:
    build_one(db, interval_seconds=None)
    tell = Sender(db)
    whole = figures(9, without={4, 7})
    late = [row for row in whole if row[2] in {end_of(2), end_of(5), end_of(6)}]
    tell([row for row in whole if row not in late])
    policy = DayPolicy(wait_ms=3_600_000, at_once=3, long_every=1)
    vee.work_all(db, RawSupply(), now=end_of(9) + timedelta(hours=2), policy=policy)
    assert len(said(db)) == 5
    for row in reversed(late):
        tell([row])
        vee.work_all(db, RawSupply(), now=end_of(9) + timedelta(hours=2), policy=policy)
    after = [row for row in said(db) if row[1] == 1]
    days = [(UP1, date_of(day)) for day in range(10)]
    vee.validate_days(db, RawSupply(), days, now=end_of(9) + timedelta(hours=3), policy=policy)
    assert [row for row in said(db) if row[1] == 1] == after
    assert [row[0] for row in after] == [end_of(4), end_of(7)]
    sound(db)
