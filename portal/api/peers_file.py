"""The peers that have payment doors of their own, from a file that holds their secrets."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from billing.payments.rules.payme import Door
from billing.payments.rules.sealing import KeyRing, parse_ring
from billing.payments.rules.signed import Signer


class _PaymeIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    channel: str = Field(min_length=1)
    login: str = Field(min_length=1)
    key: str = Field(min_length=16)
    currency: str = Field(min_length=3, max_length=3)
    account_field: str = Field(default="account", min_length=1)


class _SignerIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    key_id: str = Field(min_length=1)
    channel: str = Field(min_length=1)
    secret: str = Field(min_length=32)
    may_say_taken: bool = False


class _FileIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    payme: _PaymeIn | None = None
    signed: list[_SignerIn] = Field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Who may come through which door."""

    payme: Door | None
    signers: dict[str, Signer]


@cache
def peers_of(file: str) -> Peers:
    """
    Return the peers that a file names, none without a file; read once.

    Raises: PermissionError when others may read its secrets, ValidationError when it is wrong.
    """
    if not file:
        return Peers(payme=None, signers={})
    found = _FileIn.model_validate(json.loads(_secret_text(file)))
    return Peers(
        payme=Door(**found.payme.model_dump()) if found.payme else None,
        signers={each.key_id: Signer(**each.model_dump()) for each in found.signed},
    )


@cache
def ring_of(file: str) -> KeyRing | None:
    """
    Return the keys that seal peers' messages, None without a file; read once.

    Raises: PermissionError when others may read them, ValueError when the file is wrong.
    """
    return parse_ring(_secret_text(file)) if file else None


def _secret_text(file: str) -> str:
    path = Path(file)
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} holds secrets: let nobody but its owner read it (mode 0600)")
    return path.read_text(encoding="utf-8")
