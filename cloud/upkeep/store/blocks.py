"""The named SQL blocks of upkeep, and the database's own refusals by name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from cloud.store.sql import Queries
from cloud.upkeep.model import Refusal
from protocols.errors import RefusedError

SQL = Queries(Path(__file__).parent.parent / "sql")

_REFUSAL_OF_CONSTRAINT = {
    "image_version_once": Refusal.IMAGE_DIFFERS,
    "image_size": Refusal.IMAGE_SIZE,
    "image_identifier": Refusal.IMAGE_SIZE,
    "image_named": Refusal.IMAGE_DIFFERS,
    "image_by_person": Refusal.NOT_A_PERSON,
    "rollout_two_people": Refusal.SAME_PERSON,
    "rollout_by_person": Refusal.NOT_A_PERSON,
    "rollout_approved_by_person": Refusal.NOT_A_PERSON,
    "rollout_approved": Refusal.BACKSTOP,
    "errand_one_open": Refusal.BUSY,
    "upkeep_not_approved": Refusal.BACKSTOP,
    "upkeep_late_target": Refusal.BACKSTOP,
    "upkeep_rewrite": Refusal.BACKSTOP,
}


@contextmanager
def refusals() -> Iterator[None]:
    """
    Turn a named constraint of this schema into the refusal that it stands for.

    Raises: RefusedError. The transaction is broken then: let it roll back.
    """
    try:
        yield
    except psycopg.IntegrityError as error:
        refusal = _REFUSAL_OF_CONSTRAINT.get(error.diag.constraint_name or "")
        if refusal is None:
            raise
        raise RefusedError(refusal, error.diag.message_primary or refusal.value) from error


def plain(value: Any, depth: int = 8) -> Any:
    """Return `value` in JSON's types: octets as hex, anything odd as text, NUL left out."""
    if depth and isinstance(value, Mapping):
        return {
            str(key)[:100].replace("\x00", ""): plain(item, depth - 1)
            for key, item in list(value.items())[:100]
        }
    if depth and isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value[:1000]]
    if isinstance(value, bytes):
        return value[:500].hex()
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)[:500].replace("\x00", "")
