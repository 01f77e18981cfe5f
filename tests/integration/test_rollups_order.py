"""Any order, any repetition, any moment of looking: the same roll-ups, and they add up."""

import itertools
import random
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.rollups import service as rollups
from cloud.rollups.model import PeriodKind
from cloud.store.db import Database
from protocols.mqtt.uplink import DataBatch
from tests.integration.ingest_kit import (
    M1,
    M2,
    ORIGIN,
    ROLLOVER_WH,
    Row,
    a_batch,
    build_network,
    registers,
    slots,
    tables,
)
from tests.integration.rollup_kit import (
    DAYS,
    PERIODS,
    POINTS,
    days_touched,
    deliver,
    oracle,
)
from tests.integration.test_ingest_order import forget

START = ORIGIN + timedelta(days=36)
"""When the story begins: March has ended, and few days lie behind the last reading."""

_TABLES = (
    "touched",
    "dirty",
    "lot",
    "horizon",
    "day",
    "period",
    "recompute",
    "looked",
    "dependent",
)


def start_anew(db: Database) -> None:
    """Forget readings and roll-ups within one database."""
    forget(db)
    with db.transaction() as conn:
        conn.execute("SET LOCAL session_replication_role = replica")
        for name in _TABLES:
            conn.execute(f"DELETE FROM rollups.{name}")  # type: ignore[arg-type]


def a_life(seed: int) -> list[Row]:
    """Five days around the end of a month: a plain and a rolling meter, with holes."""
    draw = random.Random(seed)
    plain, rolling, wh = {}, {}, 60_000
    for hour in sorted(draw.sample(range(24 * 28, 24 * 33), 30)):
        wh += draw.randint(0, 9000)
        plain[hour] = wh
        rolling[hour] = wh % ROLLOVER_WH
    for midnight in (24 * 29 + 16, 24 * 30 + 16):
        if draw.random() < 0.5:
            plain[midnight] = max(each for hour, each in plain.items() if hour <= midnight)
    first = 48 * 28
    held = {first + slot: draw.randint(0, 700) for slot in range(200) if draw.random() < 0.9}
    return [
        *registers(M1, dict(sorted(plain.items()))),
        *registers(M2, rolling),
        *slots(M1, held),
    ]


LIVES = [a_life(seed) for seed in range(5)]


@st.composite
def stories(draw: st.DrawFn) -> tuple[int, list[DataBatch | None]]:
    """The rows of a life in any order and cut, some twice; None is a moment of looking."""
    seed = draw(st.integers(0, len(LIVES) - 1))
    rows = LIVES[seed]
    order = draw(st.permutations(range(len(rows))))
    cuts = sorted(draw(st.sets(st.integers(1, len(rows) - 1), min_size=1, max_size=5)))
    bounds = [0, *cuts, len(rows)]
    parts = [[rows[n] for n in order[a:b]] for a, b in itertools.pairwise(bounds)]
    parts.append([rows[n] for n in draw(st.lists(st.integers(0, len(rows) - 1), max_size=9))])
    story: list[DataBatch | None] = [a_batch(seq, part) for seq, part in enumerate(parts, 1)]
    story += draw(st.lists(st.sampled_from(story), max_size=2))
    for place in draw(st.lists(st.integers(0, len(story)), max_size=4)):
        story.insert(place, None)
    return seed, story


def rolled(db: Database) -> list[list[tuple[Any, ...]]]:
    """What holds now."""
    return tables(db, DAYS, PERIODS)


def tell(db: Database, story: list[DataBatch | None]) -> None:
    """Live through a story, each step an hour after the other, and look at the end."""
    for hour, step in enumerate([*story, None]):
        now = START + timedelta(hours=hour)
        if step is None:
            rollups.keep(db, now=now)
        else:
            deliver(db, step, now=now)


@pytest.mark.req("B14")
@settings(
    max_examples=6, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(story=stories())
def test_any_order_gives_the_same_roll_ups_as_the_oracle(
    db: Database, story: tuple[int, list[DataBatch | None]]
) -> None:
    build_network(db)
    seed, steps = story
    start_anew(db)
    tell(db, [a_batch(1, LIVES[seed])])
    wanted = rolled(db)
    start_anew(db)
    tell(db, steps)
    assert rolled(db) == wanted
    same_as_the_oracle(db, LIVES[seed])


def same_as_the_oracle(db: Database, rows: list[Row]) -> None:
    """Every day, and every month as the sum of its days."""
    with db.transaction() as conn:
        for meter, point in POINTS.items():
            sums: dict[str, list[int]] = {}
            for day in days_touched(rows, meter):
                (kept,) = rollups.days(conn, [point], day, day + timedelta(days=1))
                told, must = kept.figures, oracle(rows, day, meter)
                assert (told.slots, told.missing, told.interval_wh, told.wh) == (
                    must.slots, must.missing, must.interval_wh, must.wh,
                )  # fmt: skip
                bounds = [(each.at, each.wh) if each else None
                          for each in (told.opening, told.closing)]  # fmt: skip
                assert bounds == [must.opening if must.closing else None, must.closing]
                if must.wh is not None:
                    sums.setdefault(f"{day:%Y-%m}", []).append(must.wh)
            for month in rollups.periods(
                conn, point, PeriodKind.MONTH, date(2026, 1, 1), date(2027, 1, 1)
            ):
                ended = [wh for name, wh in sums.items() if name == month.name]
                assert [month.figures.wh] == [sum(wh) for wh in ended]


@pytest.mark.req("B14")
@settings(
    max_examples=5, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(story=stories())
def test_neighbours_share_a_register_and_old_answers_stay(
    db: Database, story: tuple[int, list[DataBatch | None]]
) -> None:
    build_network(db)
    start_anew(db)
    answers: dict[int, Any] = {}
    points = list(POINTS.values())
    first, until = date(2026, 3, 1), date(2026, 4, 10)
    for hour, step in enumerate([*story[1], None]):
        now = START + timedelta(hours=hour)
        if step is not None:
            deliver(db, step, now=now)
            continue
        rollups.keep(db, now=now)
        with db.transaction() as conn:
            answers[hour] = rollups.days(conn, points, first, until)
    with db.transaction() as conn:
        for hour, answer in answers.items():
            at = START + timedelta(hours=hour)
            assert rollups.days(conn, points, first, until, as_of=at) == answer
    for before, after in itertools.pairwise(answers[len(story[1])]):
        neighbours = before.usage_point == after.usage_point
        if neighbours and before.figures.closing and after.figures.opening:
            assert before.day + timedelta(days=1) == after.day
            assert before.figures.closing == after.figures.opening
