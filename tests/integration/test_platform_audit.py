"""The audit finds what guards would refuse: each invariant broken by hand, then counted."""

from pathlib import Path

import psycopg
import pytest

from meterloop.audit.model import TITLES, AuditReport, Evidence
from meterloop.audit.service import audit

AT = "2026-03-02T00:00:00Z"


def report_of(dsn: str, truth: Path | None = None) -> AuditReport:
    return audit(Evidence(dsn=dsn, truth=truth))


def broken(dsn: str) -> dict[str, tuple[str, ...]]:
    return {
        found.invariant: found.examples
        for found in report_of(dsn).findings
        if found.violations
    }  # fmt: skip


def test_an_empty_installation_has_no_violation_of_any_invariant(database_dsn: str) -> None:
    report = report_of(database_dsn)
    assert [found.invariant for found in report.findings] == list(TITLES)
    assert report.total == 0
    assert report.as_json()["ok"] is True


def plant(dsn: str, *statements: str) -> None:
    """Write past every trigger and foreign key, as a faulty tool of the owner could."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        for statement in statements:
            conn.execute(statement)  # type: ignore[call-overload]


ASSETS = (
    "INSERT INTO assets.installation (meter, usage_point, concentrator, installed_at)"
    f" VALUES ('M-1', 'UP-1', 'C-01', '{AT}')",
)
THINGS = (
    "INSERT INTO assets.usage_point (id, kind, transformer, zone)"
    " VALUES ('UP-1', 'customer', 'T-01', 'Asia/Shanghai')",
    "INSERT INTO assets.meter (id, model, protocol, max_w, has_relay, can_close_remotely)"
    " VALUES ('M-1', 'x', 'dlms', 20000, false, false)",
)
READING = (
    "SELECT ingest.open_day(date '{at}', '{at}');"
    "INSERT INTO ingest.series (meter, channel, seconds) VALUES ('M-1', {channel}, {seconds})"
    " ON CONFLICT DO NOTHING;"
    "INSERT INTO ingest.reading (series, at, wh, status, received_at, batch)"
    " SELECT s.no, timestamptz '{at}' + interval '{minutes} min', {wh}, 0, '{at}',"
    " coalesce((SELECT b.no FROM ingest.batch AS b WHERE b.seq = 1), 0)"
    " FROM ingest.series AS s WHERE s.channel = {channel}"
)


def interval(minutes: int, wh: int) -> str:
    return READING.format(at=AT, minutes=minutes, wh=wh, channel=3, seconds=1800)


def register(minutes: int, wh: int) -> str:
    return READING.format(at=AT, minutes=minutes, wh=wh, channel=1, seconds=0)


def segment(*, since: str = AT, offset: int = 0, factor: int = 1) -> str:
    return (
        "INSERT INTO usage.segment (usage_point, meter, since, until, offset_wh, numerator, lone,"
        f" known_at) VALUES ('UP-1', 'M-1', '{since}', 'infinity', {offset}, {factor}, true,"
        f" '{AT}')"
    )


def newest(wh: int) -> str:
    return (
        "INSERT INTO usage.newest (usage_point, at_ms, cumulative_wh, questionable, moved)"
        f" VALUES ('UP-1', (extract(epoch FROM timestamptz '{AT}') * 1000)::bigint, {wh}, false,"
        " pg_current_xact_id())"
    )


def batch(seq: int, stored: int) -> str:
    return (
        "INSERT INTO ingest.batch VALUES ('C-01', 1, "
        f"{seq}, '\\x00', 'stored', '{AT}', '{AT}', '{AT}', {stored}, {stored}, 0, 0, 0, 0, 0,"
        f" {seq})"
    )


def coverage(slots: int) -> str:
    newest = f"timestamptz '{AT}' + interval '{30 * (slots - 1)} min'"
    return f"INSERT INTO vee.coverage VALUES ('M-1', 3, '{AT}', {newest}, 1800)"


@pytest.mark.parametrize(
    ("invariant", "statements", "example"),
    [
        ("R1", (batch(1, 2), interval(0, 5)), "2 told, 1 there"),
        ("R1", (batch(1, 0), batch(3, 0)), "1/2 never came"),
        ("R2", (interval(0, 5), interval(15, 5)), "M-1 at"),
        (
            "R3",
            (
                *ASSETS, interval(0, 5),
                segment(factor=2),
            ),
            "UP-1 at",
        ),
        ("R3", (*ASSETS, segment(since="2026-03-01")), "UP-1 at 2026-03-01"),
        (
            "R3", (*ASSETS, *THINGS, register(0, 5), segment(offset=7), newest(12)),
            "offset and factor 7 Wh",
        ),
        ("R3", (*ASSETS, *THINGS, register(0, 5), segment(), newest(6)), "newest register"),
        ("R2", (*ASSETS, segment(), segment(since="2026-03-03")), "UP-1 at 2026-03-03"),
        (
            "R4",
            (coverage(2), interval(0, 500), interval(30, 500), register(0, 100), register(60, 300)),
            "registers 200 Wh",
        ),
        ("R5", (coverage(3), interval(0, 5), interval(60, 5)), "channel 3 at"),
    ],
)  # fmt: skip
def test_a_broken_reading_is_counted_under_its_invariant(
    database_dsn: str, invariant: str, statements: tuple[str, ...], example: str
) -> None:
    plant(database_dsn, *statements)
    found = broken(database_dsn)
    assert set(found) == {invariant}
    assert example in found[invariant][0]


def test_a_gap_with_its_exception_and_energy_that_fits_are_no_violation(database_dsn: str) -> None:
    plant(
        database_dsn,
        coverage(3), interval(0, 100), interval(60, 50), register(0, 1000), register(90, 1160),
        "INSERT INTO vee.exception (kind, meter, usage_point, channel, range_start, range_end,"
        f" opened_at) VALUES ('gap', 'M-1', 'UP-1', 3, timestamptz '{AT}' + interval '30 min',"
        f" timestamptz '{AT}' + interval '60 min', '{AT}')",
    )  # fmt: skip
    assert broken(database_dsn) == {}


SUPPLY = (
    f"INSERT INTO control.supply_state (usage_point, epoch, changed_at) VALUES ('UP-1', 3, '{AT}')",
    "INSERT INTO control.supply_event VALUES (1, 'UP-1', 1, false, '2026-03-01')",
    "INSERT INTO control.request (id, usage_point, state, requested_by, reason, figures, epoch,"
    " created_at, expires_at) VALUES ('K-1', 'UP-1', 'ordered', 'system:billing', 'debt', '{}',"
    f" 1, '{AT}', '{AT}')",
    f"INSERT INTO control.approval VALUES ('K-1', 1, 'user:reza', '{AT}'),"
    f" ('K-1', 2, 'user:lin', '{AT}')",
    "INSERT INTO control.command (id, lock_seq, usage_point, meter, concentrator, verb, request,"
    " epoch, issued_by, issued_at, local_day, state, ended_at, signature, body) VALUES"
    f" ('CM-1', 10, 'UP-1', 'M-1', 'C-01', 'disconnect', 'K-1', 1, 'system:control', '{AT}',"
    f" '2026-03-02', 'done', '{AT}', '\\x01', '\\x01')",
    f"INSERT INTO control.go VALUES ('CM-1', '\\x02', '{AT}', '\\x03', '\\x04', '{AT}', NULL,"
    f" '{AT}', 11)",
    "INSERT INTO control.outcome (usage_point, request, command, verb, result, at) VALUES"
    f" ('UP-1', 'K-1', 'CM-1', 'disconnect', 'done', '{AT}')",
    "INSERT INTO audit.event (at, actor, action, entity, entity_id) VALUES"
    f" ('{AT}', 'system:control', 'command.issue', 'command', 'CM-1')",
    "INSERT INTO audit.seal SELECT 1, now(), ARRAY[]::bigint[], '\\x00', '\\x00'",
)


def sealed(dsn: str) -> None:
    """Seal what was planted, so that the chain itself is whole."""
    from cloud.store import audit as log
    from cloud.store.clock import Clock
    from cloud.store.db import Database

    with Database(dsn) as db:
        log.seal(db, now=Clock().now())


@pytest.mark.parametrize(
    ("invariant", "change"),
    [
        ("", "SELECT 1"),
        ("C1", f"INSERT INTO control.supply_event VALUES (5, 'UP-1', 2, false, '{AT}')"),
        ("C2", f"INSERT INTO control.supply_event VALUES (4, 'UP-1', 1, true, '{AT}')"),
        ("C3", "UPDATE control.request SET requested_by = 'user:LIN'"),
        ("C4", "UPDATE control.go SET released_at = NULL, release_seq = NULL"),
        ("C5", "DELETE FROM control.outcome"),
        ("C6", "UPDATE control.policy SET max_cuts_per_transformer_day = 0"),
        ("S2", "UPDATE audit.event SET entity_id = 'CM-2'"),
    ],
)
@pytest.mark.req("D2", "R13")
def test_a_broken_cut_is_counted_under_its_invariant(
    database_dsn: str, invariant: str, change: str
) -> None:
    plant(database_dsn, *SUPPLY[:-1], change)
    sealed(database_dsn)
    assert set(broken(database_dsn)) == ({invariant} if invariant else set())


MONEY = (
    "INSERT INTO ledger.account (id, code, kind, currency, normal, kept, posted_cr, posted_dr)"
    " OVERRIDING SYSTEM VALUE VALUES (1, 'AC-1', 'customer_prepayment', 'CNY', -1, true, 50, 0),"
    " (2, 'bank', 'bank_clearing', 'CNY', 1, false, 0, 0)",
    "INSERT INTO ledger.entry (id, idem_key, req_hash, kind, value_date, booked_at, actor)"
    " OVERRIDING SYSTEM VALUE"
    f" VALUES (1, 'p1', '\\x00', 'payment', '2026-03-02', '{AT}', 'peer:bank')",
    "INSERT INTO ledger.posting VALUES (1, 1, 2, 1, 50, 'CNY'), (1, 2, 1, -1, 50, 'CNY')",
    "INSERT INTO payments.payment (receipt_no, channel, peer_txn_id, body_hash, state, account,"
    " amount_micros, currency, peer_time, received_at, actor, entry_id) VALUES ('R-1', 'bank',"
    f" 't1', '\\x00', 'posted', 'AC-1', 50, 'CNY', '{AT}', '{AT}', 'peer:bank', 1)",
    "INSERT INTO audit.event (at, actor, action, entity, entity_id, after) VALUES"
    f" ('{AT}', 'peer:bank', 'payment.posted', 'account', 'AC-1', '{{\"receipt\": \"R-1\"}}')",
)


@pytest.mark.parametrize(
    ("invariants", "change"),
    [
        (set(), "SELECT 1"),
        ({"M1"}, "UPDATE ledger.account SET posted_cr = 49 WHERE id = 1"),
        ({"M1"}, "UPDATE ledger.posting SET amount_micros = 51 WHERE side = 1"),
        ({"M2"}, "UPDATE payments.payment SET amount_micros = 49"),
        ({"M5"}, "UPDATE payments.payment SET state = 'suspense'"),
        ({"S2"}, "DELETE FROM audit.event"),
    ],
)
def test_broken_money_is_counted_under_its_invariant(
    database_dsn: str, invariants: set[str], change: str
) -> None:
    plant(database_dsn, *MONEY, change)
    sealed(database_dsn)
    assert set(broken(database_dsn)) == invariants


def test_the_auditor_cannot_change_what_it_looks_at(database_dsn: str) -> None:
    with psycopg.connect(database_dsn, user="auditor") as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("UPDATE control.policy SET cut_tries = 9")
