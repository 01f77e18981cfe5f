"""Who still needs intervals keeps them, and days whose intervals went keep their roll-up."""

from datetime import date, timedelta

import pytest

from billing.bills.service.needs import needed as billing_needs
from cloud.ingest.model import Need
from cloud.ingest.service import retention
from cloud.rollups import service as rollups
from cloud.rollups.model import Cause
from cloud.store.db import Database
from tests.integration.bills_kit import book, household
from tests.integration.ingest_kit import M1, UP1, a_batch, registers, slots
from tests.integration.rollup_kit import deliver
from tests.integration.test_ingest_retention import (
    A_DAY,
    APRIL,
    MARCH,
    NOW,
    POLICY,
    SAY,
    filled,
    released,
)

__all__ = ["filled"]

ASKED = (rollups.needed, billing_needs)


def needs(db: Database, month: date) -> list[Need]:
    with db.transaction() as conn:
        return retention.needed(conn, month, ASKED, now=NOW)


@pytest.mark.req("B14")
def test_days_that_wait_to_be_rolled_up_keep_their_month(
    filled: Database, database_dsn: str
) -> None:
    released(filled, MARCH)
    deliver(filled, a_batch(11, slots(M1, {5 * A_DAY: 3})), now=NOW)
    # a word on the month is void where readings came after it
    released(filled, MARCH, readings=A_DAY + 1)
    (told,) = needs(filled, MARCH)
    assert (told.who, told.count, told.example) == ("rollups", 1, UP1)
    assert retention.retain(filled, POLICY, **SAY, asked=ASKED) == {}
    rollups.keep(filled, now=NOW)
    assert needs(filled, MARCH) == []
    with Database(database_dsn, user="meterloop_ingest") as process:
        gone = retention.retain(process, POLICY, **SAY, asked=ASKED)
    assert list(gone) == [MARCH]


def test_use_that_is_not_billed_keeps_its_month(filled: Database, database_dsn: str) -> None:
    released(filled, MARCH)
    book(filled, household(1), household(2))
    with Database(database_dsn, user="meterloop_ingest") as process:
        (told,) = needs(process, MARCH)
        assert (told.who, told.count) == ("billing", 2)
        assert told.first_day <= MARCH
        assert retention.retain(process, POLICY, **SAY, asked=ASKED) == {}
        assert list(retention.retain(process, POLICY, **SAY)) == [MARCH], "nobody was asked"


@pytest.mark.req("B14")
def test_a_day_whose_intervals_went_keeps_its_version_and_says_so(filled: Database) -> None:
    held = {day * A_DAY + n: 9 for day in (6, 7) for n in range(A_DAY)}
    deliver(filled, a_batch(11, slots(M1, held)), now=NOW)
    rollups.keep(filled, now=NOW)
    with filled.transaction() as conn:
        before = rollups.days(conn, [UP1], MARCH, date(2026, 7, 1))
    assert any(each.day < APRIL for each in before)
    released(filled, MARCH, readings=3 * A_DAY)
    assert MARCH in retention.retain(filled, POLICY, **SAY, asked=ASKED)
    later = NOW + timedelta(hours=1)
    day = date(2026, 3, 8)
    rollups.request(filled, [UP1], [day], reason="again", actor="user:1", now=later)
    # registers of such a month are taken still
    deliver(filled, a_batch(12, registers(M1, {24 * 7 + 1: 3100})), now=later)
    rollups.keep(filled, now=later)
    with filled.transaction() as conn:
        after = rollups.days(conn, [UP1], MARCH, date(2026, 4, 1))
        told = rollups.kept_of(conn, UP1)
        assert [each for each in before if each.day < APRIL] == after
        assert rollups.recomputes_of(conn, UP1, day) == []
    own = next(each for each in told if each.day == day)
    (version,) = [each.version for each in before if each.day == day]
    assert (own.version, own.kept_from) == (version, APRIL)
    assert own.mark.cause in {Cause.READING, Cause.REQUEST}
