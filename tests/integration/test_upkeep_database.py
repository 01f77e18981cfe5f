"""What the database itself refuses of upkeep, whoever asks: one person, late targets, rewriting."""

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.signer import service as signer
from cloud.store.db import Database
from cloud.upkeep import service as upkeep
from protocols.mqtt.downlink import open_signed
from tests.integration.control_kit import NOW, StillClock, build
from tests.integration.upkeep_kit import OTHER, errands, firmware, stored_image

KEY = Ed25519PrivateKey.generate()

_ERRAND = (
    "INSERT INTO upkeep.errand (rollout, position, kind, concentrator, meter)"
    " VALUES ('RO-000001', 9, 'firmware', 'C-01', 'M-000009')"
)
_AS_OWNER = [
    ("UPDATE upkeep.rollout SET approved_by = 'user:REZA', approved_at = now()",
     "rollout_two_people"),
    ("UPDATE upkeep.rollout SET approved_by = 'system:control', approved_at = now()",
     "rollout_approved_by_person"),
    ("UPDATE upkeep.rollout SET state = 'first'", "rollout_approved"),
    ("UPDATE upkeep.rollout SET image = NULL", "upkeep_rewrite"),
    ("UPDATE upkeep.rollout SET requested_by = 'user:lin'", "upkeep_rewrite"),
    ("UPDATE upkeep.errand SET body = 'x'", "upkeep_not_approved"),
    ("UPDATE upkeep.errand SET meter = 'M-000002'", "upkeep_rewrite"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "constraint"), _AS_OWNER)
def test_before_approval_the_owner_too_is_refused(
    db: Database, database_dsn: str, statement: str, constraint: str
) -> None:
    build(db, 1)
    firmware(db, 1)
    with psycopg.connect(database_dsn) as owner, pytest.raises(psycopg.IntegrityError) as refused:
        owner.execute(statement)  # type: ignore[call-overload]
    assert refused.value.diag.constraint_name == constraint


def test_after_approval_nothing_is_slipped_in_or_rewritten(db: Database, database_dsn: str) -> None:
    build(db, 1)
    clock = StillClock()
    rollout = firmware(db, 1)
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    upkeep.advance(db, clock)
    for statement, constraint in (
        (_ERRAND, "upkeep_late_target"),
        ("UPDATE upkeep.errand SET body = 'x'", "upkeep_rewrite"),
        ("UPDATE upkeep.rollout SET approved_by = 'user:eve'", "upkeep_rewrite"),
    ):
        with psycopg.connect(database_dsn) as owner:
            with pytest.raises(psycopg.IntegrityError) as refused:
                owner.execute(statement)
        assert refused.value.diag.constraint_name == constraint
    with psycopg.connect(database_dsn) as owner:
        with pytest.raises(psycopg.IntegrityError, match="append_only"):
            owner.execute("UPDATE upkeep.image_block SET octets = 'x'")


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("meterloop_control", "UPDATE upkeep.rollout SET approved_by = 'user:lin'"),
        ("meterloop_control", "UPDATE upkeep.errand SET signature = 'x'"),
        ("meterloop_control", "INSERT INTO upkeep.image_block VALUES ('x', 9, 'x')"),
        ("meterloop_control", _ERRAND),
        ("meterloop_portal", "UPDATE upkeep.errand SET body = 'x'"),
        ("meterloop_portal", "UPDATE upkeep.errand SET signature = 'x'"),
        ("meterloop_signer", "UPDATE upkeep.errand SET body = 'x'"),
        ("meterloop_signer", "UPDATE upkeep.rollout SET state = 'first'"),
        ("meterloop_signer", "UPDATE signer.upkeep_policy SET max_firmware_per_day = 9"),
        ("meterloop_billing", "SELECT 1 FROM upkeep.rollout"),
        ("meterloop_ingest", "SELECT 1 FROM upkeep.rollout"),
    ],
)
def test_each_process_may_write_its_own_part_alone(
    db: Database, database_dsn: str, role: str, statement: str
) -> None:
    with psycopg.connect(database_dsn, user=role) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)  # type: ignore[call-overload]


def test_asked_issued_signed_and_sent_under_the_roles_of_the_processes(
    db: Database, database_dsn: str
) -> None:
    build(db, 1)
    clock = StillClock()
    with (
        Database(database_dsn, user="meterloop_portal", size=1) as portal,
        Database(database_dsn, user="meterloop_control", size=1) as control,
        Database(database_dsn, user="meterloop_signer", size=1) as signing,
    ):
        rollout = firmware(portal, 1)
        upkeep.approve(portal, rollout, actor=OTHER, now=NOW)
        upkeep.advance(control, clock)
        assert signer.sign_upkeep(signing, KEY, clock) == (1, 0)
        [sent] = upkeep.outgoing(control, clock)
        open_signed(sent.payload, KEY.public_key())
        upkeep.withdraw(portal, rollout, actor=OTHER, reason="enough", now=NOW)


def test_the_signer_keeps_its_own_limit_and_its_no_halts_the_rollout(
    db: Database, database_dsn: str
) -> None:
    build(db, 1)
    clock = StillClock()
    with psycopg.connect(database_dsn) as owner:
        owner.execute("UPDATE signer.upkeep_policy SET max_firmware_per_day = 0")
    rollout = firmware(db, 1)
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    upkeep.advance(db, clock)
    assert signer.sign_upkeep(db, KEY, clock) == (0, 1)
    assert signer.sign_upkeep(db, KEY, clock) == (0, 0), "a no is said once"
    assert upkeep.take_signer_refusals(db, now=NOW) == 1
    upkeep.advance(db, clock)
    [errand] = errands(db, rollout)
    assert (errand.state.value, errand.end_reason) == ("refused", "signer: signer_limit")


def test_the_signer_counts_the_octets_of_the_image_itself(db: Database, database_dsn: str) -> None:
    build(db, 1)
    clock = StillClock()
    image = stored_image(db)
    with psycopg.connect(database_dsn) as owner:
        owner.execute("ALTER TABLE upkeep.image_block DISABLE TRIGGER USER")
        owner.execute(
            "UPDATE upkeep.image_block SET octets = set_byte(octets, 0, 77)"
            " WHERE image = %s AND index = 1",
            (image.sha256,),
        )
    rollout = firmware(db, 1)
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    upkeep.advance(db, clock)
    assert signer.sign_upkeep(db, KEY, clock) == (0, 1)
    upkeep.take_signer_refusals(db, now=NOW)
    assert errands(db, rollout)[0].end_reason == "signer: image_octets_differ"


def test_every_act_stands_in_the_audit_log_with_who_did_it(db: Database, database_dsn: str) -> None:
    build(db, 1)
    clock = StillClock()
    rollout = firmware(db, 1)
    upkeep.approve(db, rollout, actor=OTHER, now=NOW)
    upkeep.advance(db, clock)
    signer.sign_upkeep(db, KEY, clock)
    upkeep.outgoing(db, clock)
    upkeep.withdraw(db, rollout, actor=OTHER, reason="enough", now=NOW)
    with psycopg.connect(database_dsn) as owner:
        rows = owner.execute(
            "SELECT action, actor FROM audit.event"
            " WHERE entity IN ('image', 'rollout', 'errand') ORDER BY id"
        ).fetchall()
    assert rows == [
        ("image.upload", "user:reza"),
        ("rollout.ask", "user:reza"),
        ("rollout.start", "user:lin"),
        ("errand.issue", "system:upkeep"),
        ("errand.signed", "system:signer"),
        ("errand.dispatch", "system:upkeep"),
        ("rollout.halt", "user:lin"),
    ]
