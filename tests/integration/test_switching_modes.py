"""
Orders carried out to their verdict over real sockets: class 70 in each control mode, and DL/T 645.

The expected verdicts are written out by hand from the table of IEC 62056-6-2, not computed.
"""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.clock import EdgeClock
from edge.downlink.admit import Reason
from edge.downlink.execute import Limits, Switching
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from edge.outbox.stages import CommandEvent
from protocols.dlms.classes.disconnect import Trigger
from protocols.mqtt.downlink import Verb
from protocols.reading import RelayState
from protocols.timeline import from_ms, to_ms
from simulators.faults import Fault
from simulators.fleet import make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthFile, TruthLedger
from simulators.world import World
from tests.integration.dlt645_kit import on_tcp, run

ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
CUT, RESTORE = Verb.DISCONNECT, Verb.RECONNECT
DONE, ARM, FAIL = CommandEvent.SUCCEED, CommandEvent.ARM, CommandEvent.FAIL
OFF, ON, ARMED = RelayState.DISCONNECTED, RelayState.CONNECTED, RelayState.ARMED
LIMITS = Limits(
    tries={CUT: 2, RESTORE: 2, Verb.READ_RELAY: 0},
    read_back=0.1, pause=0.02, power_falls=0.2, unknown=0.5, reach=0.5,
)  # fmt: skip


async def verdict_of(driver, verb):
    order = Switching(
        driver, verb, clock=EdgeClock(), limits=LIMITS, may_operate=lambda: None,
        on_visit=lambda _: None,
    )  # fmt: skip
    return await order.carry_out()


@asynccontextmanager
async def dlms_meter(mode, path):
    fleet = make_fleet(seed=7, customers=60, origin=ORIGIN)
    story = replace(fleet.planted("story"), control_mode=mode)
    fleet = replace(fleet, meters=tuple(story if m.planted == "story" else m for m in fleet.meters))
    ledger = TruthLedger(path / "truth", fleet)
    meter = World(fleet, ledger, now_ms=lambda: to_ms(ORIGIN)).meters[story.meter]
    server = DlmsMeterServer(meter)
    await server.start("127.0.0.1", 0)
    outbox = OutboxDatabase(path / "outbox")

    class Standing:
        now = staticmethod(lambda: from_ms(to_ms(ORIGIN)))

    driver = DlmsDriver(
        DlmsTarget(
            meter=story.meter, host="127.0.0.1", port=server.port,
            authentication=story.authentication, password=story.password,
            system_title=b"MTL\x00\x00\x00\x00\x01",
            authentication_key=story.authentication_key, encryption_key=story.encryption_key,
            expected_device_name=story.meter, interval_seconds=story.interval_seconds,
            has_relay=True, timeout_seconds=2.0,
        ),
        Counters(outbox), Standing(),
    )  # fmt: skip
    try:
        yield meter, driver
    finally:
        await driver.close()
        await server.close()
        outbox.close()


CLASS_70 = {
    # mode: (cut, restore after it, closes the customer's button then?, does it open a closed one?,
    #        does the meter's own logic close an armed switch?)
    0: (FAIL, DONE, False, False, False),
    1: (DONE, ARM, True, True, False),
    2: (DONE, DONE, False, True, False),
    3: (DONE, ARM, True, False, False),
    4: (DONE, DONE, False, False, False),
    5: (DONE, ARM, True, True, True),
    6: (DONE, ARM, True, False, True),
}


@pytest.mark.req("D6", "D12", "D16", "D17")
@pytest.mark.parametrize("mode", CLASS_70)
def test_each_control_mode_ends_in_the_verdict_of_the_table(mode, tmp_path):
    cut, restore, hand_closes, hand_opens, _ = CLASS_70[mode]

    async def scenario():
        async with dlms_meter(mode, tmp_path) as (meter, driver):
            opened = await verdict_of(driver, CUT)
            assert opened.event is cut
            assert opened.evidence["before"]["control_mode"] == mode
            assert opened.evidence["attempts"] == (2 if mode == 0 else 1)
            if mode == 0:
                assert opened.reason == Reason.DID_NOT_MOVE
                assert meter.control_state is ON
            else:
                assert meter.control_state is OFF
                assert opened.evidence["after"] == {
                    "output_closed": 0, "control_state": 0, "control_mode": mode, "power_w": 0,
                }  # fmt: skip
                # again: it is there already, nothing is sent
                assert (await verdict_of(driver, CUT)).evidence["attempts"] == 0
            closed = await verdict_of(driver, RESTORE)
            assert closed.event is restore
            assert meter.control_state is (ARMED if restore is ARM else ON)
            if restore is ARM:
                assert (await verdict_of(driver, RESTORE)).evidence["attempts"] == 0
            assert meter.press() is (hand_closes or hand_opens)
            assert meter.control_state is (ON if not hand_opens or hand_closes else ARMED)

    run(scenario())


@pytest.mark.parametrize("mode", CLASS_70)
def test_what_hand_or_meter_opened_is_cut_and_closed_as_the_mode_allows(mode, tmp_path):
    *_, hand_opens, closes_itself = CLASS_70[mode]

    async def scenario():
        async with dlms_meter(mode, tmp_path) as (meter, driver):
            assert meter.press() is hand_opens
            if hand_opens:
                assert meter.control_state is ARMED
                assert meter.press()
            assert meter.by_itself(Trigger.LOCAL_DISCONNECT) is (mode != 0)
            if mode == 0:
                return
            assert meter.control_state is ARMED
            assert meter.by_itself(Trigger.LOCAL_RECONNECT) is closes_itself
            if closes_itself:
                assert meter.by_itself(Trigger.LOCAL_DISCONNECT)
            seen = await verdict_of(driver, RESTORE)
            assert (seen.event, seen.evidence["attempts"]) == (ARM, 0)
            cut = await verdict_of(driver, CUT)
            assert (cut.event, cut.evidence["attempts"]) == (DONE, 1)
            assert not meter.press()  # an order has opened it: no hand closes it
            assert (await verdict_of(driver, RESTORE)).event is CLASS_70[mode][1]

    run(scenario())


@pytest.mark.parametrize("mode", range(1, 7))
def test_a_stuck_switch_fails_in_every_mode(mode, tmp_path):
    async def scenario():
        async with dlms_meter(mode, tmp_path) as (meter, driver):
            meter.switch_fault(Fault.STUCK_RELAY, on=True)
            stuck = await verdict_of(driver, CUT)
            assert (stuck.event, stuck.reason) == (FAIL, Reason.DID_NOT_MOVE)

    run(scenario())


@pytest.mark.req("D6", "C13")
def test_a_dlt645_relay_is_cut_and_closed_and_both_are_read_back(tmp_path):
    async def scenario():
        async with on_tcp("dlt645_relay", tmp_path) as at:
            for verb, state in ((CUT, OFF), (RESTORE, ON), (CUT, OFF), (RESTORE, ON)):
                verdict = await verdict_of(at.driver, verb)
                assert (verdict.event, verdict.evidence["attempts"]) == (DONE, 1)
                assert at.meter.control_state is state
                assert verdict.evidence["after"]["control_state"] == state
            at.meter.switch_fault(Fault.STUCK_RELAY, on=True)
            assert (await verdict_of(at.driver, CUT)).reason == Reason.DID_NOT_MOVE

    run(scenario())


@pytest.mark.req("D9", "D10", "D11", "D12", "D16", "D17")
def test_the_pilot_hardware_is_tripped_lifted_and_closed_by_hand(tmp_path):
    async def scenario():
        async with on_tcp("dlt645_pilot", tmp_path) as at:
            cut = await verdict_of(at.driver, CUT)
            assert (cut.event, cut.evidence["attempts"]) == (DONE, 1)
            assert cut.evidence["after"]["control_state"] == OFF
            assert at.meter.snapshot().power_w == 0
            assert not at.meter.press()
            # a minute later the meter allows closing; the supply stays cut, nothing is sent again
            at.clock.passes(60)
            again = await verdict_of(at.driver, CUT)
            assert (again.event, again.evidence["attempts"]) == (DONE, 0)
            assert again.relay.control_state is ARMED
            # the restore sends nothing either: closing is allowed, a hand must do it
            lifted = await verdict_of(at.driver, RESTORE)
            assert (lifted.event, lifted.evidence["attempts"]) == (ARM, 0)
            assert at.anew().control_state is ARMED
            assert at.meter.press()
            assert (await verdict_of(at.driver, RESTORE)).event is DONE
            # who closes without having paid is tripped again; a payment lifts that at once
            assert (await verdict_of(at.driver, CUT)).evidence["attempts"] == 1
            early = await verdict_of(at.driver, RESTORE)
            assert (early.event, early.evidence["attempts"]) == (ARM, 1)
            assert at.meter.crew_closes()
            moves = TruthFile(at.truth).relay_moves(at.meter.spec.meter)
            assert [move.cause for move in moves] == [
                "remote_disconnect", "close_allowed", "manual_reconnect", "remote_disconnect",
                "remote_reconnect", "field",
            ]  # fmt: skip

    run(scenario())


@pytest.mark.req("D9")
def test_a_trip_with_the_wrong_password_is_refused_and_told(tmp_path):
    async def scenario():
        async with on_tcp("dlt645_pilot", tmp_path, password=b"\x02\x12\x34\x99") as at:
            verdict = await verdict_of(at.driver, CUT)
            assert (verdict.event, verdict.reason) == (FAIL, Reason.DID_NOT_MOVE)
            assert verdict.evidence["error"] == "dlt645.password"
            assert at.meter.control_state is ON

    run(scenario())


@pytest.mark.req("D8", "A9")
@pytest.mark.parametrize("model", ["dlt645_relay", "dlt645_pilot"])
def test_a_meter_that_keeps_power_is_not_cut_by_any_order_even_after_a_restart(model, tmp_path):
    async def scenario():
        async with on_tcp(model, tmp_path) as at:
            assert await at.driver.keep_power(on=True) is True
            verdict = await verdict_of(at.driver, CUT)
            assert (verdict.event, verdict.reason) == (FAIL, Reason.DID_NOT_MOVE)
            assert verdict.evidence["error"] == "dlt645.refused"
            assert at.meter.control_state is ON
            assert at.anew().keeps_power
            assert await at.driver.keep_power(on=False) is False
            assert (await verdict_of(at.driver, CUT)).event is DONE

    run(scenario())
