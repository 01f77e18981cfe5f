"""
All checks of many series in one call, in the order of their cost and of what they rest on.

Registers come first, then rows, then intervals, then what looks at a whole series; the estimators
follow the same order (MDM handbook section 4). Which checks look, how grave they are and what they
are told stands in a `RuleSet`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cloud.vee.model import ExceptionKind
from cloud.vee.rules import interval_checks, register_checks, row_checks, spike
from cloud.vee.rules.findings import Findings, Hits, Severity
from cloud.vee.rules.observed import Observed
from cloud.vee.rules.rule_sets import RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: its kernel, the unit of its figures, and whether it is costly."""

    kernel: Callable[..., Hits]
    unit: str
    heavy: bool = False
    """Left to the nightly path when a load must be quick. *Source*: Oracle's own figures put
    high/low above 20 % of a load, spike and interpolation below 5 %."""


CHECKS: dict[ExceptionKind, Check] = {
    ExceptionKind.REGISTER_STEP: Check(kernel=register_checks.register_step, unit="Wh"),
    ExceptionKind.TOU_SUM: Check(kernel=register_checks.tou_sum, unit="Wh"),
    ExceptionKind.DELTA_PERCENT: Check(kernel=register_checks.delta_percent, unit="permille"),
    ExceptionKind.FUTURE: Check(kernel=row_checks.future, unit="ms"),
    ExceptionKind.DUPLICATE: Check(kernel=row_checks.duplicate, unit="Wh"),
    ExceptionKind.INTERVAL_SIZE: Check(kernel=row_checks.interval_size, unit="s"),
    ExceptionKind.UNIT: Check(kernel=row_checks.unit, unit="code"),
    ExceptionKind.MULTIPLIER: Check(kernel=row_checks.multiplier, unit="factor"),
    ExceptionKind.REPLACEMENT: Check(kernel=row_checks.replacement, unit="Wh"),
    ExceptionKind.CLOCK_TOLERANCE: Check(kernel=row_checks.clock_tolerance, unit="ms"),
    ExceptionKind.GAP: Check(kernel=interval_checks.gap, unit="slots"),
    ExceptionKind.NEGATIVE: Check(kernel=interval_checks.negative, unit="Wh"),
    ExceptionKind.CAPACITY: Check(kernel=interval_checks.capacity, unit="Wh"),
    ExceptionKind.DEVICE_FLAGS: Check(kernel=interval_checks.device_flags, unit="bits"),
    ExceptionKind.DEVICE_INACTIVE: Check(kernel=interval_checks.device_inactive, unit="Wh"),
    ExceptionKind.SIBLING_MISSING: Check(kernel=interval_checks.sibling_missing, unit="slots"),
    ExceptionKind.REACTIVE_WITHOUT_ACTIVE: Check(
        kernel=interval_checks.reactive_without_active, unit="varh"
    ),
    ExceptionKind.ZERO_RUN: Check(kernel=interval_checks.zero_run, unit="slots"),
    ExceptionKind.STALE_RUN: Check(kernel=interval_checks.stale_run, unit="slots"),
    ExceptionKind.SPIKE_DAILY: Check(kernel=interval_checks.spike_daily, unit="permille"),
    ExceptionKind.SPIKE_ROBUST: Check(kernel=spike.spike_robust, unit="Wh"),
    ExceptionKind.DEMAND_STEP: Check(kernel=interval_checks.demand_step, unit="permille"),
    ExceptionKind.ESTIMATED_TOO_LONG: Check(
        kernel=interval_checks.estimated_too_long, unit="slots"
    ),
    ExceptionKind.SUM_CHECK: Check(kernel=register_checks.sum_check, unit="Wh"),
    ExceptionKind.HISTORICAL_MAX: Check(
        kernel=interval_checks.historical_max, unit="permille", heavy=True
    ),
    ExceptionKind.HIGH_LOW: Check(kernel=register_checks.high_low, unit="permille", heavy=True),
    ExceptionKind.BILLING_GATE: Check(kernel=register_checks.billing_gate, unit="permille"),
}


def check_series(
    seen: Observed,
    rules: RuleSet,
    *,
    now_ms: int,
    light: bool = False,
    after: Callable[[ExceptionKind], None] = lambda _: None,
) -> Findings:
    """
    Return what the checks of a rule set find; `light` leaves the costly ones to another time.

    *Shape*: `seen.grid` is (series, slots). The same input gives the same findings, whatever else
    is looked at beside it. `after` hears of each check that has looked.
    """
    found: dict[ExceptionKind, tuple[Severity, str, Hits]] = {}
    for code, check in CHECKS.items():
        told = rules.checks.get(code)
        if told is not None and not (light and check.heavy):
            kernel = (
                partial(check.kernel, now_ms=now_ms)
                if code is ExceptionKind.FUTURE
                else check.kernel
            )
            found[code] = (told.severity, check.unit, kernel(seen, told.parameters))
        after(code)
    return Findings(by_code=found)
