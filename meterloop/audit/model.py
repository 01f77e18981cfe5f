"""What an audit finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.identity import MeterId
from protocols.timeline import TimeScale

EXAMPLES = 5
"""How many violations of one kind are named."""

TITLES: Mapping[str, str] = {
    "R1": "no reading lost",
    "R2": "no reading counted twice",
    "R3": "no reading altered in silence",
    "R4": "energy conserved",
    "R5": "every gap is an exception or marked",
    "C1": "no cut after a payment",
    "C2": "no cut of a protected customer",
    "C3": "no cut without two people",
    "C4": "no stale, replayed or foreign command acts",
    "C5": "every command has one outcome that matches the switch",
    "C6": "cuts stay under the threshold",
    "C7": "paid means powered",
    "M1": "the ledger sums to zero",
    "M2": "no payment twice, none lost",
    "M3": "prepaid equals the bill",
    "M4": "fees recompute bit for bit",
    "M5": "payments are matched or in suspense",
    "S2": "every act names its actors in a whole chain",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where to look. `truth` only where a simulator ran, `outboxes` only of agents on this host."""

    dsn: str = field(repr=False)
    scale: TimeScale = field(default_factory=TimeScale)
    truth: Path | None = None
    outboxes: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One invariant: how many violations, a few by name, and what was compared."""

    invariant: str
    violations: int
    examples: tuple[str, ...] = ()
    compared: int = 0
    """Pairs held against the truth file; 0 when only the database was asked."""

    @classmethod
    def of(cls, invariant: str, wrong: Sequence[str], *, compared: int = 0) -> "Finding":
        """Return the finding of a list of violations."""
        return cls(
            invariant=invariant,
            violations=len(wrong),
            examples=tuple(wrong[:EXAMPLES]),
            compared=compared,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """All invariants, and how much there was to look at."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    with_truth: bool

    @property
    def total(self) -> int:
        """Return how many violations there are in all."""
        return sum(found.violations for found in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the report as `meterloop audit --json` prints it."""
        return {
            "ok": self.total == 0,
            "violations": {found.invariant: found.violations for found in self.findings},
            "examples": {
                found.invariant: list(found.examples) for found in self.findings if found.examples
            },
            "compared_with_truth": {
                found.invariant: found.compared for found in self.findings if found.compared
            },
            "counts": dict(self.counts),
            "with_truth": self.with_truth,
        }

    def as_text(self) -> str:
        """Return the report for people."""
        lines = []
        for found in self.findings:
            mark = "✘" if found.violations else "✔"
            lines.append(
                f"{mark} {found.invariant} {TITLES[found.invariant]}: {found.violations}"
                + (f" ({found.compared} compared with the truth)" if found.compared else "")
            )
            lines += [f"    {example}" for example in found.examples]
        counted = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return "\n".join([*lines, f"looked at {counted}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """
    What one agent still keeps. *Units*: ms of device time.

    `marks` tells up to which instant a meter's profile was asked, `holes` what it did not give,
    `pending` the (meter, start) of intervals in batches without receipt, `numbers` their ids.
    """

    concentrator: str
    marks: Mapping[MeterId, int]
    holes: Mapping[MeterId, tuple[tuple[int, int], ...]]
    pending: frozenset[tuple[str, int]]
    numbers: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedCommand:
    """A command and its outcome. *Units*: ms of business time."""

    id: str
    meter: str
    usage_point: str
    verb: str
    result: str
    issued_ms: int
    ended_ms: int
    released: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchMove:
    """One true move of a switch. *Units*: ms of business time."""

    at_ms: int
    closed: bool
    control_state: int
    cause: str
