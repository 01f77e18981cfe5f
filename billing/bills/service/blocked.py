"""
Accounts that validation keeps from being billed: held, let go when nothing blocks, or let pass.

    frozen --blocked--> held --nothing blocks any more--> frozen    (looked at again, values edited)
                        held --two people--> ready                  (accept it, or bill an estimate)

What prepayment draws, and when a supply is cut, does not ask here: only bills do.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from billing.bills import store
from billing.bills.model import Decision, Doubt, Item, ItemState, Refusal, Run
from billing.bills.service import inputs
from cloud.store import audit
from cloud.store.db import Connection
from cloud.vee import service as vee
from cloud.vee.model import Block
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

PEOPLE = 2
_PAGE = 1_000


def blocks_of(conn: Connection, items: Sequence[Item]) -> list[Block | None]:
    """Return what keeps each item from being billed, or None."""
    return vee.blocked_points(conn, [_span(item) for item in items])


def told(block: Block) -> str:
    """Return why a bill is not made, as one sentence for lists."""
    first, last = block.days[0], block.days[-1]
    kinds = ", ".join(block.kinds)
    return (
        f"{kinds}: {block.share_permille} of 1000 not measured, {block.allowed_permille} allowed; "
        f"{len(block.days)} days from {first} to {last}"
    )


def freeze_again(conn: Connection, run: Run) -> int:
    """
    Freeze anew what is held because it was blocked; return how many; validation decides anew.

    What validation estimates and people edit has changed since, if anything has.
    """
    after, count = "", 0
    while True:
        page = store.items_in_state(conn, run.id, ItemState.HELD, after=after, limit=_PAGE)
        held = [item.agreement for item in page if Doubt.BLOCKED in item.reasons]
        if held:
            agreements = store.agreements_named(conn, held)
            store.insert_items(conn, run.id, inputs.freeze(conn, run, agreements))
            count += len(held)
        if len(page) < _PAGE:
            return count
        after = page[-1].agreement


def agree(
    conn: Connection, item: Item, decision: Decision, *, actor: str, reason: str, now: datetime
) -> list[str]:
    """
    Note that one more person lets a blocked item pass; return who did, the earliest first.

    With the second one the findings that blocked it are closed. Raises: RefusedError
    `bills.same_person`.
    """
    if actor in store.approvers(conn, item, decision.value):
        raise RefusedError(
            Refusal.SAME_PERSON, f"{actor} has agreed to this already",
            fix="let another person look at it",
        )  # fmt: skip
    store.insert_approval(conn, item, actor, now, matter=decision.value)
    people = store.approvers(conn, item, decision.value)
    if len(people) >= PEOPLE:
        vee.accept_blocks(conn, _span(item), people=people, reason=reason, now=now)
    else:
        audit.record(
            conn, at=now, actor=actor, action=f"bills.{decision}.first", entity="bill_item",
            entity_id=f"{item.run}:{item.agreement}", before={"reasons": list(item.reasons)},
            reason=reason,
        )  # fmt: skip
    return people


def _span(item: Item) -> vee.Span:
    return (
        UsagePointId(item.usage_point), item.period_start, item.period_end - timedelta(days=1)
    )  # fmt: skip
