"""What the page of one supply shows, gathered from the services; nothing is computed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.customers.model import CustomerCard
from billing.payments.model import Payment
from billing.prepaid.model import Balance, Explanation
from billing.prepaid.service.credit import CreditView
from cloud.control.model import CommandRow, DisconnectRequest, KeepRelease, TokenRow
from cloud.messages.model import Message
from cloud.store.audit import AuditEvent
from cloud.usage.model import IntervalUsage
from portal.site import Age


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingView:
    """The newest figures of the meter. *Units*: as named; None where the meter does not tell."""

    at: datetime
    quality: str
    register_wh: int
    power_w: int | None
    voltage_mv: int | None
    current_ma: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyView:
    """Where the switch stands, as last read."""

    state: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeView:
    """How far the road to a cut has been walked; `hard` when it is near or done."""

    stage: str
    ends_at: datetime | None
    hard: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyPage:
    """Everything on one supply's page. `*_age` are wall ages; `days_left` is a plain estimate."""

    card: CustomerCard
    zone: str
    meter: str
    reading: ReadingView | None
    reading_age: Age | None
    supply: SupplyView
    balance: Balance | None
    balance_age: Age | None
    today_wh: int | None
    days_left: int | None
    notice: NoticeView | None
    notice_amount: str
    intervals: Sequence[IntervalUsage]
    explanation: Explanation | None
    payments: Sequence[Payment]
    messages: Sequence[Message]
    commands: Sequence[CommandRow]
    request: DisconnectRequest | None
    protected: bool
    protection_reason: str
    history: Sequence[AuditEvent]
    keep_power: str
    keeps_power: bool
    """Whether the meter knows keep-power at all."""
    keep_release: KeepRelease | None
    tokens: Sequence[TokenRow]
    credit: CreditView | None
    """The balance taken apart; for the office alone."""
