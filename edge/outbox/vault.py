"""
New keys of meters, sealed on disk: those on their way to a meter and those that it answered with.

    pending    about to be sent, or sent and not yet answered with; the current ones still hold
    current    the meter has answered with them; they hold instead of those in the key file

Sealed by AES-256-GCM under a key made from the transport key, bound to meter and role.
*Source*: NIST SP 800-38D.
"""

import hmac
import os
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge.config import ConfigError, KeyRing, MeterKeys
from edge.failpoint import reach
from edge.outbox.database import OutboxDatabase
from protocols.identity import MeterId
from protocols.mqtt.upkeep import NONCE_OCTETS, NewKeys

_CURRENT, _PENDING = "current", "pending"


class KeyVault:
    """The vault of one agent. Raises: OutboxError from every call when the disk refuses."""

    def __init__(self, database: OutboxDatabase, transport_key: bytes) -> None:
        """Open it; `transport_key` has 32 octets."""
        self._database = database
        self._cipher = AESGCM(hmac.digest(transport_key, b"vault of keys", "sha256"))

    def current(self, meter: MeterId) -> NewKeys | None:
        """Return the keys that a meter has been given. Raises: ConfigError when they are closed."""
        return self._read(meter, _CURRENT)

    def pending(self, meter: MeterId) -> NewKeys | None:
        """Return the keys that a meter may have by now. Raises: ConfigError."""
        return self._read(meter, _PENDING)

    def undecided(self) -> list[MeterId]:
        """Return the meters of which nobody knows yet which keys they have."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT meter FROM key_vault WHERE role = ? ORDER BY meter", (_PENDING,)
            ).fetchall()
        return [MeterId(row[0]) for row in rows]

    def over(self, keys: KeyRing, *only: MeterId) -> KeyRing:
        """Return the keys of the file, of all or `only` some, under those given since."""
        wanted = {meter: keys.of(meter) for meter in only} if only else keys.meters
        meters = {meter: self._over(meter, known) for meter, known in wanted.items()}
        return replace(keys, meters=meters)

    def keeper(self, meter: MeterId) -> "MeterVault":
        """Return the part of it that one meter's driver may use."""
        return MeterVault(self, meter)

    def pend(self, meter: MeterId, keys: NewKeys) -> None:
        """Keep keys that are about to be sent; on disk before this returns."""
        with self._database.write() as db:
            db.execute(*self._row(meter, _PENDING, keys))

    def promote(self, meter: MeterId, keys: NewKeys) -> None:
        """Make them the meter's keys; on disk before this returns."""
        with self._database.write() as db:
            db.execute(*self._row(meter, _CURRENT, keys))
            db.execute("DELETE FROM key_vault WHERE meter = ? AND role = ?", (meter, _PENDING))

    def drop(self, meter: MeterId) -> None:
        """Forget keys that the meter did not take."""
        with self._database.write() as db:
            db.execute("DELETE FROM key_vault WHERE meter = ? AND role = ?", (meter, _PENDING))

    def _over(self, meter: MeterId, known: MeterKeys) -> MeterKeys:
        given = self.current(meter)
        if given is None:
            return known
        return replace(
            known,
            encryption_key=given.encryption_key,
            authentication_key=given.authentication_key,
        )

    def _row(self, meter: MeterId, role: str, keys: NewKeys) -> tuple[str, tuple[object, ...]]:
        nonce = os.urandom(NONCE_OCTETS)
        text = keys.encryption_key + keys.authentication_key
        sealed = nonce + self._cipher.encrypt(nonce, text, _scope(meter, role))
        return (
            "INSERT INTO key_vault (meter, role, sealed) VALUES (?, ?, ?)"
            " ON CONFLICT (meter, role) DO UPDATE SET sealed = excluded.sealed",
            (meter, role, sealed),
        )

    def _read(self, meter: MeterId, role: str) -> NewKeys | None:
        with self._database.read() as db:
            row = db.execute(
                "SELECT sealed FROM key_vault WHERE meter = ? AND role = ?", (meter, role)
            ).fetchone()
        if row is None:
            return None
        sealed = bytes(row[0])
        try:
            text = self._cipher.decrypt(
                sealed[:NONCE_OCTETS], sealed[NONCE_OCTETS:], _scope(meter, role)
            )
        except (InvalidTag, ValueError):
            raise ConfigError(
                f"the keys of {meter} were sealed under another transport_key;"
                " put the earlier one back into the key file"
            ) from None
        half = len(text) // 2
        return NewKeys(encryption_key=text[:half], authentication_key=text[half:])


class MeterVault:
    """What the driver of one meter tells of its keys."""

    def __init__(self, vault: KeyVault, meter: MeterId) -> None:
        """Keep them in `vault`."""
        self._vault = vault
        self._meter = meter

    def pend(self, keys: NewKeys) -> None:
        """Keep keys that are about to be sent; on disk before this returns."""
        self._vault.pend(self._meter, keys)
        reach("edge.after_pend")

    def promote(self, keys: NewKeys) -> None:
        """Make them the meter's keys; on disk before this returns."""
        reach("edge.before_promote")
        self._vault.promote(self._meter, keys)
        reach("edge.after_promote")

    def drop(self, keys: NewKeys) -> None:  # noqa: ARG002 - there is one pending at a time
        """Forget keys that the meter did not take."""
        self._vault.drop(self._meter)


def _scope(meter: MeterId, role: str) -> bytes:
    return f"vault/{meter}/{role}".encode()
