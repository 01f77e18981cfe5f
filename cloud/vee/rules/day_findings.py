"""Findings of one civil day for the queue: all places of a check at a usage point are one row."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from zoneinfo import ZoneInfo

import numpy as np

from cloud.vee.model import DayFinding, ExceptionKind
from cloud.vee.rules.estimate import Estimate
from cloud.vee.rules.findings import Findings, Hits, no_hits
from cloud.vee.rules.grid import Bool, Grid, Int, frame_of
from cloud.vee.rules.observed import Observed, plain_facts
from cloud.vee.rules.parameters import BillingGate
from cloud.vee.rules.register_checks import billing_gate
from cloud.vee.rules.rule_sets import RuleSet
from protocols.identity import UsagePointId

RANK = {"warning": 0, "error": 1, "blocking": 2}
"""Severities, the gravest last."""

_ELSEWHERE = frozenset({ExceptionKind.GAP, ExceptionKind.BILLING_GATE})
"""Gaps stand in the queue by the stream's own account; the gate looks after estimates are made."""


def gate(grid: Grid, today: Int, state: "np.ndarray[tuple[int, int], np.dtype[np.int8]]",
         expected: Bool, rules: RuleSet) -> Hits:  # fmt: skip
    """
    Return the usage points of which too much of one day was not simply measured.

    *Shape*: `today` names the day's slots in the grid; `state`, with estimates and doubts in place,
    and `expected` have one column for each.
    """
    told = rules.checks.get(ExceptionKind.BILLING_GATE)
    if told is None or not isinstance(told.parameters, BillingGate):
        return no_hits()
    step = grid.frame.step_s * 1000
    start = grid.frame.start_ms + int(today[0]) * step
    frame = frame_of(start, len(today), grid.frame.step_s, ZoneInfo(grid.frame.zone))
    some = expected.any(axis=1)
    first, last = expected.argmax(axis=1), len(today) - expected[:, ::-1].argmax(axis=1)
    facts = replace(
        plain_facts(len(expected)),
        installed_ms=start + np.where(some, first, 0) * step,
        removed_ms=start + np.where(some, last, 0) * step,
    )
    one = Grid(frame=frame, wh=grid.wh[:, today], state=state, status=grid.status[:, today])
    return billing_gate(Observed(grid=one, facts=facts), told.parameters)


def of_day(
    findings: Findings,
    gated: Hits,
    rules: RuleSet,
    *,
    points: Sequence[UsagePointId],
    meters: Sequence[str],
    since_ms: int,
    until_ms: int,
) -> list[list[DayFinding]]:
    """Return per usage point what was found of `[since_ms, until_ms)`, one row for each check."""
    found: list[list[DayFinding]] = [[] for _ in points]
    every = [(code, hits) for code, (_, _, hits) in findings.by_code.items()]
    units = {code: unit for code, (_, unit, _) in findings.by_code.items()}
    for code, hits in [*every, (ExceptionKind.BILLING_GATE, gated)]:
        if code in _ELSEWHERE and hits is not gated:
            continue
        told = rules.checks.get(code)
        inside = np.flatnonzero((hits.end_ms > since_ms) & (hits.start_ms < until_ms))
        if told is None or not len(inside):
            continue
        for row in np.unique(hits.series[inside]).tolist():
            mine = inside[hits.series[inside] == row]
            worst = mine[np.argmax(np.abs(hits.value[mine] - hits.limit[mine]))]
            found[row].append(
                DayFinding(
                    usage_point=points[row], meter=meters[row], kind=code.value,
                    severity=told.severity.value,
                    start_ms=max(since_ms, int(hits.start_ms[mine].min())),
                    end_ms=min(until_ms, int(hits.end_ms[mine].max())), places=len(mine),
                    value=int(hits.value[worst]), allowed=int(hits.limit[worst]),
                    unit=units.get(code, "permille"), parameters=asdict(told.parameters),
                )
            )  # fmt: skip
    return found


def refused_of_day(
    made: Sequence[Estimate],
    *,
    point: UsagePointId,
    meter: str,
    since_ms: int,
    until_ms: int,
    step_ms: int,
) -> list[DayFinding]:
    """Return the one finding that slots of the day stay missing, with every reason; or none."""
    refused = [
        (max(one.start_ms, since_ms), min(one.end_ms, until_ms), one.reason)
        for one in made
        if not one.method and one.end_ms > since_ms and one.start_ms < until_ms
    ]
    if not refused:
        return []
    slots = sum(end - start for start, end, _ in refused) // step_ms
    return [
        DayFinding(
            usage_point=point, meter=meter, kind=ExceptionKind.NOT_ESTIMATED.value,
            severity="error", start_ms=min(start for start, _, _ in refused),
            end_ms=max(end for _, end, _ in refused), places=slots, value=slots, allowed=0,
            unit="slots", parameters={}, detail=", ".join(sorted({why for _, _, why in refused})),
        )
    ]  # fmt: skip
