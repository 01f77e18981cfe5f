"""Use cases of rating: publish a tariff that proves itself, and hand out compiled versions."""

from collections.abc import Sequence
from datetime import datetime

from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_between
from billing.tariffs import rules as tariff_rules
from billing.tariffs import service as tariffs
from billing.tariffs.model import Case, Refusal, Tariff
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


def prove(document: bytes) -> tuple[Tariff, CompiledTariff]:
    """
    Return a tariff file's content and arrays once its own cases hold in kernel and oracle alike.

    Raises: RefusedError naming the step, rounding, bound or case that is wrong.
    """
    tariff = tariff_rules.read_tariff(document)
    compiled = compile_tariff(tariff, tariff_rules.digest(tariff_rules.canonical(document)))
    for case in tariff.test_cases:
        if not isinstance(case, Case):
            raise _case(case.name, "usage cases are not priced yet")
        if not 0 <= case.from_wh <= case.to_wh <= tariff.largest_year_wh:
            raise _case(case.name, "its kWh are not in order, or beyond largest_year_kwh")
        said = kernel.fee_between(compiled, case.from_wh, case.to_wh)
        if said != case.total:
            raise _case(case.name, f"it expects {case.total} micros, the kernel says {said}")
        second = oracle_between(tariff, case.from_wh, case.to_wh)
        if second != said:
            raise _case(case.name, f"the kernel says {said} micros, the oracle {second}")
    return tariff, compiled


def publish(db: Database, document: bytes, *, actor: str, now: datetime) -> str:
    """
    Prove and store a tariff version; return its digest. The same file again changes nothing.

    Raises: RefusedError, and nothing is stored.
    """
    tariff, _ = prove(document)
    with db.transaction() as conn:
        return tariffs.keep(conn, tariff, document=document, actor=actor, now=now)


def compiled(conn: Connection, digests: Sequence[str]) -> dict[str, CompiledTariff]:
    """Return versions as arrays; each is compiled once in the life of a process."""
    found = {digest: _CACHE[digest] for digest in set(digests) if digest in _CACHE}
    missing = set(digests) - found.keys()
    if missing:
        for digest, tariff in tariffs.by_digest(conn, sorted(missing)).items():
            found[digest] = _CACHE[digest] = compile_tariff(tariff, digest)
    return found


_CACHE: dict[str, CompiledTariff] = {}
"""Versions are immutable and named by their content, so an entry can never be stale."""


def _case(name: str, message: str) -> RefusedError:
    return RefusedError(
        Refusal.CASE, f"test case {name!r}: {message}", fix="correct the prices or the case"
    )
