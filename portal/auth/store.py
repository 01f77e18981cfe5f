"""SQL of the `access` schema."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries
from portal.auth.model import ApiCaller, Role, UserSpec

_SQL = Queries(Path(__file__).parent / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRow:
    """A person as stored."""

    name: str
    language: str
    calendar: str
    password_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session joined with its person."""

    login: str
    name: str
    language: str
    calendar: str
    seen_wall: datetime
    idle_seconds: int
    stepped_up_wall: datetime | None
    ended_wall: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TourRow:
    """A person as the tour shows them."""

    login: str
    name: str
    language: str
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """What a write was answered under its idempotency key."""

    fingerprint: bytes
    status: int
    body: str


def put_person(conn: Connection, user: UserSpec, *, password_hash: str, now: datetime) -> None:
    """Store a person and the assignments."""
    conn.execute(
        _SQL["upsert_person"],
        {
            "login": user.login, "name": user.name, "language": user.language,
            "calendar": user.calendar, "password_hash": password_hash, "made_at": now,
        },
    )  # fmt: skip
    for role in user.roles:
        points = user.usage_points if role is Role.CUSTOMER else ("",)
        for point in points:
            conn.execute(
                _SQL["insert_assignment"],
                {"login": user.login, "role": role.value, "unit": user.unit,
                 "usage_point": point, "granted_at": now},
            )  # fmt: skip


def person(conn: Connection, login: str) -> PersonRow | None:
    """Return an enabled person."""
    row = conn.execute(_SQL["person_by_login"], {"login": login}).fetchone()
    if row is None:
        return None
    name, language, calendar, password_hash = row
    return PersonRow(name=name, language=language, calendar=calendar, password_hash=password_hash)


def people(conn: Connection, logins: Sequence[str]) -> list[TourRow]:
    """Return the enabled people among `logins`."""
    return [
        TourRow(
            login=login, name=name, language=language, roles=tuple(Role(role) for role in roles)
        )
        for login, name, language, roles in conn.execute(_SQL["people"], {"logins": list(logins)})
    ]


def assignments(conn: Connection, login: str) -> list[tuple[Role, str, str]]:
    """Return (role, unit, usage point) of a person."""
    rows = conn.execute(_SQL["assignments_of"], {"login": login})
    return [(Role(role), unit, point) for role, unit, point in rows]


def failures(conn: Connection, *, login: str, address: str, since: datetime) -> tuple[int, int]:
    """Return failed tries since an instant, of the account and from the address."""
    row = conn.execute(
        _SQL["count_failures"], {"login": login, "address": address, "since": since}
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def put_attempt(
    conn: Connection, *, login: str, address: str, wall: datetime, success: bool
) -> None:
    """Store one try at a password."""
    conn.execute(
        _SQL["insert_attempt"],
        {"login": login, "address": address, "at_wall": wall, "success": success},
    )


def put_session(
    conn: Connection, *, token_hash: bytes, login: str, wall: datetime, idle_seconds: int,
    stepped_up: datetime | None, address: str,
) -> None:  # fmt: skip
    """Store a new session."""
    conn.execute(
        _SQL["insert_session"],
        {"token_hash": token_hash, "login": login, "wall": wall, "idle_seconds": idle_seconds,
         "stepped_up": stepped_up, "address": address},
    )  # fmt: skip


def session(conn: Connection, token_hash: bytes) -> SessionRow | None:
    """Return a session, alive or not."""
    row = conn.execute(_SQL["session_by_token"], {"token_hash": token_hash}).fetchone()
    if row is None:
        return None
    login, name, language, calendar, seen, idle, stepped_up, ended = row
    return SessionRow(
        login=login, name=name, language=language, calendar=calendar, seen_wall=seen,
        idle_seconds=idle, stepped_up_wall=stepped_up, ended_wall=ended,
    )  # fmt: skip


def touch(conn: Connection, token_hash: bytes, wall: datetime) -> None:
    """Note that the session was used."""
    conn.execute(_SQL["touch_session"], {"token_hash": token_hash, "wall": wall})


def step_up(conn: Connection, token_hash: bytes, wall: datetime) -> None:
    """Note that the password was given again."""
    conn.execute(_SQL["step_up_session"], {"token_hash": token_hash, "wall": wall})


def end(conn: Connection, token_hash: bytes, wall: datetime) -> None:
    """End a session for good."""
    conn.execute(_SQL["end_session"], {"token_hash": token_hash, "wall": wall})


def set_language(conn: Connection, login: str, *, language: str, calendar: str) -> None:
    """Keep how a person reads."""
    conn.execute(_SQL["set_language"], {"login": login, "language": language, "calendar": calendar})


def put_api_key(
    conn: Connection, *, key_hash: bytes, name: str, channel: str, scopes: Sequence[str],
    now: datetime,
) -> None:  # fmt: skip
    """Store the key of a machine, replacing an older one of that name."""
    conn.execute(
        _SQL["upsert_api_key"],
        {"key_hash": key_hash, "name": name, "channel": channel, "scopes": list(scopes),
         "made_at": now},
    )  # fmt: skip


def api_caller(conn: Connection, key_hash: bytes) -> ApiCaller | None:
    """Return whose key this is."""
    row = conn.execute(_SQL["api_key_by_hash"], {"key_hash": key_hash}).fetchone()
    if row is None:
        return None
    return ApiCaller(name=row[0], channel=row[1], scopes=frozenset(row[2]))


def answer(conn: Connection, *, caller: str, key: str) -> StoredAnswer | None:
    """Return what was answered under this key."""
    row = conn.execute(_SQL["answer_of"], {"caller": caller, "key": key}).fetchone()
    if row is None:
        return None
    return StoredAnswer(fingerprint=bytes(row[0]), status=row[1], body=row[2])


def put_answer(
    conn: Connection, *, caller: str, key: str, reply: StoredAnswer, wall: datetime
) -> None:
    """Keep an answer for repeats."""
    conn.execute(
        _SQL["insert_answer"],
        {"caller": caller, "key": key, "fingerprint": reply.fingerprint, "status": reply.status,
         "body": reply.body, "wall": wall},
    )  # fmt: skip
