"""What meters write down comes up through agent and broker, once each, over kills of the agent."""

import asyncio
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from edge.outbox import Outbox
from protocols.dlms.classes.disconnect import Trigger
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import MeterId
from protocols.mqtt.broker import BrokerAddress
from simulators.faults import Fault
from tests.integration.edge_harness import Cloud, cloud
from tests.integration.edge_upkeep_meter import SPEC, RealVictim, agent_of, configured, simulated

QUICK = {"events_seconds": 0.2, "poll_seconds": 0.3}


def logged(there: Cloud) -> list[EndDeviceEvent]:
    """Return the distinct events that came from the meter's own logs, as the cloud keeps them."""
    found: dict[tuple[EventCode, datetime, str], EndDeviceEvent] = {}
    for batch in there.batches:
        for event in batch.events:
            if event.origin:
                found.setdefault((event.code, event.at, event.origin), event)
    return list(found.values())


@pytest.mark.req("A5")
def test_events_of_a_meter_come_up_with_where_it_wrote_them(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    async def story() -> list[EndDeviceEvent]:
        async with (
            simulated(tmp_path) as server,
            cloud(mqtt_broker, "C-events") as there,
        ):
            _, config = configured(tmp_path, mqtt_broker, "C-events", server.port, **QUICK)
            async with agent_of(config):
                server.meter.switch_fault(Fault.METER_COVER, on=True)
                await there.until(lambda: len(logged(there)) >= 2)
                server.meter.remote(Trigger.REMOTE_DISCONNECT)
                await there.until(lambda: len(logged(there)) >= 3)
            return logged(there)

    events = asyncio.run(story())
    assert [(event.meter, event.code, event.origin) for event in events] == [
        (SPEC.meter, EventCode.METER_COVER_OPENED, "idis/99.98.1/44"),
        (SPEC.meter, EventCode.TAMPER, "idis/97.98.0/13"),
        (SPEC.meter, EventCode.RELAY_OPENED_REMOTELY, "idis/99.98.2/62"),
    ]


@pytest.mark.parametrize(
    "failpoint", ["edge.after_read@12", "edge.before_commit", "edge.after_outbox"]
)
def test_no_event_is_lost_or_becomes_two_when_the_agent_is_killed(
    mqtt_broker: BrokerAddress, tmp_path: Path, failpoint: str
) -> None:
    concentrator = "C-events-" + failpoint.partition("@")[0].partition(".")[2]

    async def story() -> list[EndDeviceEvent]:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, concentrator) as there:
            path, _ = configured(tmp_path, mqtt_broker, concentrator, server.port, **QUICK)
            for _ in range(40):
                server.meter.book.note(1, 46)
            async with RealVictim(path, failpoint) as victim:
                await victim.dies()
            server.meter.book.note(2, 62)
            async with RealVictim(path):
                await there.until(lambda: len(logged(there)) >= 42, 30)
            return logged(there)

    events = asyncio.run(story())
    counted = Counter(event.code for event in events)
    assert counted == {
        EventCode.WRONG_PASSWORD: 40, EventCode.RELAY_OPENED_REMOTELY: 1, EventCode.TAMPER: 1,
    }  # fmt: skip
    outbox = Outbox(tmp_path / "outbox.sqlite", wall_ms=1)
    assert outbox.event_marks.of(MeterId(SPEC.meter)) is not None
    outbox.close()
