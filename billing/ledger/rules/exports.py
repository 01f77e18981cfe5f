"""
The book for other programs: beancount text and CSV, amounts exact to the micro.

*Source*: https://beancount.github.io/docs/beancount_language_syntax.html (accounts begin with one
of five roots, each component with a capital or a digit; balances hold at the start of their day).
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import pairwise

from billing.ledger.model import AccountKind, AccountSum, BookedEntry, Side

CSV_COLUMNS = (
    "entry_id", "seq", "value_date", "booked_at", "kind", "account", "account_kind", "side",
    "amount", "currency", "actor", "reason", "source_ref", "key", "reverses",
)  # fmt: skip
_ROOTS = {
    AccountKind.AR_ENERGY: "Assets", AccountKind.AR_PENALTY: "Assets",
    AccountKind.AR_CONNECTION: "Assets", AccountKind.UNBILLED: "Assets",
    AccountKind.SUBSIDY: "Assets", AccountKind.BANK: "Assets",
    AccountKind.CUSTOMER: "Liabilities", AccountKind.DEPOSIT: "Liabilities",
    AccountKind.VAT: "Liabilities", AccountKind.LEVY: "Liabilities",
    AccountKind.FLOAT: "Liabilities", AccountKind.SUSPENSE: "Liabilities",
    AccountKind.ROUNDING: "Liabilities", AccountKind.BAD_DEBT: "Expenses",
    AccountKind.THEFT: "Income", AccountKind.REVENUE: "Income",
    AccountKind.REVENUE_PENALTY: "Income", AccountKind.REVENUE_CONNECTION: "Income",
    AccountKind.AR_PLAN: "Assets", AccountKind.AR_INSTALMENT: "Assets",
    AccountKind.AR_EMERGENCY: "Assets", AccountKind.AR_OLD_DEBT: "Assets",
    AccountKind.AR_DEPOSIT: "Assets", AccountKind.DEPOSIT_DEMANDED: "Liabilities",
    AccountKind.INTEREST: "Expenses",
    AccountKind.OPENING: "Equity", AccountKind.ADJUSTMENT: "Equity",
}  # fmt: skip
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def beancount_account(kind: AccountKind, code: str) -> str:
    """
    Return the name of an account in beancount; two codes never share one.

    In the owner's part anything but letters, digits and single hyphens is written as `--`, its
    code point and `-`; what could not begin a name, or begins like this prefix, gets `C-`.
    """
    name = "-".join(word.capitalize() for word in kind.value.split("_"))
    owner = code.removeprefix(kind.value).removeprefix(":")
    if not owner:
        return f"{_ROOTS[kind]}:{name}"
    text = "".join(
        letter if letter in _PLAIN or (letter == "-" and before != "-") else f"--{ord(letter):x}-"
        for before, letter in pairwise(" " + owner)
    )
    begins = (text[0].isdigit() or text[0].isupper()) and not text.startswith("C-")
    return f"{_ROOTS[kind]}:{name}:{text if begins else 'C-' + text}"


def decimal_text(micros: int) -> str:
    """Return micros as decimal text with six digits after the point."""
    sign = "-" if micros < 0 else ""
    return f"{sign}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000:06}"


def beancount_head(
    accounts: Sequence[AccountSum], *, day: date, opening: Sequence[AccountSum]
) -> Iterator[str]:
    """Yield the lines before the entries: every account opened, and what they held before `day`."""
    yield 'option "title" "Meterloop ledger"\n'
    for name in sorted({beancount_account(each.kind, each.code) for each in accounts}):
        yield f"{day} open {name}\n"
    held = [each for each in opening if each.dr != each.cr]
    if held:
        yield f'{day} * "opening" "balances brought forward"\n'
        yield from (_leg_line(each.kind, each.code, each.dr - each.cr, each.currency)
                    for each in held)  # fmt: skip


def beancount_entry(entry: BookedEntry) -> str:
    """Return one entry as a transaction."""
    lines = [f'{entry.value_date} * "{entry.kind}" {_quoted(entry.reason)} ^entry-{entry.entry_id}'
             + (f" ^entry-{entry.reverses}" if entry.reverses else "") + "\n",
             f"  entry: {entry.entry_id}\n", f"  key: {_quoted(entry.key)}\n",
             f"  actor: {_quoted(entry.actor)}\n"]  # fmt: skip
    lines += [_leg_line(leg.kind, leg.code, leg.side * leg.amount_micros, leg.currency)
              for leg in entry.legs]  # fmt: skip
    return "".join(lines)


def beancount_foot(closing: Iterable[AccountSum], *, day: date) -> Iterator[str]:
    """Yield what every account must hold at the start of `day`; beancount proves it."""
    for each in closing:
        name = beancount_account(each.kind, each.code)
        yield f"{day} balance {name} {decimal_text(each.dr - each.cr)} {each.currency}\n"


def csv_lines(entry: BookedEntry | None) -> str:
    """Return the rows of one entry, or of None the head of the table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if entry is None:
        writer.writerow(CSV_COLUMNS)
        return out.getvalue()
    writer.writerows(
        (
            entry.entry_id, leg.seq, entry.value_date, entry.booked_at.isoformat(), entry.kind,
            leg.code, leg.kind.value, "debit" if leg.side is Side.DEBIT else "credit",
            decimal_text(leg.amount_micros), leg.currency, entry.actor, entry.reason,
            entry.source_ref, entry.key, entry.reverses or "",
        )
        for leg in entry.legs
    )  # fmt: skip
    return out.getvalue()


def _leg_line(kind: AccountKind, code: str, amount: int, currency: str) -> str:
    return f"  {beancount_account(kind, code)}  {decimal_text(amount)} {currency}\n"


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'
