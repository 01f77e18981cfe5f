"""
Hands a token to a DLMS meter's gateway once, and reads what became of it.

Before the token goes out the gateway is read. Whatever fails until then, the token was surely not
taken. An answer that is lost later is looked for by reading: only a gateway that now shows this
very token, with another stamp than before, tells what became of it; else it stays in doubt.
*Source*: IEC 62056-6-2 class_id 115; IEC 62056-5-3 Action-Result.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edge.acquire.dlms_session import DlmsSession, present
from protocols.dlms.classes import token_gateway
from protocols.dlms.classes.token_gateway import TokenCode, TokenStatus
from protocols.dlms.reference import Access
from protocols.dlms.values import Value, as_integer, as_octets
from protocols.errors import PeerError

_POLLS, _PAUSE = 20, 0.5
_REFUSED = "dlms.token_refused"
_NEVER_RUN = frozenset(
    {
        Access.DENIED,
        Access.UNDEFINED,
        Access.CLASS_INCONSISTENT,
        Access.UNAVAILABLE,
        Access.TYPE_UNMATCHED,
        Access.SCOPE_VIOLATED,
    }
)
"""Results of an action that was not begun."""
_T = TypeVar("_T")


class Call(Protocol):
    """Runs one short piece of work on an open session; see `DlmsDriver`."""

    async def __call__(self, work: Callable[[DlmsSession], Awaitable[_T]], /) -> _T:
        """Return what the work returned. Raises: PeerError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DlmsTokenAnswer:
    """What the meter made of a token, and its credit after it where it tells one."""

    code: TokenCode
    balance: int | None
    read_back: bool
    """Whether the answer was lost and the outcome found by reading."""

    @property
    def evidence(self) -> Mapping[str, Any]:
        """Return what is told of it; the balance is in the meter's own smallest unit."""
        told = {"answer": self.code.name.lower(), "balance": self.balance}
        return {**told, "read_back": True} if self.read_back else told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gateway:
    """What a gateway shows: its last token, when that came, how far it got."""

    token: bytes
    time: bytes
    status: TokenStatus


async def deliver(call: Call, token: bytes) -> DlmsTokenAnswer:
    """
    Enter a token once; return what the meter made of it.

    Raises: PeerError `dlms.token_refused` where it was surely not taken; any other is in doubt.
    """
    try:
        parameter = token_gateway.enter_parameter(token)
    except ValueError as error:
        raise PeerError(_REFUSED, str(error)) from error
    try:
        before = await call(_look)
    except PeerError as error:
        message = f"not sent, the gateway could not be read: {error.message}"
        raise PeerError(_REFUSED, message, evidence={"error": error.code}) from error
    lost = await _enter(call, parameter)
    if lost is None:
        return await _settled(call, read_back=False)
    shown = await _look_again(call, lost)
    if shown.token != token or (shown.token, shown.time) == (before.token, before.time):
        raise lost
    return await _settled(call, read_back=True)


async def _enter(call: Call, parameter: Value) -> PeerError | None:
    """Send the token; return the error that leaves it in doubt. Raises: PeerError when sure."""
    method = token_gateway.attribute(token_gateway.ENTER)
    try:
        await call(lambda session: session.act(method, parameter))
    except PeerError as error:
        if error.evidence.get("result") in _NEVER_RUN:
            raise PeerError(_REFUSED, error.message, evidence=error.evidence) from error
        return error
    return None


async def _look_again(call: Call, lost: PeerError) -> _Gateway:
    try:
        return await call(_look)
    except PeerError:
        raise lost from None


async def _settled(call: Call, *, read_back: bool) -> DlmsTokenAnswer:
    """Wait until the meter is done with the token. Raises: PeerError."""
    code = (await call(_look)).status.code
    for _ in range(_POLLS):
        if not code.pending:
            break
        await asyncio.sleep(_PAUSE)
        code = (await call(_look)).status.code
    evidence = {"answer": code.name.lower()}
    if code.refused:
        raise PeerError(_REFUSED, f"the meter says {evidence['answer']}", evidence=evidence)
    if code.pending:
        message = "the meter has the token and does not say what became of it"
        raise PeerError("dlms.token_pending", message, evidence=evidence)
    return DlmsTokenAnswer(code=code, balance=await _balance(call), read_back=read_back)


async def _look(session: DlmsSession) -> _Gateway:
    wanted = token_gateway.attribute(token_gateway.STATUS)
    token, time, status = await session.get(
        token_gateway.attribute(token_gateway.TOKEN),
        token_gateway.attribute(token_gateway.TOKEN_TIME),
        wanted,
    )
    return _Gateway(
        token=b"" if isinstance(token, Access) else as_octets(token),
        time=b"" if isinstance(time, Access) else as_octets(time),
        status=token_gateway.decode_status(present(wanted, status)),
    )


async def _balance(call: Call) -> int | None:
    """Return the credit; None where the meter tells none, or not now: the token is in."""
    try:
        return as_integer(await call(lambda session: session.get_one(token_gateway.CREDIT_AMOUNT)))
    except PeerError:
        return None
