"""Replay: the pinned input of any bill, priced again, must give its lines to the last micro."""

from dataclasses import dataclass

from billing.bills import store
from billing.bills.model import Bill, Refusal
from billing.bills.rules.pinned import input_hash, pieces_in, price_pinned
from billing.bills.service.inputs import versions_of
from billing.rating.model import TraceLine
from billing.rating.rules import kernel
from billing.rating.rules.trace import trace_of
from cloud.store.db import Connection
from protocols.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A bill beside what its pinned input costs now."""

    bill: Bill
    total_micros: int
    kernel_version: int
    differences: tuple[str, ...]
    """Empty when hash, lines and total are the same."""


def bill_of(conn: Connection, bill: int) -> Bill:
    """Return a bill, cancelled or not. Raises: RefusedError `bills.bill_unknown`."""
    found = store.bills_by_id(conn, [bill])
    if not found:
        raise RefusedError(Refusal.BILL_UNKNOWN, f"there is no bill {bill}", fix="bill show")
    return found[0]


def replay(conn: Connection, bill: int) -> Replayed:
    """
    Return what a bill's pinned input costs, with every difference to the bill by name.

    Raises: RefusedError `bills.bill_unknown`, `tariffs.unknown`.
    """
    found = bill_of(conn, bill)
    if not found.usage:
        return Replayed(
            bill=found, total_micros=sum(line.amount_micros for line in found.lines),
            kernel_version=kernel.VERSION, differences=(),
        )  # fmt: skip
    wrong = []
    if input_hash(found.usage, found.versions) != found.input_hash:
        wrong.append("the pinned input does not have its hash")
    priced = price_pinned(found.usage, found.versions, versions_of(conn, found.versions))
    if priced.lines != found.lines:
        was = {(line.tariff, line.line): line.amount_micros for line in found.lines}
        now = {(line.tariff, line.line): line.amount_micros for line in priced.lines}
        wrong += [
            f"{key[1]}: {was.get(key, 0)} is {now.get(key, 0)} now"
            for key in sorted(was.keys() | now.keys())
            if was.get(key, 0) != now.get(key, 0)
        ]
    if priced.total_micros != found.total_micros:
        wrong.append(f"total: {found.total_micros} is {priced.total_micros} now")
    return Replayed(
        bill=found, total_micros=priced.total_micros, kernel_version=kernel.VERSION,
        differences=tuple(wrong),
    )  # fmt: skip


def trace(conn: Connection, bill: Bill) -> list[TraceLine]:
    """Return why a bill is what it is; rows that count add up to its total."""
    if not bill.usage:
        return []
    versions = versions_of(conn, bill.versions)
    pieces = pieces_in(bill.usage, bill.versions, versions)
    return [row for digest, piece in pieces for row in trace_of(versions[digest][1], piece.use)]
