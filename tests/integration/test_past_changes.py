"""An exchange or a factor of past time makes anew by itself what rested on it."""

from datetime import UTC, date, datetime, timedelta

import pytest

from cloud.assets import service as assets
from cloud.assets.model import Meter, Ratio, Registration
from cloud.rollups import service as rollups
from cloud.rollups.model import Cause, Recompute
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.identity import MeterId
from tests.integration.ingest_kit import M1, UP1, a_batch, build_network, registers
from tests.integration.rollup_kit import LATER, deliver

AT = datetime(2026, 3, 4, 4, tzinfo=UTC)
DAY = date(2026, 3, 4)


@pytest.fixture(autouse=True)
def _ten_days(db: Database) -> None:
    build_network(db)
    read: dict[float, int] = {16 + 24 * n: 1000 + 100 * n for n in range(10)}
    deliver(db, a_batch(1, registers(M1, {1: 950, **read})))
    rollups.keep(db, now=LATER)


def why(db: Database) -> list[Recompute]:
    with db.transaction() as conn:
        return rollups.recomputes_of(conn, UP1)


@pytest.mark.req("B14")
def test_a_factor_of_past_time_makes_its_days_anew_by_itself(
    db: Database, database_dsn: str
) -> None:
    at = datetime(2026, 3, 4, 16, tzinfo=UTC)  # midnight in Shanghai
    now = LATER + timedelta(hours=1)
    usage.change_ratio(
        db, Ratio(usage_point=UP1, valid_from=at, numerator=40), actor="user:ada",
        reason="CT 200/5 since the fitting", now=now,
    )  # fmt: skip
    with Database(database_dsn, user="meterloop_ingest") as process:
        rollups.keep(process, now=now)
    told = {each.after.day: each for each in why(db)}
    first = told[date(2026, 3, 5)]
    assert first.mark.cause is Cause.ASSETS
    assert (first.mark.reference, first.mark.actor) == ("ratio 40/1", "user:ada")
    assert first.difference_wh == 39 * 100
    assert date(2026, 3, 4) not in told, "what lies before it stands"
    with db.transaction() as conn:
        days = rollups.days(conn, [UP1], DAY, date(2026, 3, 8))
    assert [each.figures.wh for each in days] == [100, 4000, 4000, 4000]
    assert rollups.keep(db, now=now).days == 0, "once is enough"


@pytest.mark.req("B14")
def test_an_exchange_of_past_time_makes_its_days_anew_by_itself(db: Database) -> None:
    new = MeterId("M-9")
    assets.register(
        db,
        Registration(
            meters=(
                Meter(id=new, model="x", protocol="dlms", has_relay=False,
                      can_close_remotely=False),
            )
        ),
        now=LATER,
    )  # fmt: skip
    now = LATER + timedelta(hours=1)
    assets.exchange(
        db, usage_point=UP1, new_meter=new, at=AT, final_wh=1220, initial_wh=0,
        actor="user:boris", now=now,
    )  # fmt: skip
    rollups.keep(db, now=now)
    told = {each.after.day: each for each in why(db)}
    assert {each.mark.cause for each in told.values()} <= {Cause.ASSETS, Cause.CARRIED}
    with db.transaction() as conn:
        segments = usage.segments_of(conn, [UP1])
        (last,) = rollups.days(conn, [UP1], date(2026, 3, 6), date(2026, 3, 7))
    assert [each.meter for each in segments] == [M1, new], "without waiting for a reading"
    # nothing the old meter showed after it was taken off counts any more
    assert last.figures.wh == 0
    assert told[date(2026, 3, 6)].mark.reference == f"exchange {M1} {new}"


def test_what_is_told_of_now_looks_at_nothing(db: Database) -> None:
    usage.change_ratio(
        db, Ratio(usage_point=UP1, valid_from=LATER, numerator=2), actor="user:ada",
        reason="fitted today", now=LATER,
    )  # fmt: skip
    assert rollups.keep(db, now=LATER + timedelta(minutes=1)).recomputes == 0
