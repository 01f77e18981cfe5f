"""The two payment doors over HTTP in this process, with a clock that tests set."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fastapi.testclient import TestClient

from cloud.store.clock import Clock
from cloud.store.db import Database
from portal.app import create_app
from portal.config import PortalConfig
from protocols.mqtt.broker import BrokerAddress
from simulators.peers.tellers import PaymeTeller, SignedTeller
from simulators.peers.wallet import LossyWire, Wish
from tests.integration.billing_kit import ORIGIN

PAYME_KEY = "payme-test-key-0123456789"
SECRET = "signed-test-secret-0123456789abcdef"
BANK_SECRET = "bank-test-secret-0123456789abcdefgh"
RING = {"current": "2026", "keys": {"2025": "5a" * 32, "2026": "c3" * 32}}


class SetClock(Clock):
    """Says what it was told; wall and business time are one."""

    at: datetime = ORIGIN

    def now(self) -> datetime:
        return SetClock.at

    def wall_now(self) -> datetime:
        return SetClock.at


class Doors:
    """A portal in this process and wires into it."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def set_clock(self, at: datetime) -> None:
        SetClock.at = at

    def wire(self, wish: Wish) -> tuple[int, bytes]:
        answer = self.client.request(
            wish.method, wish.path, headers=wish.headers, content=wish.body
        )
        return answer.status_code, answer.content

    def payme(self, **noise: int) -> PaymeTeller:
        wire = LossyWire(self.wire, **{"seed": 1, **noise})
        return PaymeTeller(wire, login="Paycom", key=PAYME_KEY)

    def signed(self, **noise: int) -> SignedTeller:
        wire = LossyWire(self.wire, **{"seed": 1, **noise})
        return SignedTeller(wire, key_id="kiosk", secret=SECRET, wall=lambda: SetClock.at)

    def bank(self) -> SignedTeller:
        wire = LossyWire(self.wire, seed=1)
        return SignedTeller(wire, key_id="icbc", secret=BANK_SECRET, wall=lambda: SetClock.at)


@contextmanager
def doors(dsn: str, folder: Path) -> Iterator[Doors]:
    """Open both doors as the portal's own database role."""
    file = folder / "peers.json"
    file.write_text(json.dumps({
        "payme": {"channel": "payme", "login": "Paycom", "key": PAYME_KEY, "currency": "CNY"},
        "signed": [
            {"key_id": "kiosk", "channel": "kiosk", "secret": SECRET},
            {"key_id": "icbc", "channel": "bank", "secret": BANK_SECRET, "may_say_taken": True},
        ],
    }))  # fmt: skip
    file.chmod(0o600)
    ring = folder / "message_keys.json"
    ring.write_text(json.dumps(RING))
    ring.chmod(0o600)
    config = PortalConfig(
        dsn=dsn, broker=BrokerAddress(host="127.0.0.1", port=1), peers_file=str(file),
        messages_key_file=str(ring),
    )  # fmt: skip
    logging.getLogger("httpx").setLevel(logging.WARNING)
    SetClock.at = ORIGIN
    with Database(dsn, user="meterloop_portal", size=8) as db:
        app = create_app(config, db)
        app.state.site = replace(app.state.site, clock=SetClock())
        yield Doors(TestClient(app, raise_server_exceptions=False))
