"""Changes of tariff and attributes brought to balances: looked at first, done by the sweep."""

import logging
from datetime import date, datetime, timedelta

from billing.customers import service as customers
from billing.customers.model import AgreementId, NewTermsChange, TermsChange
from billing.customers.rules import terms_on
from billing.prepaid import store
from billing.prepaid.model import ExceptionKind, Refusal
from billing.prepaid.rules.periods import UnfitError, check_fit, shape_of
from billing.prepaid.service import versions, views
from billing.prepaid.service.rederive import rederive
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.messages import service as messages
from cloud.messages.model import Kind
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.timeline import local_date

_LOG = logging.getLogger(__name__)
_SYSTEM = "system:billing"


def change_terms(db: Database, wish: NewTermsChange, *, actor: str, now: datetime) -> TermsChange:
    """
    Change an agreement's tariff or attributes from a day on (G24, G2, G15).

    From today or later it is agreed at once; for days past a second person decides, and bills that
    stand for such days are not touched. Raises: RefusedError `customers.terms_bad`,
    `prepaid.terms_unfit`, `prepaid.terms_too_early`, `prepaid.terms_billed`.
    """
    with db.transaction() as conn:
        store.lock_sweep(conn)
        today = _check(conn, wish, now)
        return customers.propose_terms(conn, wish, today=today, actor=actor, now=now)


def _check(conn: Connection, wish: NewTermsChange, now: datetime) -> date:
    """Refuse what could not be done; return today where the agreement is."""
    known = customers.terms_of_agreements(conn, [wish.agreement]).get(wish.agreement)
    if known is None:
        raise RefusedError(
            Refusal.NO_AGREEMENT, f"there is no agreement {wish.agreement}", fix="check its number"
        )
    present = terms_on(known, wish.from_day)
    code = wish.tariff_code or present.tariff_code
    digest = tariffs.version_on(conn, code, wish.from_day)
    if digest is None:
        raise RefusedError(
            Refusal.TERMS_UNFIT, f"no version of {code} holds on {wish.from_day}",
            fix="publish it, or name another day",
        )  # fmt: skip
    file = versions.file_of(conn, digest)
    attributes = {**present.attributes, **wish.attributes}
    shape = shape_of({name: text for name, text in attributes.items() if text is not None})
    states = store.states(conn, [wish.agreement])
    if len(states) and states.currency[0] != file.currency:
        raise RefusedError(
            Refusal.TERMS_UNFIT, f"{code} is in {file.currency}, the account in "
            f"{states.currency[0]}", fix="choose a tariff of the account's currency",
        )  # fmt: skip
    try:
        check_fit(file, rating.compiled(conn, [digest])[digest], shape)
    except UnfitError as error:
        raise RefusedError(
            Refusal.TERMS_UNFIT, f"{code}: {error}", fix="choose another tariff or attribute"
        ) from error
    billed = store.billed_until(conn, wish.agreement)
    if billed is not None and wish.from_day < billed:
        raise RefusedError(
            Refusal.TERMS_BILLED, f"days up to {billed} are billed",
            fix="cancel those bills first, or name a later day and correct them",
        )  # fmt: skip
    if len(states):
        _check_begun(conn, wish)
    return local_date(now, file.zone_info)


def _check_begun(conn: Connection, wish: NewTermsChange) -> None:
    first = store.segments_of(conn, wish.agreement)[0]
    begun = local_date(first.started_at, versions.file_of(conn, first.tariff_hash).zone_info)
    if wish.from_day <= begun:
        raise RefusedError(
            Refusal.TERMS_TOO_EARLY, f"the balance begins on {begun}",
            fix="name a day after it; a wrong beginning is ended and registered anew",
        )  # fmt: skip


def apply_due(conn: Connection, now: datetime) -> list[AgreementId]:
    """
    Bring agreements to the changes whose day has come; return those whose balance was priced anew.

    The caller holds the sweep. A change that cannot be done stays to be looked at, and the balance
    as it was.
    """
    done: list[AgreementId] = []
    # somewhere it is tomorrow already; each agreement's own zone decides
    for agreement, from_day in customers.due_terms(conn, (now + timedelta(days=1)).date()):
        try:
            with conn.transaction():
                if _apply(conn, agreement, from_day, now):
                    done.append(agreement)
        except RefusedError as error:
            store.open_exceptions(conn, [(agreement, ExceptionKind.UNFIT_TARIFF)], now)
            _LOG.warning(
                "prepaid.terms.refused",
                extra={"fields": {"agreement": agreement, "refusal": error.refusal.value}},
            )
    return done


def _apply(conn: Connection, agreement: AgreementId, from_day: date, now: datetime) -> bool:
    """Bring one agreement to its changes; tell whether its balance was priced anew."""
    store.lock_states(conn, [agreement])
    states = store.states(conn, [agreement])
    if not len(states):
        customers.apply_terms(conn, agreement, day=now.date(), now=now)
        return False
    zone = versions.file_of(conn, states.tariff_hash[0]).zone_info
    today = local_date(now, zone)
    if from_day > today:
        return False
    customers.apply_terms(conn, agreement, day=today, now=now)
    billed = store.billed_until(conn, agreement)
    start = max(from_day, billed) if billed else from_day
    first = store.segments_of(conn, agreement)[0]
    start = max(start, local_date(first.started_at, zone) + timedelta(days=1))
    if start > states.open_day[0]:
        return False  # the day that it holds from opens by itself
    changed = rederive(conn, agreement, start, now=now)
    audit.record(
        conn, at=now, actor=_SYSTEM, action="prepaid.rederive", entity="agreement",
        entity_id=agreement, after={"from_day": start.isoformat(), "changed_micros": changed},
    )  # fmt: skip
    if changed:
        _tell(conn, agreement, start, now)
    return True


def _tell(conn: Connection, agreement: AgreementId, start: date, now: datetime) -> None:
    """Tell the customer what is left now: what was told before stays told."""
    states = store.states(conn, [agreement])
    found = views.balance_of(conn, states.usage_point[0], now)
    messages.enqueue(
        conn, dedupe_key=f"terms:{agreement}:{start}:{states.segment_seq[0]}",
        kind=Kind.BALANCE_CORRECTED, subject=states.usage_point[0], now=now,
        variables={"available_micros": found.available_micros, "currency": found.currency},
    )  # fmt: skip
