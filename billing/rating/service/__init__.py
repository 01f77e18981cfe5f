"""Use cases of rating: publish a tariff that proves itself, and hand out compiled versions."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise

from billing.rating.model import Charges, CompiledTariff, UseColumns
from billing.rating.rules import fused, kernel
from billing.rating.rules.columns import check_columns
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_between, oracle_charges
from billing.rating.rules.usage import use_of
from billing.tariffs import rules as tariff_rules
from billing.tariffs import service as tariffs
from billing.tariffs.model import Case, Refusal, Tariff, UsageCase
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
        if isinstance(case, UsageCase):
            _prove_usage(tariff, compiled, case)
        else:
            _prove_counters(tariff, compiled, case)
    return tariff, compiled


def _prove_counters(tariff: Tariff, compiled: CompiledTariff, case: Case) -> None:
    if not 0 <= case.from_wh <= case.to_wh <= tariff.largest_year_wh:
        raise _case(case.name, "its kWh are not in order, or beyond largest_year_kwh")
    said = kernel.fee_between(compiled, case.from_wh, case.to_wh)
    if said != case.total:
        raise _case(case.name, f"it expects {case.total} micros, the kernel says {said}")
    second = oracle_between(tariff, case.from_wh, case.to_wh)
    if second != said:
        raise _case(case.name, f"the kernel says {said} micros, the oracle {second}")


def _prove_usage(tariff: Tariff, compiled: CompiledTariff, case: UsageCase) -> None:
    try:
        use = use_of(tariff, case.usage)
    except RefusedError as error:
        raise _case(case.name, str(error)) from error
    charges = kernel.price_uses(compiled, [use])
    ids = [line.head.id for line in compiled.lines]
    said = dict(zip(ids, charges.lines[:, 0].tolist(), strict=True))
    total = int(charges.total[0])
    for name, expected in {**case.lines, "total": case.total}.items():
        found = total if name == "total" else said.get(name)
        if found != expected:
            raise _case(case.name, f"{name}: it expects {expected} micros, the kernel says {found}")
    second = oracle_charges(tariff, use)
    if (dict(second.lines), second.total) != (said, total):
        wrong = [name for name in ids if second.lines[name] != said[name]] or ["total"]
        raise _case(case.name, f"kernel and oracle differ in {', '.join(wrong)}")


def price_columns(
    tariff: CompiledTariff, use: UseColumns, *, threads: int, room: Charges | None = None
) -> Charges:
    """
    Return `kernel.price` of many accounts, in slices by threads of this process.

    With numba the kernel works without the interpreter's lock, so slices run side by side. `room`
    is written over and returned: a caller of many batches of one shape keeps one.
    """
    edges = [use.accounts * n // threads for n in range(threads + 1)]
    charges = kernel.empty_charges(tariff, use) if room is None else room
    check_columns(tariff, use)
    fused.loops()  # compiled once, not by each thread
    with ThreadPoolExecutor(threads) as pool:
        list(
            pool.map(
                lambda pair: kernel.price_into(tariff, use, pair[0], pair[1], charges),
                pairwise(edges),
            )
        )
    return charges


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
