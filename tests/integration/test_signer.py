"""The signer on a real database: its own limits, its own memory, what it will not sign."""

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.signer import service as signer
from cloud.store.db import Database
from tests.integration.control_kit import (
    NOW,
    StillClock,
    audited,
    build,
    command_state,
    cut,
    ordered,
    pay,
    point,
    state_of,
)

KEY = Ed25519PrivateKey.generate()


def test_the_excess_over_its_own_limit_is_not_signed_and_power_stays_on(
    db: Database, database_dsn: str
) -> None:
    build(db, 1, 2, 3)
    clock = StillClock()
    with psycopg.connect(database_dsn) as owner:
        owner.execute("UPDATE signer.policy SET max_cuts_per_hour = 2")
    commands = [ordered(db, n, clock) for n in (1, 2, 3)]
    assert signer.sign_waiting(db, KEY, clock) == (2, 1)
    assert control.take_signer_refusals(db, now=NOW) == 1
    assert [command_state(db, item) for item in commands] == ["issued", "issued", "refused"]
    with db.transaction() as conn:
        [request] = control.requests_of(conn, point(3))
    assert state_of(db, request.id) == "refused"
    assert request.cause == "signer_refused: signer_limit"
    assert {item.key for item in control.outgoing(db, clock)} == set(commands[:2])
    # a reconnect is never limited
    clock.move(hours=2)
    cut(db, 3, clock, KEY)
    with psycopg.connect(database_dsn) as owner:
        owner.execute("UPDATE signer.policy SET max_cuts_per_hour = 0, max_cuts_per_day = 0")
    pay(db, 3, now=clock.now())
    control.prepare(db, clock)
    assert signer.sign_waiting(db, KEY, clock) == (1, 0)


@pytest.mark.req("D2", "D8")
@pytest.mark.parametrize(
    ("tamper", "cause"),
    [
        ("UPDATE control.supply_state SET protected = true", "protected"),
        ("UPDATE control.supply_state SET epoch = epoch + 1", "payment_registered"),
        ("UPDATE control.halt SET halted = true", "halted"),
        ("UPDATE control.request SET requested_by = 'user:lin'", "not_approved_by_two"),
        ("UPDATE control.request SET state = 'rechecked'", "not_waiting"),
        ("UPDATE control.command SET expires = expires + interval '1 day'", "valid_for_too_long"),
    ],
)
def test_what_others_changed_since_the_order_is_seen(
    db: Database, database_dsn: str, tamper: str, cause: str
) -> None:
    build(db, 1)
    clock = StillClock()
    command = ordered(db, 1, clock)
    with psycopg.connect(database_dsn) as owner:
        owner.execute(tamper)
    assert signer.sign_waiting(db, KEY, clock) == (0, 1)
    with psycopg.connect(database_dsn) as owner:
        kept = owner.execute("SELECT command, part, cause FROM signer.refusal").fetchall()
        written = owner.execute("SELECT signature, signer_refusal FROM control.command").fetchone()
    assert kept == [(command, "command", cause)]
    assert written == (None, cause)
    assert signer.sign_waiting(db, KEY, clock) == (0, 0)  # told once


def test_what_was_signed_can_be_neither_rewritten_nor_forgotten(
    db: Database, database_dsn: str
) -> None:
    build(db, 1)
    clock = StillClock()
    ordered(db, 1, clock)
    signer.sign_waiting(db, KEY, clock)
    for statement in (
        "UPDATE control.command SET body = 'other'",
        "UPDATE control.command SET signature = 'other'",
        "UPDATE control.command SET meter = 'M-000002'",
        "DELETE FROM signer.signature",
        "TRUNCATE signer.signature",
    ):
        with psycopg.connect(database_dsn) as owner, pytest.raises(psycopg.IntegrityError):
            owner.execute(statement)  # even the owner of the database
    assert audited(db, NOW) == {}
