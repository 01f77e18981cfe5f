"""
The words of Payme's merchant protocol: JSON-RPC in, results and faults out. It decides nothing.

*Source*: https://developer.help.paycom.uz/metody-merchant-api (methods, states 1 2 -1 -2, error
codes, messages in three languages, amounts in tiyin, instants in ms, 12 hours to perform).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from billing.ledger.model import Refusal as LedgerRefusal
from billing.payments.model import Hold, HoldState, Refusal
from protocols.errors import RefusedError
from protocols.timeline import to_ms

MICROS_PER_TIYIN = 10_000
TIMEOUT_SECONDS = 43_200
_TIMED_OUT = 4
_LONGEST = 65_536
_STATES = {
    HoldState.HELD: 1, HoldState.POSTED: 2, HoldState.SUSPENSE: 2, HoldState.RELEASED: -1,
    HoldState.EXPIRED: -1, HoldState.REVERSED: -2,
}  # fmt: skip
_SAID: dict[int, tuple[str, str, str]] = {
    -32300: ("Soʻrov POST boʻlishi kerak", "Запрос должен быть POST", "The request must be POST"),
    -32400: ("Tizim xatosi", "Системная ошибка", "System error"),
    -32504: ("Huquq yetarli emas", "Недостаточно прав", "Not authorised"),
    -32600: ("Soʻrov maydonlari notoʻgʻri", "Неверные поля запроса", "The request lacks a field"),
    -32601: ("Bunday usul yoʻq", "Метод не найден", "There is no such method"),
    -32700: ("JSON oʻqilmadi", "Ошибка разбора JSON", "The JSON cannot be read"),
    -31001: ("Summa notoʻgʻri", "Неверная сумма", "The amount cannot be paid"),
    -31003: ("Tranzaksiya topilmadi", "Транзакция не найдена", "There is no such transaction"),
    -31007: ("Bekor qilib boʻlmaydi", "Отменить невозможно", "It cannot be cancelled"),
    -31008: ("Bajarib boʻlmaydi", "Выполнить невозможно", "It cannot be performed"),
    -31050: ("Hisob topilmadi", "Счёт не найден", "There is no such account"),
    -31051: ("Hisob valyutasi boshqa", "Валюта счёта другая", "The account holds other money"),
}
_FAULTS: Mapping[str, int] = {
    Refusal.AMOUNT: -31001, Refusal.POLICY: -31001, Refusal.UNKNOWN_ACCOUNT: -31050,
    Refusal.CURRENCY: -31051, Refusal.UNKNOWN: -31003, Refusal.EXPIRED: -31008,
    Refusal.ENDED: -31008, Refusal.CONFLICT: -31008, Refusal.BAD_ID: -32600,
    Refusal.SPENT: -31007, Refusal.DAY_CLOSED: -31007, LedgerRefusal.FLOOR: -31008,
    Refusal.DAY_LIMIT: -31008, Refusal.FLOAT: -31008,
}  # fmt: skip
_FIELDS: Mapping[str, Mapping[str, type]] = {
    "CheckPerformTransaction": {"amount": int, "account": dict},
    "CreateTransaction": {"id": str, "time": int, "amount": int, "account": dict},
    "PerformTransaction": {"id": str},
    "CancelTransaction": {"id": str, "reason": int},
    "CheckTransaction": {"id": str},
    "GetStatement": {"from": int, "to": int},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, with every field its method needs, of the right kind."""

    id: Any
    method: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One refusal in Payme's codes; `field` names the account's field that is wrong."""

    code: int
    id: Any = None
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """How Payme reaches us: its channel, its key, our currency and the account's field name."""

    channel: str
    login: str
    key: str = field(repr=False)
    currency: str = "UZS"
    account_field: str = "account"


def parse(octets: bytes) -> Call | Fault:
    """Return the call in some octets, or the fault that answers them; never raises."""
    try:
        body = json.loads(octets) if len(octets) <= _LONGEST else None
    except (ValueError, RecursionError):
        return Fault(code=-32700)
    if not isinstance(body, dict):
        return Fault(code=-32600)
    number, method, params = _number(body.get("id")), body.get("method"), body.get("params")
    if not isinstance(method, str) or not isinstance(params, dict):
        return Fault(code=-32600, id=number)
    wanted = _FIELDS.get(method)
    if wanted is None:
        return Fault(code=-32601, id=number)
    for name, kind in wanted.items():
        value = params.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            return Fault(code=-32600, id=number)
        if isinstance(value, str) and not (value.isprintable() and 1 <= len(value) <= 128):
            return Fault(code=-32600, id=number)
        if isinstance(value, int) and not -(2**53) < value < 2**53:
            return Fault(code=-32600, id=number)
    return Call(id=number, method=method, params=params)


def _number(given: object) -> int | str | None:
    """Return a call's own id, to be given back, or None where it is none."""
    fits = isinstance(given, int) or (isinstance(given, str) and given.isprintable())
    return given if fits and isinstance(given, int | str) else None


def fault_of(error: RefusedError, call: Call, door: Door) -> Fault:
    """Return the code in which Payme understands a refusal."""
    code = _FAULTS.get(error.refusal.value, -32400)
    if call.method == "CancelTransaction" and error.refusal.value == Refusal.ENDED:
        code = -31007
    of_account = -31099 <= code <= -31050
    return Fault(code=code, id=call.id, field=door.account_field if of_account else "")


def fault_body(fault: Fault) -> dict[str, Any]:
    """Return a fault as Payme reads it, in Uzbek, Russian and English."""
    uz, ru, en = _SAID[fault.code]
    error: dict[str, Any] = {"code": fault.code, "message": {"uz": uz, "ru": ru, "en": en}}
    if fault.field:
        error["data"] = fault.field
    return {"jsonrpc": "2.0", "id": fault.id, "error": error}


def result_body(call: Call, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as Payme reads it."""
    return {"jsonrpc": "2.0", "id": call.id, "result": dict(result)}


def created(hold: Hold) -> dict[str, Any]:
    """Return what CreateTransaction answers."""
    return {"create_time": to_ms(hold.held_at), "transaction": str(hold.id), "state": state(hold)}


def performed(hold: Hold) -> dict[str, Any]:
    """Return what PerformTransaction answers."""
    return {"transaction": str(hold.id), "perform_time": _posted(hold), "state": state(hold)}


def cancelled(hold: Hold) -> dict[str, Any]:
    """Return what CancelTransaction answers."""
    return {"transaction": str(hold.id), "cancel_time": _ended(hold), "state": state(hold)}


def checked(hold: Hold) -> dict[str, Any]:
    """Return what CheckTransaction answers."""
    return {
        "create_time": to_ms(hold.held_at), "perform_time": _posted(hold),
        "cancel_time": _ended(hold), "transaction": str(hold.id), "state": state(hold),
        "reason": _reason(hold),
    }  # fmt: skip


def listed(holds: Sequence[Hold], door: Door) -> dict[str, Any]:
    """Return what GetStatement answers: every transaction that was ever created."""
    return {
        "transactions": [
            {
                "id": hold.peer_txn_id, "time": to_ms(hold.peer_time),
                "amount": hold.amount_micros // MICROS_PER_TIYIN,
                "account": {door.account_field: hold.account}, **checked(hold),
            }
            for hold in holds
        ]
    }  # fmt: skip


def state(hold: Hold) -> int:
    """Return Payme's number for where a payment stands."""
    return _STATES[hold.state]


def _posted(hold: Hold) -> int:
    return to_ms(hold.posted_at) if hold.posted_at else 0


def _ended(hold: Hold) -> int:
    return to_ms(hold.ended_at) if hold.ended_at else 0


def _reason(hold: Hold) -> int | None:
    if hold.state is HoldState.EXPIRED:
        return _TIMED_OUT
    return int(hold.reason) if hold.reason.isdigit() else None
