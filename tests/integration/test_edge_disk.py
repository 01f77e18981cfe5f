"""A disk that is full, or nearly: the agent stops reading, keeps obeying, and goes on by itself."""

import asyncio
import resource
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols.events import EventCode
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Verb
from protocols.mqtt.uplink import Stage
from protocols.timeline import Interval, floor_to_grid, grid_starts
from tests.integration.edge_harness import Victim, agent, cloud, scripted, written
from tests.integration.edge_orders import order
from tests.unit.edge.edge_kit import OPEN


@pytest.mark.req("A8", "V14")
def test_a_disk_that_refuses_stops_reading_and_nothing_is_lost(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    """The limit of a file's size is moved under the running agent, as a quota would do it."""
    path, config = written(tmp_path, mqtt_broker, "C-refuse")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-refuse") as there:
            there.receipting = False
            async with Victim(path, tmp_path / "operated") as victim:
                await there.until(lambda: len(there.batches) >= 3)
                pid = victim.process.pid
                wal = config.outbox.with_name(config.outbox.name + "-wal")
                limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, limits[1]))
                # nothing new can be kept
                heard = await there.still(lambda: len(there.seqs().popitem()[1]), 2.0)
                assert victim.process.returncode is None, "a full disk is no reason to die"
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
                there.receipting = True
                start = floor_to_grid(config.meters[0].history_from, 1800)
                span = Interval(start=start, end=floor_to_grid(datetime.now(UTC), 1800))
                expected = set(grid_starts(span, 1800))
                await there.until(lambda: len(there.seqs().popitem()[1]) > heard + 3)
                await there.until(lambda: expected <= set(there.profile()))
            (seqs,) = there.seqs().values()
            assert seqs == set(range(1, max(seqs) + 1))

    asyncio.run(story())


@pytest.mark.req("A8", "V14")
def test_a_disk_that_is_nearly_full_is_left_to_commands(
    mqtt_broker: BrokerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1 << 40
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    _, config = written(tmp_path, mqtt_broker, "C-short")

    async def story() -> None:
        nonlocal free
        meter = scripted(relay=OPEN)
        async with cloud(mqtt_broker, "C-short") as there, agent(config, meter) as status:
            await there.online()
            await there.until(lambda: bool(there.batches))
            free = 1 << 20
            await there.until(
                lambda: any(
                    e.code is EventCode.OUTBOX_FULL for b in there.batches for e in b.events
                )
            )
            await there.still(lambda: len(meter.calls), 1.5)
            restore = order("C-short", Verb.RECONNECT)
            await there.order(restore)
            await there.until(lambda: Stage.DONE in there.stages(restore))
            obeyed = len(meter.calls)
            free = 1 << 40
            await there.until(lambda: len(meter.calls) > obeyed + 3)
            assert "commands_done" in status

    asyncio.run(story())
