"""
Why a span of days costs what it costs, by three roads that must meet to the last micro.

The lines come from the kernel between the registers that were drawn, the days from the drawdowns
and the running day, the ledger from its own entries. Every page, file and interface of a customer
reads this one answer, so no two of them can differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from billing.ledger import service as ledger
from billing.prepaid import rules, store
from billing.prepaid.model import DayCost, Drawdown, ExplainedLine, Refusal, Segment
from billing.prepaid.rules.periods import told_ladder
from billing.prepaid.service import registers
from billing.prepaid.service.period_lines import (
    At,
    Part,
    correction_line,
    lines_of,
    walked,
    with_running,
)
from billing.rating import service as rating
from billing.rating.model import CompiledEnergy, CompiledTariff
from billing.rating.rules import kernel
from billing.tariffs.model import Width
from cloud.store.db import Connection
from protocols.errors import RefusedError
from protocols.timeline import from_ms

_ENTRIES = 100_000
"""More than any account has; the statement is walked as a whole, so that nothing is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderStep:
    """One step of the ladder. *Units*: Wh of the year; `upto_wh` None: without end."""

    over_wh: int
    upto_wh: int | None
    price_micros_per_kwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Use under one tariff version within one ladder year, and the ladder it climbed."""

    tariff_code: str
    tariff_hash: str
    period: date
    from_year_wh: int
    to_year_wh: int
    steps: tuple[LadderStep, ...]
    lines: tuple[ExplainedLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoning:
    """
    What `[first, last]` cost: stretches, days and ledger each add up to `amount_micros`.

    `running_micros` is the part of the open day, which the ledger has not taken yet; None when the
    open day lies outside. `taken_micros` is what the ledger took for the days that are over.
    """

    usage_point: str
    currency: str
    zone: str
    first: date
    last: date
    wh: int
    amount_micros: int
    taken_micros: int
    running_micros: int | None
    as_of: datetime | None
    stretches: tuple[Stretch, ...]
    days: tuple[DayCost, ...]

    @property
    def lines(self) -> tuple[ExplainedLine, ...]:
        """Return the lines of all stretches, in the order of time."""
        return tuple(line for stretch in self.stretches for line in stretch.lines)

    @property
    def adds_up(self) -> bool:
        """Tell whether lines, days and ledger say the same."""
        by_lines = sum(line.amount_micros for line in self.lines)
        by_days = sum(day.amount_micros for day in self.days)
        by_ledger = self.taken_micros + (self.running_micros or 0)
        return by_lines == by_days == by_ledger == self.amount_micros


def reckoning_of(
    conn: Connection, usage_point: str, *, first: date, last: date, now: datetime
) -> Reckoning:
    """
    Return why the local days `[first, last]` cost what they cost, at the newest register.

    Raises: RefusedError `prepaid.no_agreement` as `balance_of`.
    """
    agreement = store.agreement_at(conn, usage_point)
    if agreement is None:
        raise RefusedError(
            Refusal.NO_AGREEMENT, f"{usage_point} has no balance yet",
            fix="register its customer, then wait for the first reading",
        )  # fmt: skip
    states = store.states(conn, [agreement])
    newest = registers.known_at(conn, states, now)
    every = store.drawdowns_in_order(conn, agreement)
    drawn = [row for row in every if first <= row.day <= last]
    known = {each.seq: each for each in store.segments_of(conn, agreement, former=True)}
    tariffs = rating.compiled(conn, [each.tariff_hash for each in known.values()])
    walk, days = walked(every, known, first, last), drawn_days(drawn)
    running = None
    if first <= states.open_day[0] <= last:
        figures = rules.figures(states, tariffs, newest.wh, newest.uses)
        running = int(figures.fee[0] - states.drawn[0])
        start, end = int(states.day_register[0]), int(newest.wh[0])
        days.append(
            DayCost(
                day=states.open_day[0], wh=end - start, amount_micros=running, drawn=False
            )
        )  # fmt: skip
        uses = newest.uses
        until = None if uses is None else At(uses.energy[0], uses.upto[0])
        with_running(walk, known[int(states.segment_seq[0])], registers=(start, end), until=until)
    stretches = _stretches(walk.parts, tariffs)
    return Reckoning(
        usage_point=usage_point, currency=states.currency[0],
        zone=str(tariffs[states.tariff_hash[0]].zone), first=first, last=last,
        wh=sum(day.wh for day in days),
        amount_micros=sum(line.amount_micros for each in stretches for line in each.lines),
        taken_micros=_taken(conn, states.account[0], drawn),
        running_micros=running,
        as_of=from_ms(int(newest.at_ms[0])) if running is not None else None,
        stretches=stretches, days=tuple(days),
    )  # fmt: skip


def drawn_days(rows: Sequence[Drawdown]) -> list[DayCost]:
    """Return what each day cost in the end: with what was put right later."""
    days: dict[date, DayCost] = {}
    for row in rows:
        old = days.get(row.day)
        days[row.day] = DayCost(
            day=row.day, wh=old.wh if old else row.register_wh - row.from_register_wh,
            amount_micros=row.amount_micros + (old.amount_micros if old else 0), drawn=True,
        )  # fmt: skip
    return [days[day] for day in sorted(days)]


def _taken(conn: Connection, account: str, drawn: Sequence[Drawdown]) -> int:
    """Return what the ledger's own entries say of the days drawn."""
    entries = {row.entry_id for row in drawn if row.entry_id is not None}
    lines = ledger.statement(conn, account, limit=_ENTRIES) if entries else []
    return -sum(line.amount_micros for line in lines if line.entry_id in entries)


def _stretches(parts: Sequence[Part], tariffs: Mapping[str, CompiledTariff]) -> tuple[Stretch, ...]:
    """Return the stretches of parts, what was put right in them last."""
    found: list[Stretch] = []
    for part in parts:
        tariff = tariffs[part.segment.tariff_hash]
        if part.regular:
            made = _of_ladder(part, tariff) if part.segment.start is None else _of_period(
                part, tariff
            )  # fmt: skip
            found += [made] if made else []
        if part.corrections:
            line = correction_line(part.segment.tariff_hash, part.corrections)
            found.append(
                Stretch(
                    tariff_code=tariff.code, tariff_hash=part.segment.tariff_hash,
                    period=part.segment.period, from_year_wh=part.segment.year_wh,
                    to_year_wh=part.segment.year_wh, steps=_steps(tariff.ladder), lines=(line,),
                )
            )  # fmt: skip
    return tuple(found)


def _of_period(part: Part, tariff: CompiledTariff) -> Stretch | None:
    lines, told = lines_of(tariff, part), told_ladder(tariff)
    if not lines:
        return None
    before = (part.segment.before or {}).get(told.reset, ())
    counter = sum(before[n] for n in told.periods) if before else 0

    def climbed(at: At | None) -> int:
        return counter + (sum(at.energy_wh[n] for n in told.periods) if at else 0)

    return Stretch(
        tariff_code=tariff.code, tariff_hash=tariff.digest, period=part.segment.period,
        from_year_wh=climbed(part.since), to_year_wh=climbed(part.until), steps=_steps(told),
        lines=tuple(lines),
    )  # fmt: skip


def _of_ladder(part: Part, tariff: CompiledTariff) -> Stretch | None:
    """Return a stretch between two registers; a register that fell back is given back."""
    segment, ends = part.segment, (part.from_register_wh, part.register_wh)
    since, upto = max(min(ends), segment.register_wh), max(ends)
    if upto <= since:
        return None
    offset = segment.year_wh - segment.register_wh
    forward = Stretch(
        tariff_code=tariff.code, tariff_hash=segment.tariff_hash, period=segment.period,
        from_year_wh=since + offset, to_year_wh=upto + offset, steps=_steps(tariff.ladder),
        lines=tuple(_lines(segment, tariff, since + offset, upto + offset)),
    )  # fmt: skip
    return forward if ends[0] <= ends[1] else _given_back(forward)


def _lines(
    segment: Segment, tariff: CompiledTariff, from_wh: int, to_wh: int
) -> Iterator[ExplainedLine]:
    for line in kernel.trace(tariff, from_wh, to_wh):
        yield ExplainedLine(
            line=line.line, label=line.label, tariff_hash=segment.tariff_hash, step=line.step,
            from_wh=line.from_wh, upto_wh=line.upto_wh,
            wh=line.upto_wh - line.from_wh if line.step else 0,
            price_micros_per_kwh=line.price_micros_per_kwh, amount_micros=line.amount_micros,
        )  # fmt: skip


def _steps(ladder: CompiledEnergy) -> tuple[LadderStep, ...]:
    """Return the steps of a ladder whose edges are numbers; one that scales shows its first."""
    if ladder.widths != (Width.FIXED,):
        return (LadderStep(over_wh=0, upto_wh=None, price_micros_per_kwh=int(ladder.price[0])),)
    highs: list[int | None] = [*ladder.hi.tolist()[:-1], None]
    return tuple(
        LadderStep(over_wh=low, upto_wh=high, price_micros_per_kwh=price)
        for low, high, price in zip(ladder.lo.tolist(), highs, ladder.price.tolist(), strict=True)
    )


def _given_back(stretch: Stretch) -> Stretch:
    lines = tuple(
        replace(line, wh=-line.wh, amount_micros=-line.amount_micros) for line in stretch.lines
    )
    return replace(stretch, lines=lines)
