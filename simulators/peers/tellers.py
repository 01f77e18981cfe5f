"""The two protocols a simulated wallet speaks: Payme's JSON-RPC, and signed REST."""

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from protocols.timeline import to_ms
from simulators.peers.wallet import Heard, LossyWire, Purchase, Wish

PAYME_PATH = "/api/v1/peers/payme"
SIGNED_PATH = "/api/v1/peers/signed"
_MICROS_PER_TIYIN = 10_000
_TRY_AGAIN = frozenset({-31003, -32400})
"""Payme repeats after these: the transaction may be on its way, the system may come back."""


class PaymeTeller:
    """Speaks Payme's merchant protocol."""

    def __init__(self, wire: LossyWire, *, login: str, key: str, field: str = "account") -> None:
        """Take the wire and who we are."""
        token = base64.b64encode(f"{login}:{key}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self._wire, self._field, self._numbers = wire, field, itertools.count(1)

    def announce(self, purchase: Purchase) -> Heard:
        """CreateTransaction."""
        said = self.call(
            "CreateTransaction",
            {
                "id": purchase.txn_id, "time": to_ms(purchase.at),
                "amount": purchase.amount_micros // _MICROS_PER_TIYIN,
                "account": {self._field: purchase.account},
            },
        )  # fmt: skip
        return _state_of(said, wanted=1)

    def confirm(self, purchase: Purchase) -> Heard:
        """PerformTransaction."""
        return _state_of(self.call("PerformTransaction", {"id": purchase.txn_id}), wanted=2)

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """Send one call and return the body of the answer, or None when it was lost."""
        body = json.dumps({"id": next(self._numbers), "method": method, "params": params}).encode()
        wish = Wish(method="POST", path=PAYME_PATH, headers=self._headers, body=body)
        answer = self._wire(lambda: wish)
        return None if answer is None else dict(json.loads(answer[1]))


class SignedTeller:
    """Speaks the signed REST door; every try is signed anew with a nonce of its own."""

    def __init__(
        self, wire: LossyWire, *, key_id: str, secret: str, wall: Callable[[], datetime]
    ) -> None:
        """Take the wire, who we are and the clock that stamps requests."""
        self._wire, self._key_id, self._secret, self._wall = wire, key_id, secret, wall
        self._nonces = itertools.count(1)

    def announce(self, purchase: Purchase) -> Heard:
        """Hold."""
        body = {
            "peer_txn_id": purchase.txn_id, "account": purchase.account,
            "amount_micros": purchase.amount_micros, "currency": purchase.currency,
            "peer_time": purchase.at.isoformat(),
        }  # fmt: skip
        return _status_of(self.call("POST", "/holds", body), wanted="held")

    def confirm(self, purchase: Purchase) -> Heard:
        """Post."""
        return _status_of(
            self.call("POST", "/post", {"peer_txn_id": purchase.txn_id}), wanted="posted"
        )

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]] | None:
        """Send one request and return status and body, or None when the answer was lost."""
        octets = json.dumps(body).encode() if body is not None else b""
        answer = self._wire(lambda: self.signed(method, SIGNED_PATH + path, octets))
        return None if answer is None else (answer[0], dict(json.loads(answer[1])))

    def signed(self, method: str, path: str, octets: bytes) -> Wish:
        """Return a request with its signature."""
        stamp, nonce = str(to_ms(self._wall())), f"{self._key_id}-{next(self._nonces):012}"
        head = f"{method}\n{path}\n{stamp}\n{nonce}\n".encode()
        signature = hmac.new(self._secret.encode(), head + octets, hashlib.sha256).hexdigest()
        return Wish(
            method=method,
            path=path,
            headers={
                "X-Meterloop-Key": self._key_id,
                "X-Meterloop-Timestamp": stamp,
                "X-Meterloop-Nonce": nonce,
                "X-Meterloop-Signature": signature,
                "Content-Type": "application/json",
            },
            body=octets,
        )


def _state_of(said: dict[str, Any] | None, *, wanted: int) -> Heard:
    if said is None or said.get("error", {}).get("code") in _TRY_AGAIN:
        return Heard.SILENCE
    # a repeat may find the payment further on than the try that was lost
    return Heard.YES if said.get("result", {}).get("state", 0) >= wanted else Heard.NO


def _status_of(said: tuple[int, dict[str, Any]] | None, *, wanted: str) -> Heard:
    if said is None or said[0] >= 500:
        return Heard.SILENCE
    further = {"held": {"held", "posted"}, "posted": {"posted", "suspense"}}[wanted]
    return Heard.YES if said[0] == 200 and said[1].get("state") in further else Heard.NO
