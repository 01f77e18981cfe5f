"""A channel's day and an agent's float: never more than two people allowed, whoever races."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.payments.model import (
    ChangeKind,
    ChangeOutcome,
    Channel,
    ChannelChange,
    FileRow,
    Hold,
    HoldState,
    PaymentReceipt,
)
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.timeline import Interval
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, rows, street

DAY = timedelta(days=1)


@pytest.fixture
def house(db: Database) -> Database:
    street(db, customer(1, opening_balance_micros=0), customer(2, opening_balance_micros=0))
    return db


def change(kind: ChangeKind, yuan: int | None, **other: str) -> ChannelChange:
    base = ChannelChange(
        id=0, channel="bank", currency="CNY", kind=kind, reason="the contract says so",
        amount_micros=None if yuan is None else yuan * YUAN, proposed_by="user:reza",
        proposed_at=ORIGIN,
    )  # fmt: skip
    return replace(base, **other)  # type: ignore[arg-type]


def agreed(db: Database, kind: ChangeKind, yuan: int | None, *, now: datetime = ORIGIN) -> None:
    number = payments.propose_change(db, change(kind, yuan), now=now)
    payments.decide_change(db, number, ChangeOutcome.APPROVED, actor="user:lin", now=now)


def counted(db: Database) -> list[tuple[Any, ...]]:
    """Return (day, counted, kept) as the rows say, after proving that they are the holds' sums."""
    wrong = rows(db, """
        SELECT d.channel, d.day, d.taken_micros, h.total FROM payments.channel_day AS d
        LEFT JOIN (SELECT channel, currency, counted_on AS day, sum(amount_micros) AS total
                   FROM payments.hold WHERE state IN ('held', 'posted', 'suspense')
                   GROUP BY 1, 2, 3) AS h USING (channel, currency, day)
        WHERE d.taken_micros <> coalesce(h.total, 0)""")  # fmt: skip
    assert not wrong
    kept = rows(db, """
        SELECT r.channel, r.reserved_micros, h.total FROM payments.float_reserve AS r
        LEFT JOIN (SELECT channel, currency, sum(amount_micros) AS total FROM payments.hold
                   WHERE state = 'held' AND reserves GROUP BY 1, 2) AS h USING (channel, currency)
        WHERE r.reserved_micros <> coalesce(h.total, 0)""")  # fmt: skip
    assert not kept
    return rows(db, "SELECT day, taken_micros / 1000000 FROM payments.channel_day ORDER BY day")


def hold(db: Database, txn: str, yuan: int, *, now: datetime = ORIGIN) -> Hold:
    return payments.hold(db, order(1, txn, yuan, peer_time=now), now=now)


def post(db: Database, txn: str, *, now: datetime = ORIGIN, taken: bool = False) -> PaymentReceipt:
    return payments.post(db, "bank", txn, actor="peer:bank", now=now, taken=taken)


def void(db: Database, txn: str, *, now: datetime = ORIGIN) -> Hold:
    return payments.void(db, "bank", txn, reason="5", actor="peer:bank", now=now)


@pytest.mark.req("H3")
def test_a_channel_takes_no_more_a_day_than_two_people_allow(house: Database) -> None:
    payments.pay(house, order(1, "before", 30), now=ORIGIN)
    agreed(house, ChangeKind.DAY_LIMIT, 100)
    assert [row[1] for row in counted(house)] == [30], "what came before the limit counts too"
    hold(house, "h", 50)
    with pytest.raises(RefusedError, match=r"payments\.day_limit") as caught:
        payments.pay(house, order(1, "much", 21), now=ORIGIN)
    assert caught.value.fix
    payments.pay(house, order(1, "just", 20), now=ORIGIN)
    assert payments.pay(house, order(1, "just", 20), now=ORIGIN).replayed, "a repeat counts nothing"
    void(house, "h")
    hold(house, "again", 50)
    post(house, "again")
    with pytest.raises(RefusedError, match=r"payments\.day_limit"):
        hold(house, "cent", 1)
    payments.pay(house, order(1, "there", 7, already_collected=True), now=ORIGIN)
    assert [row[1] for row in counted(house)] == [107], "money that is there is never refused"
    later = ORIGIN + DAY
    payments.pay(house, order(1, "tomorrow", 100, peer_time=later), now=later)
    agreed(house, ChangeKind.DAY_LIMIT, None, now=later)
    payments.pay(house, order(1, "free", 500, peer_time=later), now=later)
    counted(house)


@pytest.mark.req("H3")
def test_a_day_ends_when_the_channel_s_own_day_ends(house: Database) -> None:
    terms = Channel(channel="bank", zone="Asia/Shanghai", cutover=time(18))
    payments.set_channel(house, terms, actor="user:reza", now=ORIGIN)
    agreed(house, ChangeKind.DAY_LIMIT, 10)
    payments.pay(house, order(1, "noon", 10), now=ORIGIN)
    evening = ORIGIN + 6 * HOUR
    payments.pay(house, order(1, "evening", 10, peer_time=evening), now=evening)
    with pytest.raises(RefusedError, match=r"payments\.day_limit"):
        payments.pay(house, order(1, "night", 1, peer_time=evening), now=evening + 17 * HOUR)
    assert [str(row[0]) for row in counted(house)] == ["2026-03-09", "2026-03-10"]
    with house.transaction() as conn:
        told = payments.limits_of(conn, now=evening)[0]
    assert (told.left_micros, told.taken_micros, str(told.day)) == (0, 10 * YUAN, "2026-03-10")


@pytest.mark.req("H3")
def test_an_expired_hold_counts_no_more_and_counts_again_when_the_peer_has_the_money(
    house: Database,
) -> None:
    agreed(house, ChangeKind.DAY_LIMIT, 10)
    hold(house, "a", 10)
    late = ORIGIN + 13 * HOUR
    assert payments.expire(house, now=late) == 1
    assert [row[1] for row in counted(house)] == [0]
    assert post(house, "a", now=late, taken=True).state.value == "suspense"
    assert [row[1] for row in counted(house)][-1] == 10


@pytest.mark.req("H3")
def test_limits_and_purse_change_by_two_people_alone(house: Database) -> None:
    number = payments.propose_change(house, change(ChangeKind.DAY_LIMIT, 5), now=ORIGIN)
    payments.pay(house, order(1, "free", 50), now=ORIGIN)
    with pytest.raises(RefusedError, match=r"payments\.change"):
        payments.propose_change(house, change(ChangeKind.DAY_LIMIT, 9), now=ORIGIN)
    for outcome in (ChangeOutcome.APPROVED, ChangeOutcome.REFUSED):
        with pytest.raises(RefusedError, match=r"payments\.two_people"):
            payments.decide_change(house, number, outcome, actor="user:reza", now=ORIGIN)
    with pytest.raises(RefusedError, match=r"payments\.change"):
        payments.decide_change(house, number, ChangeOutcome.WITHDRAWN, actor="user:lin", now=ORIGIN)
    payments.decide_change(house, number, ChangeOutcome.REFUSED, actor="user:lin", now=ORIGIN)
    with pytest.raises(RefusedError, match=r"payments\.change"):
        payments.decide_change(house, number, ChangeOutcome.APPROVED, actor="user:lin", now=ORIGIN)
    with house.transaction() as conn, pytest.raises(psycopg.IntegrityError):
        conn.execute("UPDATE payments.channel_change SET outcome = 'approved'")
    bad = [
        change(ChangeKind.DAY_LIMIT, 0), change(ChangeKind.FLOAT, None),
        change(ChangeKind.FLOAT, 1, reason=" "), change(ChangeKind.FLOAT, 1, currency="yuan"),
    ]  # fmt: skip
    for wish in bad:
        with pytest.raises(RefusedError, match=r"payments\.change"):
            payments.propose_change(house, wish, now=ORIGIN)
    payments.set_channel(house, Channel(channel="bank"), actor="user:reza", now=ORIGIN)
    wider = Channel(channel="bank", max_micros=5)
    with pytest.raises(RefusedError, match=r"payments\.two_people"):
        payments.set_channel(house, wider, actor="user:reza", now=ORIGIN)
    payments.set_channel(house, wider, actor="user:reza", approver="user:lin", now=ORIGIN)
    acts = {row[0] for row in rows(house, "SELECT action FROM audit.event")}
    assert {"payments.change_proposed", "payments.change_refused"} <= acts


@pytest.mark.req("H3")
def test_a_hold_keeps_its_part_of_the_float(house: Database) -> None:
    payments.set_channel(
        house, Channel(channel="bank", by_agent=True), actor="user:reza", now=ORIGIN
    )
    agreed(house, ChangeKind.FLOAT, 10)
    hold(house, "h", 6)
    for act in (
        lambda: hold(house, "more", 5),
        lambda: payments.pay(house, order(1, "now", 5), now=ORIGIN),
        lambda: agreed(house, ChangeKind.FLOAT, -5),
    ):
        with pytest.raises(RefusedError, match=r"payments\.float"):
            act()
    payments.pay(house, order(1, "now", 4), now=ORIGIN)
    post(house, "h")
    with house.transaction() as conn:
        assert ledger.float_of(conn, "bank", "CNY") == 0
    counted(house)
    assert ledger.audit_book(house).violations == 0


@pytest.mark.req("H3")
def test_a_settlement_file_s_money_is_booked_beyond_the_limit(house: Database) -> None:
    agreed(house, ChangeKind.DAY_LIMIT, 10)
    hold(house, "kept", 9)
    file = [
        FileRow(peer_txn_id=txn, account="AC-000001", amount_micros=9 * YUAN, currency="CNY",
                peer_time=ORIGIN)
        for txn in ("kept", "new")
    ]  # fmt: skip
    span = Interval(start=ORIGIN - HOUR, end=ORIGIN + HOUR)
    told = payments.reconcile(house, "bank", span, file, actor="user:reza", now=ORIGIN)
    assert not told.open
    assert [row[1] for row in counted(house)] == [9]
    with house.transaction() as conn:
        assert ledger.balance_of(conn, "AC-000001") == 18 * YUAN


@pytest.mark.req("H3")
def test_eight_at_once_never_pass_limit_or_float(house: Database) -> None:
    payments.set_channel(
        house, Channel(channel="bank", by_agent=True), actor="user:reza", now=ORIGIN
    )
    agreed(house, ChangeKind.DAY_LIMIT, 40)
    agreed(house, ChangeKind.FLOAT, 30)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(25):
            txn = f"t{chance.randrange(30)}"
            account = 1 + chance.randrange(2)
            act = chance.choice(("hold", "pay", "post", "void"))
            try:
                if act == "hold":
                    payments.hold(house, order(account, txn, 3), now=ORIGIN)
                elif act == "pay":
                    payments.pay(house, order(account, txn, 3), now=ORIGIN)
                elif act == "post":
                    post(house, txn)
                else:
                    void(house, txn)
            except RefusedError:
                continue

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert counted(house)[0][1] <= 40
    with house.transaction() as conn:
        told = payments.limits_of(conn, now=ORIGIN)[0]
    assert 0 <= told.reserved_micros <= told.float_micros <= 30 * YUAN
    assert ledger.audit_book(house).violations == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("hold", "pay", "post", "void", "taken", "expire", "limit", "unlimited")),
        st.integers(0, 4), st.integers(0, 30),
    ),
    max_size=14,
)  # fmt: skip


@pytest.mark.req("H3")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_counts_are_the_sums_of_what_counts_after_any_steps(
    house: Database, steps: list[tuple[str, int, int]]
) -> None:
    prefix = str(rows(house, "SELECT count(*) FROM payments.hold")[0][0])
    start = ORIGIN + DAY * (40 * rows(house, "SELECT count(*) FROM audit.event")[0][0])
    limit: int | None = None
    for act, n, hours in steps:
        now, txn = start + HOUR * hours, f"{prefix}-{n}"
        try:
            if act == "hold":
                hold(house, txn, 3, now=now)
            elif act == "pay":
                payments.pay(house, order(1, txn, 3, peer_time=now), now=now)
            elif act in ("post", "taken"):
                post(house, txn, now=now, taken=act == "taken")
            elif act == "void":
                assert void(house, txn, now=now).state in set(HoldState)
            elif act == "expire":
                payments.expire(house, now=now)
            else:
                limit = None if act == "unlimited" else 3 + n
                agreed(house, ChangeKind.DAY_LIMIT, limit, now=now)
        except RefusedError:
            pass
        counted(house)
