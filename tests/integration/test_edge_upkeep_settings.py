"""Settings from afar over a real broker: used at once, kept for good, refused with a reason."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.uplink import Stage
from tests.integration.edge_harness import Cloud, Victim, agent, cloud, scripted, written
from tests.integration.edge_upkeep_kit import retain, settings_order

SLOW = {"poll_seconds": 3600, "profile_seconds": 3600}
FAST = {"poll_seconds": 0.2, "profile_seconds": 0.2, "concurrency": 2}


def ends(there: Cloud, id_: str) -> list[tuple[Stage, str]]:
    """Return how an order of settings ended, as first told."""
    return list(dict.fromkeys((a.stage, a.reason) for a in there.acks if a.id == id_))


async def ended(there: Cloud, id_: str) -> tuple[Stage, str]:
    """Wait for the end of an order."""
    await there.until(lambda: bool(ends(there, id_)))
    (end,) = ends(there, id_)
    return end


@pytest.mark.req("A10")
def test_settings_are_used_without_a_restart_and_no_reading_is_lost(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-set", **SLOW)
    meter = scripted()

    async def story() -> None:
        async with cloud(mqtt_broker, "C-set") as there:
            async with agent(config, meter):
                await there.online()
                assert there.states[-1]["config_revision"] == 0
                before = meter.calls.count("read_now")
                order = settings_order("C-set", 1, FAST)
                await retain(there, order)
                assert await ended(there, order.id) == (Stage.DONE, "")
                await there.until(lambda: meter.calls.count("read_now") >= before + 5)
                await there.until(lambda: len(there.profile()) >= 239)
            # kept over a restart, before the broker has said a word
            async with agent(config, meter):
                await there.until(lambda: there.states[-1].get("config_revision") == 1)
                again = meter.calls.count("read_now")
                await there.until(lambda: meter.calls.count("read_now") >= again + 5)
                back = settings_order("C-set", 2, {})
                await retain(there, back)
                assert await ended(there, back.id) == (Stage.DONE, "")
                # the file's own settings hold again
                await there.still(lambda: meter.calls.count("read_now"))
            for boot, seqs in there.seqs().items():
                assert seqs == set(range(1, max(seqs) + 1)), f"a batch of boot {boot} is missing"

    asyncio.run(story())


@pytest.mark.req("A10")
def test_orders_that_cannot_be_are_refused_with_key_and_range(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-wrong")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-wrong") as there, agent(config, scripted()) as status:
            await there.online()
            wrong = settings_order("C-wrong", 3, {"poll_seconds": 0.2, "concurrency": 0})
            await retain(there, wrong)
            stage, reason = await ended(there, wrong.id)
            assert stage is Stage.REFUSED
            assert reason == "concurrency: must be a whole number from 1 to 1000, not 0"
            unknown = settings_order("C-wrong", 4, {"broker": 1})
            await retain(there, unknown)
            assert "broker: no such setting" in (await ended(there, unknown.id))[1]
            late = settings_order("C-wrong", 5, FAST, lasts=timedelta(seconds=-10))
            await retain(there, late)
            assert await ended(there, late.id) == (Stage.EXPIRED, "expired")
            good = settings_order("C-wrong", 6, FAST)
            await retain(there, good)
            assert await ended(there, good.id) == (Stage.DONE, "")
            other = settings_order("C-wrong", 6, SLOW, id_="upkeep-other")
            await retain(there, other)
            assert await ended(there, other.id) == (Stage.REFUSED, "revision_reused")
            older = settings_order("C-wrong", 2, SLOW, id_="upkeep-older")
            foreign = settings_order("C-elsewhere", 9, SLOW, id_="upkeep-foreign")
            for order in (older, foreign, good):
                await retain(there, order)
            await there.until(lambda: status.get("settings_foreign") == 1)
            assert ends(there, older.id) == ends(there, foreign.id) == []
            assert status["settings_done"] == 1
            await there.until(lambda: there.states[-1].get("config_revision") == 6)

    asyncio.run(story())


@pytest.mark.req("A10")
@pytest.mark.parametrize("failpoint", ["edge.before_settings", "edge.after_settings"])
def test_an_agent_killed_over_settings_has_them_whole_or_takes_them_again(
    failpoint: str, mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = "C-" + failpoint.split(".")[1]
    path, _ = written(tmp_path, mqtt_broker, name, **SLOW)

    async def story() -> None:
        async with cloud(mqtt_broker, name) as there:
            order = settings_order(name, 1, FAST)
            async with Victim(path, tmp_path / "operated", failpoint) as victim:
                await there.online()
                await retain(there, order)
                await victim.dies()
            async with Victim(path, tmp_path / "operated"):
                assert await ended(there, order.id) == (Stage.DONE, "")
                await there.until(lambda: there.states[-1].get("config_revision") == 1)

    asyncio.run(story())
