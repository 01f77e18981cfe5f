"""Use cases of customers: take them in, find them, set the lines that warn them."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from billing.customers import rules, store
from billing.customers.model import (
    AccountId,
    AgreementId,
    AgreementTerms,
    CustomerCard,
    NewCustomer,
    Refusal,
    Registered,
    Registration,
    Terms,
    Threshold,
    ThresholdLevel,
)
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Draft, Leg, Side
from cloud.assets import service as assets
from cloud.control import service as control
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import TransformerId
from protocols.timeline import Interval

_LOG = logging.getLogger(__name__)


def register(db: Database, registration: Registration, *, now: datetime) -> Registered:
    """
    Take in customers with account, agreement, opening balance and lines, all or none.

    The same record again changes nothing; protections are pushed to control after the commit and
    are pushed again by a repeat, so a crash between the two is healed by running it once more.

    Raises: RefusedError when a record is bad, or known with other content.
    """
    for record in registration.customers:
        rules.check_record(record)
    with db.transaction() as conn:
        known = store.agreement_contents(
            conn, [record.agreement for record in registration.customers]
        )
        added = [
            record
            for record in registration.customers
            if _is_new(record, known.get(record.agreement))
        ]
        for record in added:
            _add(conn, record, actor=registration.actor, now=now)
        ledger.post_many(
            conn, [_opening(record) for record in added if record.opening_balance_micros], now=now
        )
        if added:
            audit.record(
                conn, at=now, actor=registration.actor, action="customers.register",
                entity="registration", entity_id=added[0].agreement,
                after={"agreements": [record.agreement for record in added]},
            )  # fmt: skip
    for record in registration.customers:
        if record.protection:
            _protect(db, record, actor=registration.actor, now=now)
    unchanged = len(registration.customers) - len(added)
    _LOG.info(
        "customers.registered", extra={"fields": {"added": len(added), "unchanged": unchanged}}
    )
    return Registered(added=len(added), unchanged=unchanged)


def card_of(conn: Connection, usage_point: str) -> CustomerCard | None:
    """Return who pays at a usage point now, or None."""
    return store.card_by_usage_point(conn, usage_point)


def card_of_account(conn: Connection, account: str) -> CustomerCard | None:
    """Return whose account it is, or None when there is no such account."""
    return store.cards_by_account(conn, [account]).get(AccountId(account))


def cards_of(conn: Connection, accounts: Sequence[str]) -> dict[AccountId, CustomerCard]:
    """Return the cards of many accounts in one question."""
    return store.cards_by_account(conn, accounts)


def find(conn: Connection, text: str, *, limit: int = 20) -> list[CustomerCard]:
    """Return open agreements whose ids or customer's name hold `text`."""
    return store.find_cards(conn, text, limit)


def cards_on_tariff(
    conn: Connection, code: str, span: Interval, *, after: str = "", limit: int = 1_000
) -> list[CustomerCard]:
    """Return agreements of a tariff that held in the whole span, by usage point, in pages."""
    return store.cards_on_tariff(conn, code, span, after, limit)


def end_agreement(conn: Connection, agreement: str, *, at: datetime) -> bool:
    """
    End an open agreement in the caller's transaction; tell whether it was open.

    Its account, bills and ledger stay; another customer may begin at its usage point.
    """
    return store.end_agreement(conn, agreement, at)


def set_threshold(db: Database, threshold: Threshold, *, actor: str, now: datetime) -> None:
    """
    Set lines and switches for a currency's default, a transformer area or an agreement (C10, F6).

    Raises: RefusedError when a cut line is above zero or above its reminder.
    """
    rules.check_lines(threshold.reminder_micros, threshold.cut_micros)
    with db.transaction() as conn:
        before = store.all_thresholds(conn).get((threshold.level, threshold.target))
        store.upsert_threshold(conn, threshold, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="customers.set_threshold",
            entity="threshold", entity_id=f"{threshold.level.value}:{threshold.target}",
            before=asdict(before) if before else None, after=asdict(threshold),
        )  # fmt: skip


def terms_of(conn: Connection, card: CustomerCard) -> Terms:
    """Return the lines and switches that hold for one agreement."""
    thresholds = store.all_thresholds(conn)
    return rules.effective(
        rules.nearest_levels(
            thresholds,
            currency=card.currency,
            transformer=_areas(conn, thresholds).get(card.usage_point),
            agreement=card.agreement,
        )
    )


def terms_of_many(conn: Connection, points: Sequence[tuple[str, str, str]]) -> list[Terms]:
    """
    Return the terms of many agreements, given as (agreement, usage point, currency).

    Agreements that share every level share one object, so a caller may group by identity.
    """
    thresholds = store.all_thresholds(conn)
    areas = _areas(conn, thresholds)
    shared: dict[tuple[str, str | None, str], Terms] = {}
    found = []
    for agreement, usage_point, currency in points:
        own = agreement if (ThresholdLevel.AGREEMENT, agreement) in thresholds else ""
        key = (currency, areas.get(usage_point), own)
        if key not in shared:
            shared[key] = rules.effective(
                rules.nearest_levels(
                    thresholds, currency=currency, transformer=key[1], agreement=agreement
                )
            )
        found.append(shared[key])
    return found


def terms_of_agreements(
    conn: Connection, agreements: Sequence[str]
) -> dict[AgreementId, list[AgreementTerms]]:
    """Return what each agreement said first and every agreed change since, for `terms_on`."""
    return store.terms_of_agreements(conn, agreements)


def currencies_with_terms(conn: Connection) -> set[str]:
    """Return the currencies in which balances can be warned: those with default lines."""
    return store.currencies_with_terms(conn)


def named_by_thresholds(conn: Connection) -> tuple[list[str], list[str]]:
    """Return agreements, and usage points of areas, whose terms are not their currency's alone."""
    thresholds = store.all_thresholds(conn)
    agreements = [name for level, name in thresholds if level is ThresholdLevel.AGREEMENT]
    return agreements, sorted(_areas(conn, thresholds))


def _is_new(record: NewCustomer, known: bytes | None) -> bool:
    if known is not None and known != rules.content_hash(record):
        raise RefusedError(
            Refusal.CHANGED_RECORD,
            f"agreement {record.agreement} is registered with other content",
            fix="change it by its own use case, or register it under a new id",
        )
    return known is None


def _add(conn: Connection, record: NewCustomer, *, actor: str, now: datetime) -> None:
    store.insert_customer(conn, record, now)
    store.insert_agreement(conn, record, rules.content_hash(record))
    ledger.open_customer_account(conn, record.account, record.currency)
    control.open_supply(conn, record.usage_point, now)
    messages.set_contact(
        conn, subject=record.usage_point, phone=record.phone, language=record.language, now=now
    )
    if (record.reminder_micros, record.cut_micros, record.notification) != (None, None, None):
        store.upsert_threshold(
            conn,
            Threshold(
                level=ThresholdLevel.AGREEMENT, target=record.agreement,
                reminder_micros=record.reminder_micros, cut_micros=record.cut_micros,
                notification=record.notification,
            ),
            actor=actor, now=now,
        )  # fmt: skip


def _protect(db: Database, record: NewCustomer, *, actor: str, now: datetime) -> None:
    with db.transaction() as conn:
        standing = control.protections_of(conn, record.usage_point)
    if not any(each.reason == record.protection for each in standing):
        control.protect(
            db, level="usage_point", target=record.usage_point, reason=record.protection,
            actor=actor, now=now,
        )  # fmt: skip


def _opening(record: NewCustomer) -> Draft:
    side = Side.CREDIT if record.opening_balance_micros > 0 else Side.DEBIT
    amount = abs(record.opening_balance_micros)
    return Draft(
        key=f"opening:{record.agreement}",
        kind="opening",
        value_date=record.started_at.date(),
        actor="system:billing",
        reason="balance taken over",
        source_ref=record.agreement,
        legs=(
            Leg(
                code=record.account, kind=AccountKind.CUSTOMER, side=side,
                amount_micros=amount, currency=record.currency,
            ),
            Leg(
                code="opening_balance", kind=AccountKind.OPENING, side=side.other,
                amount_micros=amount, currency=record.currency,
            ),
        ),
    )  # fmt: skip


def _areas(
    conn: Connection, thresholds: dict[tuple[ThresholdLevel, str], Threshold]
) -> dict[str, str]:
    """Map usage points to the transformers that have thresholds of their own."""
    return {
        usage_point.id: target
        for level, target in thresholds
        if level is ThresholdLevel.TRANSFORMER
        for usage_point in assets.usage_points_of_transformer(conn, TransformerId(target))
    }
