"""What agreements say of the days that a bill is for: their tariff and attributes as they held."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from billing.bills.model import Agreement, Refusal
from billing.bills.rules.inputs import ParkedError
from billing.customers import service as customers
from billing.customers.model import AgreementId, AgreementTerms
from billing.customers.rules import terms_on
from cloud.store.db import Connection

AllTerms = Mapping[AgreementId, Sequence[AgreementTerms]]


def terms_of(conn: Connection, agreements: Sequence[str]) -> AllTerms:
    """Return the terms of those whose terms ever changed."""
    found = customers.terms_of_agreements(conn, agreements)
    return {name: said for name, said in found.items() if len(said) > 1}


def as_of(agreement: Agreement, terms: AllTerms, start: date, end: date) -> Agreement:
    """
    Return an agreement as it was on the first day of `[start, end)`.

    A bill of registers has one tariff and one set of attributes. Raises: ParkedError
    `bills.terms_change_inside` when they change after that day.
    """
    said = terms.get(AgreementId(agreement.agreement))
    if said is None:
        return agreement
    inside = [one for one in said[1:] if start < one.from_day < end]
    held = terms_on(said, start)
    if any(terms_on(said, one.from_day) != held for one in inside):
        raise ParkedError(
            Refusal.TERMS, f"terms change on {inside[0].from_day}: bill up to that day by itself"
        )
    return replace(
        agreement, tariff_code=held.tariff_code, pinned_hash=held.pinned_hash,
        attributes=held.attributes,
    )  # fmt: skip
