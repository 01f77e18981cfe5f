"""What a channel may take in a day and what its float holds, changed by two people alone."""

from datetime import datetime

from billing.ledger import service as ledger
from billing.ledger.model import Event
from billing.payments import rules
from billing.payments.model import (
    ChangeKind,
    ChangeOutcome,
    ChannelChange,
    ChannelLimits,
    Refusal,
)
from billing.payments.rules import limits as limit_rules
from billing.payments.rules.steps import business_day
from billing.payments.service import guard
from billing.payments.store import limits as store
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


def propose_change(db: Database, change: ChannelChange, *, now: datetime) -> int:
    """
    Propose a limit a day, or money to or from an agent's float; nothing changes. Return its number.

    Raises: RefusedError `payments.change` when it makes no sense or another of its kind waits.
    """
    limit_rules.check_change(change)
    with db.transaction() as conn:
        number = store.insert_change(conn, change, now)
        if number is None:
            raise RefusedError(
                Refusal.CHANGE, f"another {change.kind.value} of {change.channel} waits",
                fix="decide or withdraw that one first",
            )  # fmt: skip
        _note(conn, change, number, "payments.change_proposed",
              actor=change.proposed_by, now=now)  # fmt: skip
        return number


def decide_change(
    db: Database, number: int, outcome: ChangeOutcome, *, actor: str, now: datetime
) -> ChannelChange:
    """
    Approve or refuse what another person proposed, or withdraw what one proposed oneself.

    An approved limit counts the channel's present day anew, so what was taken before it counts too.
    Raises: RefusedError `payments.change`, `payments.two_people`, `ledger.floor`.
    """
    with db.transaction() as conn:
        found = _waiting(conn, number)
        if outcome is ChangeOutcome.WITHDRAWN:
            if actor != found.proposed_by:
                raise RefusedError(
                    Refusal.CHANGE, "who proposed a change withdraws it", fix="refuse it instead"
                )
        else:
            rules.check_people((found.proposed_by, actor))
        entry = None
        if outcome is ChangeOutcome.APPROVED and found.kind is ChangeKind.FLOAT:
            entry = _fund(conn, found, now)
        elif outcome is ChangeOutcome.APPROVED:
            store.lock_channel(conn, found.channel)
        store.decide_change(conn, number, outcome, actor=actor, entry=entry, now=now)
        if outcome is ChangeOutcome.APPROVED and found.kind is ChangeKind.DAY_LIMIT:
            _recount(conn, found, now)
        _note(conn, found, number, f"payments.change_{outcome.value}",
              actor=actor, now=now)  # fmt: skip
        decided = store.change_for_update(conn, number)
        assert decided is not None
        return decided


def changes(conn: Connection, *, limit: int = 50) -> list[ChannelChange]:
    """Return proposed changes, those that wait first, then the newest."""
    return store.newest_changes(conn, limit)


def limits_of(conn: Connection, *, now: datetime) -> list[ChannelLimits]:
    """Return what each channel has taken of its day and what its float has free."""
    found = []
    for channel, currency in store.channel_names(conn):
        terms, limit = store.terms_and_limit(conn, channel, currency)
        day = business_day(terms, now)
        taken, reserved = store.day_taken(conn, channel, currency, day)
        found.append(
            ChannelLimits(
                channel=channel, currency=currency, day=day, day_limit_micros=limit,
                taken_micros=taken, by_agent=terms.by_agent, reserved_micros=reserved,
                float_micros=ledger.float_of(conn, channel, currency),
            )
        )  # fmt: skip
    return found


def _waiting(conn: Connection, number: int) -> ChannelChange:
    found = store.change_for_update(conn, number)
    if found is None or found.outcome is not ChangeOutcome.WAITS:
        told = "does not exist" if found is None else f"is {found.outcome.value}"
        raise RefusedError(
            Refusal.CHANGE, f"change {number} {told}", fix="look at the changes again"
        )
    return found


def _fund(conn: Connection, change: ChannelChange, now: datetime) -> int:
    """Book money into a float or out of it; what is kept for holds does not leave it."""
    assert change.amount_micros is not None
    if change.amount_micros < 0:
        reserved = store.lock_reserve(conn, change.channel, change.currency)
        free = ledger.float_of(conn, change.channel, change.currency) - reserved
        if free + change.amount_micros < 0:
            raise RefusedError(
                Refusal.FLOAT, f"the float of {change.channel} has {max(0, free)} micros free",
                fix="take out less, or wait until its holds end",
            )  # fmt: skip
    return ledger.book(
        conn,
        Event(
            kind="agent_funding", key=f"channel_change:{change.id}", value_date=now.date(),
            actor=change.proposed_by, reason=change.reason, currency=change.currency,
            source_ref=f"channel_change:{change.id}", owners={"channel": change.channel},
            amounts={"amount": change.amount_micros},
        ),
        now=now,
    ).entry_id  # fmt: skip


def _recount(conn: Connection, change: ChannelChange, now: datetime) -> None:
    if change.amount_micros is None:
        return
    terms, _ = store.terms_and_limit(conn, change.channel, change.currency)
    day = business_day(terms, now)
    store.recount_day(conn, change.channel, change.currency, day, guard.day_span(terms, day))


def _note(
    conn: Connection, change: ChannelChange, number: int, action: str, *, actor: str, now: datetime
) -> None:
    audit.record(
        conn, at=now, actor=actor, action=action, entity="channel", entity_id=change.channel,
        on_behalf=change.proposed_by if actor != change.proposed_by else "",
        reason=change.reason.strip(),
        after={"change": number, "kind": change.kind.value, "currency": change.currency,
               "amount_micros": change.amount_micros},
    )  # fmt: skip
