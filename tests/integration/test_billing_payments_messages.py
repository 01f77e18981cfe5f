"""What a bank asks and hears: four kinds of request, and every word of them kept sealed."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.payments.model import Direction
from billing.payments.rules import sealing
from billing.payments.service import messages
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.timeline import Interval, to_ms
from simulators.peers.tellers import SignedTeller
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, rows, street
from tests.integration.payments_kit import RING, Doors, doors

AC = "AC-000001"
SPAN = Interval(start=ORIGIN - HOUR, end=ORIGIN + 24 * HOUR)
EVER = Interval(start=ORIGIN - timedelta(days=9999), end=ORIGIN + timedelta(days=9999))
KEYS = sealing.parse_ring(json.dumps(RING))


@pytest.fixture
def open_doors(db: Database, database_dsn: str, tmp_path: Path) -> Iterator[Doors]:
    street(db, customer(1, opening_balance_micros=0), customer(2, opening_balance_micros=0))
    with doors(database_dsn, tmp_path) as opened:
        yield opened


def said(bank: SignedTeller, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    heard = bank.call(method, path, body)
    assert heard is not None
    return heard


def paid(txn: str, yuan: int, **changes: Any) -> dict[str, Any]:
    return {"peer_txn_id": txn, "account": AC, "amount_micros": yuan * YUAN, "currency": "CNY",
            "peer_time": ORIGIN.isoformat(), **changes}  # fmt: skip


@pytest.mark.req("H9", "H10", "H16")
def test_a_bank_queries_confirms_cancels_and_reconciles(open_doors: Doors, db: Database) -> None:
    payments.pay(db, order(1, "before", 5), now=ORIGIN)
    bank = open_doors.bank()
    status, quoted = said(bank, "POST", "/quotes", {"account": AC})
    assert (status, quoted["branch"], quoted["masked_name"]) == (200, "T-01", "W*** L*** 1***")
    body = paid("p1", 30, office="0417", taken=True)
    status, told = said(bank, "POST", "/pay", body)
    assert (status, told["state"], told["branch"], told["office"]) == (
        200,
        "posted",
        "T-01",
        "0417",
    )
    assert told["available_micros"] == 35 * YUAN
    assert said(bank, "POST", "/pay", body) == (200, told), "a repeat hears the same"
    said(bank, "POST", "/pay", paid("p2", 8))
    status, told = said(bank, "POST", "/void", {"peer_txn_id": "p2", "reason": "wrong key"})
    assert (status, told["state"]) == (200, "reversed")

    file = {"start": SPAN.start.isoformat(), "end": SPAN.end.isoformat(),
            "rows": [paid("before", 5), paid("p1", 29), paid("p3", 2)]}  # fmt: skip
    status, told = said(bank, "POST", "/reconcile", file)
    assert (status, told["matched"], told["theirs_micros"]) == (200, 1, 36 * YUAN)
    kinds = {each["peer_txn_id"]: (each["kind"], each["outcome"]) for each in told["differences"]}
    assert kinds == {"p1": ("amount_differs", "open"), "p3": ("theirs_only", "booked")}
    assert said(bank, "POST", "/reconcile", file)[1]["replayed"]
    late = {**file, "rows": [paid("p9", 1, peer_time=SPAN.end.isoformat())]}
    assert said(bank, "POST", "/reconcile", late)[0] == 422
    with db.transaction() as conn:
        assert ledger.balance_of(conn, AC) == 37 * YUAN
    kiosk = open_doors.signed()
    for path, wish in (("/reconcile", file), ("/pay", paid("k", 1, taken=True))):
        assert said(kiosk, "POST", path, wish)[0] == 403, "a kiosk's word is not money"


@pytest.mark.req("H9", "H10")
def test_what_peers_say_is_kept_sealed_and_opened_by_name_alone(
    open_doors: Doors, db: Database
) -> None:
    payme = open_doors.payme()
    create = {"id": "m1", "time": to_ms(ORIGIN), "amount": 3000, "account": {"account": AC}}
    payme.call("CreateTransaction", create)
    bank = open_doors.bank()
    said(bank, "POST", "/pay", paid("p1", 30))
    said(bank, "POST", "/pay", paid("p1", 31))
    with db.transaction() as conn:
        [asked, answered] = messages.kept(conn, "payme", EVER, peer_txn_id="m1")
        found = messages.kept(conn, "bank", EVER, peer_txn_id="p1")
    assert [each.direction.value for each in (asked, answered, *found)] == 3 * ["asked", "answered"]
    lying = rows(db, "SELECT string_agg(encode(sealed, 'escape'), '') FROM payments.peer_message")
    assert AC not in lying[0][0]

    def opened(number: int) -> Any:
        _, words = messages.read(
            db, KEYS, number, actor="user:auditor", reason="complaint 17", now=ORIGIN
        )
        return json.loads(words)

    assert opened(asked.id)["params"] == create
    assert opened(answered.id)["result"]["state"] == 1
    assert opened(found[2].id)["amount_micros"] == 31 * YUAN
    assert opened(found[3].id)["code"] == "payments.conflict", "a refusal is kept as it went out"
    read = rows(db, "SELECT actor, entity_id, reason FROM audit.event"
                    " WHERE action = 'payments.message_read' ORDER BY id")  # fmt: skip
    assert read[0] == ("user:auditor", str(asked.id), "complaint 17")
    with pytest.raises(RefusedError, match=r"payments\.peer_id"):
        messages.read(db, KEYS, asked.id, actor="user:auditor", reason=" ", now=ORIGIN)


@pytest.mark.req("H9")
def test_a_stranger_s_words_are_not_kept(open_doors: Doors, db: Database) -> None:
    wish = open_doors.bank().signed("POST", "/api/v1/peers/signed/quotes", b'{"account": "x"}')
    wish.headers["X-Meterloop-Signature"] = "0" * 64
    assert open_doors.wire(wish)[0] == 401
    assert rows(db, "SELECT count(*) FROM payments.peer_message") == [(0,)]


@pytest.mark.req("H9")
def test_kept_words_stay_for_their_years_and_under_their_old_key(
    db: Database,
) -> None:
    old = sealing.KeyRing(current="2025", keys={"2025": KEYS.keys["2025"]})
    first = messages.keep(
        db, old, "bank", b"first", direction=Direction.ASKED, years=1, wall_now=ORIGIN
    )  # fmt: skip
    later = ORIGIN + timedelta(days=5000)
    second = messages.keep(db, KEYS, "bank", b"second", direction=Direction.ASKED, wall_now=later)

    def opened(ring: sealing.KeyRing, number: int) -> bytes:
        return messages.read(db, ring, number, actor="user:a", reason="r", now=ORIGIN)[1]

    assert (opened(KEYS, first), opened(KEYS, second)) == (b"first", b"second")
    with pytest.raises(RefusedError, match=r"payments\.sealed") as caught:
        opened(old, second)
    assert "put that key back" in caught.value.fix
    with db.transaction() as conn, pytest.raises(psycopg.IntegrityError, match="is kept until"):
        conn.execute("DELETE FROM payments.peer_message")
    with db.transaction() as conn, pytest.raises(psycopg.IntegrityError, match="is kept until"):
        conn.execute("UPDATE payments.peer_message SET channel = 'other'")
    long_ago = ORIGIN - timedelta(days=3000)
    messages.keep(db, KEYS, "bank", b"x", direction=Direction.ASKED, years=2, wall_now=long_ago)
    assert messages.forget(db, wall_now=ORIGIN) == 1
    assert messages.forget(db, wall_now=ORIGIN) == 0
    with db.transaction() as conn:
        conn.execute("ALTER TABLE payments.peer_message DISABLE TRIGGER peer_message_kept")
        conn.execute("UPDATE payments.peer_message SET channel = 'other' WHERE id = %s", (second,))
        conn.execute("ALTER TABLE payments.peer_message ENABLE TRIGGER peer_message_kept")
    with pytest.raises(RefusedError, match=r"payments\.sealed"):
        opened(KEYS, second)
