"""The agent killed with SIGKILL at every failpoint: nothing lost, nothing done twice."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.failpoint import NAMES
from edge.outbox import Outbox
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Verb
from protocols.mqtt.uplink import FINAL, Stage
from protocols.timeline import Interval, floor_to_grid, grid_starts
from tests.integration.edge_harness import Cloud, Victim, cloud, written
from tests.integration.edge_orders import go_for, order

READING = [
    "edge.after_read", "edge.before_commit", "edge.after_outbox", "edge.after_publish",
    "edge.before_delete", "edge.after_delete",
]  # fmt: skip
SWITCHING = ["edge.before_operate", "edge.after_operate"]
ELSEWHERE = ["edge.before_clock_set", "edge.after_reserve", "edge.after_stage"]
"""Walked under load beside all the others by the suite of a thousand kills."""
TOKENS = ["edge.before_token", "edge.after_token"]
"""Walked with a meter that takes tokens: `test_control_tokens`."""
UPKEEP = [
    "edge.before_settings", "edge.after_settings", "edge.after_block", "edge.after_send",
    "edge.after_verified", "edge.before_activate", "edge.after_activate", "edge.after_pend",
    "edge.before_promote", "edge.after_promote",
]  # fmt: skip
"""Walked where their orders are: `test_edge_upkeep_*`."""


def test_the_failpoints_are_these() -> None:
    assert {*READING, *SWITCHING, *ELSEWHERE, *TOKENS, *UPKEEP} == NAMES


@pytest.mark.req("A8")
@pytest.mark.parametrize("failpoint", READING)
def test_no_reading_is_lost_or_altered(
    failpoint: str, mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = "C-kill-" + failpoint.split(".")[1]
    path, config = written(tmp_path, mqtt_broker, name)
    operated = tmp_path / "operated"

    async def story() -> Cloud:
        async with cloud(mqtt_broker, name) as there:
            for _ in range(3):
                async with Victim(path, operated, failpoint) as victim:
                    await victim.dies()
            async with Victim(path, operated):
                start = floor_to_grid(config.meters[0].history_from, 1800)
                end = floor_to_grid(datetime.now(UTC), 1800)
                expected = set(grid_starts(Interval(start=start, end=end), 1800))
                await there.until(lambda: expected <= set(there.profile()), 40)
                there.heard.clear()
        return there

    there = asyncio.run(story())
    for boot, seqs in there.seqs().items():
        assert seqs == set(range(1, max(seqs) + 1)), f"a number of boot {boot} is missing"
    for at, raw in there.profile().items():
        assert raw == at.hour + at.minute


def test_what_was_read_before_an_orderly_end_is_in_the_outbox_or_receipted(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    path, config = written(tmp_path, mqtt_broker, "C-orderly")

    async def story() -> Cloud:
        async with cloud(mqtt_broker, "C-orderly") as there:
            async with Victim(path, tmp_path / "operated"):
                await there.until(lambda: len(there.profile()) >= 100, 40)
                there.receipting = False
            await asyncio.sleep(0.2)
        return there

    there = asyncio.run(story())
    outbox = Outbox(config.outbox, wall_ms=1)
    (heard,) = there.seqs().values()
    kept = {batch.seq for batch in outbox.batches.choose(10_000, set())}
    outbox.close()
    assert heard | kept == set(range(1, max(heard | kept) + 1))


@pytest.mark.req("D9")
@pytest.mark.parametrize(
    ("failpoint", "end", "moved"),
    [
        ("edge.before_operate", Stage.FAILED, []),
        ("edge.after_operate", Stage.DONE, ["disconnect"]),
    ],
)
def test_a_cut_that_was_interrupted_is_resolved_by_reading_and_never_repeated(
    failpoint: str, end: Stage, moved: list[str], mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = "C-kill-" + failpoint.split(".")[1]
    path, _ = written(tmp_path, mqtt_broker, name)
    operated = tmp_path / "operated"

    async def story() -> None:
        async with cloud(mqtt_broker, name) as there:
            cut = order(name)
            async with Victim(path, operated, failpoint) as victim:
                await there.online()
                await there.order(cut)
                nonce = await there.nonce(cut)
                await there.order(go_for(cut, nonce))
                await victim.dies()
            await there.order(go_for(cut, nonce))
            async with Victim(path, operated):
                await there.until(lambda: bool(FINAL & set(there.stages(cut))), 30)
                await there.order(go_for(cut, nonce))
                await there.order(cut)
                await asyncio.sleep(1.0)
            assert there.stages(cut)[-1] is end
            assert FINAL & set(there.stages(cut)) == {end}
        verbs = operated.read_text().split() if operated.exists() else []
        assert verbs == moved

    asyncio.run(story())


@pytest.mark.req("D9")
@pytest.mark.parametrize("failpoint", SWITCHING)
def test_a_restore_that_was_interrupted_ends_with_power_on(
    failpoint: str, mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = "C-back-" + failpoint.split(".")[1]
    path, _ = written(tmp_path, mqtt_broker, name)
    operated = tmp_path / "operated"
    operated.write_text("disconnect\n")

    async def story() -> None:
        async with cloud(mqtt_broker, name) as there:
            restore = order(name, Verb.RECONNECT)
            async with Victim(path, operated, failpoint) as victim:
                await there.online()
                await there.order(restore)
                await victim.dies()
            async with Victim(path, operated):
                await there.until(lambda: Stage.DONE in there.stages(restore), 30)
        assert operated.read_text().split() == ["disconnect", "reconnect"]

    asyncio.run(story())


@pytest.mark.req("D9")
def test_a_challenge_of_a_killed_agent_expires(mqtt_broker: BrokerAddress, tmp_path: Path) -> None:
    path, _ = written(tmp_path, mqtt_broker, "C-kill-challenge")
    operated = tmp_path / "operated"

    async def story() -> None:
        async with cloud(mqtt_broker, "C-kill-challenge") as there:
            cut = order("C-kill-challenge", lasts=timedelta(minutes=5))
            async with Victim(path, operated) as victim:
                await there.online()
                await there.order(cut)
                nonce = await there.nonce(cut)
                victim.process.kill()
                await victim.process.wait()
            async with Victim(path, operated):
                await there.order(go_for(cut, nonce))
                await there.until(lambda: Stage.EXPIRED in there.stages(cut), 30)
        assert not operated.exists()

    asyncio.run(story())
