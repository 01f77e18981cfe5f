"""Many messages at once: the outbox and the contacts as one by one would leave them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.messages import service as messages
from cloud.messages.model import Kind, MessageId, Wanted
from cloud.messages.rules.text import TemplateError
from cloud.store.db import Connection, Database
from tests.integration.control_kit import NOW

Enqueue = Callable[[Connection, Sequence[Wanted]], list[MessageId | None]]

SUBJECTS = ("UP-sms", "UP-paper", "UP-letters", "UP-new", "UP-unknown")
_MONEY = {"available_micros": -1_230_000, "currency": "UZS"}

PHONES = st.sampled_from([None, None, "", "+998 90 111-22-33", "+8613800000042", "138abc", "+1"])
WANTED = st.builds(
    Wanted,
    dedupe_key=st.sampled_from([f"k:{n}" for n in range(6)]),
    kind=st.sampled_from([Kind.DUNNING, Kind.REMINDER, Kind.BALANCE_CORRECTED]),
    subject=st.sampled_from(SUBJECTS),
    variables=st.integers(-(10**12), 10**12).map(lambda n: {**_MONEY, "available_micros": n}),
    phone=PHONES,
    language=st.sampled_from([None, None, "fa", "zh", "uz", "ru", "en"]),
)


def _one_by_one(conn: Connection, wanted: Sequence[Wanted]) -> list[MessageId | None]:
    return [
        messages.enqueue(
            conn, dedupe_key=each.dedupe_key, kind=each.kind, subject=each.subject,
            variables=each.variables, phone=each.phone, language=each.language, now=NOW,
        )
        for each in wanted
    ]  # fmt: skip


def _many(conn: Connection, wanted: Sequence[Wanted]) -> list[MessageId | None]:
    return messages.enqueue_many(conn, wanted, now=NOW)


def _left_behind(conn: Connection, enqueue: Enqueue, wanted: Sequence[Wanted]) -> Any:
    """Return what stands after it in outbox and contacts, ids told apart by their key; undo it."""
    with conn.transaction(force_rollback=True):
        for subject, phone, mode in (
            ("UP-sms", "+998901112233", "sms"),
            ("UP-paper", "+998901112234", "paper"),
            ("UP-letters", "90a", "sms"),
        ):
            messages.set_contact(
                conn, subject=subject, phone=phone, language="uz", mode=mode, now=NOW
            )
        _one_by_one(conn, [_wanted("k:0", "UP-sms")])
        ids = enqueue(conn, wanted)
        rows = conn.execute(
            "SELECT id, dedupe_key, kind, subject, phone, language, variables, text, channel,"
            " state, cause, segments, tries, enqueued_at FROM messages.message ORDER BY number"
        ).fetchall()
        contacts = conn.execute("SELECT * FROM messages.contact ORDER BY subject").fetchall()
        key_of = {row[0]: row[1] for row in rows}
        return [key_of[each] if each else None for each in ids], [r[1:] for r in rows], contacts


def _wanted(key: str, subject: str, **more: Any) -> Wanted:
    return Wanted(
        **{"dedupe_key": key, "kind": Kind.DUNNING, "subject": subject, "variables": _MONEY, **more}
    )


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(wanted=st.lists(WANTED, max_size=12))
def test_many_leave_behind_what_one_by_one_does(db: Database, wanted: list[Wanted]) -> None:
    with db.transaction() as conn:
        assert _left_behind(conn, _many, wanted) == _left_behind(conn, _one_by_one, wanted)


def test_of_many_with_one_key_the_first_is_written_and_an_earlier_one_stays(db: Database) -> None:
    wanted = [
        _wanted("k:1", "UP-new", phone="+998901112233", language="ru"),
        _wanted("k:0", "UP-paper"),
        _wanted("k:1", "UP-sms"),
        _wanted("k:2", "UP-new"),
    ]
    with db.transaction() as conn:
        ids, rows, contacts = _left_behind(conn, _many, wanted)
    assert ids == ["k:1", None, None, "k:2"]
    assert [(row[0], row[2], row[3], row[4]) for row in rows] == [
        ("k:0", "UP-sms", "+998901112233", "uz"),
        ("k:1", "UP-new", "+998901112233", "ru"),
        ("k:2", "UP-new", "+998901112233", "ru"),
    ]
    assert [row[0] for row in contacts] == ["UP-letters", "UP-new", "UP-paper", "UP-sms"]


def test_one_bad_message_stops_all_of_them(db: Database) -> None:
    bad = _wanted("k:2", "UP-2", variables={"currency": "UZS"})
    with db.transaction() as conn:
        with pytest.raises(TemplateError, match="available_micros"):
            messages.enqueue_many(
                conn, [_wanted("k:1", "UP-1", phone="+998901112233"), bad], now=NOW
            )
        assert messages.outbox(conn) == []
        assert messages.contact_of(conn, "UP-1") is None
        assert messages.enqueue_many(conn, [], now=NOW) == []
