"""Whether a new subscriber can be priced: ordinary or by demand, with all that the tariff asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from billing.customers.model import NewCustomer
from billing.customers.rules import check_record
from billing.tariffs.model import Tariff
from billing.tariffs.rules import valid_on
from protocols.errors import RefusedError

_POWER = {"CONTRACT_KW": "contract_w", "CAPACITY_KVA": "capacity_va"}
"""Which attribute of an agreement tells a tariff's quantity, in W or VA."""


class Refusal(StrEnum):
    """Why a subscriber was not taken in."""

    TARIFF = "subscribers.tariff"
    MONEY = "subscribers.currency"
    ZONE = "subscribers.zone"
    KIND = "subscribers.kind"
    POWER = "subscribers.power"
    ATTRIBUTE = "subscribers.attribute"
    POINT_UNKNOWN = "subscribers.usage_point_unknown"
    CUSTOMER = "subscribers.customer_differs"
    TWICE = "subscribers.twice"
    LINE = "subscribers.line"


class SupplyKind(StrEnum):
    """How a supply is contracted: ordinary, or by demand with a power that is agreed (G12)."""

    ORDINARY = "ordinary"
    DEMAND = "demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscriber that shall be taken in, with how the supply is contracted."""

    record: NewCustomer
    kind: SupplyKind


def check_subscription(
    wish: Subscription, versions: Sequence[tuple[str, Tariff]], *, zone: str | None, start: date
) -> None:
    """
    Refuse a subscriber whose bill could not be made, before a first reading shows it.

    `versions` are those of the tariff's code, `zone` that of the usage point (None: there is none),
    `start` the agreement's first local day. Raises: RefusedError `subscribers.*`,
    `customers.record_bad`.
    """
    record = wish.record
    check_record(record)
    if zone is None:
        raise _no(Refusal.POINT_UNKNOWN, f"no usage point {record.usage_point}", "install it first")
    digest = valid_on(versions, start)
    if digest is None:
        raise _no(
            Refusal.TARIFF, f"no version of {record.tariff_code} prices {start}",
            "name a published tariff",
        )  # fmt: skip
    tariff = dict(versions)[digest]
    if tariff.currency != record.currency:
        raise _no(
            Refusal.MONEY, f"{tariff.code} is in {tariff.currency}, the account in "
            f"{record.currency}", "open the account in the tariff's currency",
        )  # fmt: skip
    if tariff.zone != zone:
        raise _no(
            Refusal.ZONE, f"{tariff.code} is of {tariff.zone}, the supply lies in {zone}",
            "name a tariff of that zone",
        )  # fmt: skip
    _check_power(wish, tariff)
    _check_attributes(record.attributes, tariff)


def asked_powers(tariff: Tariff) -> frozenset[str]:
    """Return the attributes of power that a tariff prices: `contract_w`, `capacity_va`."""
    return frozenset(
        name
        for line in tariff.lines
        for quantity, name in _POWER.items()
        if getattr(line, "qty", "") == quantity
    )


def _by_demand(tariff: Tariff) -> bool:
    kinds = {line.kind for line in tariff.lines}
    return bool(asked_powers(tariff)) or bool(kinds & {"demand", "capacity"})


def _check_power(wish: Subscription, tariff: Tariff) -> None:
    if _by_demand(tariff) != (wish.kind is SupplyKind.DEMAND):
        priced = "by demand" if _by_demand(tariff) else "without demand"
        raise _no(
            Refusal.KIND, f"{tariff.code} prices {priced}, the supply is {wish.kind}",
            "name a tariff of that kind",
        )  # fmt: skip
    limits = tariff.limits
    for name in ("contract_w", "capacity_va"):
        text = wish.record.attributes.get(name, "")
        if not text and name not in asked_powers(tariff):
            continue
        if not text.isascii() or not text.isdigit() or int(text) == 0:
            raise _no(Refusal.POWER, f"{name} is {text or 'not stated'}", "state the agreed power")
        most = getattr(limits, name) if limits is not None else 0
        if name in asked_powers(tariff) and int(text) > most:
            raise _no(
                Refusal.POWER, f"{name} {text} is beyond the {most} of {tariff.code}",
                "name a tariff of that size",
            )  # fmt: skip


def _check_attributes(stated: Mapping[str, str], tariff: Tariff) -> None:
    for name, asked in tariff.attributes.items():
        text = stated.get(name)
        if text is None and asked.default is None:
            raise _no(Refusal.ATTRIBUTE, f"{name} is not stated", f"{tariff.code} asks for it")
        if text is None:
            continue
        fits = {
            "bool": text in ("true", "false"),
            "int": text.removeprefix("-").isdigit() and text.isascii(),
            "text": not asked.values or text in asked.values,
        }[asked.kind]
        if not fits:
            words = ", ".join(asked.values) or asked.kind
            raise _no(Refusal.ATTRIBUTE, f"{name} is {text!r}", f"use one of: {words}")


def _no(refusal: Refusal, message: str, fix: str) -> RefusedError:
    return RefusedError(refusal, message, fix=fix)
