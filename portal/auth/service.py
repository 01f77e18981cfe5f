"""Use cases of sign-in: people, sessions, step-up, keys of machines. Times are wall time."""

import hashlib
import secrets
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from cloud.store import audit
from cloud.store.db import Database
from portal.auth import rules, store
from portal.auth.model import AccessRefusal, ApiCaller, Role, SignedIn, UserSpec
from protocols.errors import RefusedError

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""*Source*: OWASP password storage: argon2id with 19 MiB, two passes; about 70 ms each."""
_HASHING = threading.BoundedSemaphore(2)
"""More at once would starve every stream this process serves."""
_NOBODY = _HASHER.hash(secrets.token_hex(16))
"""Checked when the login is unknown, so that both answers take equally long."""
_TOUCH_EVERY = timedelta(seconds=60)


def digest(secret: str) -> bytes:
    """Return what the database keeps of a 256-bit secret."""
    return hashlib.sha256(secret.encode()).digest()


def form_token_of(secret: str) -> str:
    """Return the token that forms carry: derived from the cookie's secret, useless as a cookie."""
    return hashlib.sha256(b"form:" + secret.encode()).hexdigest()[:40]


def ensure_users(db: Database, users: Sequence[UserSpec], now: datetime) -> None:
    """Make every one of `users` able to sign in with exactly these passwords and roles."""
    for user in users:
        with db.transaction() as conn:
            known = store.person(conn, user.login)
        if known is not None and _fits(known.password_hash, user.password):
            hashed = known.password_hash
        else:
            with _HASHING:
                hashed = _HASHER.hash(user.password)
        with db.transaction() as conn:
            store.put_person(conn, user, password_hash=hashed, now=now)
            if known is None:
                audit.record(
                    conn, at=now, actor="system:portal", action="access.person.made",
                    entity="person", entity_id=user.login,
                    after={"roles": [role.value for role in user.roles]},
                )  # fmt: skip


def ensure_api_key(
    db: Database, *, name: str, channel: str, secret: str, scopes: Sequence[str], now: datetime
) -> None:
    """Let the machine `name` act on `channel` with the key `secret`."""
    with db.transaction() as conn:
        store.put_api_key(
            conn, key_hash=digest(secret), name=name, channel=channel, scopes=scopes, now=now
        )


def sign_in(db: Database, *, login: str, password: str, address: str, wall_now: datetime) -> str:
    """
    Return the secret of a new session.

    Raises: RefusedError `wrong_password` or `too_many_tries`; both are counted.
    """
    with db.transaction() as conn:
        of_login, of_address = store.failures(
            conn, login=login, address=address, since=wall_now - rules.WINDOW
        )
        known = store.person(conn, login)
    refusal = rules.refuse_attempt(login_failures=of_login, address_failures=of_address)
    if refusal is not None:
        raise RefusedError(refusal, "too many failed tries", fix="wait a quarter of an hour")
    fits = _fits(known.password_hash if known else _NOBODY, password)
    with db.transaction() as conn:
        success = fits and known is not None
        store.put_attempt(conn, login=login, address=address, wall=wall_now, success=success)
    if not success:
        raise RefusedError(AccessRefusal.WRONG_PASSWORD, "name and password do not belong together")
    return _open_session(db, login=login, address=address, wall_now=wall_now)


def _open_session(db: Database, *, login: str, address: str, wall_now: datetime) -> str:
    secret = secrets.token_urlsafe(32)
    with db.transaction() as conn:
        roles = [role for role, _, _ in store.assignments(conn, login)]
        store.put_session(
            conn, token_hash=digest(secret), login=login, wall=wall_now,
            idle_seconds=int(rules.idle_of(roles).total_seconds()), stepped_up=None,
            address=address,
        )  # fmt: skip
    return secret


def who_is(db: Database, secret: str, *, wall_now: datetime) -> SignedIn | None:
    """Return the person behind a session's secret, or None when there is none any more."""
    if not secret or len(secret) > 100:
        return None
    token_hash = digest(secret)
    with db.transaction() as conn:
        row = store.session(conn, token_hash)
        if row is None or not rules.is_alive(
            seen_wall=row.seen_wall, idle=timedelta(seconds=row.idle_seconds),
            ended_wall=row.ended_wall, wall_now=wall_now,
        ):  # fmt: skip
            return None
        if wall_now - row.seen_wall > _TOUCH_EVERY:
            store.touch(conn, token_hash, wall_now)
        held = store.assignments(conn, row.login)
    return SignedIn(
        login=row.login,
        name=row.name,
        language=row.language,
        calendar=row.calendar,
        roles=frozenset(role for role, _, _ in held),
        usage_points=tuple(point for role, _, point in held if role is Role.CUSTOMER),
        units=tuple(unit for _, unit, _ in held if unit),
        stepped_up_wall=row.stepped_up_wall,
        form_token=form_token_of(secret),
    )


def step_up(
    db: Database, secret: str, *, password: str, address: str, now: datetime, wall_now: datetime
) -> None:
    """
    Confirm that the person of the session is at the screen right now.

    Raises: RefusedError `wrong_password`, `too_many_tries`, `not_signed_in`.
    """
    person = who_is(db, secret, wall_now=wall_now)
    if person is None:
        raise RefusedError(AccessRefusal.NOT_SIGNED_IN, "the session has ended")
    with db.transaction() as conn:
        of_login, of_address = store.failures(
            conn, login=person.login, address=address, since=wall_now - rules.WINDOW
        )
        known = store.person(conn, person.login)
    refusal = rules.refuse_attempt(login_failures=of_login, address_failures=of_address)
    if refusal is not None:
        raise RefusedError(refusal, "too many failed tries", fix="wait a quarter of an hour")
    success = known is not None and _fits(known.password_hash, password)
    with db.transaction() as conn:
        store.put_attempt(conn, login=person.login, address=address, wall=wall_now, success=success)
        if success:
            store.step_up(conn, digest(secret), wall_now)
            audit.record(
                conn, at=now, actor=person.actor, action="access.stepped_up", entity="person",
                entity_id=person.login,
            )  # fmt: skip
    if not success:
        raise RefusedError(AccessRefusal.WRONG_PASSWORD, "the password is not yours")


def sign_out(db: Database, secret: str, *, wall_now: datetime) -> None:
    """End the session."""
    with db.transaction() as conn:
        store.end(conn, digest(secret), wall_now)


def keep_language(db: Database, login: str, *, language: str, calendar: str) -> None:
    """Remember how a person reads."""
    with db.transaction() as conn:
        store.set_language(conn, login, language=language, calendar=calendar)


def tour_people(db: Database, logins: Sequence[str]) -> list[store.TourRow]:
    """Return those of `logins` who may sign in, for the demo's tour."""
    with db.transaction() as conn:
        return store.people(conn, logins)


def caller_of(db: Database, key: str) -> ApiCaller | None:
    """Return the machine whose key this is."""
    if not key or len(key) > 200:
        return None
    with db.transaction() as conn:
        return store.api_caller(conn, digest(key))


def answer_of(db: Database, *, caller: str, key: str, fingerprint: bytes) -> tuple[int, str] | None:
    """
    Return the answer given earlier under `key`, or None when it is new.

    Raises: RefusedError `key_reused` when the key came with another body.
    """
    with db.transaction() as conn:
        found = store.answer(conn, caller=caller, key=key)
    if found is None:
        return None
    if found.fingerprint != fingerprint:
        raise RefusedError(
            AccessRefusal.KEY_REUSED,
            "this Idempotency-Key came before with another body",
            fix="draw a new key for each intent, and repeat a try with the same body",
        )
    return found.status, found.body


def keep_answer(
    db: Database, *, caller: str, key: str, fingerprint: bytes, status: int, body: str,
    wall_now: datetime,
) -> None:  # fmt: skip
    """Keep the answer of a write for its repeats."""
    with db.transaction() as conn:
        store.put_answer(
            conn, caller=caller, key=key, wall=wall_now,
            reply=store.StoredAnswer(fingerprint=fingerprint, status=status, body=body),
        )  # fmt: skip


def _fits(hashed: str, password: str) -> bool:
    with _HASHING:
        try:
            return _HASHER.verify(hashed, password)
        except VerificationError:
            return False
