"""Tokens through class 115: once only, refused with a reason, found by reading when lost."""

import asyncio

import pytest

from edge.acquire.driver import TokenDriver
from protocols.errors import PeerError
from simulators.faults import Fault
from simulators.meter.token_gateway import BALANCE, issue_sts_token
from tests.integration.dlms_bench import RACE, STORY, driven
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return PATIENT


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
@pytest.mark.req("C13")
async def test_a_token_is_executed_and_the_balance_read_back(tmp_path, spec):
    async with driven(tmp_path, spec) as (driver, server, _):
        assert isinstance(driver, TokenDriver)
        answer = await driver.deliver_token(issue_sts_token(spec, cents=2500, number=1))
        assert answer.evidence == {"answer": "executed", "balance": 2500}
        assert server.meter.memory.remembered(BALANCE) == 2500


async def test_the_meter_itself_takes_no_token_twice_not_even_after_a_kill(tmp_path):
    token = issue_sts_token(STORY, cents=2500, number=7)
    async with driven(tmp_path, STORY) as (driver, _, _):
        await driver.deliver_token(token)
    async with driven(tmp_path, STORY) as (driver, server, _):
        with pytest.raises(PeerError) as caught:
            await driver.deliver_token(token)
        assert caught.value.code == "dlms.token_refused"
        assert caught.value.evidence == {"answer": "validation_failure"}
        assert server.meter.memory.remembered(BALANCE) == 2500


@pytest.mark.parametrize(
    ("token", "answer"),
    [
        (b"12345", "format_failure"),
        (issue_sts_token(RACE, cents=1, number=1), "authentication_failure"),
    ],
)
async def test_a_token_that_is_none_is_refused_with_its_reason(tmp_path, token, answer):
    async with driven(tmp_path, STORY) as (driver, _, _):
        with pytest.raises(PeerError) as caught:
            await driver.deliver_token(token)
        assert (caught.value.code, caught.value.evidence) == (
            "dlms.token_refused",
            {"answer": answer},
        )


async def test_an_answer_that_is_lost_is_found_by_reading(tmp_path):
    async with driven(tmp_path, STORY, timeout_seconds=0.4) as (driver, server, _):
        server.meter.memory.keep = _losing_the_answer(server.meter, speaks_again=True)
        answer = await driver.deliver_token(issue_sts_token(STORY, cents=900, number=1))
        assert answer.evidence == {"answer": "executed", "balance": 900, "read_back": True}


async def test_a_meter_that_stays_silent_leaves_the_token_in_doubt(tmp_path):
    async with driven(tmp_path, STORY, timeout_seconds=0.3) as (driver, server, _):
        server.meter.memory.keep = _losing_the_answer(server.meter, speaks_again=False)
        with pytest.raises(PeerError) as caught:
            await driver.deliver_token(issue_sts_token(STORY, cents=900, number=1))
        assert caught.value.code == "link.timeout"
        assert server.meter.memory.remembered(BALANCE) == 900


async def test_a_token_that_never_went_out_is_surely_not_in_the_meter(tmp_path):
    async with driven(tmp_path, STORY, timeout_seconds=0.3) as (driver, server, _):
        server.meter.faults.add(Fault.SILENT)
        with pytest.raises(PeerError) as caught:
            await driver.deliver_token(issue_sts_token(STORY, cents=900, number=1))
        assert caught.value.code == "dlms.token_refused"
        assert server.meter.memory.remembered(BALANCE) == 0


def _losing_the_answer(meter, *, speaks_again):
    """Return the meter's memory such that what it answers to a token is lost on the line."""
    keep = meter.memory.keep

    def losing(name, octets):
        keep(name, octets)
        if name == "token/status" and Fault.SILENT not in meter.faults:
            meter.faults.add(Fault.SILENT)
            if speaks_again:
                asyncio.get_running_loop().call_later(0.1, meter.faults.discard, Fault.SILENT)

    return losing
