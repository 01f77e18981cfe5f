"""Use case: count the violations of every invariant, as the read-only role `auditor`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from billing.ledger.model import Findings
from billing.ledger.service import audit_sums
from billing.payments.service import audit_payments
from billing.prepaid.service import audit_drawdowns, audit_fees
from cloud.ingest.service import retention
from cloud.store import audit as audit_log
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from meterloop.audit import rules, store
from meterloop.audit.model import AuditReport, Evidence, Finding, OutboxState
from meterloop.config import Installation
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale, to_ms
from simulators.truth import TruthFile

_GRACE_WALL_SECONDS = 60.0
"""How late a command may end after its expiry, and a seal come after its act."""


def evidence_of(
    installation: Installation, *, dsn: str = "", truth: Path | None = None
) -> Evidence:
    """Return where the evidence of an installation lies; the truth file where its simulator ran."""
    if truth is None and installation.simulator is not None:
        named = Path(str(installation.simulator.get("truth", "")))
        truth = named if named.is_file() else None
    return Evidence(
        dsn=dsn or address_of_database(installation),
        scale=TimeScale.parse(installation.time.scale),
        truth=truth,
        outboxes=tuple(
            path
            for section in installation.concentrator
            if (path := installation.data / "edge" / f"{section.id}.sqlite").exists()
        ),
    )


def audit_installation(
    installation: Installation, *, dsn: str = "", now: datetime | None = None
) -> AuditReport:
    """Count the violations in an installation; `now` is business time, else its clock's."""
    return audit(evidence_of(installation, dsn=dsn), now=now)


def audit(evidence: Evidence, *, now: datetime | None = None) -> AuditReport:
    """
    Count the violations of every invariant.

    What the agents keep is looked at first: what they have given away by then was committed, so
    the database, looked at after, must have it.
    """
    clock = Clock(scale=evidence.scale)
    outboxes = [store.outbox_state(path) for path in evidence.outboxes]
    db = Database(evidence.dsn, user="auditor", application="meterloop-audit", size=1)
    with db, db.transaction() as conn:
        store.freeze(conn)
        at = now or clock.now()
        grace = clock.wall_span(_GRACE_WALL_SECONDS)
        findings = [*_of_database(conn, outboxes, now=at, grace=grace)]
        if evidence.truth is not None:
            findings += _of_truth(conn, TruthFile(evidence.truth), outboxes)
        counts = store.counts(conn)
    return AuditReport(
        findings=_joined(findings), counts=counts, with_truth=evidence.truth is not None
    )


def _of_database(
    conn: Connection, outboxes: Sequence[OutboxState], *, now: datetime, grace: timedelta
) -> Iterator[Finding]:
    kept = {(box.concentrator, *number) for box in outboxes for number in box.numbers}
    missing = [found for found in store.missing_batches(conn) if found not in kept]
    yield Finding.of("R1", [f"{c} batch {boot}/{seq} never came" for c, boot, seq in missing])
    for block in sorted(store.SQL):
        invariant = block.split("_", 1)[0].upper()
        if invariant in _COUNTED and block not in _NOT_VIOLATIONS:
            yield Finding.of(invariant, store.violations(conn, block, {"overdue": now - grace}))
    yield Finding.of("R3", list(usage.contradictions(conn)))
    for invariant, prove in _PROOFS.items():
        found = prove(conn)
        yield Finding(invariant=invariant, violations=found.count, examples=found.examples)
    broken = audit_log.broken_seals(conn, unsealed_before=now - grace)
    yield Finding(invariant="S2", violations=broken, examples=("broken seal",) if broken else ())


_PROOFS: Mapping[str, Callable[[Connection], Findings]] = {
    "M1": audit_sums,
    "M2": audit_payments,
    "M3": audit_drawdowns,
    "M4": audit_fees,
}
"""Money is judged by billing's own proofs; M3 and M4 price anew with the oracle, not the kernel."""

_COUNTED = frozenset({"R1", "R2", "R3", "R4", "R5", "C1", "C2", "C3", "C4", "C5", "C6", "C7",
                      "M1", "M2", "M3", "M4", "M5", "S2"})  # fmt: skip
_NOT_VIOLATIONS = frozenset({
    "r1_missing_batches", "r1_stored_intervals", "r1_quarantined_intervals", "r3_stored_registers",
})  # fmt: skip


def _of_truth(
    conn: Connection, truth: TruthFile, outboxes: Sequence[OutboxState]
) -> Iterator[Finding]:
    yield from _readings_of_truth(conn, truth, outboxes)
    moves, commands = store.true_moves(truth), store.ended_commands(conn)
    released = store.released_cuts(conn)
    unallowed = [
        wrong
        for meter, own in moves.items()
        for wrong in rules.cuts_without_go(meter, own, released.get(meter, ()))
    ]
    count = sum(len(own) for own in moves.values())
    yield Finding.of("C4", unallowed, compared=count)
    dark = list(rules.protected_cuts(store.protected_meters(conn), moves))
    yield Finding.of("C2", dark, compared=count)
    against = list(rules.outcomes_against_switch(commands, moves))
    yield Finding.of("C5", against, compared=len(commands))


def _readings_of_truth(
    conn: Connection, truth: TruthFile, outboxes: Sequence[OutboxState]
) -> Iterator[Finding]:
    quarantined = store.quarantined_intervals(conn)
    # first the database, then the truth: it only grows, and what is stored closed before
    all_registers, all_intervals = store.stored_registers(conn), store.stored_intervals(conn)
    gone_ms = _gone_before_ms(conn)
    lost, altered, compared = list[str](), list[str](), 0
    for meter, has_profile in store.metered(truth):
        registers = all_registers.get(meter, {})
        altered += rules.altered_registers(meter, store.true_registers(truth, meter), registers)
        compared += len(registers)
        if not has_profile:
            continue
        stored, real = all_intervals.get(meter, {}), truth.intervals(meter)
        compared += len(stored)
        altered += rules.altered_intervals(meter, real, stored)
        for outbox in outboxes:
            here = {start: wh for start, wh in real.items() if start >= gone_ms}
            lost += rules.lost_intervals(meter, here, stored, quarantined, outbox)
    yield Finding.of("R1", lost, compared=compared)
    yield Finding.of("R3", altered, compared=compared)


def _gone_before_ms(conn: Connection) -> int:
    """Return the instant before which intervals were let go by policy, 0 where none were."""
    kept_from = retention.kept_from(conn)
    return 0 if kept_from is None else to_ms(datetime.combine(kept_from, time(), UTC))


def _joined(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return one finding per invariant, in the order of the titles."""
    joined = []
    for invariant in sorted(_COUNTED, key=_ORDER.index):
        same = [found for found in findings if found.invariant == invariant]
        examples = [example for found in same for example in found.examples]
        joined.append(
            Finding(
                invariant=invariant,
                violations=sum(found.violations for found in same),
                examples=tuple(examples[:5]),
                compared=max((found.compared for found in same), default=0),
            )
        )
    return tuple(joined)


_ORDER = ["R1", "R2", "R3", "R4", "R5", "C1", "C2", "C3", "C4", "C5", "C6", "C7",
          "M1", "M2", "M3", "M4", "M5", "S2"]  # fmt: skip
