"""Tariff versions as files, read once in the life of a process: a version never changes."""

from billing.tariffs import service as tariffs
from billing.tariffs.model import Tariff
from cloud.store.db import Connection

_FILES: dict[str, Tariff] = {}


def file_of(conn: Connection, digest: str) -> Tariff:
    """Return a version as its file says it."""
    if digest not in _FILES:
        _FILES.update(tariffs.by_digest(conn, [digest]))
    return _FILES[digest]
