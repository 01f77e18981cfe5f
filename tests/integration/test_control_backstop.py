"""What the database itself refuses, whoever writes, and what each role may write."""

import psycopg
import pytest

from cloud.store.db import Database
from tests.integration.control_kit import NOW, build, rechecked


@pytest.fixture
def street(db: Database) -> Database:
    build(db, 1, 2, 3)
    return db


GUARDED = {
    "control_protected": "UPDATE control.supply_state SET protected = true",
    "control_epoch": "UPDATE control.supply_state SET epoch = epoch + 1",
    "control_not_approved": "UPDATE control.request SET requested_by = 'user:lin'",
    "control_halted": "UPDATE control.halt SET halted = true",
    "control_hold": (
        "INSERT INTO control.hold (usage_point, kind, ref, reason, actor, placed_at)"
        " VALUES ('UP-000001', 'dispute', 'x', 'x', 'user:x', '2026-06-01')"
    ),
}


@pytest.mark.req("D2", "D8")
@pytest.mark.parametrize("constraint", GUARDED)
def test_the_database_itself_refuses_a_cut_whoever_inserts_it(
    street: Database, database_dsn: str, constraint: str
) -> None:
    request = rechecked(street, 1)
    insert = (
        "INSERT INTO control.command (usage_point, meter, concentrator, verb, request, epoch,"
        " issued_by, issued_at) VALUES ('UP-000001', 'M-000001', 'C-01', 'disconnect', %s, 1,"
        " 'user:root', %s)"
    )
    with psycopg.connect(database_dsn) as owner:
        owner.execute(GUARDED[constraint])
        with pytest.raises(psycopg.IntegrityError) as caught:
            owner.execute(insert, (request, NOW))
        assert caught.value.diag.constraint_name == constraint
    with psycopg.connect(database_dsn) as owner:
        owner.execute(insert, (request, NOW))  # nothing stands against it: accepted
        with pytest.raises(psycopg.IntegrityError) as caught:
            owner.execute(insert, (request, NOW))
        assert caught.value.diag.constraint_name == "control_command_open"


def test_each_role_may_write_only_its_part(street: Database, database_dsn: str) -> None:
    request = rechecked(street, 1)
    cut_row = (
        "INSERT INTO control.command (usage_point, meter, concentrator, verb, request, epoch,"
        f" issued_by, issued_at) VALUES ('UP-000001', 'M-000001', 'C-01', 'disconnect',"
        f" '{request}', 1, 'x', '2026-06-02')"
    )
    forbidden = [
        ("meterloop_billing", cut_row),
        ("meterloop_portal", cut_row),
        ("meterloop_signer", cut_row),
        ("meterloop_ingest", cut_row),
        ("auditor", cut_row),
        ("meterloop_control", "UPDATE control.command SET signature = '\\x00'"),
        ("meterloop_control", "INSERT INTO signer.signature (command, part, verb, usage_point,"
         " at, wall_at, digest) VALUES ('a', 'go', 'x', 'x', now(), now(), '')"),
        ("meterloop_control", "UPDATE signer.policy SET max_cuts_per_day = 100000"),
        ("meterloop_billing", "INSERT INTO control.approval VALUES ('K-1', 1, 'user:a', now())"),
        ("meterloop_control", "INSERT INTO control.approval VALUES ('K-1', 1, 'user:a', now())"),
        ("meterloop_portal", "INSERT INTO control.go (command, nonce, made_at, body)"
         " VALUES ('a', 'a', now(), 'a')"),
        ("meterloop_signer", "UPDATE signer.policy SET max_cuts_per_day = 100000"),
        ("meterloop_portal", "DELETE FROM control.approval"),
        ("meterloop_control", "DELETE FROM control.outcome"),
    ]  # fmt: skip
    for role, statement in forbidden:
        with psycopg.connect(database_dsn, user=role) as conn:
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.IntegrityError)):
                conn.execute(statement)
