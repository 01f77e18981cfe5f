"""From lines of a bill to legs of its entry: which account of the chart each ledger code means."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from billing.bills.model import Line, NewBill
from billing.ledger.model import AccountKind, Draft, Leg, Side


@lru_cache(maxsize=1024)
def account_of(ledger_code: str) -> tuple[str, AccountKind]:
    """Return the chart's code and kind of a tariff line's ledger code."""
    family, _, rest = ledger_code.partition("_")
    if ledger_code == "revenue_rounding":
        return AccountKind.ROUNDING.code_of(), AccountKind.ROUNDING
    if family == "receivable":
        return AccountKind.SUBSIDY.code_of(rest), AccountKind.SUBSIDY
    if family == "payable":
        if rest == "vat" or rest.startswith("vat_"):
            return AccountKind.VAT.code_of(rest[4:]), AccountKind.VAT
        return AccountKind.LEVY.code_of(rest), AccountKind.LEVY
    owner = "" if rest == "energy" else rest
    return AccountKind.REVENUE.code_of(owner), AccountKind.REVENUE


def credits_of(lines: Sequence[Line]) -> dict[str, int]:
    """Return what lines credit by the chart's code, zeros left out."""
    sums: dict[str, int] = defaultdict(int)
    for line in lines:
        sums[account_of(line.ledger_code)[0]] += line.amount_micros
    return {code: amount for code, amount in sorted(sums.items()) if amount}


def draft_of(bill: NewBill, *, key: str, drawn: bool) -> Draft | None:
    """
    Return the entry of a bill, or None when it moves nothing.

    A drawn (prepaid) account has paid by its drawdowns: only what they left is taken from its
    prepayment, into revenue; any other account owes the whole bill.
    """
    if not bill.posted_micros:
        return None
    kinds = dict(account_of(line.ledger_code) for line in bill.lines)
    owed = AccountKind.CUSTOMER if drawn else AccountKind.AR_ENERGY
    if drawn:
        revenue = AccountKind.REVENUE.code_of()
        sums, kinds = {revenue: bill.posted_micros}, {revenue: AccountKind.REVENUE}
    else:
        sums = credits_of(bill.lines)
    legs = [_leg(owed.code_of(bill.account), owed, bill.posted_micros, bill.currency)]
    legs += [_leg(code, kinds[code], -amount, bill.currency) for code, amount in sums.items()]
    return Draft(
        key=key, kind="bill", value_date=bill.period_end, actor=bill.actor, legs=tuple(legs),
        reason=bill.reason, source_ref=bill.agreement,
    )  # fmt: skip


def _leg(code: str, kind: AccountKind, signed: int, currency: str) -> Leg:
    side = Side.DEBIT if signed > 0 else Side.CREDIT
    return Leg(code=code, kind=kind, side=side, amount_micros=abs(signed), currency=currency)
