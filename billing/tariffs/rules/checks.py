"""What a tariff file may not say: each refusal names the place and the way out."""

from collections.abc import Sequence

from billing.money import RoundMode
from billing.tariffs.model import (
    BASED,
    CapacityLine,
    CreditKwhLine,
    DemandLine,
    EnergyLine,
    ExportLine,
    Line,
    PfTableLine,
    PowerStep,
    PriceStep,
    Refusal,
    Round,
    Schedule,
    Tariff,
    UsageCase,
    Width,
)
from billing.tariffs.model.lines import ValueLine
from billing.tariffs.model.numbers import QtyRound
from billing.tariffs.model.parts import TIMED
from billing.tariffs.rules.check_hours import check_calendar, check_hours
from billing.tariffs.rules.check_when import check_attributes, check_when
from billing.tariffs.rules.refusing import refused, unsupported

_TOUCH = "steps must touch: each starts where the one before ends"
_SIZED = ("CUSTOMERS", "CONTRACT_KW", "CAPACITY_KVA")


def check_tariff(tariff: Tariff) -> None:
    """
    Refuse what is unclear in a tariff, or what the engine cannot do.

    Raises: RefusedError `tariffs.*`.
    """
    check_attributes(tariff)
    check_calendar(tariff)
    check_hours(tariff)
    seen: list[Line] = []
    for line in tariff.lines:
        if any(line.id == earlier.id for earlier in seen):
            raise refused(Refusal.SHAPE, f"two lines are called {line.id}", "rename one")
        _check_line(tariff, line)
        if isinstance(line, BASED):
            _check_base(tariff, line, seen)
        seen.append(line)
    if not any(isinstance(line, EnergyLine) for line in tariff.lines):
        raise refused(Refusal.SHAPE, "no line prices energy", "add an energy line")
    if len({line.prorate for line in tariff.lines if isinstance(line, EnergyLine)}) > 1:
        raise refused(
            Refusal.UNSUPPORTED,
            "energy lines state different ways to cut a period (prorate)",
            "a register is cut in one way: state the same in every energy line",
        )
    _check_roundings(tariff)
    if any(isinstance(each, UsageCase) != (tariff.basis == "period") for each in tariff.test_cases):
        raise refused(
            Refusal.CASE,
            "test_cases of basis period have usage, those of ladder_year from_kwh and to_kwh",
            "write the cases for the basis",
        )


def _check_roundings(tariff: Tariff) -> None:
    stated = [tariff.total_round, *[line.round for line in tariff.lines]]
    if all(each.mode is RoundMode.NONE for each in stated):
        raise refused(
            Refusal.ROUNDING,
            "neither a line nor the total is rounded to a step",
            "state the step of the line or of the total",
        )


def _check_line(tariff: Tariff, line: Line) -> None:
    if tariff.basis == "period" and "en" not in line.label:
        raise refused(Refusal.SHAPE, f"line {line.id}: no label en", "label it, in en at least")
    check_when(tariff, line)
    if isinstance(line, EnergyLine | ExportLine | DemandLine):
        _check_periods(tariff, line)
    match line:
        case EnergyLine():
            _check_energy(tariff, line)
        case ExportLine():
            _check_scope(line)
            _check_steps(line.id, line.steps)
            if line.scope.reset != "period" or line.scope.mode != "marginal":
                raise unsupported(line, "export through another than a marginal period ladder")
        case DemandLine() | CapacityLine():
            _check_steps(line.id, line.steps)
            if isinstance(line, DemandLine):
                _check_demand(tariff, line)
        case PfTableLine():
            _check_factors(line)
        case CreditKwhLine():
            _check_widths(line, line.widths, line.width_round)
        case ValueLine():
            _check_per(line)


def _check_per(line: ValueLine) -> None:
    if (line.per is None) == (line.qty in _SIZED):
        raise refused(
            Refusal.SHAPE,
            f"line {line.id}: per is for {', '.join(_SIZED)}, and needed there",
            "state per with these, and leave it with DAYS and MONTHS",
        )


def _check_periods(tariff: Tariff, line: EnergyLine | ExportLine | DemandLine) -> None:
    strange = [name for name in line.periods if name not in tariff.period_names]
    if strange or len(set(line.periods)) < len(line.periods):
        raise refused(
            Refusal.TOU,
            f"line {line.id}: periods {list(line.periods)} are not TouPeriods, each once",
            f"use {', '.join(tariff.period_names)}",
        )


def _check_energy(tariff: Tariff, line: EnergyLine) -> None:
    _check_scope(line)
    switched = line.scope.mode == "schedule_switch"
    if bool(line.schedules) != switched or bool(line.steps) == switched:
        raise refused(
            Refusal.STEPS,
            f"line {line.id}: schedules are for mode schedule_switch, steps for the others",
            "state one of them",
        )
    if switched:
        _check_steps(line.id, line.schedules)
    for steps in [each.steps for each in line.schedules] or [line.steps]:
        _check_steps(line.id, steps)
        if tariff.basis == "ladder_year" and any(step.price < 0 for step in steps):
            raise refused(
                Refusal.SHAPE, f"line {line.id}: a price is below 0", "a ladder only climbs"
            )
    if line.share == "pro_rata":
        _check_stated(line, "edge_round", line.edge_round)
    elif line.edge_round is not None:
        raise unsupported(line, "edge_round without share pro_rata")
    if line.qty == "REACTIVE":
        if line.periods or line.share != "own" or line.scope.reset != "period":
            raise unsupported(line, "reactive energy by TouPeriods or over several periods")
    elif line.free_percent is not None:
        raise unsupported(line, "free_percent of anything but REACTIVE")
    if line.free_percent is not None:
        _check_stated(line, "qty_round", line.qty_round)


def _check_scope(line: EnergyLine | ExportLine) -> None:
    scope = line.scope
    _check_widths(line, scope.widths, scope.width_round)
    if TIMED.intersection(scope.widths) and scope.reset != "period":
        raise unsupported(line, f"edges that scale with time over a {scope.reset}")


def _check_widths(line: Line, widths: Sequence[Width], stated: QtyRound | None) -> None:
    timed = TIMED.intersection(widths)
    if len(timed) > 1 or len(set(widths)) < len(widths) or (Width.FIXED in widths[1:]):
        raise refused(
            Refusal.SHAPE,
            f"line {line.id}: widths {[str(each) for each in widths]} cannot be multiplied",
            "use fixed alone, or one time and households or meters",
        )
    if timed:
        _check_stated(line, "width_round", stated)
    elif stated is not None:
        raise unsupported(line, "width_round where no time scales")


def _check_demand(tariff: Tariff, line: DemandLine) -> None:
    if line.above_contract_percent is not None:
        _check_stated(line, "qty_round", line.qty_round)
    if line.ratchet is None:
        return
    if line.qty != "DEMAND_MAX":
        raise unsupported(line, f"a ratchet on {line.qty}")
    if set(line.ratchet.periods) - set(tariff.period_names):
        raise refused(
            Refusal.TOU,
            f"line {line.id}: the ratchet names {list(line.ratchet.periods)}, no TouPeriods",
            f"use {', '.join(tariff.period_names)}",
        )
    _check_stated(line, "ratchet.round", line.ratchet.round)


def _check_stated(line: Line, name: str, stated: QtyRound | Round | None) -> None:
    if stated is None or stated.mode is RoundMode.NONE:
        raise refused(
            Refusal.ROUNDING, f"line {line.id}: {name} is not stated", "state step and mode"
        )


def _check_steps(line: str, steps: Sequence[PriceStep | PowerStep | Schedule]) -> None:
    expected: int | None = 0
    for number, step in enumerate(steps, start=1):
        wrong = ""
        if expected is None:
            wrong = "follows an open step"
        elif step.over > expected:
            wrong = f"leaves a gap of {step.over - expected} {_unit(step)} before it"
        elif step.over < expected:
            wrong = f"overlaps its forerunner by {expected - step.over} {_unit(step)}"
        elif step.upto is not None and step.upto <= step.over:
            wrong = "ends where or before it starts"
        if wrong:
            raise refused(Refusal.STEPS, f"line {line}: step {number} {wrong}", _TOUCH)
        expected = step.upto
    if expected is not None:
        last = f"line {line}: step {len(steps)} is the last and must be open (upto null)"
        raise refused(Refusal.STEPS, last, _TOUCH)


def _unit(step: PriceStep | PowerStep | Schedule) -> str:
    return "W" if isinstance(step, PowerStep) else "Wh"


def _check_factors(line: PfTableLine) -> None:
    expected = 0
    for band in line.bands:
        if band.from_factor != expected or band.to_factor < band.from_factor:
            raise refused(
                Refusal.STEPS,
                f"line {line.id}: the band from {band.from_factor}/100 leaves a gap or overlaps",
                "bands run from 0.00 to 1.00, each starting 0.01 above the one before",
            )
        expected = band.to_factor + 1
    if expected != 101:
        raise refused(
            Refusal.STEPS, f"line {line.id}: bands end before 1.00", "let the last reach 1.00"
        )


def _check_base(tariff: Tariff, line: Line, earlier: Sequence[Line]) -> None:
    known = {each.id: each for each in earlier}
    bases: tuple[str, ...] = getattr(line, "base", ())
    for name in bases:
        if name in known:
            continue
        later = next((each for each in tariff.lines if each.id == name), None)
        circle = later is not None and line.id in getattr(later, "base", ())
        why = "a circle" if circle or name == line.id else "which is no earlier line"
        raise refused(
            Refusal.BASE,
            f"line {line.id} is a share of {name}, {why}",
            "put the base line before it; a line may only look back",
        )
    if len(set(bases)) < len(bases):
        raise refused(Refusal.BASE, f"line {line.id} names a base twice", "name it once")
    if isinstance(line, CreditKwhLine):
        for name in line.base:
            base = known[name]
            if not isinstance(base, EnergyLine) or base.qty != "ENERGY":
                raise refused(
                    Refusal.BASE,
                    f"line {line.id} gives energy free of {name}, which prices none",
                    "name lines of kind energy",
                )
