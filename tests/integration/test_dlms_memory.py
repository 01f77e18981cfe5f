"""What a simulated DLMS meter was given survives its death: a world begun anew knows it."""

import pytest

from protocols.errors import PeerError
from protocols.mqtt.upkeep import NewKeys
from simulators.meter.dlms_care import master_key_of, sealed_image
from tests.integration.dlms_bench import STORY, driven
from tests.integration.test_dlms_care import Vault
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
BLOB = sealed_image(bytes(range(256)) * 20)
NEW = NewKeys(encryption_key=b"E" * 16, authentication_key=b"A" * 16)


@pytest.fixture
def anyio_backend():
    return PATIENT


class BrokenOffError(Exception):
    """Ends a transfer in the middle."""


def break_off(done, _count):
    if done >= 16:
        raise BrokenOffError


async def test_a_transfer_goes_on_after_the_meter_was_killed(tmp_path):
    async with driven(tmp_path, STORY) as (driver, server, _):
        with pytest.raises(BrokenOffError):
            await driver.transfer_image(BLOB, b"fw-2.1", break_off)
        before = server.images.received
        assert before == 16
    async with driven(tmp_path, STORY) as (driver, server, _):
        await driver.transfer_image(BLOB, b"fw-2.1", lambda *_: None)
        assert before + server.images.received == -(-len(BLOB) // 128)
    async with driven(tmp_path, STORY) as (driver, server, _):
        assert server.images.version == b"1.0"
        await driver.activate_image()
    async with driven(tmp_path, STORY) as (_, server, _):
        assert (server.images.active, server.images.version) == (BLOB, b"fw-2.1")


async def test_changed_keys_are_the_meters_after_a_kill_and_the_old_ones_open_nothing(tmp_path):
    async with driven(tmp_path, STORY) as (driver, _, _):
        await driver.change_keys(NEW, master=master_key_of(STORY), keeper=Vault())
    changed = {
        "encryption_key": NEW.encryption_key, "authentication_key": NEW.authentication_key,
    }  # fmt: skip
    async with driven(tmp_path, STORY, **changed) as (driver, _, _):
        assert (await driver.read_now()).identity == STORY.meter
    async with driven(tmp_path, STORY) as (driver, server, _):
        with pytest.raises(PeerError) as caught:
            await driver.read_now()
        assert caught.value.code == "dlms.rejected"
        assert [entry.code for entry in server.meter.book.entries(1)] == [49]


async def test_logs_and_alarms_survive_and_go_on(tmp_path):
    async with driven(tmp_path, STORY) as (driver, server, _):
        await driver.set_clock(5_000)
        before = server.meter.book.entries(0)
        assert [entry.code for entry in before] == [4, 5]
    async with driven(tmp_path, STORY) as (driver, server, _):
        assert server.meter.book.entries(0) == before
