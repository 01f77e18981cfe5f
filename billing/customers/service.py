"""Use cases of customers: take them in, find them, set the lines that warn them."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime

from billing.customers import rules, store
from billing.customers.model import (
    AccountId,
    AgreementId,
    AgreementTerms,
    Collective,
    CustomerCard,
    CustomerId,
    Discount,
    NewCustomer,
    NewDiscount,
    NewTermsChange,
    Occupied,
    Refusal,
    Registered,
    Registration,
    Terms,
    TermsChange,
    TermsOnDay,
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


def occupied(conn: Connection, records: Sequence[NewCustomer]) -> Occupied:
    """Return what stands already of the ids that records name, for `rules.check_free`."""
    return store.occupied(conn, records)


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


def found_collective(
    db: Database, id_: str, customer: str, currency: str, accounts: Sequence[str], *, actor: str,
    now: datetime,
) -> Collective:  # fmt: skip
    """
    Let these accounts of a company be billed and paid together, in this order (G22).

    Again, with other accounts, it changes the members. Raises: RefusedError `customers.collective`.
    """
    wish = Collective(
        id=id_, customer=CustomerId(customer), name="", language="", currency=currency,
        accounts=tuple(AccountId(account) for account in accounts),
    )  # fmt: skip
    rules.check_id(id_)
    with db.transaction() as conn:
        rules.check_collective(wish, store.account_owners(conn, accounts))
        store.insert_collective(conn, wish, actor=actor, now=now)
        store.lock_collective(conn, id_)
        before = collective_of(conn, id_)
        if (before.customer, before.currency) != (wish.customer, wish.currency):
            raise RefusedError(
                Refusal.COLLECTIVE, f"{id_} is of {before.customer} in {before.currency}",
                fix="name another collective",
            )  # fmt: skip
        rules.check_members_free(wish, store.collectives_of(conn, accounts))
        store.set_members(conn, id_, accounts, now)
        audit.record(
            conn, at=now, actor=actor, action="customers.collective", entity="collective",
            entity_id=id_, before={"accounts": list(before.accounts)},
            after={"customer": customer, "accounts": list(accounts)},
        )  # fmt: skip
        return collective_of(conn, id_)


def collective_of(conn: Connection, id_: str) -> Collective:
    """Return a collective. Raises: RefusedError `customers.collective_unknown`."""
    found = store.collectives(conn, collective=id_)
    if not found:
        raise RefusedError(
            Refusal.COLLECTIVE_UNKNOWN, f"no collective {id_[:64]!r}", fix="customer companies"
        )
    return found[0]


def lock_collective(conn: Connection, id_: str) -> Collective:
    """Return a collective, and let nobody else pay or change it until commit."""
    store.lock_collective(conn, id_)
    return collective_of(conn, id_)


def collectives(conn: Connection, text: str = "", *, limit: int = 100) -> list[Collective]:
    """Return collectives whose id, customer or name holds `text`."""
    return store.collectives(conn, text=text, limit=limit)


def discounts(
    conn: Connection, *, agreement: str | None = None, waiting: bool = False
) -> list[Discount]:
    """Return discounts of an agreement, or all that wait for a person, newest first."""
    return store.discounts(conn, agreement=agreement, waiting=waiting)


def ask_discount(db: Database, wish: NewDiscount, *, actor: str, now: datetime) -> Discount:
    """
    Ask that an agreement has a discount for some months (G15); nothing is cheaper yet.

    Raises: RefusedError `customers.discount`, `customers.agreement_unknown`.
    """
    with db.transaction() as conn:
        if not store.agreement_contents(conn, [wish.agreement]):
            raise RefusedError(Refusal.UNKNOWN_AGREEMENT, f"no agreement {wish.agreement}")
        standing = store.discounts(conn, agreement=wish.agreement)
        rules.check_discount(wish, [one for one in standing if one.granted is not False])
        number = store.insert_discount(conn, wish, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="customers.ask_discount", entity="agreement",
            entity_id=wish.agreement, after={"discount": number, **_plain(wish)},
        )  # fmt: skip
        return store.discounts(conn, discount=number)[0]


def decide_discount(
    conn: Connection, discount: int, *, granted: bool, actor: str, reason: str, now: datetime
) -> Discount:
    """
    Grant or refuse a discount; who asked does not decide.

    Granted, it is a change of the agreement's terms on its first day and another on its last, so
    bills and balances of each day have it or have it not, and it ends by itself.
    Raises: RefusedError `customers.discount` when none waits or no reason is given,
    `customers.same_person`.
    """
    found = store.discounts(conn, discount=discount)
    if not found or found[0].granted is not None or not reason.strip():
        raise RefusedError(
            Refusal.DISCOUNT, f"discount {discount} does not wait, or no reason is given",
            fix="customer discounts lists what waits; say why",
        )  # fmt: skip
    if actor == found[0].asked_by:
        raise RefusedError(
            Refusal.SAME_PERSON, f"{actor} asked for it", fix="let another person decide"
        )
    store.decide_discount(conn, found[0], granted=granted, actor=actor, reason=reason, now=now)
    if granted:
        said = store.terms_of_agreements(conn, [found[0].agreement])[found[0].agreement]
        before = rules.terms_on(said, found[0].until_day).attributes.get(found[0].attribute)
        store.insert_discount_terms(
            conn, found[0], before=before, actor=actor, today=now.date(), now=now
        )
    audit.record(
        conn, at=now, actor=actor, on_behalf=found[0].asked_by, reason=reason,
        action="customers.grant_discount" if granted else "customers.refuse_discount",
        entity="agreement", entity_id=found[0].agreement, after={"discount": discount},
    )  # fmt: skip
    return store.discounts(conn, discount=discount)[0]


def _plain(wish: NewDiscount) -> dict[str, str]:
    return {
        "attribute": wish.attribute, "value": wish.value, "evidence": wish.evidence,
        "from": wish.from_day.isoformat(), "until": wish.until_day.isoformat(),
    }  # fmt: skip


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


def propose_terms(
    conn: Connection, wish: NewTermsChange, *, today: date, actor: str, now: datetime
) -> TermsChange:
    """
    Write down a change of tariff or attributes from a day on (G24, G2, G15).

    From today or later it is agreed at once; of days past a second person decides. It is done by
    the next sweep. Raises: RefusedError `customers.terms_bad`.
    """
    rules.check_terms_change(wish)
    backdated = wish.from_day < today
    number = store.insert_terms_change(conn, wish, backdated=backdated, actor=actor, now=now)
    if not backdated:
        store.decide_terms_change(conn, number, state="approved", actor=actor, now=now)
    audit.record(
        conn, at=now, actor=actor, action="customers.propose_terms", entity="agreement",
        entity_id=wish.agreement, reason=wish.reason,
        after={
            "change": number, "from_day": wish.from_day.isoformat(),
            "tariff_code": wish.tariff_code, "attributes": dict(wish.attributes),
            "backdated": backdated,
        },
    )  # fmt: skip
    return store.terms_changes(conn, change=number, agreement=None, waiting=False)[0]


def decide_terms(
    db: Database, change: int, *, approve: bool, actor: str, now: datetime
) -> TermsChange:
    """
    Agree to a backdated change or refuse it; who proposed it does not decide.

    Raises: RefusedError `customers.terms_decided`, `customers.terms_same_person`.
    """
    with db.transaction() as conn:
        found = store.terms_changes(conn, change=change, agreement=None, waiting=True)
        if not found:
            raise RefusedError(
                Refusal.TERMS_STATE, f"no change {change} waits", fix="prepaid terms --waiting"
            )
        if approve and found[0].proposed_by == actor:
            raise RefusedError(
                Refusal.TERMS_PERSON, f"{actor} proposed change {change}",
                fix="let another person approve it",
            )  # fmt: skip
        state = "approved" if approve else "refused"
        store.decide_terms_change(conn, change, state=state, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="customers.decide_terms", entity="agreement",
            entity_id=found[0].agreement, reason=found[0].reason,
            after={"change": change, "state": state},
        )  # fmt: skip
        return store.terms_changes(conn, change=change, agreement=None, waiting=False)[0]


def terms_changes(
    conn: Connection, *, agreement: str | None = None, waiting: bool = False
) -> list[TermsChange]:
    """Return changes of an agreement or of all, newest first; `waiting` are those undecided."""
    return store.terms_changes(conn, change=None, agreement=agreement, waiting=waiting)


def due_terms(conn: Connection, day: date) -> list[tuple[AgreementId, date]]:
    """Return agreements with agreed changes up to a day that were not done yet."""
    return store.due_terms(conn, day)


def apply_terms(conn: Connection, agreement: str, *, day: date, now: datetime) -> TermsOnDay:
    """Bring an agreement's row to what it says on a day; return that."""
    found = rules.terms_on(
        store.terms_of_agreements(conn, [agreement])[AgreementId(agreement)], day
    )
    store.apply_terms(conn, agreement, found, day=day, now=now)
    return found
