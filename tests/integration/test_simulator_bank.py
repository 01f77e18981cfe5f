"""The bank repeats, reorders and does not give up; against a door that is not always open."""

import asyncio
from datetime import UTC, datetime

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from simulators.endpoints import free_port
from simulators.peers.bank import Bank, Remittance, schedule
from simulators.web import served

PAID = [
    Remittance(
        txn_id=f"tx-{number}", account=f"AC-{number:06d}", amount_micros=5_000_000,
        currency="CNY", paid_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    for number in range(12)
]  # fmt: skip


def test_a_schedule_repeats_each_payment_out_of_order_and_is_the_seeds_own():
    sent = schedule(PAID, seed=5, sends=4)
    assert sent == schedule(PAID, seed=5, sends=4) != schedule(PAID, seed=6, sends=4)
    assert sorted(item.remittance.txn_id for item in sent) == sorted(
        remittance.txn_id for remittance in PAID for _ in range(4)
    )
    assert [item.remittance for item in sent[:12]] != PAID


def test_every_payment_arrives_with_its_key_whatever_the_door_does():
    seen, arrived = {}, []
    app = FastAPI()

    @app.post("/api/v1/payments")
    async def take(request: Request):
        body = await request.json()
        key = request.headers["Idempotency-Key"]
        assert request.headers["Authorization"] == "Bearer secret"
        assert key == body["peer_txn_id"]
        arrived.append(key)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 1 and key in ("tx-1", "tx-2"):
            return JSONResponse({"title": "away"}, status_code=503)
        if key == "tx-3":
            return JSONResponse({"code": "payments.amount"}, status_code=422)
        return {"receipt_no": f"R-{key}"}

    async def scenario():
        port = free_port()
        async with served(app, "127.0.0.1", port):
            bank = Bank(f"http://127.0.0.1:{port}/", "secret")
            answers = await bank.deliver(schedule(PAID, seed=5, sends=3))
            alone = await bank.pay(PAID[0])
        assert len(answers) == 36
        assert {a.status for a in answers if a.txn_id != "tx-3"} == {200}
        assert {a.status for a in answers if a.txn_id == "tx-3"} == {422}
        assert max(a.tries for a in answers if a.txn_id == "tx-1") == 2
        assert alone.body == {"receipt_no": "R-tx-0"}
        assert arrived.count("tx-0") == 4

    asyncio.run(scenario())


def test_a_door_that_opens_late_is_waited_for():
    app = FastAPI()

    @app.post("/api/v1/payments")
    async def take():
        return {}

    async def scenario():
        port = free_port()
        bank = Bank(f"http://127.0.0.1:{port}", "secret")
        tried, post = [], bank._post
        bank._post = lambda remittance: (tried.append(remittance), post(remittance))[1]
        paying = asyncio.create_task(bank.pay(PAID[0]))
        async with asyncio.timeout(30):
            while len(tried) < 2:  # the first was in vain
                await asyncio.sleep(0.05)
        async with served(app, "127.0.0.1", port):
            answer = await paying
        assert (answer.status, answer.tries > 1) == (200, True)

    asyncio.run(scenario())
