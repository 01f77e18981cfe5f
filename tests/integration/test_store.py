"""The database rim: named SQL, migrations that cannot be rewritten, an audit chain that shows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from cloud.store import audit
from cloud.store import migrate as migrations
from cloud.store.db import Database
from cloud.store.migrate import MigrationError, available, migrate
from cloud.store.sql import Queries

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_blocks_are_named_and_keep_their_comment(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- one\n-- A row.\nSELECT 1;\n\n-- two\n-- None.\nSELECT 2;\n")
    queries = Queries(tmp_path)
    assert list(queries) == ["one", "two"]
    assert queries["two"] == "-- None.\nSELECT 2;"


def test_a_block_name_used_twice_or_no_block_at_all_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no SQL blocks"):
        Queries(tmp_path)
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).write_text("-- one\n-- A row.\nSELECT 1;\n")
    with pytest.raises(ValueError, match="defined twice"):
        Queries(tmp_path)


def test_migrating_again_applies_nothing(database_dsn: str) -> None:
    assert migrate(database_dsn) == []


def test_a_migration_that_was_changed_or_is_missing_is_refused(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = available()
    (tmp_path / f"{files[0].name}.sql").write_text(files[0].sql + "-- changed\n")
    for file in files[1:]:
        (tmp_path / f"{file.name}.sql").write_text(file.sql)
    monkeypatch.setattr(migrations, "available", lambda: available(tmp_path))
    with pytest.raises(MigrationError, match="was changed after it was applied"):
        migrate(database_dsn)
    (tmp_path / f"{files[-1].name}.sql").unlink()
    with pytest.raises(MigrationError, match="this version lacks"):
        migrate(database_dsn)


def test_two_migrations_of_one_number_are_refused(tmp_path: Path) -> None:
    for name in ("0001_a.sql", "0001_b.sql"):
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match="two migrations are numbered 0001"):
        available(tmp_path)


def an_act(db: Database, reason: str) -> None:
    with db.transaction() as conn:
        audit.record(
            conn, at=NOW, actor="user:lin", action="test.act", entity="thing", entity_id="1",
            before={"a": 1}, after={"a": 2}, reason=reason,
        )  # fmt: skip


def broken(db: Database) -> int:
    with db.transaction() as conn:
        return audit.broken_seals(conn, unsealed_before=NOW + timedelta(seconds=1))


def test_the_audit_chain_covers_every_act_and_shows_a_change(db: Database) -> None:
    an_act(db, "first")
    assert broken(db) == 1
    assert audit.seal(db, now=NOW) == 1
    an_act(db, "second")
    assert audit.seal(db, now=NOW) == 1
    assert audit.seal(db, now=NOW) == 0
    assert broken(db) == 0
    with db.transaction() as conn:
        assert [e.reason for e in audit.history(conn, entity="thing", entity_id="1")] == [
            "second", "first",
        ]  # fmt: skip
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation), db.transaction() as conn:
        conn.execute("UPDATE audit.event SET reason = 'third'")
    with db.transaction() as conn:
        conn.execute("ALTER TABLE audit.event DISABLE TRIGGER USER")
        conn.execute("UPDATE audit.event SET reason = 'forged' WHERE reason = 'first'")
    assert broken(db) == 1


def test_a_failing_transaction_leaves_nothing(db: Database) -> None:
    def fail() -> None:
        with db.transaction() as conn:
            audit.record(conn, at=NOW, actor="user:lin", action="x", entity="thing", entity_id="2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with db.transaction() as conn:
        assert audit.history(conn, entity="thing", entity_id="2") == []
