"""SQL of customers, accounts, agreements and thresholds."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from billing.customers.model import (
    AccountId,
    AgreementId,
    AgreementTerms,
    Collective,
    CustomerCard,
    CustomerId,
    CustomerKind,
    Discount,
    NewCustomer,
    NewDiscount,
    NewTermsChange,
    Notification,
    Occupied,
    TermsChange,
    TermsOnDay,
    Threshold,
    ThresholdLevel,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import UsagePointId
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parent / "sql")


def insert_customer(conn: Connection, record: NewCustomer, now: datetime) -> None:
    """Insert customer and account unless they are known."""
    conn.execute(
        _SQL["insert_customer"],
        {
            "id": record.customer, "name": record.name, "kind": record.kind.value,
            "language": record.language, "phone": record.phone, "now": now,
        },
    )  # fmt: skip
    conn.execute(
        _SQL["insert_account"],
        {
            "id": record.account, "customer": record.customer, "currency": record.currency,
            "now": now,
        },
    )  # fmt: skip


def insert_agreement(conn: Connection, record: NewCustomer, content: bytes) -> bool:
    """Insert the agreement; tell whether it was new."""
    row = conn.execute(
        _SQL["insert_agreement"],
        {
            "id": record.agreement, "account": record.account, "usage_point": record.usage_point,
            "tariff_code": record.tariff_code, "attributes": Jsonb(dict(record.attributes)),
            "started_at": record.started_at, "opening_register_wh": record.opening_register_wh,
            "opening_year_wh": record.opening_year_wh, "content": content,
        },
    ).fetchone()  # fmt: skip
    return row is not None


def end_agreement(conn: Connection, agreement: str, at: datetime) -> bool:
    """End an open agreement; tell whether it was open."""
    row = conn.execute(_SQL["end_agreement"], {"agreement": agreement, "at": at}).fetchone()
    return row is not None


def agreement_contents(conn: Connection, ids: Sequence[str]) -> dict[str, bytes]:
    """Return content hashes of the agreements that exist."""
    rows = conn.execute(_SQL["agreement_contents"], {"ids": list(ids)})
    return {row[0]: bytes(row[1]) for row in rows}


def upsert_threshold(conn: Connection, threshold: Threshold, *, actor: str, now: datetime) -> None:
    """Set the lines of one level and target."""
    conn.execute(
        _SQL["upsert_threshold"],
        {
            "level": threshold.level.value, "target": threshold.target,
            "reminder_micros": threshold.reminder_micros, "cut_micros": threshold.cut_micros,
            "notification": threshold.notification.value if threshold.notification else None,
            "auto_remind": threshold.auto_remind, "auto_dun": threshold.auto_dun,
            "auto_restore": threshold.auto_restore,
            "notice_hours": threshold.notice_hours, "actor": actor, "now": now,
        },
    )  # fmt: skip


def all_thresholds(conn: Connection) -> dict[tuple[ThresholdLevel, str], Threshold]:
    """Return every threshold by level and target."""
    found: dict[tuple[ThresholdLevel, str], Threshold] = {}
    for row in conn.execute(_SQL["all_thresholds"]):
        threshold = Threshold(
            level=ThresholdLevel(row[0]), target=row[1], reminder_micros=row[2], cut_micros=row[3],
            notification=Notification(row[4]) if row[4] else None,
            auto_remind=row[5], auto_dun=row[6], auto_restore=row[7],
            notice_hours=row[8],
        )  # fmt: skip
        found[threshold.level, threshold.target] = threshold
    return found


def cards_by_account(conn: Connection, accounts: Sequence[str]) -> dict[AccountId, CustomerCard]:
    """Return the card of each account that exists."""
    rows = conn.execute(_SQL["cards_by_account"], {"accounts": list(accounts)})
    return {card.account: card for card in _cards(rows)}


def card_by_usage_point(conn: Connection, usage_point: str) -> CustomerCard | None:
    """Return the card of the open agreement at a usage point."""
    rows = conn.execute(_SQL["card_by_usage_point"], {"usage_point": usage_point})
    return next(_cards(rows), None)


def find_cards(conn: Connection, text: str, limit: int) -> list[CustomerCard]:
    """Return open agreements whose ids or name hold the text."""
    return list(_cards(conn.execute(_SQL["find_cards"], {"text": text, "limit": limit})))


def cards_on_tariff(
    conn: Connection, code: str, span: Interval, after: str, limit: int
) -> list[CustomerCard]:
    """Return agreements of a tariff code that held in the whole span, by usage point."""
    asked = {"code": code, "after": after, "limit": limit, "start": span.start, "end": span.end}
    return list(_cards(conn.execute(_SQL["cards_on_tariff"], asked)))


def _cards(rows: Any) -> Iterator[CustomerCard]:
    for row in rows:
        yield CustomerCard(
            customer=CustomerId(row[0]), name=row[1], kind=CustomerKind(row[2]), language=row[3],
            phone=row[4], account=AccountId(row[5]), currency=row[6],
            agreement=AgreementId(row[7]), usage_point=UsagePointId(row[8]), tariff_code=row[9],
            pinned_hash=row[10], started_at=row[11], ended_at=row[12],
            opening_register_wh=row[13], opening_year_wh=row[14], attributes=row[15],
        )  # fmt: skip


def terms_of_agreements(
    conn: Connection, agreements: Sequence[str]
) -> dict[AgreementId, list[AgreementTerms]]:
    """Return terms of agreements: what was at first, then agreed changes by their day."""
    found: dict[AgreementId, list[AgreementTerms]] = {}
    for row in conn.execute(_SQL["terms_of_agreements"], {"agreements": list(agreements)}):
        known = found.setdefault(AgreementId(row[0]), [])
        said = row[1:5] if row[1] is not None else (date.min, *row[5:8])
        known.append(
            AgreementTerms(
                from_day=said[0], tariff_code=said[1], pinned_hash=said[2], attributes=said[3]
            )
        )
    return found


def currencies_with_terms(conn: Connection) -> set[str]:
    """Return currencies whose default lines are set."""
    return {row[0] for row in conn.execute(_SQL["currencies_with_terms"])}


def occupied(conn: Connection, records: Sequence[NewCustomer]) -> Occupied:
    """Return what stands already of the ids that records name."""
    found: dict[str, dict[str, Any]] = {"usage_point": {}, "account": {}, "customer": {}}
    asked = {
        "usage_points": [each.usage_point for each in records],
        "accounts": [each.account for each in records],
        "customers": [each.customer for each in records],
    }
    for row in conn.execute(_SQL["occupied"], asked):
        found[row[0]][row[1]] = (row[2], row[3]) if row[0] == "customer" else row[2]
    return Occupied(
        usage_points=found["usage_point"], accounts=found["account"],
        customers=found["customer"],
        contents=agreement_contents(conn, [each.agreement for each in records]),
    )  # fmt: skip


def account_owners(conn: Connection, accounts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return customer and currency of each account that exists."""
    rows = conn.execute(_SQL["account_owners"], {"accounts": list(accounts)})
    return {row[0]: (row[1], row[2]) for row in rows}


def insert_collective(conn: Connection, found: Collective, *, actor: str, now: datetime) -> bool:
    """Insert a collective; tell whether it was new."""
    row = conn.execute(
        _SQL["insert_collective"],
        {
            "id": found.id, "customer": found.customer, "currency": found.currency,
            "actor": actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    return row is not None


def set_members(conn: Connection, collective: str, accounts: Sequence[str], now: datetime) -> None:
    """Let these accounts, in this order, be the members; others leave."""
    asked = {"collective": collective, "accounts": list(accounts), "now": now}
    conn.execute(_SQL["end_members"], asked)
    conn.execute(_SQL["insert_members"], asked)


def collectives(
    conn: Connection, *, collective: str | None = None, text: str = "", limit: int = 100
) -> list[Collective]:
    """Return collectives with their members in order: one, or those that a text names."""
    rows = conn.execute(
        _SQL["collectives"], {"collective": collective, "text": text, "limit": limit}
    )
    return [
        Collective(
            id=row[0], customer=CustomerId(row[1]), name=row[2], language=row[3], currency=row[4],
            accounts=tuple(AccountId(name) for name in row[5]),
        )
        for row in rows
    ]  # fmt: skip


def lock_collective(conn: Connection, collective: str) -> None:
    """Take turns with whoever changes or pays this collective."""
    conn.execute(_SQL["lock_collective"], {"collective": collective})


def insert_discount(conn: Connection, wish: NewDiscount, *, actor: str, now: datetime) -> int:
    """Keep a discount that is asked for and return its number."""
    row = conn.execute(
        _SQL["insert_discount"],
        {
            "agreement": wish.agreement, "attribute": wish.attribute, "value": wish.value,
            "evidence": wish.evidence, "from_day": wish.from_day, "until_day": wish.until_day,
            "actor": actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def decide_discount(
    conn: Connection, found: Discount, *, granted: bool, actor: str, reason: str, now: datetime
) -> bool:
    """Keep a decision; tell whether there was none before."""
    row = conn.execute(
        _SQL["decide_discount"],
        {
            "discount": found.id, "asked_by": found.asked_by, "granted": granted,
            "actor": actor, "reason": reason, "now": now,
        },
    ).fetchone()  # fmt: skip
    return row is not None


def discounts(
    conn: Connection, *, discount: int | None = None, agreement: str | None = None,
    waiting: bool = False,
) -> list[Discount]:  # fmt: skip
    """Return discounts, newest first: one, those of an agreement, or those that wait."""
    asked = {"discount": discount, "agreement": agreement, "waiting": waiting}
    return [
        Discount(
            id=row[0], agreement=AgreementId(row[1]), attribute=row[2], value=row[3],
            evidence=row[4], from_day=row[5], until_day=row[6], asked_by=row[7], asked_at=row[8],
            granted=row[9], decided_by=row[10] or "", reason=row[11] or "",
        )
        for row in conn.execute(_SQL["discounts"], asked)
    ]  # fmt: skip


def collectives_of(conn: Connection, accounts: Sequence[str]) -> dict[str, str]:
    """Return the collective that each account is in now."""
    rows = conn.execute(_SQL["collectives_of"], {"accounts": list(accounts)})
    return {row[0]: row[1] for row in rows}


def insert_discount_terms(
    conn: Connection, found: Discount, *, before: str | None, actor: str, today: date,
    now: datetime,
) -> None:  # fmt: skip
    """Let a discount's attribute hold on its days; `before` is what holds again afterwards."""
    asked = {
        "agreement": found.agreement, "discount": found.id, "before": before, "actor": actor,
        "today": today, "now": now,
    }  # fmt: skip
    conn.execute(_SQL["discount_base"], asked)
    conn.execute(_SQL["discount_terms"], asked)


def insert_terms_change(
    conn: Connection, wish: NewTermsChange, *, backdated: bool, actor: str, now: datetime
) -> int:
    """Insert a change that waits, and before the first what the agreement said; return its id."""
    base = {"agreement": wish.agreement, "actor": actor, "now": now}
    conn.execute(_SQL["insert_terms_base"], base)
    row = conn.execute(
        _SQL["insert_terms_change"],
        {
            **base, "from_day": wish.from_day, "tariff_code": wish.tariff_code,
            "attributes": Jsonb(dict(wish.attributes)), "reason": wish.reason,
            "backdated": backdated,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def decide_terms_change(
    conn: Connection, change: int, *, state: str, actor: str, now: datetime
) -> bool:
    """Decide a change that waits; tell whether it did."""
    values = {"id": change, "state": state, "actor": actor, "now": now}
    return conn.execute(_SQL["decide_terms_change"], values).fetchone() is not None


def terms_changes(
    conn: Connection, *, change: int | None, agreement: str | None, waiting: bool
) -> list[TermsChange]:
    """Return changes, newest first."""
    rows = conn.execute(
        _SQL["terms_changes"], {"id": change, "agreement": agreement, "waiting": waiting}
    )
    return [
        TermsChange(
            id=row[0], agreement=AgreementId(row[1]), from_day=row[2], tariff_code=row[3],
            attributes=row[4], reason=row[5], state=row[6], backdated=row[7], proposed_by=row[8],
            proposed_at=row[9], decided_by=row[10], decided_at=row[11], applied_at=row[12],
        )
        for row in rows
    ]  # fmt: skip


def due_terms(conn: Connection, day: date) -> list[tuple[AgreementId, date]]:
    """Return agreements with changes to be done, and the first day that they concern."""
    return [(AgreementId(row[0]), row[1]) for row in conn.execute(_SQL["due_terms"], {"day": day})]


def apply_terms(
    conn: Connection, agreement: str, terms: TermsOnDay, *, day: date, now: datetime
) -> None:
    """Bring an agreement's row to its terms and note that changes up to a day are done."""
    conn.execute(
        _SQL["apply_terms"],
        {
            "agreement": agreement, "tariff_code": terms.tariff_code,
            "pinned_hash": terms.pinned_hash, "attributes": Jsonb(dict(terms.attributes)),
        },
    )  # fmt: skip
    conn.execute(_SQL["mark_terms_applied"], {"agreement": agreement, "day": day, "now": now})
