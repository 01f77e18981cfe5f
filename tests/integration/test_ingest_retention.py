"""Intervals of old months are let go by policy, after somebody's word, and never silently."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import psycopg
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from cloud.ingest import service as ingest
from cloud.ingest.agent import IngestConfig
from cloud.ingest.agent.keeping import keep
from cloud.ingest.model import MonthCount, Refusal
from cloud.ingest.rules.retention import RetentionPolicy
from cloud.ingest.service import retention
from cloud.store import audit
from cloud.store.db import Database
from cloud.usage import service as usage
from meterloop.audit.service import audit as count_violations
from meterloop.audit.service import evidence_of
from meterloop.cli import app
from meterloop.config import Installation
from protocols.errors import RefusedError
from protocols.mqtt.broker import BrokerAddress
from protocols.reading import Channel
from tests.integration.ingest_kit import (
    M1,
    M2,
    ORIGIN,
    READINGS,
    SLOT,
    UP1,
    UP2,
    a_batch,
    build_network,
    registers,
    send,
    slots,
    tables,
    usage_rows,
)

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
A_DAY = 86_400 // SLOT
NOW = ORIGIN + timedelta(days=100)
POLICY = RetentionPolicy(packed_months=2, floor_months=2)


class Said(TypedDict):
    """Who lets go, and when."""

    actor: str
    now: datetime


SAY: Said = {"actor": "user:1", "now": NOW}


@pytest.fixture
def filled(db: Database) -> Database:
    """Whole days of March, April and June, registers of M1 and of M2, which rolls over in March."""
    build_network(db)
    for seq, first in enumerate((3, 40, 95), 1):
        values = {first * A_DAY + n: 10 + n % 7 for n in range(A_DAY)}
        read: dict[float, int] = {24 * first: 1000 * first, 24 * first + 12: 1000 * first + 400}
        rows = [*slots(M1, values), *registers(M1, read)]
        assert send(db, a_batch(seq, rows), now=NOW).account.stored == A_DAY + 2
    rolled = registers(M2, {24: 99_000, 48: 1_000, 95 * 24: 9_000})
    assert send(db, a_batch(4, rolled), now=NOW).account.stored == 3
    return db


def released(db: Database, month: date, *, readings: int = A_DAY, how: str = "exported") -> None:
    with db.transaction() as conn:
        retention.release(conn, month, how=how, evidence="a file", readings=readings, **SAY)


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(RefusedError) as told:
        act()
    assert told.value.refusal is Refusal.KEPT
    return told.value.message


def test_a_month_goes_only_after_the_policy_and_somebodys_word(
    filled: Database, database_dsn: str
) -> None:
    with filled.transaction() as conn:
        found = retention.due(conn, POLICY)
    assert found.reached == date(2026, 6, 1)
    assert (found.due, found.waiting) == ((MARCH,), (MARCH,))
    assert retention.retain(filled, POLICY, **SAY) == {}
    before, used = tables(filled, *READINGS), usage_rows(filled)
    released(filled, MARCH)
    with Database(database_dsn, user="meterloop_ingest") as process:
        gone = retention.retain(process, POLICY, **SAY)
        assert retention.retain(process, POLICY, **SAY) == {}
    count = gone.pop(MARCH)
    assert gone == {}
    assert (count.series_days, count.readings) == (1, A_DAY)
    after, still = tables(filled, *READINGS), usage_rows(filled)
    assert after[0] == before[0], "registers stay"
    april = datetime(2026, 4, 1, tzinfo=UTC)
    assert after[1] == [row for row in before[1] if row[2] >= april]
    assert still[1] == [row for row in used[1] if row[1] >= april], "usage refers to intervals"
    assert [still[0], *still[2:]] == [used[0], *used[2:]], "registers and sums stay"
    with filled.transaction() as conn:
        assert retention.kept_from(conn) == APRIL
        (dropped,) = audit.history(conn, entity="readings_month", entity_id="2026-03", limit=1)
    assert (dropped.action, dropped.actor) == ("ingest.month_dropped", "user:1")
    assert dropped.before == {
        "series_days": 1, "readings": A_DAY, "octets": count.octets,
    }  # fmt: skip


def test_what_is_left_is_in_balance_and_usage_can_be_made_anew(
    filled: Database, database_dsn: str, tmp_path: Path
) -> None:
    released(filled, MARCH)
    assert MARCH in retention.retain(filled, POLICY, **SAY)
    before = usage_rows(filled)
    with filled.transaction() as conn:
        totals = ingest.totals(conn)
        assert totals["readings"] == totals["stored"] == 3 * (A_DAY + 2) + 3
        for point in (UP1, UP2):
            assert usage.rebuild(conn, point, now=NOW) > 0
    assert usage_rows(filled) == before
    installation = Installation.model_validate(
        {"data": tmp_path, "database": {"dsn": database_dsn}}
    )
    report = count_violations(evidence_of(installation))
    found = {finding.invariant: finding.violations for finding in report.findings}
    assert (found["R1"], found["R5"]) == (0, 0), report.as_text()


def test_what_comes_for_a_month_that_went_is_quarantined_and_registers_are_taken(
    filled: Database,
) -> None:
    released(filled, MARCH)
    retention.retain(filled, POLICY, **SAY)
    late = [*slots(M1, {3 * A_DAY: 10, 4 * A_DAY: 5, 41 * A_DAY: 6}), *registers(M1, {80: 3200})]
    account = send(filled, a_batch(9, late), now=NOW).account
    assert (account.stored, account.quarantined, account.duplicates) == (2, 2, 0)
    with filled.transaction() as conn:
        assert ingest.quarantine_counts(conn)["reading.dropped", "open"] == 2
        series = conn.execute("SELECT no FROM ingest.series WHERE seconds > 0").fetchone()
    assert series is not None
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation), filled.transaction() as conn:
        conn.execute(
            "INSERT INTO ingest.day SELECT %s, '2026-03-09', body FROM ingest.day LIMIT 1", series
        )


def test_the_database_itself_refuses_what_a_policy_must_not(filled: Database) -> None:
    def drop(month: date, keep_from: date) -> None:
        with filled.transaction() as conn:
            conn.execute("SELECT ingest.drop_month(%s, %s, 'x', %s)", (month, keep_from, NOW))

    def why(month: date, keep_from: date) -> str:
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation) as told:
            drop(month, keep_from)
        return str(told.value.diag.message_primary)

    assert "neither exported nor declared" in why(MARCH, date(2026, 9, 1))
    assert "the policy keeps it" in why(MARCH, date(2026, 3, 31))
    assert "not the oldest" in why(APRIL, date(2026, 9, 1))
    released(filled, MARCH, readings=A_DAY - 1)
    assert "47 readings were exported, 48 are here" in why(MARCH, date(2026, 9, 1))
    released(filled, MARCH, readings=0, how="declared")
    drop(MARCH, date(2026, 9, 1))
    assert tables(filled, "SELECT month, readings FROM ingest.month_dropped") == [[(MARCH, A_DAY)]]
    for table in ("month_released", "month_dropped", "batch_dropped"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            with filled.transaction() as conn:
                conn.execute(f"DELETE FROM ingest.{table}")


def test_a_clock_that_runs_ahead_lets_nothing_go(db: Database) -> None:
    build_network(db)
    whole = {3 * A_DAY + n: 5 for n in range(A_DAY)}
    send(db, a_batch(1, slots(M1, whole)), now=NOW)
    released(db, MARCH)
    later: Said = {"actor": "user:1", "now": NOW + timedelta(days=3650)}
    assert retention.retain(db, POLICY, **later) == {}
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="not come far"):
        with db.transaction() as conn:
            conn.execute("SELECT ingest.drop_month(%s, '2099-01-01', 'x', now())", (MARCH,))


def test_a_day_that_is_open_keeps_its_month(db: Database) -> None:
    build_network(db)
    for day in (0, 95):
        ingest.open_days_ahead(db, now=ORIGIN + timedelta(days=day), ahead=0)
    rows = slots(M1, {day * A_DAY + n: 5 for day in (0, 95) for n in range(9)})
    assert send(db, a_batch(1, rows), now=ORIGIN + timedelta(days=95.5)).account.stored == 18
    send(db, a_batch(2, slots(M1, dict.fromkeys(range(4 * A_DAY, 5 * A_DAY), 5))), now=NOW)
    released(db, MARCH)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="not packed"):
        with db.transaction() as conn:
            conn.execute("SELECT ingest.drop_month(%s, '2026-09-01', 'x', now())", (MARCH,))
    assert ingest.close_day(db, MARCH, now=NOW) == 9
    assert "export it once more" in refused(lambda: retention.retain(db, POLICY, **SAY))


class Night:
    """A clock that stands at two in the night, three days after `NOW`."""

    def now(self) -> datetime:
        return NOW + timedelta(days=3, hours=2)


def test_the_night_of_the_process_that_leads_packs_days_and_drops_months(
    filled: Database, database_dsn: str
) -> None:
    released(filled, MARCH)
    config = IngestConfig(
        dsn=database_dsn, broker=BrokerAddress(host="h", port=1), keep_wall_seconds=0.01,
        rows_days=1, packed_months=2, floor_months=2,
    )  # fmt: skip
    counted: Counter[str] = Counter()
    led: list[bool] = []

    def leads() -> bool:
        led.append(len(led) >= 3)
        assert led[-1] or not counted, "who does not lead does nothing"
        return led[-1]

    async def night() -> None:
        clock: Any = Night()
        task = asyncio.ensure_future(
            keep(config, filled, clock, count=lambda name: counted.update([name]), leads=leads)
        )
        while len(led) < 6:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(night(), 60))
    assert counted == {"days_packed": 2, "months_dropped": 1}, "of NOW and the day after"
    with filled.transaction() as conn:
        assert retention.kept_from(conn) == APRIL
        (dropped,) = audit.history(conn, entity="readings_month", entity_id="2026-03", limit=1)
        assert ingest.days_open(conn) == []
    assert dropped.actor == "system:ingest"


def cli(folder: Path, dsn: str, *words: str, fails: bool = False) -> dict[str, Any]:
    config = folder / "installation.toml"
    config.write_text(
        f'data = "{folder}"\n[database]\ndsn = "{dsn}"\n'
        "[ingest]\npacked_months = 2\nfloor_months = 2\nrows_days = 1\n"
    )
    result = CliRunner().invoke(app, ["readings", *words, "--config", str(config), "--json"])
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] is (result.exit_code == 0) is not fails, result.output
    return answer


def test_the_command_line_exports_releases_and_lets_go(
    filled: Database, database_dsn: str, tmp_path: Path
) -> None:
    first = cli(tmp_path, database_dsn, "retain", "--dry-run")
    assert (first["waiting"], first["dropped"], first["keep_from"]) == (
        ["2026-03"],
        {},
        "2026-04-01",
    )
    assert cli(tmp_path, database_dsn, "retain")["dropped"] == {}
    file = tmp_path / "march.parquet"
    told = cli(tmp_path, database_dsn, "release", "2026-03", "--export", str(file))
    assert told["readings"] == A_DAY
    assert hashlib.sha256(file.read_bytes()).hexdigest() in told["evidence"]
    table = pq.read_table(file)
    assert table.num_rows == A_DAY
    assert sum(table["wh"].to_pylist()) == sum(10 + n % 7 for n in range(A_DAY))
    stored = tables(filled, "SELECT start, wh, received_at FROM ingest.interval_reading ORDER BY 1")
    columns = (table[name].to_pylist() for name in ("start", "wh", "received"))
    assert list(zip(*columns, strict=True)) == stored[0][:A_DAY]
    again = cli(tmp_path, database_dsn, "release", "2026-03", "--export", str(file), fails=True)
    assert "name a new file" in str(again["error"])
    gone = cli(tmp_path, database_dsn, "retain")["dropped"]
    assert gone["2026-03"]["readings"] == A_DAY
    assert [m["month"] for m in cli(tmp_path, database_dsn, "retain")["months"]] == [
        "2026-04",
        "2026-06",
    ]


def test_the_command_line_closes_days_that_are_past(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    build_network(db)
    ingest.open_days_ahead(db, now=ORIGIN, ahead=0)
    send(db, a_batch(1, registers(M1, {1: 100})), now=ORIGIN + timedelta(days=1))
    past = ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert cli(tmp_path, database_dsn, "close-days", "--dry-run")["past"] == past
    assert tables(db, "SELECT count(*) FROM ingest.reading") == [[(1,)]]
    closed = cli(tmp_path, database_dsn, "close-days")["closed"]
    assert closed == {"2026-03-01": 1, "2026-03-02": 0, "2026-03-03": 0}
    assert cli(tmp_path, database_dsn, "close-days")["past"] == []


def test_an_export_during_which_readings_came_does_not_release(
    filled: Database, database_dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "march.parquet"
    cli(tmp_path, database_dsn, "release", "2026-03", "--export", str(file))
    send(filled, a_batch(9, slots(M1, {5 * A_DAY: 3})), now=NOW)
    assert "export it once more" in refused(lambda: retention.retain(filled, POLICY, **SAY))
    with filled.transaction() as conn:
        assert retention.count_month(conn, MARCH).readings == A_DAY + 1
        found = ingest.raw_intervals(
            conn, [M1], Channel.IMPORT_INTERVAL_WH, since=ORIGIN, until=ORIGIN + timedelta(days=30)
        )
    assert len(found[M1].wh) == A_DAY + 1


def test_nothing_is_counted_of_a_month_without_intervals(filled: Database) -> None:
    with filled.transaction() as conn:
        assert retention.count_month(conn, date(2026, 5, 1)) == MonthCount(
            series_days=0, readings=0, octets=0
        )
    with pytest.raises(RefusedError) as told:
        released(filled, date(2026, 5, 1))
    assert told.value.refusal is Refusal.UNKNOWN
