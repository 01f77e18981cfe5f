"""The payment door: a key for each caller, a key for each payment, one answer for each."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from billing.prepaid import service as prepaid
from meterloop.embedded.postgres import EmbeddedPostgres
from protocols.mqtt.broker import BrokerAddress
from simulators.peers.bank import Bank, Remittance, schedule
from tests.integration.portal_kit import API_KEY, YUAN, Town, account, fresh_town, point

PATH = "/api/v1/payments"


@pytest.fixture(scope="module")
def town(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    mqtt_broker: BrokerAddress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("portal")
    with fresh_town(postgres, migrated_template, mqtt_broker, folder) as served:
        yield served


def post(town: Town, key: str, **changes: Any) -> httpx.Response:
    body = {
        "account": account(42), "amount_micros": 10 * YUAN, "currency": "CNY",
        "peer_txn_id": key, **changes,
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {API_KEY}"}
    if key:
        headers["Idempotency-Key"] = key
    return httpx.post(town.url + PATH, json=body, headers=headers, timeout=20)


def available(town: Town, number: int) -> int:
    with town.owner.transaction() as conn:
        return prepaid.balance_of(conn, point(number), town.clock.now()).available_micros


@pytest.mark.req("H1", "H2")
def test_a_repeat_gets_the_same_answer_and_no_second_payment(town: Town) -> None:
    before = available(town, 42)
    first, again = post(town, "bank-1"), post(town, "bank-1", peer_time="2026-11-18T04:09:00+00:00")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.json()["amount"] == "10.000000"
    assert available(town, 42) == before + 10 * YUAN


@pytest.mark.req("H1")
def test_at_once_from_eight_sides_it_is_still_one(town: Town) -> None:
    before = available(town, 43)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(town, "rush", account=account(43)), range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["receipt_no"] for answer in answers}) == 1
    assert available(town, 43) == before + 10 * YUAN


@pytest.mark.req("H1")
@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"amount_micros": 0}, 422, "payments.amount"),
        ({"amount_micros": -1}, 422, "payments.amount"),
        ({"currency": "USD"}, 422, "payments.currency"),
        ({"amount": "5"}, 422, "bad_input"),
        ({"amount_micros": None}, 422, "bad_input"),
        ({"amount_micros": 1.5}, 422, "bad_input"),
        ({"peer_time": "yesterday"}, 422, "bad_input"),
        ({"surprise": 1}, 422, "bad_input"),
        ({"account": ""}, 422, "bad_input"),
    ],
)
def test_what_cannot_be_taken_is_refused_as_a_problem(
    town: Town, changes: dict[str, Any], status: int, code: str
) -> None:
    before = available(town, 61)
    answer = post(town, f"bad-{sorted(changes)}-{code}", **{"account": account(61), **changes})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert available(town, 61) == before


def test_the_same_key_with_another_body_is_refused(town: Town) -> None:
    assert post(town, "twice").status_code == 201
    other = post(town, "twice", amount_micros=11 * YUAN)
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


def test_the_same_payment_under_another_key_with_another_amount_is_a_conflict(town: Town) -> None:
    assert post(town, "txn-a", peer_txn_id="TXN").status_code == 201
    other = post(town, "txn-b", peer_txn_id="TXN", amount_micros=12 * YUAN)
    assert (other.status_code, other.json()["code"]) == (409, "payments.conflict")


def test_without_its_key_a_payment_is_not_taken(town: Town) -> None:
    answer = post(town, "", peer_txn_id="no-key")
    assert (answer.status_code, answer.json()["code"]) == (428, "key_missing")


@pytest.mark.req("R5", "R6")
def test_a_wrong_key_of_the_caller_opens_nothing(town: Town) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": "A" * 300}):
        answer = httpx.post(town.url + PATH, json={}, headers=headers, timeout=20)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")


def test_money_for_an_unknown_account_is_kept_in_suspense(town: Town) -> None:
    answer = post(town, "lost", account="AC-999999")
    assert answer.status_code == 201
    assert answer.json()["state"] == "suspense"
    status = httpx.get(
        f"{town.url}{PATH}/lost", headers={"Authorization": f"Bearer {API_KEY}"}, timeout=20
    )
    assert status.json()["receipt_no"] == answer.json()["receipt_no"]


@pytest.mark.req("H1")
def test_a_bank_that_repeats_and_delays_pays_once(town: Town) -> None:
    before = available(town, 88)
    sent = [
        Remittance(
            txn_id=f"bank-88-{n}", account=account(88), amount_micros=n * YUAN, currency="CNY",
            paid_at=town.clock.now(),
        )
        for n in range(1, 9)
    ]  # fmt: skip
    bank = Bank(town.url, API_KEY)
    answers = asyncio.run(bank.deliver(schedule(sent, seed=7, sends=3)))
    assert {answer.status for answer in answers} == {201}
    assert available(town, 88) == before + 36 * YUAN


@pytest.mark.req("Q10")
def test_balance_and_readings_are_exact_integers(town: Town) -> None:
    headers = {"X-Api-Key": API_KEY}
    base = f"{town.url}/api/v1/usage-points/{point(61)}"
    balance = httpx.get(base + "/balance", headers=headers, timeout=20).json()
    assert balance["available_micros"] == available(town, 61)
    found = httpx.get(base + "/readings", headers=headers, timeout=20).json()["intervals"]
    assert len(found) >= 47
    assert all(isinstance(row["wh"], int) and row["seconds"] == 1800 for row in found)
    wrong = httpx.get(base + "/readings?start=2026-01-01T00:00:00Z", headers=headers, timeout=20)
    assert wrong.status_code == 422
    gone = httpx.get(f"{town.url}/api/v1/usage-points/UP-1/balance", headers=headers, timeout=20)
    assert gone.status_code == 404
    assert json.loads(gone.text)["code"] == "not_found"
