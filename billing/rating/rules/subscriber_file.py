"""A file of subscribers: comma-separated lines to subscriptions, each line judged for itself."""

import csv
import io
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from billing.customers.model import AccountId, AgreementId, CustomerId, CustomerKind, NewCustomer
from billing.money import parse_micros
from billing.rating.rules.subscribing import Refusal, Subscription, SupplyKind
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

NEEDED = (
    "customer", "name", "kind", "language", "account", "agreement", "usage_point", "tariff",
    "currency", "from", "supply",
)  # fmt: skip
OPTIONAL = (
    "phone", "contract_kw", "capacity_kva", "opening_kwh", "opening_year_kwh", "opening_balance",
    "attributes",
)  # fmt: skip
MOST_LINES = 1_000_000
_THOUSANDTHS = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """One line: what it asks for, or why it cannot be read. `number` counts from 2."""

    number: int
    wish: Subscription | None
    refused: RefusedError | None = None


def lines_of(text: str, zone: ZoneInfo) -> list[FileLine]:
    """
    Return every line of a file whose first line names the columns; days are local to `zone`.

    Raises: RefusedError `subscribers.line` when the columns are wrong or there are too many lines.
    """
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff").strip()))
    columns = reader.fieldnames or ()
    unknown = [name for name in columns if name not in NEEDED + OPTIONAL]
    missing = [name for name in NEEDED if name not in columns]
    if unknown or missing or len(set(columns)) != len(columns):
        raise _bad(f"columns missing: {missing}, unknown: {unknown}")
    found = []
    for number, row in enumerate(reader, start=2):
        if number > MOST_LINES:
            raise _bad(f"more than {MOST_LINES} lines")
        found.append(_line(number, row, zone))
    return found


def _line(number: int, row: dict[str, str], zone: ZoneInfo) -> FileLine:
    if None in row or None in row.values():
        return FileLine(number=number, wish=None, refused=_bad("not one value for each column"))
    try:
        return FileLine(number=number, wish=_wish(row, zone))
    except RefusedError as error:
        return FileLine(number=number, wish=None, refused=error)
    except ValueError as error:
        return FileLine(number=number, wish=None, refused=_bad(str(error)))


def _wish(row: dict[str, str], zone: ZoneInfo) -> Subscription:
    said = {name: value.strip() for name, value in row.items()}
    attributes = dict(_pair(part) for part in said.get("attributes", "").split(";") if part.strip())
    for column, name in (("contract_kw", "contract_w"), ("capacity_kva", "capacity_va")):
        if said.get(column):
            attributes[name] = str(_thousandths(said[column]))
    opening = said.get("opening_kwh", "")
    record = NewCustomer(
        customer=CustomerId(said["customer"]), name=said["name"],
        kind=CustomerKind(said["kind"]), language=said["language"],
        phone=said.get("phone", ""), account=AccountId(said["account"]),
        agreement=AgreementId(said["agreement"]), usage_point=UsagePointId(said["usage_point"]),
        tariff_code=said["tariff"], currency=said["currency"],
        started_at=_midnight(said["from"], zone),
        opening_register_wh=_thousandths(opening) if opening else None,
        opening_year_wh=_thousandths(said.get("opening_year_kwh") or "0"),
        opening_balance_micros=_signed(said.get("opening_balance") or "0"),
        attributes=attributes,
    )  # fmt: skip
    if not record.name:
        raise ValueError("the name is empty")
    return Subscription(record=record, kind=SupplyKind(said["supply"]))


def _midnight(text: str, zone: ZoneInfo) -> datetime:
    return datetime.combine(date.fromisoformat(text), time(0), zone).astimezone(UTC)


def _pair(part: str) -> tuple[str, str]:
    name, equals, value = part.strip().partition("=")
    if not equals or not name or not value:
        raise ValueError(f"attribute {part.strip()!r} is not name=value")
    return name, value


def _thousandths(text: str) -> int:
    """Return Wh of kWh, or W of kW."""
    found = _THOUSANDTHS.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no number with at most three decimals")
    return int(found[1]) * 1_000 + int((found[2] or "").ljust(3, "0"))


def _signed(text: str) -> int:
    return -parse_micros(text[1:]) if text.startswith("-") else parse_micros(text)


def _bad(message: str) -> RefusedError:
    return RefusedError(
        Refusal.LINE, message, fix=f"columns: {','.join(NEEDED)}; besides: {','.join(OPTIONAL)}"
    )
