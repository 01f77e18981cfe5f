"""Use cases of messages: know how somebody is reached, enqueue once, note what became of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from cloud.messages import store
from cloud.messages.model import (
    MESSAGE_MOVES,
    Contact,
    Draft,
    Kind,
    Language,
    Message,
    MessageEvent,
    MessageId,
    MessageState,
    Mode,
    Wanted,
)
from cloud.messages.rules import phones, text
from cloud.store.db import Connection, Database

__all__ = [
    "Kind", "contact_of", "counts", "due", "enqueue", "enqueue_many", "invalid_phones",
    "messages_of", "note", "outbox", "put_off", "set_contact",
]  # fmt: skip

DEFAULT_LANGUAGE = Language.EN


def set_contact(
    conn: Connection,
    *,
    subject: str,
    phone: str,
    language: str,
    now: datetime,
    mode: str = "sms",
) -> None:
    """
    Say how a subject (a usage point, an account, a crew) is reached and in which language.

    A number that cannot be used is kept with its problem (F11); such a subject gets paper.
    """
    store.upsert_contact(conn, _contact(subject, phone, language, Mode(mode)), now=now)


def contact_of(conn: Connection, subject: str) -> Contact | None:
    """Return how a subject is reached, or None."""
    return store.contact(conn, subject)


def invalid_phones(conn: Connection, *, limit: int = 500) -> list[Contact]:
    """Return the contacts whose number cannot be used, each with its problem (F11)."""
    return store.contacts_with_problem(conn, limit=limit)


def enqueue(
    conn: Connection,
    *,
    dedupe_key: str,
    kind: Kind | str,
    subject: str,
    variables: Mapping[str, Any],
    now: datetime,
    phone: str | None = None,
    language: str | None = None,
) -> MessageId | None:
    """
    Put a message into the outbox in the caller's transaction, once per `dedupe_key`.

    `phone` and `language` come from the subject's contact where not given, and become it where
    the subject has none yet. Without a usable number, or where the customer wants paper, the
    channel is paper (D3, F7). Return None when the key was used before.

    Raises: TemplateError when a required variable is missing.
    """
    known = store.contact(conn, subject)
    if known is None and phone is not None:
        set_contact(
            conn, subject=subject, phone=phone, language=language or DEFAULT_LANGUAGE, now=now
        )
    wanted = Wanted(
        dedupe_key=dedupe_key, kind=Kind(kind), subject=subject, variables=variables, phone=phone,
        language=language,
    )  # fmt: skip
    return store.insert(conn, _draft(wanted, known), now=now)


def enqueue_many(
    conn: Connection, wanted: Sequence[Wanted], *, now: datetime
) -> list[MessageId | None]:
    """
    Enqueue messages in their order, to the effect of `enqueue` one by one, in three statements.

    Raises: TemplateError when a required variable is missing; then nothing was written.
    """
    if not wanted:
        return []
    contacts = store.contacts(conn, sorted({each.subject for each in wanted}))
    fresh: dict[str, Contact] = {}
    drafts = []
    for each in wanted:
        known = contacts.get(each.subject)
        drafts.append(_draft(each, known))
        if known is None and each.phone is not None:
            # as the next message to the same subject would find it
            made = _contact(each.subject, each.phone, each.language or DEFAULT_LANGUAGE, Mode.SMS)
            contacts[each.subject] = fresh[each.subject] = made
    if fresh:
        store.upsert_contacts(conn, list(fresh.values()), now=now)
    ids = store.insert_many(conn, drafts, now=now)
    # of messages that share a key the first is the one that was written
    return [ids.pop(draft.dedupe_key, None) for draft in drafts]


def due(db: Database, *, wall_now: datetime, limit: int = 50) -> list[store.Due]:
    """Return queued messages that the gateway should get now."""
    with db.transaction() as conn:
        return store.due(conn, wall_now=wall_now, limit=limit)


def note(
    db: Database, id_: MessageId, event: MessageEvent, *, cause: str = "", now: datetime
) -> bool:
    """Note what became of a message; False for a repeat, a late report or an unknown id."""
    with db.transaction() as conn:
        state = store.lock(conn, id_)
        target = MESSAGE_MOVES.get((state, event)) if state else None
        if target is None:
            return False
        store.move(conn, id_, state=target, cause=cause, now=now)
        return True


def put_off(db: Database, id_: MessageId, *, next_try_wall: datetime, cause: str) -> None:
    """Note that the gateway did not take a message and when to try again."""
    with db.transaction() as conn:
        store.put_off(conn, id_, next_try_wall=next_try_wall, cause=cause)


def messages_of(conn: Connection, subject: str, *, limit: int = 50) -> list[Message]:
    """Return messages about one subject, newest first."""
    return store.messages_of(conn, subject, limit=limit)


def outbox(conn: Connection, *, limit: int = 200) -> list[Message]:
    """Return the newest messages about anybody (F12)."""
    return store.newest(conn, limit=limit)


def counts(conn: Connection) -> dict[str, int]:
    """Return how many messages stand in each state."""
    return store.counts(conn)


@lru_cache(maxsize=64)
def _template(kind: Kind, language: Language) -> str:
    return store.template(kind, language)


def _contact(subject: str, phone: str, language: str, mode: Mode) -> Contact:
    problem = phones.phone_problem(phone)
    return Contact(
        subject=subject, phone=phone if problem else phones.canonical(phone),
        language=Language(language), mode=mode, problem=problem or "",
    )  # fmt: skip


def _draft(wanted: Wanted, known: Contact | None) -> Draft:
    """Return the message as it goes out to a subject that is reached as `known` says."""
    phone, kind = wanted.phone, wanted.kind
    tongue = (
        Language(wanted.language) if wanted.language
        else known.language if known else DEFAULT_LANGUAGE
    )  # fmt: skip
    number = phone if phone is not None else known.phone if known else ""
    problem = phones.phone_problem(number)
    wants_paper = phone is None and known is not None and known.mode is Mode.PAPER
    paper = wants_paper or problem is not None
    shown = text.render(_template(kind, tongue), kind, tongue, wanted.variables)
    return Draft(
        dedupe_key=wanted.dedupe_key, kind=kind, subject=wanted.subject,
        phone=number if problem else phones.canonical(number), language=tongue,
        variables=wanted.variables, text=shown, channel=Mode.PAPER if paper else Mode.SMS,
        state=MessageState.PAPER if paper else MessageState.QUEUED,
        cause=f"phone {problem}" if problem else "", segments=text.segments(shown),
    )  # fmt: skip
