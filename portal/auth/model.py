"""Who is at the screen: people, roles, what each role may do, sessions, keys of machines."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class Role(StrEnum):
    """What somebody is to the company. A person may hold several."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    APPROVER = "approver"
    CREW = "crew"
    TELLER = "teller"
    MANAGER = "manager"


class Permission(StrEnum):
    """One thing that may be done; routes ask for these, never for roles."""

    HOME_VIEW = "home.view"
    CUSTOMER_VIEW = "customer.view"
    PAYMENT_TAKE = "payment.take"
    CUT_VIEW = "cut.view"
    CUT_REQUEST = "cut.request"
    CUT_APPROVE = "cut.approve"
    CUT_WITHDRAW = "cut.withdraw"
    CUT_HALT = "cut.halt"
    SUPPLY_RECONNECT = "supply.reconnect"
    SUPPLY_ORDER = "supply.order"
    """Have a meter keep power, ask for the end of that, have its switch read."""
    MESSAGE_VIEW = "message.view"
    QUARANTINE_VIEW = "quarantine.view"
    STREAM_VIEW = "stream.view"
    """See how readings come in, and the history of any of them."""
    WORK_VIEW = "work.view"
    WORK_ASSIGN = "work.assign"
    WORK_VERIFY = "work.verify"
    WORK_REPORT = "work.report"
    READING_VIEW = "reading.view"
    READING_MANAGE = "reading.manage"
    """Open and close cycles, share lists, decide on doubted figures."""
    READING_ENTER = "reading.enter"
    TARIFF_VIEW = "tariff.view"
    TARIFF_CHANGE = "tariff.change"
    """Propose versions, and put into the book what others proposed."""
    CUSTOMER_CHANGE = "customer.change"
    """Take in subscribers; propose and decide discounts; join supplies of a company."""
    BILL_VIEW = "bill.view"
    BILL_REVIEW = "bill.review"
    BILL_RUN = "bill.run"
    """Open runs, move them on, close those that others opened."""
    PAYMENT_VIEW = "payment.view"
    PAYMENT_SETTLE = "payment.settle"


_OFFICE = frozenset(
    {
        Permission.CUSTOMER_VIEW,
        Permission.CUT_VIEW,
        Permission.MESSAGE_VIEW,
        Permission.QUARANTINE_VIEW,
        Permission.STREAM_VIEW,
        Permission.TARIFF_VIEW,
        Permission.BILL_VIEW,
        Permission.PAYMENT_VIEW,
        Permission.WORK_VIEW,
        Permission.READING_VIEW,
    }
)

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.CUSTOMER: frozenset({Permission.HOME_VIEW}),
    Role.OPERATOR: _OFFICE
    | {
        Permission.CUT_REQUEST,
        Permission.CUT_APPROVE,
        Permission.CUT_WITHDRAW,
        Permission.CUT_HALT,
        Permission.SUPPLY_RECONNECT,
        Permission.SUPPLY_ORDER,
        Permission.WORK_ASSIGN,
        Permission.WORK_VERIFY,
        Permission.BILL_REVIEW,
        Permission.BILL_RUN,
        Permission.TARIFF_CHANGE,
        Permission.CUSTOMER_CHANGE,
        Permission.PAYMENT_SETTLE,
        Permission.READING_MANAGE,
    },
    Role.APPROVER: _OFFICE
    | {
        Permission.CUT_APPROVE,
        Permission.CUT_WITHDRAW,
        Permission.CUT_HALT,
        Permission.BILL_REVIEW,
        Permission.BILL_RUN,
        Permission.TARIFF_CHANGE,
        Permission.CUSTOMER_CHANGE,
        Permission.PAYMENT_SETTLE,
    },
    Role.CREW: frozenset({Permission.WORK_REPORT, Permission.READING_ENTER}),
    Role.TELLER: frozenset({Permission.CUSTOMER_VIEW, Permission.PAYMENT_TAKE}),
    Role.MANAGER: _OFFICE | {Permission.CUT_HALT},
}
"""The first of the two approvals is the operator's, the second an approver's, as D2 prescribes."""

IDLE: dict[Role, timedelta] = {
    Role.CUSTOMER: timedelta(days=30),
    Role.CREW: timedelta(hours=12),
}
"""How long a session may rest, wall time; anyone else: `STAFF_IDLE`."""

STAFF_IDLE = timedelta(minutes=30)
STEP_UP_LASTS = timedelta(minutes=5)


class AccessRefusal(StrEnum):
    """Why somebody may not."""

    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a reason, not a secret
    TOO_MANY_TRIES = "too_many_tries"
    NOT_SIGNED_IN = "not_signed_in"
    FORBIDDEN = "forbidden"
    FORM_EXPIRED = "form_expired"
    STEP_UP_NEEDED = "step_up_needed"
    KEY_REUSED = "key_reused"
    KEY_MISSING = "key_missing"
    BAD_INPUT = "bad_input"
    BAD_AMOUNT = "bad_amount"
    NO_VOLTAGE_UNCONFIRMED = "no_voltage_unconfirmed"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSpec:
    """A person who shall be able to sign in; a customer names the usage points of the supply."""

    login: str
    name: str
    roles: tuple[Role, ...]
    language: str
    password: str = field(repr=False)
    calendar: str = "gregorian"
    unit: str = ""
    usage_points: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """The person behind a session, with everything a page asks about rights."""

    login: str
    name: str
    language: str
    calendar: str
    roles: frozenset[Role]
    usage_points: tuple[str, ...]
    units: tuple[str, ...]
    stepped_up_wall: datetime | None
    form_token: str = field(repr=False)

    @property
    def actor(self) -> str:
        """Return the name under which acts are recorded."""
        return f"user:{self.login}"

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return everything any of the roles may do."""
        return frozenset().union(*(PERMISSIONS[role] for role in self.roles))

    def may(self, permission: str) -> bool:
        """Tell whether `permission` is among the rights; unknown names are a bug."""
        return Permission(permission) in self.permissions

    def may_see(self, usage_point: str) -> bool:
        """Tell whether the figures of `usage_point` may be shown to this person."""
        return usage_point in self.usage_points or self.may(Permission.CUSTOMER_VIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCaller:
    """The machine behind an API key; `channel` names its payments."""

    name: str
    channel: str
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """Return the name under which acts are recorded."""
        return f"peer:{self.name}"
