"""
Lines passed: each crossing is written once, and its message stands in the same transaction.

The caller holds the locks of the states (`store.lock_states`) and read them afterwards, so two
writers can never see the same fall; `crossing_once` in the database says so a second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from billing.customers import service as customers
from billing.customers.model import Notification, Terms
from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import Balance, Crossing, CrossingKind, Figures, Passed, States
from billing.prepaid.rules.periods import told_ladder
from billing.prepaid.service import registers, views
from billing.prepaid.service.registers import Registers
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from cloud.messages import service as messages
from cloud.messages.model import Kind, Wanted
from cloud.store.db import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Effective lines of each agreement, as columns like the states."""

    terms: Sequence[Terms]
    reminder: IntArray
    cut: IntArray


def lines_of(conn: Connection, states: States) -> Lines:
    """Return the lines that hold for each agreement."""
    terms = customers.terms_of_many(
        conn, list(zip(states.agreement, states.usage_point, states.currency, strict=True))
    )
    return Lines(
        terms=terms,
        reminder=np.array([each.reminder_micros for each in terms], dtype=np.int64),
        cut=np.array([each.cut_micros for each in terms], dtype=np.int64),
    )


def settle(conn: Connection, account: str, *, now: datetime) -> Balance | None:
    """
    Bring an account's balance and armed lines up to date after money moved on it.

    Joins the caller's transaction and locks the agreement's state until it ends. Returns the
    balance as it is with that money, or None when the account has no enrolled agreement yet.
    """
    agreement = store.agreement_of_account(conn, account)
    if agreement is None:
        return None
    store.lock_states(conn, [agreement])
    states = store.states(conn, [agreement])
    tariffs = rating.compiled(conn, states.tariff_hash)
    found = registers.known_at(conn, states, now)
    figures = rules.figures(states, tariffs, found.wh, found.uses)
    # the sweep alone writes registers, fees and steps; money only moves the lines
    write_lines(conn, states, figures, found, tariffs, now=now, tiers=False)
    return views.balance_from(conn, states, figures, found, now=now)


def settle_many(conn: Connection, accounts: Sequence[str], *, now: datetime) -> dict[str, int]:
    """
    Do what `settle` does for many accounts at once; return what is available on each, in micros.

    Accounts without an enrolled agreement are absent.
    """
    agreements = store.agreements_of_accounts(conn, accounts)
    if not agreements:
        return {}
    names = sorted(agreements.values())
    store.lock_states(conn, names)
    states = store.states(conn, names)
    tariffs = rating.compiled(conn, states.tariff_hash)
    found = registers.known_at(conn, states, now)
    figures = rules.figures(states, tariffs, found.wh, found.uses)
    write_lines(conn, states, figures, found, tariffs, now=now, tiers=False)
    left = rules.available(states, figures.fee).tolist()
    return dict(zip(states.account, left, strict=True))


def write_lines(
    conn: Connection,
    states: States,
    figures: Figures,
    found: Registers,
    tariffs: Mapping[str, CompiledTariff],
    *,
    now: datetime,
    tiers: bool,
) -> list[Crossing]:
    """Write balances, flags, crossings and messages of locked states; return new crossings."""
    lines = lines_of(conn, states)
    left = rules.available(states, figures.fee)
    passed = rules.lines_passed(states, left, reminder=lines.reminder, cut=lines.cut)
    rows = _rows(states, figures, passed, tiers=tiers)
    crossings = []
    if rows:
        crossings = store.insert_crossings(conn, _columns(states, left, found, rows), now)
        _tell(
            conn, crossings, states=states, lines=lines, figures=figures, tariffs=tariffs, now=now
        )
    if tiers:
        _correct(conn, states, figures, passed, left, found=found, terms=lines.terms, now=now)
    store.update_lines(
        conn,
        states.agreement,
        {
            "available": left.tolist(),
            "below_reminder": passed.below_reminder.tolist(),
            "below_zero": passed.below_zero.tolist(),
            "below_cut": passed.below_cut.tolist(),
            "reminders": (states.reminders + passed.reminder).tolist(),
            "zeros": (states.zeros + passed.zero).tolist(),
            "cuts": (states.cuts + passed.cut).tolist(),
            "restores": (states.restores + passed.restored).tolist(),
            "versions": states.version.tolist(),
        },
        now,
    )
    return crossings


def _correct(
    conn: Connection,
    states: States,
    figures: Figures,
    passed: Passed,
    left: IntArray,
    *,
    found: Registers,
    terms: Sequence[Terms],
    now: datetime,
) -> None:
    """Tell those who were warned of a line that a corrected register has put them above it."""
    above = (states.below_reminder & ~passed.below_reminder) | passed.restored
    wanted = [
        Wanted(
            # the counters name the warnings that no longer hold: one correction for each
            dedupe_key=f"corrected:{states.account[n]}:{states.reminders[n]}:{states.zeros[n]}",
            kind=Kind.BALANCE_CORRECTED,
            subject=states.usage_point[n],
            phone="" if terms[n].notification is Notification.PAPER else None,
            variables={"available_micros": int(left[n]), "currency": states.currency[n]},
        )
        for n in np.flatnonzero(above & rules.corrected(states, figures, found.wh)).tolist()
        if terms[n].auto_remind or terms[n].auto_dun
    ]
    messages.enqueue_many(conn, wanted, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    index: int
    kind: CrossingKind
    level: int
    number: int


def _rows(states: States, figures: Figures, passed: Passed, *, tiers: bool) -> list[_Row]:
    rows = [
        _Row(index=int(index), kind=kind, level=0, number=int(count[index]) + 1)
        for kind, mask, count in (
            (CrossingKind.REMINDER, passed.reminder, states.reminders),
            (CrossingKind.ZERO, passed.zero, states.zeros),
            (CrossingKind.CUT, passed.cut, states.cuts),
            (CrossingKind.RESTORED, passed.restored, states.restores),
        )
        for index in np.flatnonzero(mask)
    ]
    if tiers:
        rows += [
            _Row(index=int(index), kind=CrossingKind.TIER, level=level, number=1)
            for index in np.flatnonzero(figures.tier > states.tier)
            for level in rules.steps_reached(int(states.tier[index]), int(figures.tier[index]))
        ]
    return rows


def _columns(
    states: States, left: IntArray, found: Registers, rows: Sequence[_Row]
) -> dict[str, list[Any]]:
    at = [row.index for row in rows]
    return {
        "agreements": [states.agreement[n] for n in at],
        "accounts": [states.account[n] for n in at],
        "usage_points": [states.usage_point[n] for n in at],
        "kinds": [row.kind.value for row in rows],
        "levels": [row.level for row in rows],
        "periods": [states.period[n] for n in at],
        "numbers": [row.number for row in rows],
        "available": left[at].tolist(),
        "registers": found.wh[at].tolist(),
        "register_ms": found.at_ms[at].tolist(),
        "tariff_hashes": [states.tariff_hash[n] for n in at],
        "versions": states.version[at].tolist(),
    }


def _tell(
    conn: Connection,
    crossings: Sequence[Crossing],
    *,
    states: States,
    lines: Lines,
    figures: Figures,
    tariffs: Mapping[str, CompiledTariff],
    now: datetime,
) -> None:
    index = {agreement: n for n, agreement in enumerate(states.agreement)}
    wanted = []
    for crossing in crossings:
        n = index[crossing.agreement]
        terms, currency = lines.terms[n], states.currency[n]
        money = {"available_micros": crossing.available_micros, "currency": currency}
        if crossing.kind is CrossingKind.REMINDER and terms.auto_remind:
            # a balance that fell through zero at once is dunned, not reminded
            if crossing.available_micros >= 0:
                wanted.append(_wanted(crossing, Kind.REMINDER, terms, money))
        elif crossing.kind is CrossingKind.ZERO and terms.auto_dun:
            wanted.append(_wanted(crossing, Kind.DUNNING, terms, money))
        elif crossing.kind is CrossingKind.TIER:
            reached = {
                "tier": crossing.level, "year_wh": int(figures.year_wh[n]), "currency": currency,
                "price_micros": int(
                    told_ladder(tariffs[crossing.tariff_hash]).price[crossing.level - 1]
                ),
            }  # fmt: skip
            wanted.append(_wanted(crossing, Kind.TIER_REACHED, terms, reached))
    messages.enqueue_many(conn, wanted, now=now)


def _wanted(crossing: Crossing, kind: Kind, terms: Terms, variables: Mapping[str, Any]) -> Wanted:
    return Wanted(
        dedupe_key=(
            f"{crossing.kind.value}:{crossing.account}:{crossing.period}:{crossing.level}"
            f":{crossing.crossing_no}"
        ),
        kind=kind,
        subject=crossing.usage_point,
        # a customer who wants paper has no number here; others are reached as contacts say
        phone="" if terms.notification is Notification.PAPER else None,
        variables=variables,
    )
