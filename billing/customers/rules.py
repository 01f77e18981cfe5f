"""Pure decisions about customers: what a record must hold, and which line wins."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date

from billing.customers.model import (
    LANGUAGES,
    AgreementTerms,
    Collective,
    NewCustomer,
    NewDiscount,
    NewTermsChange,
    Occupied,
    Refusal,
    Terms,
    TermsOnDay,
    Threshold,
    ThresholdLevel,
)
from protocols.errors import RefusedError
from protocols.identity import is_name

_FIELDS = (
    "reminder_micros", "cut_micros", "notification", "auto_remind", "auto_dun", "auto_restore",
    "notice_hours",
)  # fmt: skip


def check_record(record: NewCustomer) -> None:
    """Refuse a record that could not be billed. Raises: RefusedError `customers.record_bad`."""
    names = (record.customer, record.account, record.agreement, record.usage_point)
    wrong = [name for name in names if not is_name(name)]
    if wrong:
        raise _bad(f"{wrong[0]!r} is no id", "use 1 to 64 letters, digits and _ . -")
    if record.language not in LANGUAGES:
        raise _bad(f"{record.language!r} is no language here", f"use one of {', '.join(LANGUAGES)}")
    if len(record.currency) != 3 or not record.currency.isascii() or not record.currency.isupper():
        raise _bad(f"{record.currency!r} is no currency", "use three capital letters")
    if record.started_at.tzinfo is None:
        raise _bad("started_at has no zone", "give an instant in UTC")
    if record.opening_year_wh < 0 or (record.opening_register_wh or 0) < 0:
        raise _bad("an opening figure is negative", "energy before take-over is 0 Wh or more")
    check_lines(record.reminder_micros, record.cut_micros)


def check_lines(reminder_micros: int | None, cut_micros: int | None) -> None:
    """Refuse a cut line above zero: nobody is cut who owes nothing. Raises: RefusedError."""
    if cut_micros is not None and cut_micros > 0:
        raise RefusedError(
            Refusal.BAD_THRESHOLD, "the cut line is above zero", fix="set zero or a debt"
        )
    if reminder_micros is not None and reminder_micros < (cut_micros or 0):
        raise RefusedError(
            Refusal.BAD_THRESHOLD,
            "the reminder line is below the cut line",
            fix="remind before the cut",
        )


def content_hash(record: NewCustomer) -> bytes:
    """Return SHA-256 of everything in the record, so that a repeated file is known as such."""
    body = asdict(record)
    body["started_at"] = record.started_at.isoformat()
    body["attributes"] = dict(sorted(record.attributes.items()))
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def effective(levels: Iterable[Threshold | None]) -> Terms:
    """
    Return the terms that hold, given thresholds from the widest level to the nearest.

    Field by field the nearest that says something wins: the customer over the transformer area
    over the default (F6, C10).
    """
    found: dict[str, object] = {}
    for threshold in levels:
        if threshold is None:
            continue
        for name in _FIELDS:
            value = getattr(threshold, name)
            if value is not None:
                found[name] = value
    missing = [name for name in _FIELDS if name not in found]
    if missing:
        raise RefusedError(
            Refusal.BAD_THRESHOLD,
            f"no level sets {missing[0]}",
            fix="set the default thresholds of this currency",
        )
    return Terms(**found)  # type: ignore[arg-type]


def terms_on(changes: Sequence[AgreementTerms], day: date) -> TermsOnDay:
    """
    Return what an agreement says of a day.

    `changes` begins with what it said at first; the rest are by the day they hold from, and each
    says only what it changes. A change of tariff ends a pinned version.
    """
    base = changes[0]
    code, pinned = base.tariff_code or "", base.pinned_hash
    attributes = dict(base.attributes)
    for change in changes[1:]:
        if change.from_day > day:
            continue
        if change.tariff_code is not None or change.pinned_hash is not None:
            code, pinned = change.tariff_code or code, change.pinned_hash
        attributes.update(change.attributes)
    return TermsOnDay(
        tariff_code=code, pinned_hash=pinned,
        attributes={name: text for name, text in attributes.items() if text is not None},
    )  # fmt: skip


def check_terms_change(wish: NewTermsChange) -> None:
    """Refuse a change that changes nothing or says no reason. Raises: RefusedError."""
    if not wish.reason.strip():
        raise RefusedError(Refusal.BAD_TERMS, "a change needs a reason", fix="say why")
    if wish.tariff_code is None and not wish.attributes:
        raise RefusedError(
            Refusal.BAD_TERMS, "the change changes nothing", fix="name a tariff or an attribute"
        )


def nearest_levels(
    thresholds: Mapping[tuple[ThresholdLevel, str], Threshold],
    *,
    currency: str,
    transformer: str | None,
    agreement: str,
) -> list[Threshold | None]:
    """Return the thresholds that speak of one agreement, widest first, for `effective`."""
    return [
        thresholds.get((ThresholdLevel.DEFAULT, currency)),
        thresholds.get((ThresholdLevel.TRANSFORMER, transformer)) if transformer else None,
        thresholds.get((ThresholdLevel.AGREEMENT, agreement)),
    ]


def _bad(message: str, fix: str) -> RefusedError:
    return RefusedError(Refusal.BAD_RECORD, message, fix=fix)


def check_free(record: NewCustomer, occupied: Occupied) -> None:
    """
    Refuse a record whose supply or account is another's already, or whose customer is somebody.

    The same record again is free. Raises: RefusedError `customers.record_differs`,
    `customers.usage_point_taken`, `customers.account_taken`, `customers.customer_differs`.
    """
    known = occupied.contents.get(record.agreement)
    if known is not None:
        if known != content_hash(record):
            raise RefusedError(
                Refusal.CHANGED_RECORD,
                f"agreement {record.agreement} is registered with other content",
                fix="change it by its own use case, or register it under a new id",
            )
        return
    for refusal, held, name in (
        (Refusal.POINT_TAKEN, occupied.usage_points, record.usage_point),
        (Refusal.ACCOUNT_TAKEN, occupied.accounts, record.account),
    ):
        if name in held:
            raise RefusedError(
                refusal, f"{name} has the open agreement {held[name]}",
                fix="end that agreement first, or name another",
            )  # fmt: skip
    person = occupied.customers.get(record.customer)
    if person is not None and person != (record.name, record.kind.value):
        raise RefusedError(
            Refusal.CUSTOMER_DIFFERS, f"{record.customer} is {person[0]}, a {person[1]}",
            fix="use the same name and kind, or another customer",
        )  # fmt: skip


def check_discount(wish: NewDiscount, standing: Iterable[NewDiscount]) -> None:
    """
    Refuse a discount that ends before it begins, shows no evidence, or overlaps one that stands.

    It begins and ends with a month: a bill has one set of attributes. Raises: RefusedError
    `customers.discount`.
    """
    fault = ""
    if not wish.from_day < wish.until_day:
        fault = f"it ends {wish.until_day}, and begins {wish.from_day}"
    elif wish.from_day.day != 1 or wish.until_day.day != 1:
        fault = "it does not begin and end with the first of a month"
    elif not wish.evidence.strip():
        fault = "nothing shows the right to it"
    elif not wish.attribute or not wish.value:
        fault = "it names no attribute and value"
    if fault:
        raise RefusedError(
            Refusal.DISCOUNT, f"a discount of {wish.agreement}: {fault}",
            fix="state whole months and the document that shows the right",
        )  # fmt: skip
    for other in standing:
        if other.attribute == wish.attribute and (
            other.from_day < wish.until_day and wish.from_day < other.until_day
        ):
            raise RefusedError(
                Refusal.DISCOUNT,
                f"{wish.agreement} has {wish.attribute} from {other.from_day} until "
                f"{other.until_day}",
                fix="let it begin when that one ends",
            )


def check_collective(collective: Collective, owners: Mapping[str, tuple[str, str]]) -> None:
    """
    Refuse a collective of nobody, of one account twice, or of accounts that are not the company's.

    `owners` tells customer and currency of each account that exists. Raises: RefusedError
    `customers.collective`.
    """
    wrong = [
        account
        for account in collective.accounts
        if owners.get(account) != (collective.customer, collective.currency)
    ]
    if (
        not collective.accounts
        or len(set(collective.accounts)) != len(collective.accounts)
        or wrong
    ):
        told = f"{wrong[0]} is not its account" if wrong else "name each of its accounts once"
        raise RefusedError(
            Refusal.COLLECTIVE, f"collective {collective.id} of {collective.customer}: {told}",
            fix="name accounts of that customer in one currency",
        )  # fmt: skip


def check_members_free(collective: Collective, held: Mapping[str, str]) -> None:
    """Refuse accounts of another collective. Raises: RefusedError `customers.collective`."""
    for account in collective.accounts:
        if held.get(account, collective.id) != collective.id:
            raise RefusedError(
                Refusal.COLLECTIVE, f"{account} is in {held[account]}",
                fix="take it out of that collective first",
            )  # fmt: skip


def check_id(text: str) -> None:
    """Refuse an id that is none. Raises: RefusedError `customers.record_bad`."""
    if not is_name(text):
        raise _bad(f"{text[:64]!r} is no id", "use 1 to 64 letters, digits and _ . -")
