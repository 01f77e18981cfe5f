"""The columns of one chunk as the lines read them, and the checks before anything is priced."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from billing.money import IntArray
from billing.rating.model import CompiledTariff, PeriodUse, UseColumns
from billing.tariffs.model import Refusal
from protocols.errors import RefusedError

RESETS = ("period", "calendar_year", "tariff_year", "purchase_month")
_ONES = frozenset({"customers", "households", "meters", "closing"})


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of the columns; what was left out comes as its default, wide as Python integers."""

    use: UseColumns
    start: int
    stop: int
    wide: bool
    _memo: dict[str, IntArray] = field(default_factory=dict)

    @property
    def accounts(self) -> int:
        """Return how many accounts it holds."""
        return self.stop - self.start

    def energy(self, periods: Sequence[int], *, whole: bool) -> IntArray:
        """Return the energy of some TouPeriods together."""
        if not whole or len(periods) == 1:
            return self._together(self.use.energy_wh, periods, whole=whole)
        if "energy" not in self._memo:
            self._memo["energy"] = self._together(self.use.energy_wh, periods, whole=True)
        return self._memo["energy"]

    def before(self, reset: str, periods: Sequence[int], *, whole: bool) -> IntArray:
        """Return the counter before the use, of some TouPeriods together."""
        found = self.use.before_wh.get(reset)
        if found is None:
            return self.constant(0)
        return self._together(found, periods, whole=whole)

    def export(self, periods: Sequence[int], *, whole: bool) -> IntArray:
        """Return the energy delivered in some TouPeriods together."""
        found = self.use.export_wh
        return self.constant(0) if found is None else self._together(found, periods, whole=whole)

    def demand(self, periods: Sequence[int]) -> IntArray:
        """Return the largest power of some TouPeriods."""
        found = self.use.demand_w
        if found is None:
            return self.constant(0)
        return self._whole_numbers(found[list(periods), self.start : self.stop].max(axis=0))

    def past(self, ago: int, periods: Sequence[int], months: Sequence[int]) -> IntArray:
        """Return the peak `ago` months ago where that was one of `months` (none: any), else 0."""
        use = self.use
        if use.past_w is None or ago > use.past_w.shape[0]:
            return self.constant(0)
        peak: IntArray = use.past_w[ago - 1, list(periods), self.start : self.stop].max(axis=0)
        if months:
            if use.past_month is None:
                raise ValueError("a ratchet of some months needs past_month")
            among = np.isin(use.past_month[ago - 1, self.start : self.stop], list(months))
            peak = np.where(among, peak, 0)
        return self._whole_numbers(peak)

    def column(self, name: str) -> IntArray:
        """Return one plain column by its name."""
        found: IntArray | None = getattr(self.use, name)
        if found is None:
            return self.constant(1 if name in _ONES else 0)
        return self._whole_numbers(found[self.start : self.stop])

    def attribute(self, name: str) -> IntArray | None:
        """Return an attribute's column, or None."""
        found = self.use.attributes.get(name)
        return None if found is None else found[self.start : self.stop]

    def constant(self, value: int) -> IntArray:
        """Return one value for all."""
        return np.full(self.accounts, value, dtype=object if self.wide else np.int64)

    def _together(self, rows: IntArray, periods: Sequence[int], *, whole: bool) -> IntArray:
        if len(periods) == 1:
            return self._whole_numbers(rows[periods[0], self.start : self.stop])
        part = rows[:, self.start : self.stop] if whole else rows[periods, self.start : self.stop]
        return self._whole_numbers(part.sum(axis=0, dtype=np.int64))

    def _whole_numbers(self, column: IntArray) -> IntArray:
        return column.astype(object) if self.wide else column


def check_columns(tariff: CompiledTariff, use: UseColumns) -> None:
    """
    Refuse columns that the bound proof does not cover.

    Raises: ValueError naming the column; the caller parks such accounts first.
    """
    limits = tariff.limits
    accounts = use.accounts
    if use.energy_wh.shape[0] != len(tariff.periods):
        raise ValueError(f"{tariff.code} has the TouPeriods {tariff.periods}, one row for each")
    _within("energy_wh", use.energy_wh, limits.energy_wh, accounts, tariff, together=True)
    for reset, counter in use.before_wh.items():
        most = limits.energy_wh if reset == "period" else limits.counter_wh
        _within(f"before_wh[{reset}]", counter, most, accounts, tariff, together=True)
    for name, most, least in (
        ("days", limits.days, 0), ("months", limits.months, 0),
        ("whole_days", limits.days, 0), ("whole_months", limits.months, 0),
        ("closing", 1, 0), ("end_month", 12, 1), ("reactive_varh", limits.reactive_varh, 0),
        ("contract_w", limits.contract_w, 0), ("capacity_va", limits.capacity_va, 0),
        ("customers", limits.customers, 0), ("households", limits.households, 1),
        ("meters", limits.meters, 1), ("demand_w", limits.demand_w, 0),
        ("past_w", limits.demand_w, 0),
    ):  # fmt: skip
        column = getattr(use, name)
        if column is not None:
            _within(name, column, most, accounts, tariff, least=least)
    if use.export_wh is not None:
        _within("export_wh", use.export_wh, limits.export_wh, accounts, tariff, together=True)
    for name, attribute in tariff.attributes.items():
        if attribute.default is None and name not in use.attributes:
            raise ValueError(f"the attribute {name} has no default and no column")


def _within(
    name: str, column: IntArray, most: int, accounts: int, tariff: CompiledTariff, *,
    least: int = 0, together: bool = False,
) -> None:  # fmt: skip
    if column.shape[-1] != accounts:
        raise ValueError(f"{name} has {column.shape[-1]} accounts, not {accounts}")
    if not column.size:
        return
    low, high = int(column.min()), int(column.max())
    if together and column.shape[0] > 1 and high * column.shape[0] > most >= high:
        high = int(column.sum(axis=0, dtype=np.int64).max())
    if low < least or high > most:
        raise ValueError(f"{name} is outside {least}..{most} of {tariff.code}")


def columns_of(tariff: CompiledTariff, uses: Sequence[PeriodUse]) -> UseColumns:
    """
    Return many accounts' use as columns.

    Raises: RefusedError `usage.attribute` when an attribute is missing or of another kind.
    """
    rows = len(tariff.periods)

    def each(name: str) -> IntArray:
        return np.array([int(getattr(use, name)) for use in uses], dtype=np.int64)

    def by_period(found: Sequence[tuple[int, ...]]) -> IntArray:
        padded = [one or (0,) * rows for one in found]
        return np.ascontiguousarray(np.array(padded, dtype=np.int64).reshape(-1, rows).T)

    resets = [r for r in RESETS if any(r in use.before_wh for use in uses)]
    past_w, past_month = _past(uses, rows)
    return UseColumns(
        energy_wh=by_period([use.energy_wh for use in uses]),
        **{name: each(name) for name in _PLAIN},
        end_month=np.array([(u.end - timedelta(days=1)).month for u in uses], dtype=np.int64),
        before_wh={r: by_period([u.before_wh.get(r, ()) for u in uses]) for r in resets},
        export_wh=by_period([use.export_wh for use in uses]),
        demand_w=by_period([use.demand_w for use in uses]), past_w=past_w, past_month=past_month,
        attributes={name: _attribute(tariff, name, uses) for name in tariff.attributes},
    )  # fmt: skip


_PLAIN = (
    "days", "months", "whole_days", "whole_months", "closing", "reactive_varh", "contract_w",
    "capacity_va", "customers", "households", "meters",
)  # fmt: skip


def _past(uses: Sequence[PeriodUse], rows: int) -> tuple[IntArray | None, IntArray | None]:
    deepest = max((past.months_ago for use in uses for past in use.past_demand), default=0)
    if not deepest:
        return None, None
    peaks = np.zeros((deepest, rows, len(uses)), dtype=np.int64)
    months = np.zeros((deepest, len(uses)), dtype=np.int64)
    for column, use in enumerate(uses):
        for past in use.past_demand:
            peaks[past.months_ago - 1, :, column] = past.demand_w
            months[past.months_ago - 1, column] = past.month
    return peaks, months


def _attribute(tariff: CompiledTariff, name: str, uses: Sequence[PeriodUse]) -> IntArray:
    known = tariff.attributes[name]
    found = []
    for use in uses:
        given = use.attributes.get(name)
        kind = "bool" if isinstance(given, bool) else "int" if isinstance(given, int) else "text"
        if given is None and known.default is not None:
            found.append(known.default)
        elif given is None:
            raise _unfit(name, "is not stated", "state it in attributes")
        elif kind != known.kind:
            raise _unfit(name, f"is {kind}", f"state it as {known.kind}")
        elif isinstance(given, str):
            if given not in known.values:
                raise _unfit(name, f"is {given!r}", f"use one of {', '.join(known.values)}")
            found.append(known.values.index(given))
        else:
            found.append(int(given))
    return np.array(found, dtype=np.int64)


def _unfit(name: str, wrong: str, fix: str) -> RefusedError:
    return RefusedError(Refusal.ATTRIBUTE, f"attribute {name} {wrong}", fix=fix)
