"""What accounts of a database used in a span, as two tariffs read it; nothing is guessed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from billing.customers import service as customers
from billing.customers.model import CustomerCard
from billing.money import to_text
from billing.rating.model import PeriodUse
from billing.rating.rules.impact import use_at_any_time
from billing.tariffs.model import Refusal, Tariff
from billing.tariffs.model.usage import UsageFile
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.reading import Quality
from protocols.timeline import Interval

_PAGE = 1_000
_NEAR = timedelta(days=1)
_UNTOLD = frozenset({
    "REACTIVE", "EXPORT", "DEMAND_MAX", "CONTRACT_KW", "CAPACITY_KVA", "pf_table", "per_household",
    "tariff_year", "purchase_month",
})  # fmt: skip
_TRUTH = {"true": True, "false": False}
_TOLD_BY = ("kind", "qty", "widths", "reset")


class Unpriced(StrEnum):
    """Why an account of the tariff is not in the impact, besides what pricing refuses."""

    REGISTERS = "usage.registers"
    """No register within a day before the first or the last midnight."""
    YEAR = "usage.year"
    """The counter of the year before the span is not known."""


@dataclass(slots=True, kw_only=True)
class Accounts:
    """Agreements of the first tariff's code that held in all days `[first, until)`."""

    db: Database
    tariffs: tuple[Tariff, Tariff]
    first: date
    until: date
    most: int = 0
    """How many agreements are looked at, by usage point; 0: all."""
    unpriced: Counter[str] = field(default_factory=Counter)
    looked_at: int = 0

    def __post_init__(self) -> None:
        """Refuse what registers cannot tell. Raises: RefusedError `tariffs.unsupported`."""
        faults = [fault for tariff in self.tariffs for fault in _untold(tariff)]
        if self._by_hour and self._by_year:
            faults.append("TouPeriods beside a calendar year's ladder")
        if self.until <= self.first:
            faults.append(f"the day after the last, {self.until}, is not after {self.first}")
        elif self._by_year and (self.until - timedelta(days=1)).year != self.first.year:
            faults.append("the ladder climbs in a calendar year: name days of one year")
        if faults:
            raise RefusedError(
                Refusal.UNSUPPORTED, "; ".join(faults),
                fix="price usage files: meterloop tariff diff --usage FILE",
            )  # fmt: skip

    @property
    def _by_year(self) -> bool:
        return any(_climbs_in_a_year(tariff) for tariff in self.tariffs)

    @property
    def _by_hour(self) -> bool:
        return any(tariff.touperiods for tariff in self.tariffs)

    def uses(self) -> Iterator[tuple[str, PeriodUse, PeriodUse]]:
        """Yield each account with its use as either tariff reads it; count those left out."""
        span = Interval(start=self._midnight(self.first), end=self._midnight(self.until))
        after = ""
        while True:
            with self.db.transaction() as conn:
                limit = min(_PAGE, self.most - self.looked_at) if self.most else _PAGE
                cards = customers.cards_on_tariff(
                    conn, self.tariffs[0].code, span, after=after, limit=limit
                )
                if self._by_hour:
                    energy = [_intervals(conn, card, span) for card in cards]
                else:
                    energy = self._registers(conn, cards, span)
            for card, found in zip(cards, energy, strict=True):
                yield from self._read(card, found)
            self.looked_at += len(cards)
            if len(cards) < _PAGE or self.looked_at == self.most:
                return
            after = cards[-1].usage_point

    def _read(
        self, card: CustomerCard, found: dict[str, Any] | Unpriced
    ) -> Iterator[tuple[str, PeriodUse, PeriodUse]]:
        if isinstance(found, Unpriced):
            self.unpriced[found.value] += 1
            return
        period = {"start": str(self.first), "end": str(self.until)}
        try:
            old, new = (
                use_at_any_time(
                    tariff,
                    UsageFile.model_validate({
                        "account": card.account, "currency": card.currency, "period": period,
                        "attributes": _attributes(tariff, card.attributes), **found,
                    }),
                )
                for tariff in self.tariffs
            )  # fmt: skip
        except RefusedError as error:
            self.unpriced[error.refusal.value] += 1
            return
        yield card.account, old, new

    def _registers(
        self, conn: Connection, cards: list[CustomerCard], span: Interval
    ) -> list[dict[str, Any] | Unpriced]:
        """Return the use between two midnights, and the year's before it where a ladder climbs."""
        year, by_year = self._midnight(date(self.first.year, 1, 1)), self._by_year
        asked = [
            (card.usage_point, at)
            for card in cards
            for at in (span.start, span.end, max(year, card.started_at))
        ]
        rows = usage.registers_at_each(conn, [point for point, _ in asked], [at for _, at in asked])
        held = [
            None if row is None or at - row.at > _NEAR else row
            for (_, at), row in zip(asked, rows, strict=True)
        ]
        found: list[dict[str, Any] | Unpriced] = []
        for number, card in enumerate(cards):
            low, high, opening = held[3 * number : 3 * number + 3]
            if low is None or high is None:
                found.append(Unpriced.REGISTERS)
                continue
            sure = low.quality is high.quality is Quality.VALID
            use: dict[str, Any] = {
                "quality": "actual" if sure else "estimated",
                "kwh": {"all": _kwh(high.cumulative_wh - low.cumulative_wh)},
            }
            if by_year:
                start_wh = opening.cumulative_wh if opening else None
                before_wh = 0
                if card.started_at > year:
                    before_wh = card.opening_year_wh
                    if card.opening_register_wh is not None:
                        start_wh = card.opening_register_wh
                if start_wh is None or low.cumulative_wh < start_wh:
                    found.append(Unpriced.YEAR)
                    continue
                before = before_wh + low.cumulative_wh - start_wh
                use["before_kwh"] = {"calendar_year": {"all": _kwh(before)}}
            found.append(use)
        return found

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.tariffs[0].zone_info).astimezone(UTC)


def _intervals(conn: Connection, card: CustomerCard, span: Interval) -> dict[str, Any] | Unpriced:
    """Return the intervals of a span, those that are missing as gaps."""
    rows = usage.intervals(conn, card.usage_point, span)
    if not rows:
        return Unpriced.REGISTERS
    seconds = rows[0].seconds
    count = int((span.end - span.start).total_seconds()) // seconds
    wh: list[int | None] = [None] * count
    for row in rows:
        place, off = divmod(int((row.start - span.start).total_seconds()), seconds)
        if row.seconds == seconds and not off and place < count:
            wh[place] = row.wh
    sure = all(row.quality is Quality.VALID for row in rows)
    return {
        "quality": "actual" if sure else "estimated",
        "intervals": {"start": span.start, "seconds": seconds, "wh": tuple(wh)},
    }


def _attributes(tariff: Tariff, known: Mapping[str, str]) -> dict[str, bool | int | str]:
    """Return those the tariff asks for, as it declares them. Raises: RefusedError."""
    found: dict[str, bool | int | str] = {}
    for name, asked in tariff.attributes.items():
        if name not in known:
            continue
        text = known[name]
        try:
            if asked.kind == "bool":
                found[name] = _TRUTH[text]
            else:
                found[name] = int(text) if asked.kind == "int" else text
        except (KeyError, ValueError) as error:
            raise RefusedError(Refusal.ATTRIBUTE, f"{name} {text!r} is no {asked.kind}") from error
    return found


def _untold(tariff: Tariff) -> Iterator[str]:
    """Yield what a tariff asks that no energy register tells."""
    for line in tariff.lines:
        asked = set(_words(line.model_dump(mode="json"))) & _UNTOLD
        if asked:
            words = ", ".join(sorted(asked))
            yield (
                f"{tariff.code} version {tariff.version}, line {line.id}: {words} is not told by "
                "registers"
            )


def _climbs_in_a_year(tariff: Tariff) -> bool:
    return any("calendar_year" in _words(line.model_dump(mode="json")) for line in tariff.lines)


def _words(part: Any) -> Iterator[str]:
    """Yield the words of every field that names a quantity, a width or a reset."""
    if isinstance(part, list | tuple):
        for each in part:
            yield from _words(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in _TOLD_BY:
                yield from [value] if isinstance(value, str) else [str(v) for v in value or ()]
            else:
                yield from _words(value)


def _kwh(wh: int) -> str:
    return to_text(wh * 1_000, 0)
