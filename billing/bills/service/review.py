"""What people decide of a run: doubtful use is accepted, estimated, parked; amounts agreed to."""

from dataclasses import replace
from datetime import datetime

from billing.bills import store
from billing.bills.model import (
    STAGES,
    Decision,
    Doubt,
    Item,
    ItemState,
    Refusal,
    RunId,
    Stage,
)
from billing.bills.service import blocked, inputs
from billing.bills.service.run import run_of
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.vee.model import Block
from protocols.errors import RefusedError


def queue(conn: Connection, run: int, *, limit: int = 200) -> list[Item]:
    """Return what waits for people: held use first, then amounts."""
    held = store.items_in_state(conn, run, ItemState.HELD, after="", limit=limit)
    return held + store.items_in_state(conn, run, ItemState.APPROVAL, after="", limit=limit)


def parked(conn: Connection, run: int, *, limit: int = 200) -> list[Item]:
    """Return the accounts a run leaves out, each with its reasons (G7)."""
    return store.items_in_state(conn, run, ItemState.PARKED, after="", limit=limit)


def block_of(conn: Connection, run: RunId, agreement: str) -> Block | None:
    """Return what keeps a held item from being billed, or None. Raises: `bills.item_state`."""
    item = _waiting(conn, run, agreement, ItemState.HELD)
    return blocked.blocks_of(conn, [item])[0]


def decide(
    db: Database, run: RunId, agreement: str, decision: Decision, *, actor: str, reason: str,
    now: datetime,
) -> Item:  # fmt: skip
    """
    Settle a held item: bill it as it is, bill an estimate in its place, or leave it out.

    What validation blocks takes two people to be billed, one way or the other; after the first it
    waits on. Raises: RefusedError `bills.item_state`, `bills.reason_missing`, `bills.same_person`.
    """
    if not reason.strip():
        raise RefusedError(Refusal.REASON, "a decision needs a reason", fix="say why")
    with db.transaction() as conn:
        found = run_of(conn, run)
        item = _waiting(conn, run, agreement, ItemState.HELD)
        who = actor
        if Doubt.BLOCKED in item.reasons and decision is not Decision.PARK:
            people = blocked.agree(conn, item, decision, actor=actor, reason=reason, now=now)
            if len(people) < blocked.PEOPLE:
                return item
            who = ", ".join(people)
        match decision:
            case Decision.ACCEPT:
                change = (agreement, ItemState.READY, item.reasons, reason)
                store.set_states(conn, run, [change], accepted_by=who)
            case Decision.PARK:
                change = (agreement, ItemState.PARKED, item.reasons, reason)
                store.set_states(conn, run, [change], accepted_by=who)
            case Decision.ESTIMATE:
                known = store.agreements_named(conn, [agreement])
                fresh = inputs.freeze(conn, found, known, estimated=True)[0]
                state = fresh.state if fresh.state is ItemState.PARKED else ItemState.READY
                store.insert_items(conn, run, [replace(fresh, state=state)])
                kept = (agreement, state, fresh.reasons, fresh.detail or reason)
                store.set_states(conn, run, [kept], accepted_by=who)
        audit.record(
            conn, at=now, actor=actor, action=f"bills.{decision}", entity="bill_item",
            entity_id=f"{run}:{agreement}", before={"reasons": list(item.reasons)}, reason=reason,
        )  # fmt: skip
        after = store.item_for_update(conn, run, agreement)
        assert after is not None
        return after


def approve(db: Database, run: RunId, agreement: str, *, actor: str, now: datetime) -> Item:
    """
    Agree to a large amount; the second of two different people lets it pass.

    Raises: RefusedError `bills.item_state`, `bills.same_person`.
    """
    with db.transaction() as conn:
        item = _waiting(conn, run, agreement, ItemState.APPROVAL)
        if actor in store.approvers(conn, item):
            raise RefusedError(
                Refusal.SAME_PERSON,
                f"{actor} has agreed to this amount already",
                fix="let another person look at it",
            )
        store.insert_approval(conn, item, actor, now)
        people = store.approvers(conn, item)
        if len(people) >= blocked.PEOPLE:
            store.set_states(
                conn, run, [(agreement, ItemState.PRICED, (), f"agreed by {', '.join(people)}")]
            )
        audit.record(
            conn, at=now, actor=actor, action="bills.approve", entity="bill_item",
            entity_id=f"{run}:{agreement}", after={"total_micros": item.total_micros},
        )  # fmt: skip
        after = store.item_for_update(conn, run, agreement)
        assert after is not None
        return after


def _waiting(conn: Connection, run: RunId, agreement: str, state: ItemState) -> Item:
    found = run_of(conn, run)
    store.lock_run(conn, run)
    item = store.item_for_update(conn, run, agreement)
    late = STAGES.index(found.stage) >= STAGES.index(Stage.POSTED)
    if item is None or item.state is not state or late:
        now = item.state if item else "not in this run"
        raise RefusedError(
            Refusal.ITEM_STATE,
            f"{agreement} is {now}, not {state}",
            fix="bill show --run ID --queue lists what waits",
        )
    return item
