"""Tokens from the cloud: taken once a key, handed over once a meter, in their order."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.model import CommandRow, NewToken, Refusal, TokenRow, TokenState
from cloud.signer import service as signer
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.mqtt.downlink import Command, Verb, open_signed, token_of
from protocols.mqtt.uplink import Stage
from tests.integration.control_kit import NOW, StillClock, ack, audited, build, cut, point

KEY = Ed25519PrivateKey.generate()
OCTETS = bytes(range(12))


def wanted(number: int = 1, *, key: str = "K-1", opaque: bytes = OCTETS, kind: str = "dlt645"):  # type: ignore[no-untyped-def]
    return NewToken(source="bank", key=key, usage_point=point(number), kind=kind, opaque=opaque)


def take(db: Database, number: int = 1, **what: object) -> TokenRow:
    return control.deliver_token(
        db, wanted(number, **what), actor="system:bank", now=NOW  # type: ignore[arg-type]
    )  # fmt: skip


def token(db: Database, id_: int) -> TokenRow:
    with db.transaction() as conn:
        found = control.token_of(conn, id_)
    assert found is not None
    return found


def open_orders(db: Database, number: int = 1) -> list[CommandRow]:
    with db.transaction() as conn:
        return [row for row in control.commands_of(conn, point(number)) if row.ended_at is None]


def sent(db: Database, clock: StillClock) -> list[Command]:
    """Sign and send what waits; return the commands as the concentrator would read them."""
    control.issue_tokens(db, clock)
    control.prepare(db, clock)
    signer.sign_waiting(db, KEY, clock)
    found = [open_signed(item.payload, KEY.public_key()) for item in control.outgoing(db, clock)]
    return [order for order in found if isinstance(order, Command)]


def say(db: Database, order: Command, clock: StillClock, *stages: Stage, **more: object) -> None:
    for stage in stages:
        ack(
            db, order.id, int(order.meter[2:]), stage, at=clock.now(),
            **(more if stage is stages[-1] else {}),  # type: ignore[arg-type]
        )  # fmt: skip


def refused(refusal: Refusal) -> "pytest.RaisesExc[RefusedError]":
    return pytest.raises(RefusedError, check=lambda error: error.refusal is refusal)


@pytest.fixture
def clock(db: Database) -> StillClock:
    build(db, 1, 2, token_kind="dlt645")
    return StillClock()


@pytest.mark.req("C13")
def test_a_token_is_carried_as_it_came_and_its_outcome_is_kept(
    db: Database, clock: StillClock
) -> None:
    taken = take(db)
    assert taken.state is TokenState.WAITING
    [order] = sent(db, clock)
    assert order.verb is Verb.DELIVER_TOKEN
    assert (token_of(order).kind, token_of(order).opaque) == ("dlt645", OCTETS)
    assert token(db, taken.id).state is TokenState.ORDERED
    say(
        db, order, clock, Stage.ACCEPTED, Stage.STARTED, Stage.DONE,
        evidence={"answer": "ok", "balance_cents": 5000},
    )  # fmt: skip
    found = token(db, taken.id)
    assert (found.state, found.evidence) == (
        TokenState.DONE, {"answer": "ok", "balance_cents": 5000},
    )  # fmt: skip
    assert sent(db, clock) == []
    assert audited(db, clock.now()) == {}


def test_octets_are_told_to_nobody_but_the_meter(db: Database, clock: StillClock) -> None:
    taken = take(db)
    [order] = sent(db, clock)
    with db.transaction() as conn:
        shown = repr(
            (
                taken,
                wanted(),
                control.commands_of(conn, point(1)),
                control.tokens_of(conn, point(1)),
            )
        )
        logged = repr(conn.execute("SELECT * FROM audit.event").fetchall())
    for secret in (OCTETS.hex(), repr(OCTETS)[2:-1]):
        assert secret not in shown
        assert secret not in logged
    assert order.issuer == "system:control"


@pytest.mark.req("C13")
def test_a_key_brings_one_token_and_a_token_comes_once(db: Database, clock: StillClock) -> None:
    first = take(db)
    assert take(db).id == first.id, "the same again is the same"
    with refused(Refusal.KEY_REUSED):
        take(db, opaque=b"another")
    with refused(Refusal.KEY_REUSED):
        take(db, number=2)
    with refused(Refusal.TOKEN_REPEATED):
        take(db, key="K-2")
    assert len(sent(db, clock)) == 1
    assert len(open_orders(db)) == 1


@pytest.mark.parametrize(
    ("number", "what", "refusal"),
    [
        (1, {"opaque": b""}, Refusal.TOKEN_SHAPE),
        (1, {"opaque": bytes(257)}, Refusal.TOKEN_SHAPE),
        (1, {"kind": "coins"}, Refusal.TOKEN_SHAPE),
        (1, {"key": ""}, Refusal.TOKEN_SHAPE),
        (1, {"kind": "sts"}, Refusal.NO_TOKENS),
        (3, {}, Refusal.NO_TOKENS),
        (9, {}, Refusal.UNKNOWN_SUPPLY),
    ],
)
def test_what_no_meter_there_could_take_is_refused(
    db: Database, clock: StillClock, number: int, what: dict[str, object], refusal: Refusal
) -> None:
    build(db, 3)
    with refused(refusal):
        take(db, number, **what)
    assert sent(db, clock) == []


@pytest.mark.req("C13")
def test_tokens_of_one_meter_go_in_the_order_of_their_coming(
    db: Database, clock: StillClock
) -> None:
    ids = [take(db, key=f"K-{n}", opaque=bytes([n]) * 12).id for n in range(3)]
    other = take(db, number=2, key="K-9").id
    seen = []
    for _ in ids:
        orders = {order.meter: order for order in sent(db, clock)}
        seen.append(token_of(orders["M-000001"]).opaque[0])
        say(db, orders["M-000001"], clock, Stage.ACCEPTED, Stage.STARTED, Stage.DONE)
        if "M-000002" in orders:
            say(db, orders["M-000002"], clock, Stage.ACCEPTED, Stage.STARTED, Stage.DONE)
    assert seen == [0, 1, 2]
    assert {token(db, id_).state for id_ in (*ids, other)} == {TokenState.DONE}


def test_the_database_lets_no_token_overtake(
    db: Database, clock: StillClock, database_dsn: str
) -> None:
    first, second = take(db), take(db, key="K-2", opaque=b"later")
    other = take(db, number=2, key="K-3")
    insert = (
        "INSERT INTO control.command (usage_point, meter, concentrator, verb, epoch, issued_by,"
        " issued_at, token) VALUES (%s, 'M-000001', 'C-01', 'deliver_token', 1, 'x', %s, %s)"
    )
    with psycopg.connect(database_dsn) as conn:
        for id_ in (second.id, other.id):
            with pytest.raises(psycopg.IntegrityError) as caught, conn.transaction():
                conn.execute(insert, (point(1), NOW, id_))
            assert caught.value.diag.constraint_name == "control_not_its_turn"
        conn.execute(insert, (point(1), NOW, first.id))
        with pytest.raises(psycopg.IntegrityError) as caught, conn.transaction():
            conn.execute("UPDATE control.token SET opaque = 'x'")
        assert caught.value.diag.constraint_name == "control_rewrite"


@pytest.mark.req("C13")
def test_a_silent_concentrator_gets_it_again_until_the_token_is_old(
    db: Database, clock: StillClock
) -> None:
    taken = take(db)
    [first] = sent(db, clock)
    clock.move(seconds=200)
    control.expire_commands(db, clock)
    assert token(db, taken.id).state is TokenState.WAITING
    [second] = sent(db, clock)
    assert (second.id != first.id, token_of(second)) == (True, token_of(first))
    clock.move(hours=25)
    control.expire_commands(db, clock)
    assert token(db, taken.id).state is TokenState.EXPIRED
    assert sent(db, clock) == []

    # whoever brings the key again only hears of it, unless he says that he wants it once more
    repeat = control.deliver_token(db, wanted(), actor="system:bank", now=clock.now())
    assert repeat.state is TokenState.EXPIRED
    again = control.deliver_token(
        db, wanted(), actor="user:reza", now=clock.now(), again=True
    )  # fmt: skip
    assert (again.id, again.state) == (taken.id, TokenState.WAITING)
    [third] = sent(db, clock)

    # the first had reached the meter after all: the concentrator refuses the third, and tells
    say(db, third, clock, Stage.REFUSED, reason="token_repeated")
    assert token(db, taken.id).state is TokenState.DOUBTFUL
    say(db, first, clock, Stage.DONE, evidence={"balance_cents": 1})
    found = token(db, taken.id)
    assert (found.state, found.evidence) == (TokenState.DONE, {"balance_cents": 1})


@pytest.mark.req("C13")
@pytest.mark.parametrize("stage", [Stage.STARTED, Stage.UNKNOWN])
def test_a_token_that_was_begun_is_never_sent_again(
    db: Database, clock: StillClock, stage: Stage
) -> None:
    taken = take(db)
    [order] = sent(db, clock)
    say(db, order, clock, Stage.ACCEPTED, stage)
    clock.move(seconds=200)
    control.expire_commands(db, clock)
    assert token(db, taken.id).state is TokenState.DOUBTFUL
    assert sent(db, clock) == []
    again = control.deliver_token(db, wanted(), actor="user:reza", now=clock.now(), again=True)
    assert again.state is TokenState.DOUBTFUL
    assert sent(db, clock) == []
    # and the next one is not held up by it
    take(db, key="K-2", opaque=b"next")
    assert len(sent(db, clock)) == 1


@pytest.mark.parametrize(
    ("reason", "state"),
    [("token_refused", TokenState.REFUSED), ("token_doubtful", TokenState.DOUBTFUL)],
)
def test_the_meters_no_is_an_end_and_doubt_is_another(
    db: Database, clock: StillClock, reason: str, state: TokenState
) -> None:
    taken = take(db)
    [order] = sent(db, clock)
    say(db, order, clock, Stage.STARTED, Stage.FAILED, reason=reason)
    assert (token(db, taken.id).state, token(db, taken.id).cause) == (state, reason)


def test_a_token_for_a_meter_that_was_taken_away_ends(db: Database, clock: StillClock) -> None:
    taken = take(db)
    with db.transaction() as conn:
        conn.execute(
            "UPDATE assets.installation SET removed_at = %s WHERE meter = 'M-000001'", (NOW,)
        )
    assert sent(db, clock) == []
    assert token(db, taken.id).state is TokenState.REFUSED
    assert token(db, taken.id).cause == "meter_exchanged"


def test_a_token_under_way_keeps_no_power_waiting(db: Database, clock: StillClock) -> None:
    cut(db, 1, clock, KEY)
    take(db)
    sent(db, clock)
    control.request_reconnect(db, point(1), actor="user:reza", reason="paid", now=clock.now())
    assert {row.verb for row in open_orders(db)} == {"deliver_token", "reconnect"}


@pytest.mark.req("C13")
def test_however_many_bring_it_at_once_it_is_taken_and_ordered_once(
    db: Database, clock: StillClock, database_dsn: str
) -> None:
    sides, rounds = 4, 6
    gate = threading.Barrier(sides)
    taken: list[list[int]] = [[] for _ in range(rounds)]
    issued: list[list[str]] = [[] for _ in range(rounds)]

    def side(_: int) -> None:
        with Database(database_dsn, user="meterloop_control", size=1) as own:
            for n in range(rounds):
                gate.wait(timeout=30)
                what = wanted(key=f"R-{n}", opaque=bytes([n, 7]))
                taken[n].append(control.deliver_token(own, what, actor="system:bank", now=NOW).id)
                gate.wait(timeout=30)
                issued[n] += control.issue_tokens(own, clock)
                gate.wait(timeout=30)

    with ThreadPoolExecutor(sides) as pool:
        for each in [pool.submit(side, n) for n in range(sides)]:
            each.result(timeout=60)
    assert [len(set(ids)) for ids in taken] == [1] * rounds
    # one order at all: the others of this meter wait for their turn
    assert [len(found) for found in issued] == [1] + [0] * (rounds - 1)
