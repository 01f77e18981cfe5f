"""
Which bills, charges, drawn days and balances had used a day that has other figures now.

This is what `cloud.rollups` asks for (its `Finder`), for cloud knows no money. Read-only: a bill
that would differ is put right by a person or by the next run, never from here.
"""

from collections.abc import Sequence
from datetime import timedelta

from billing.bills.rules.again import is_estimated, with_register
from billing.bills.rules.pinned import price_pinned
from billing.bills.service.inputs import versions_of
from billing.bills.store import dependents as store
from billing.bills.store.dependents import Pinned
from billing.prepaid.service import dependents as prepaid
from cloud.rollups.model import Change, Dependent, DependentKind
from cloud.store.db import Connection
from protocols.errors import RefusedError

_ONE = timedelta(days=1)


def find(conn: Connection, changes: Sequence[Change]) -> list[list[Dependent]]:
    """Return what had used the day of each change: drawn day, balance, charges, bills."""
    found = prepaid.find(conn, changes)
    points = [change.usage_point for change in changes]
    days = [change.day for change in changes]
    for each in store.items_on_days(conn, points, days):
        found[each.number].append(_again(conn, changes[each.number], each))
    for each in store.bills_on_days(conn, points, days):
        found[each.number].append(_again(conn, changes[each.number], each))
    return found


def _again(conn: Connection, change: Change, pinned: Pinned) -> Dependent:
    """
    Return a bill or charge beside what it would be with the day's last register as it is now.

    The register of the first midnight is the last one of the day before, which has a change of its
    own; a bill that rests on neither is the same.
    """
    wh, micros = None, None
    closing = change.after.closing
    text = (
        None
        if closing is None or is_estimated(pinned.usage)
        else with_register(pinned.usage, change.day + _ONE, closing.wh)
    )
    if text is not None:
        try:
            priced = price_pinned(text, pinned.versions, versions_of(conn, pinned.versions))
            wh, micros = priced.energy_wh, priced.total_micros
        except RefusedError:
            # a register that now falls below an earlier one of the bill: a person must look
            text = None
    before = pinned.total_micros
    state = "look" if text is None else "same" if micros == before else "differs"
    return Dependent(
        kind=DependentKind.BILL_ITEM if pinned.state else DependentKind.BILL,
        reference=pinned.reference, account=pinned.account,
        state=f"{pinned.state}:{state}" if pinned.state else state, wh_before=pinned.energy_wh,
        wh_after=wh, currency=pinned.currency, micros_before=before, micros_after=micros,
    )  # fmt: skip
