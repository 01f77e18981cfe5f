"""Payme's door and the signed door: what peers hear, and that both books are equal at the end."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.payments.model import FileRow, Outcome
from cloud.store.db import Database
from protocols.timeline import Interval, to_ms
from simulators.peers.wallet import LossyWire, Purchase, Script, Wallet, Wish
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, rows, street
from tests.integration.payments_kit import Doors, doors

AC = "AC-000001"
TWO = ("user:lin", "user:reza")
AMOUNT = 30 * YUAN // 10_000


@pytest.fixture
def open_doors(db: Database, database_dsn: str, tmp_path: Path) -> Iterator[Doors]:
    street(db, customer(1, opening_balance_micros=0), customer(2, opening_balance_micros=0))
    with doors(database_dsn, tmp_path) as opened:
        yield opened


def create(txn: str = "t", amount: int = AMOUNT, account: str = AC, **changes: object) -> dict:
    return {"id": txn, "time": to_ms(ORIGIN), "amount": amount, "account": {"account": account},
            **changes}  # fmt: skip


@pytest.mark.req("H1", "H9", "H10")
def test_payme_creates_performs_checks_and_lists_with_the_same_answers_again(
    open_doors: Doors, db: Database
) -> None:
    payme = open_doors.payme()
    asked = {"amount": AMOUNT, "account": {"account": AC}}
    assert payme.call("CheckPerformTransaction", asked)["result"] == {"allow": True}
    first = payme.call("CreateTransaction", create())["result"]
    assert (first["state"], first["create_time"]) == (1, to_ms(ORIGIN))
    open_doors.set_clock(ORIGIN + HOUR)
    assert payme.call("CreateTransaction", create())["result"] == first
    done = payme.call("PerformTransaction", {"id": "t"})["result"]
    assert done == {"transaction": first["transaction"], "perform_time": to_ms(ORIGIN + HOUR),
                    "state": 2}  # fmt: skip
    open_doors.set_clock(ORIGIN + 2 * HOUR)
    assert payme.call("PerformTransaction", {"id": "t"})["result"] == done
    checked = payme.call("CheckTransaction", {"id": "t"})["result"]
    assert checked == {**first, **done, "cancel_time": 0, "reason": None}
    span = {"from": to_ms(ORIGIN), "to": to_ms(ORIGIN)}
    [listed] = payme.call("GetStatement", span)["result"]["transactions"]
    assert listed == {**checked, "id": "t", "time": to_ms(ORIGIN), "amount": AMOUNT,
                      "account": {"account": AC}}  # fmt: skip
    with db.transaction() as conn:
        assert ledger.balance_of(conn, AC) == 30 * YUAN


@pytest.mark.req("H9")
def test_payme_cancels_before_and_after_and_times_out(open_doors: Doors) -> None:
    payme = open_doors.payme()
    for txn in ("held", "done", "late"):
        payme.call("CreateTransaction", create(txn))
    for _ in "ab":
        gone = payme.call("CancelTransaction", {"id": "held", "reason": 3})["result"]
        assert (gone["state"], gone["cancel_time"]) == (-1, to_ms(ORIGIN))
    payme.call("PerformTransaction", {"id": "done"})
    for _ in "ab":
        assert payme.call("CancelTransaction", {"id": "done", "reason": 5})["result"]["state"] == -2
    assert payme.call("CheckTransaction", {"id": "done"})["result"]["reason"] == 5
    open_doors.set_clock(ORIGIN + timedelta(milliseconds=43_199_999))
    assert payme.call("CheckTransaction", {"id": "late"})["result"]["state"] == 1
    open_doors.set_clock(ORIGIN + timedelta(milliseconds=43_200_000))
    seen = payme.call("CheckTransaction", {"id": "late"})["result"]
    assert (seen["state"], seen["reason"]) == (-1, 4)
    for method, params in (("PerformTransaction", {"id": "late"}),
                           ("CreateTransaction", create("late"))):  # fmt: skip
        assert payme.call(method, params)["error"]["code"] == -31008


@pytest.mark.req("H9")
@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("CreateTransaction", create(amount=0), -31001),
        ("CreateTransaction", create(amount=-5), -31001),
        ("CreateTransaction", create(account="AC-9"), -31050),
        ("CreateTransaction", create("known", amount=7), -31008),
        ("CreateTransaction", create(amount=1.5), -32600),
        ("CreateTransaction", create(amount=True), -32600),
        ("CreateTransaction", create(time=10**15), -32600),
        ("CreateTransaction", {"id": "t"}, -32600),
        ("PerformTransaction", {"id": "never"}, -31003),
        ("CancelTransaction", {"id": "never", "reason": 1}, -31003),
        ("CheckTransaction", {"id": "never"}, -31003),
        ("CheckPerformTransaction", {"amount": 5, "account": {}}, -31050),
        ("CheckTransaction", {"id": "a\0b"}, -32600),
        ("CheckTransaction", {"id": "\ud800"}, -32600),
        ("CreateTransaction", create(account="\0"), -31050),
        ("Steal", {}, -32601),
    ],
)
def test_payme_hears_what_is_wrong_in_three_languages(
    open_doors: Doors, db: Database, method: str, params: dict, code: int
) -> None:
    payme = open_doors.payme()
    payme.call("CreateTransaction", create("known"))
    error = payme.call(method, params)["error"]
    assert error["code"] == code
    assert set(error["message"]) == {"uz", "ru", "en"}
    assert error.get("data", "") == ("account" if code == -31050 else "")
    assert rows(db, "SELECT count(*) FROM ledger.entry") == [(0,)]


@pytest.mark.req("H9")
def test_paymes_door_opens_to_its_key_alone_and_to_nothing_but_post(open_doors: Doors) -> None:
    path, sound = "/api/v1/peers/payme", {"id": 1, "method": "CheckTransaction",
                                          "params": {"id": "x"}}  # fmt: skip

    def said(headers: dict[str, str], octets: bytes, method: str = "POST") -> int:
        status, body = open_doors.wire(Wish(method=method, path=path, headers=headers, body=octets))
        assert status == 200
        return json.loads(body)["error"]["code"]

    text = json.dumps(sound).encode()
    good = open_doors.payme()._headers
    assert said(good, text) == -31003
    for header in ("", "Basic ", "Basic UGF5Y29tOng=", good["Authorization"].replace("Basic", "X")):
        assert said({"Authorization": header}, text) == -32504
    assert said(good, b"{") == -32700
    assert said(good, b"[1]") == -32600
    assert said(good, text, method="GET") == -32300


@pytest.mark.req("H9")
def test_a_spent_or_yesterdays_payment_is_not_cancelled(open_doors: Doors) -> None:
    payme = open_doors.payme()
    payme.call("CreateTransaction", create())
    payme.call("PerformTransaction", {"id": "t"})
    open_doors.set_clock(ORIGIN + timedelta(days=1))
    assert payme.call("CancelTransaction", {"id": "t", "reason": 5})["error"]["code"] == -31007


@pytest.mark.req("H9", "H10")
def test_a_signed_peer_quotes_holds_posts_voids_and_pages(open_doors: Doors) -> None:
    peer = open_doors.signed()
    status, quote = peer.call("POST", "/quotes", {"account": AC})
    assert (status, quote["due_micros"], quote["masked_name"]) == (200, 0, "W*** L*** 1***")
    wanted = {"account": AC, "amount_micros": YUAN, "currency": "CNY",
              "peer_time": ORIGIN.isoformat()}  # fmt: skip
    for n in range(3):
        hold = {**wanted, "peer_txn_id": f"t{n}", "quote_id": quote["quote_id"]}
        assert peer.call("POST", "/holds", hold)[1]["state"] == "held"
        assert peer.call("POST", "/post", {"peer_txn_id": f"t{n}"})[1]["state"] == "posted"
    gone = peer.call("POST", "/void", {"peer_txn_id": "t1", "reason": "slip"})[1]
    assert (gone["state"], gone["reason"]) == ("reversed", "slip")
    assert peer.call("GET", "/status?peer_txn_id=t1")[1]["receipt_no"].startswith("R-")
    base = f"/statement?start={ORIGIN.isoformat()}&end={(ORIGIN + HOUR).isoformat()}&limit=2"
    base = base.replace("+", "%2B")
    page = peer.call("GET", base)[1]
    after = page["next"].replace("+", "%2B").replace(" ", "%20")
    last = peer.call("GET", f"{base}&after={after}")[1]
    assert [row["net_micros"] for row in page["rows"] + last["rows"]] == [YUAN, 0, YUAN]
    assert last["next"] == ""


@pytest.mark.req("H9")
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount_micros": 0}, 422, "payments.amount"),
        ({"amount_micros": -1}, 422, "payments.amount"),
        ({"currency": "UZS"}, 422, "payments.currency"),
        ({"account": "AC-9"}, 422, "payments.account_unknown"),
        ({"peer_txn_id": "known"}, 409, "payments.conflict"),
        ({"quote_id": 99}, 409, "payments.quote"),
        ({"amount_micros": "5"}, 422, "bad_input"),
        ({"peer_time": "2026-03-10T04:00:00"}, 422, "bad_input"),
        ({"peer_txn_id": "a\0b"}, 422, "bad_input"),
    ],
)
def test_a_signed_peer_hears_what_is_wrong(
    open_doors: Doors, change: dict, status: int, code: str
) -> None:
    peer = open_doors.signed()
    body = {"peer_txn_id": "known", "account": AC, "amount_micros": 9 * YUAN, "currency": "CNY",
            "peer_time": ORIGIN.isoformat()}  # fmt: skip
    assert peer.call("POST", "/holds", body)[0] == 200
    found = peer.call(
        "POST", "/holds", {**body, "peer_txn_id": "t", "amount_micros": YUAN, **change}
    )
    assert (found[0], found[1]["code"]) == (status, code)


@pytest.mark.req("H9")
def test_a_request_is_taken_once_in_its_time_and_exactly_as_it_was_signed(
    open_doors: Doors, db: Database
) -> None:
    peer = open_doors.signed()
    path = "/api/v1/peers/signed/holds"
    octets = json.dumps({"peer_txn_id": "t", "account": AC, "amount_micros": YUAN,
                         "currency": "CNY", "peer_time": ORIGIN.isoformat()}).encode()  # fmt: skip
    wish = peer.signed("POST", path, octets)

    def sent(**changes: object) -> int:
        plain = {"method": wish.method, "path": wish.path, "headers": wish.headers,
                 "body": wish.body, **changes}  # fmt: skip
        return open_doors.wire(Wish(**plain))[0]

    assert sent(body=octets.replace(b"1000000", b"9000000")) == 401
    assert sent(path=path + "?x=1") == 401
    for name in ("Key", "Timestamp", "Nonce", "Signature"):
        assert sent(headers={**wish.headers, f"X-Meterloop-{name}": "1" * 16}) == 401
    open_doors.set_clock(ORIGIN + timedelta(minutes=5, seconds=1))
    assert sent() == 403
    open_doors.set_clock(ORIGIN + timedelta(minutes=5))
    assert [sent(), sent()] == [200, 403]
    assert rows(db, "SELECT count(*) FROM payments.hold") == [(1,)]


def test_doors_are_shut_where_no_file_names_peers(db: Database, tmp_path: Path) -> None:
    from portal.api.peers_file import peers_of

    assert peers_of("").signers == {}
    file = tmp_path / "peers.json"
    file.write_text("{}")
    file.chmod(0o644)
    with pytest.raises(PermissionError, match="0600"):
        peers_of(str(file))


def purchases(script: Script) -> list[Purchase]:
    """Return a day of purchases; at a cut-over all of them fall into the last minutes of a day."""
    start = ORIGIN.replace(hour=23, minute=50) if script is Script.DAY_CUT_OVER else ORIGIN
    return [
        Purchase(
            txn_id=f"{script.value}-{n:03}", account=f"AC-00000{n % 2 + 1}",
            amount_micros=(n % 7 + 1) * YUAN, currency="CNY", at=start + timedelta(seconds=10 * n),
        )
        for n in range(24)
    ]  # fmt: skip


NOISE = {Script.DUPLICATE: {"sends": 3}, Script.DROP_REPLY: {"lost_permille": 600}}


@pytest.mark.req("H9")
@pytest.mark.parametrize("channel", ["payme", "kiosk"])
@pytest.mark.parametrize("script", Script)
def test_every_script_of_a_peer_ends_with_equal_statements(
    open_doors: Doors, db: Database, channel: str, script: Script
) -> None:
    noise = {"seed": 7, **NOISE.get(script, {})}
    teller = open_doors.payme(**noise) if channel == "payme" else open_doors.signed(**noise)
    wallet = Wallet(teller=teller, script=script, seed=11)
    wallet.run(purchases(script), open_doors.set_clock)
    night = ORIGIN + timedelta(days=2)
    span = Interval(start=ORIGIN - HOUR, end=night)
    file = [
        FileRow(peer_txn_id=each.txn_id, account=each.account, amount_micros=each.amount_micros,
                currency=each.currency, peer_time=each.at)
        for each in wallet.paid
    ]  # fmt: skip
    payments.expire(db, now=night)
    told = payments.reconcile(db, channel, span, file, actor="user:lin", now=night)
    for each in told.open:
        payments.resolve(db, told.id, each.peer_txn_id, Outcome.CORRECTED, actors=TWO,
                         reason="settled by the peer's file", now=night)  # fmt: skip
    with db.transaction() as conn:
        ours = payments.statement(conn, channel, span)
        assert payments.audit_payments(conn).count == 0
    assert {row.peer_txn_id: row.net_micros for row in ours if row.net_micros} == {
        each.txn_id: each.amount_micros for each in wallet.paid
    }
    assert ledger.audit_book(db).violations == 0
    if script is Script.DROP_REPLY:
        assert told.differences, "a wallet that hears nothing must disagree somewhere"
    if script is Script.DELAY_PAST_TIMEOUT:
        assert 0 < len(wallet.paid) < 24
    if script in {Script.PLAIN, Script.DUPLICATE}:
        assert (told.matched, told.differences) == (24, ())


def test_a_lossy_wire_delivers_what_it_does_not_answer() -> None:
    seen: list[Wish] = []

    def wire(wish: Wish) -> tuple[int, bytes]:
        seen.append(wish)
        return 200, b""

    lossy = LossyWire(wire, seed=1, sends=2, lost_permille=1000)
    assert lossy(lambda: Wish(method="POST", path="/", headers={}, body=b"")) is None
    assert len(seen) == 2
