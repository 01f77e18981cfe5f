"""
The signing process: polls for what waits, holds the only key that meters' agents believe.

It speaks to nobody but the database; who wants a cut signed has to pass its rules.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.signer import service
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import Status, count, rest
from protocols.timeline import TimeScale

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1
_OTHERS_MAY_READ = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerConfig:
    """Where the database is and the file with the raw Ed25519 key in hex, mode 0600."""

    dsn: str
    signer_key_file: str
    scale: TimeScale = field(default_factory=TimeScale)
    user: str = "meterloop_signer"


class KeyFileError(Exception):
    """The key file cannot be used; the message says why and what to do, never its content."""


def load_key(file: Path) -> Ed25519PrivateKey:
    """Return the key in a file of 64 hex digits. Raises: KeyFileError."""
    try:
        if file.stat().st_mode & _OTHERS_MAY_READ:
            raise KeyFileError(f"{file.name}: others may read it; chmod 600 it")
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text().strip()))
    except OSError as error:
        raise KeyFileError(f"{file.name}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise KeyFileError(f"{file.name}: must be 64 hex digits, an Ed25519 key") from error


async def run(
    config: SignerConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
) -> None:
    """Sign until `stop`; a database that is away is tried again. Raises: KeyFileError at start."""
    key = load_key(Path(config.signer_key_file))
    clock = Clock(scale=config.scale)
    status.update(signed=0, refused=0)
    with Database(config.dsn, user=config.user, application="meterloop-signer", size=2) as db:
        ready()
        while not stop.is_set():
            try:
                signed, refused = await asyncio.to_thread(_sign_all, db, key, clock)
            except TransientDatabaseError as error:
                cause = f"{type(error).__name__}"
                _LOG.warning("signer.database.away", extra={"fields": {"cause": cause}})
            else:
                count(status, "signed", signed)
                count(status, "refused", refused)
                if refused:
                    _LOG.warning("signer.refused", extra={"fields": {"count": refused}})
            await rest(stop, _POLL_SECONDS)


def _sign_all(db: Database, key: Ed25519PrivateKey, clock: Clock) -> tuple[int, int]:
    """Sign what moves switches first, then what keeps agents and meters in order."""
    switches = service.sign_waiting(db, key, clock)
    others = service.sign_upkeep(db, key, clock)
    return switches[0] + others[0], switches[1] + others[1]
