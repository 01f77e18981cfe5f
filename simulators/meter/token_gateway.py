"""
The token gateway of a simulated DLMS meter, and the vending station whose tokens it takes.

A token is an amount, a number that rises with time, and a seal, as STS tokens are underneath: each
number goes in once, and one that is older than the newest fifty is too old. *Source*: IEC 62056-6-2
class_id 115; IEC 62055-41 clause 7.3 (token identifier).
"""

import hashlib
from collections.abc import Callable

from protocols.dlms.classes import token_gateway
from protocols.dlms.classes.token_gateway import Delivery, TokenCode, TokenStatus
from protocols.dlms.reference import Access
from protocols.dlms.serving import AccessRefusedError
from protocols.dlms.values import Value, array, as_octets, double_long, enum, octet_string
from simulators.fleet import SimMeter
from simulators.meter.dlms_parts import Part, stamp
from simulators.meter.state import SimulatedMeter

BALANCE = "balance_cents"
TOKEN_OCTETS = 12
_AMOUNT, _NUMBER = 4, 8
_LAST, _TIME, _STATUS, _USED = "token/last", "token/time", "token/status", "token/used"
_REMEMBERED = 50
_NEVER = bytes.fromhex("ffffffffffffffffff800000")


def issue_sts_token(spec: SimMeter, *, cents: int, number: int) -> bytes:
    """Return the token that a vending station would issue; `number` rises from sale to sale."""
    plain = cents.to_bytes(_AMOUNT, "big") + number.to_bytes(_NUMBER - _AMOUNT, "big")
    return plain + _seal(spec, plain)


def _seal(spec: SimMeter, plain: bytes) -> bytes:
    # stands in for the security module, whose keys no program of ours ever holds
    key = hashlib.sha256(b"vending" + spec.meter.encode()).digest()
    return hashlib.blake2b(plain, key=key, digest_size=TOKEN_OCTETS - _NUMBER).digest()


class TokenGateway:
    """The gateway object; all that it knows is in the meter's memory."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Go on with what the meter remembers."""
        self._meter = meter
        self._spec = meter.spec
        self._memory = meter.memory

    def part(self) -> Part:
        """Return gateway and credit."""
        part = Part()
        part.tell_all(token_gateway.CLASS_ID, token_gateway.GATEWAY, self._tellers())
        part.let_act(token_gateway.CLASS_ID, token_gateway.GATEWAY, self._act)
        credit = token_gateway.CREDIT_AMOUNT
        balance = self._memory.remembered
        part.tell(
            credit.class_id, credit.name, credit.index, lambda _: double_long(balance(BALANCE))
        )
        return part

    def _tellers(self) -> dict[int, Callable[[], Value]]:
        return {
            token_gateway.TOKEN: lambda: octet_string(self._memory.kept(_LAST)),
            token_gateway.TOKEN_TIME: lambda: octet_string(self._memory.kept(_TIME) or _NEVER),
            token_gateway.DESCRIPTION: lambda: array(()),
            token_gateway.DELIVERY: lambda: enum(int(Delivery.REMOTE)),
            token_gateway.STATUS: lambda: TokenStatus(code=self._code).encode(),
        }

    def _act(self, method: int, parameter: Value | None) -> None:
        """Take a token; what became of it is in the status. Raises: AccessRefusedError."""
        if method != token_gateway.ENTER or parameter is None:
            raise AccessRefusedError(Access.UNDEFINED)
        token = as_octets(parameter)
        code, cents, number = self._judge(token)
        # each step leaves a state that tells no lie, should the next never come
        self._memory.keep(_STATUS, bytes((TokenCode.RECEIVED,)))
        self._memory.keep(_LAST, token)
        self._memory.keep(_TIME, as_octets(stamp(self._meter.snapshot().device_ms)))
        if code is TokenCode.EXECUTED:
            # the number first: killed between the two, a token is lost and never counts twice
            used = sorted({*self._used(), number})[-_REMEMBERED:]
            self._memory.keep(_USED, b"".join(one.to_bytes(4, "big") for one in used))
            self._memory.remember(BALANCE, self._memory.remembered(BALANCE) + cents)
        self._memory.keep(_STATUS, bytes((code,)))

    @property
    def _code(self) -> TokenCode:
        kept = self._memory.kept(_STATUS)
        return TokenCode(kept[0]) if kept else TokenCode.FORMAT_OK

    def _used(self) -> list[int]:
        kept = self._memory.kept(_USED)
        return [int.from_bytes(kept[at : at + 4], "big") for at in range(0, len(kept), 4)]

    def _judge(self, token: bytes) -> tuple[TokenCode, int, int]:
        if len(token) != TOKEN_OCTETS:
            return TokenCode.FORMAT_FAILURE, 0, 0
        plain = token[:_NUMBER]
        if token[_NUMBER:] != _seal(self._spec, plain):
            return TokenCode.AUTHENTICATION_FAILURE, 0, 0
        cents, number = (int.from_bytes(plain[at : at + 4], "big") for at in (0, _AMOUNT))
        used = self._used()
        too_old = len(used) == _REMEMBERED and number < used[0]
        if number in used or too_old:
            return TokenCode.VALIDATION_FAILURE, 0, 0
        return TokenCode.EXECUTED, cents, number
