"""Batches written as JSON instead of CBOR: chosen in the configuration, told alike."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.config import ConfigError
from protocols.mqtt import envelope
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.uplink import batch_to_plain
from tests.integration.edge_harness import Cloud, agent, cloud, scripted, written


@pytest.mark.req("A1", "A11")
@pytest.mark.parametrize("kind", [envelope.JSON, envelope.JSON_DEFLATE, envelope.CBOR])
def test_batches_in_another_form_tell_the_same(
    kind: str, mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = "C-form-" + str(len(kind))
    _, config = written(tmp_path, mqtt_broker, name, content_type=kind)

    async def story() -> Cloud:
        async with cloud(mqtt_broker, name) as there, agent(config, scripted()) as status:
            await there.until(lambda: len(there.profile()) >= 5 * 48 - 1)
            await there.until(lambda: int(status.get("receipts", 0)) >= 2)
        return there

    there = asyncio.run(story())
    for at, raw in there.profile().items():
        assert raw == at.hour + at.minute
    assert max(there.profile()) < datetime.now(UTC)
    plain = batch_to_plain(there.batches[0])
    assert len(envelope.encode(plain, envelope.CBOR_ZSTD)) < len(
        envelope.encode(plain, envelope.JSON)
    )


def test_a_form_that_nobody_reads_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="content_type"):
        written(tmp_path, BrokerAddress(host="x", port=1), "C-none", content_type="text/plain")
