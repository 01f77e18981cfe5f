"""Rows of messages and contacts."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from cloud.messages.model import (
    Contact,
    Draft,
    Kind,
    Language,
    Message,
    MessageId,
    MessageState,
    Mode,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent / "sql")
_TEMPLATES = Path(__file__).parent / "templates"


class Due(NamedTuple):
    """A message that the gateway should get now."""

    id: MessageId
    phone: str
    text: str
    tries: int


def template(kind: Kind, language: Language) -> str:
    """Return the template of a kind in a language."""
    return (_TEMPLATES / language.value / f"{kind.value}.txt").read_text(encoding="utf-8").strip()


def insert(conn: Connection, draft: Draft, *, now: datetime) -> MessageId | None:
    """Insert a message; None when its dedupe key was used before."""
    values = {**_values(draft), "variables": Jsonb(_plain(draft.variables)), "now": now}
    row = conn.execute(_SQL["insert_message"], values).fetchone()
    return MessageId(row[0]) if row else None


def insert_many(
    conn: Connection, drafts: Sequence[Draft], *, now: datetime
) -> dict[str, MessageId]:
    """Insert messages in their order; return the ids of those inserted by dedupe key."""
    rows = [_values(draft) for draft in drafts]
    columns = {f"{name}s": [row[name] for row in rows] for name in rows[0]} if rows else {}
    columns["variables"] = [json.dumps(_plain(draft.variables)) for draft in drafts]
    found = conn.execute(_SQL["insert_messages"], {**columns, "now": now})
    return {key: MessageId(id_) for id_, key in found}


def due(conn: Connection, *, wall_now: datetime, limit: int) -> list[Due]:
    """Return queued messages whose next try has come."""
    rows = conn.execute(_SQL["due_messages"], {"wall_now": wall_now, "limit": limit}).fetchall()
    return [Due(MessageId(id_), phone, text, tries) for id_, phone, text, tries in rows]


def lock(conn: Connection, id_: MessageId) -> MessageState | None:
    """Lock a message and return its state, or None."""
    row = conn.execute(_SQL["lock_message"], {"id": id_}).fetchone()
    return MessageState(row[0]) if row else None


def move(
    conn: Connection, id_: MessageId, *, state: MessageState, cause: str, now: datetime
) -> None:
    """Write a move of a locked message."""
    values = {"id": id_, "state": state.value, "cause": cause, "now": now}
    conn.execute(_SQL["move_message"], values)


def put_off(conn: Connection, id_: MessageId, *, next_try_wall: datetime, cause: str) -> None:
    """Count a try that failed and say when the next one is."""
    values = {"id": id_, "next_try_wall": next_try_wall, "cause": cause}
    conn.execute(_SQL["put_off_message"], values)


def messages_of(conn: Connection, subject: str, *, limit: int) -> list[Message]:
    """Return messages about one subject, newest first."""
    rows = conn.execute(_SQL["messages_of"], {"subject": subject, "limit": limit}).fetchall()
    return [_message(row) for row in rows]


def newest(conn: Connection, *, limit: int) -> list[Message]:
    """Return the newest messages."""
    return [_message(row) for row in conn.execute(_SQL["newest_messages"], {"limit": limit})]


def counts(conn: Connection) -> dict[str, int]:
    """Return how many messages stand in each state."""
    rows = conn.execute(_SQL["message_counts"]).fetchall()
    return {state: int(count) for state, count in rows}


def upsert_contact(conn: Connection, contact: Contact, *, now: datetime) -> None:
    """Insert or replace how a subject is reached."""
    values = {
        "subject": contact.subject, "phone": contact.phone, "language": contact.language.value,
        "mode": contact.mode.value, "problem": contact.problem, "now": now,
    }  # fmt: skip
    conn.execute(_SQL["upsert_contact"], values)


def contact(conn: Connection, subject: str) -> Contact | None:
    """Return how a subject is reached, or None."""
    row = conn.execute(_SQL["contact"], {"subject": subject}).fetchone()
    return _contact(row) if row else None


def upsert_contacts(conn: Connection, contacts: Sequence[Contact], *, now: datetime) -> None:
    """Insert or replace how subjects are reached, each named once."""
    columns = {
        "subjects": [each.subject for each in contacts],
        "phones": [each.phone for each in contacts],
        "languages": [each.language.value for each in contacts],
        "modes": [each.mode.value for each in contacts],
        "problems": [each.problem for each in contacts],
    }
    conn.execute(_SQL["upsert_contacts"], {**columns, "now": now})


def contacts(conn: Connection, subjects: Sequence[str]) -> dict[str, Contact]:
    """Return how each of the subjects that has a contact is reached."""
    rows = conn.execute(_SQL["contacts"], {"subjects": list(subjects)})
    return {row[0]: _contact(row) for row in rows}


def contacts_with_problem(conn: Connection, *, limit: int) -> list[Contact]:
    """Return contacts whose number cannot be used."""
    rows = conn.execute(_SQL["contacts_with_problem"], {"limit": limit}).fetchall()
    return [_contact(row) for row in rows]


def _values(draft: Draft) -> dict[str, Any]:
    return {
        "dedupe_key": draft.dedupe_key, "kind": draft.kind.value, "subject": draft.subject,
        "phone": draft.phone, "language": draft.language.value, "text": draft.text,
        "channel": draft.channel.value, "state": draft.state.value, "cause": draft.cause,
        "segment_count": draft.segments,
    }  # fmt: skip


def _plain(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in variables.items()
    }


def _contact(row: Sequence[Any]) -> Contact:
    subject, phone, language, mode, problem = row
    return Contact(
        subject=subject, phone=phone, language=Language(language), mode=Mode(mode),
        problem=problem,
    )  # fmt: skip


def _message(row: Sequence[Any]) -> Message:
    (id_, number, kind, subject, phone, language, text, channel, state, cause, segments,
     enqueued_at, sent_at, delivered_at) = row  # fmt: skip
    return Message(
        id=MessageId(id_), number=number, kind=Kind(kind), subject=subject, phone=phone,
        language=Language(language), text=text, channel=Mode(channel), state=MessageState(state),
        cause=cause, segments=segments, enqueued_at=enqueued_at, sent_at=sent_at,
        delivered_at=delivered_at,
    )  # fmt: skip
