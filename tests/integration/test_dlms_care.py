"""Firmware, keys and the list of objects, against the simulated meter over real TCP."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.acquire.driver import ImageDriver
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from protocols.dlms.classes import image, profile
from protocols.dlms.values import array, structure
from protocols.errors import PeerError
from protocols.mqtt.upkeep import NewKeys
from protocols.timeline import to_ms
from simulators.fleet import make_fleet
from simulators.meter.dlms_care import master_key_of, sealed_image
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
STORY = next(m for m in FLEET.customers if m.planted == "story")
RACE = next(m for m in FLEET.customers if m.planted == "race")
BLOB = sealed_image(bytes(range(256)) * 40)
NEW = NewKeys(encryption_key=b"E" * 16, authentication_key=b"A" * 16)


@pytest.fixture
def anyio_backend():
    return PATIENT


class Now:
    def now(self):
        return ORIGIN


class Vault:
    """Keeps what happened to keys, in order."""

    def __init__(self):
        self.steps = []

    def pend(self, keys):
        self.steps.append("pend")

    def promote(self, keys):
        self.steps.append("promote")

    def drop(self, keys):
        self.steps.append("drop")


@contextlib.asynccontextmanager
async def bench(tmp_path, spec, **changes):
    ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
    server = DlmsMeterServer(world.meters[spec.meter])
    await server.start("127.0.0.1", 0)
    outbox = OutboxDatabase(tmp_path / "outbox.sqlite")
    target = DlmsTarget(
        meter=spec.meter,
        host="127.0.0.1",
        port=server.port,
        authentication=spec.authentication,
        password=spec.password,
        system_title=b"MTL\x00\x00\x00\x00\x01",
        authentication_key=spec.authentication_key,
        encryption_key=spec.encryption_key,
        expected_device_name=spec.meter,
        interval_seconds=spec.interval_seconds,
        has_relay=spec.has_relay,
        timeout_seconds=2.0,
    )
    driver = DlmsDriver(replace(target, **changes), Counters(outbox), Now())
    try:
        yield driver, server
    finally:
        await driver.close()
        await server.close()
        outbox.close()
        ledger.close()


def ignore(_done, _count):
    pass


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_an_image_goes_in_is_verified_and_activated(tmp_path, spec):
    async with bench(tmp_path, spec) as (driver, server):
        assert isinstance(driver, ImageDriver)
        told = []
        await driver.transfer_image(BLOB, b"fw-2.1", lambda done, count: told.append((done, count)))
        assert told[-1] == (81, 81)
        assert server.images.received == 81
        assert server.images.active == b""
        await driver.activate_image()
        assert server.images.active == BLOB
        assert (await driver.read_now()).identity == spec.meter


async def test_a_broken_transfer_goes_on_where_it_stood(tmp_path):
    async with bench(tmp_path, STORY) as (driver, server):

        def cut_after_half(done, _count):
            if done >= 32:
                raise ConnectionError("the line is gone")

        with pytest.raises(ConnectionError):
            await driver.transfer_image(BLOB, b"fw-2.1", cut_after_half)
        assert server.images.received == 32
        await driver.close()
        await driver.transfer_image(BLOB, b"fw-2.1", ignore)
        assert server.images.received == 81
        await driver.activate_image()
        assert server.images.active == BLOB


async def test_blocks_of_another_image_in_the_meter_do_no_harm(tmp_path):
    other = sealed_image(b"x" * (len(BLOB) - 32))
    async with bench(tmp_path, STORY) as (driver, server):

        def cut(done, _count):
            raise ConnectionError("the line is gone")

        with pytest.raises(ConnectionError):
            await driver.transfer_image(other, b"fw-1.0", cut)
        await driver.transfer_image(BLOB, b"fw-2.1", ignore)
        await driver.activate_image()
        assert server.images.active == BLOB


async def test_an_image_that_the_meter_does_not_verify(tmp_path):
    async with bench(tmp_path, STORY) as (driver, server):
        with pytest.raises(PeerError) as refused:
            await driver.transfer_image(BLOB[:-1] + b"?", b"fw-2.1", ignore)
        assert refused.value.code == "dlms.image_refused"
        assert refused.value.evidence["status"] == "verify_failed"
        with pytest.raises(PeerError):
            await driver.activate_image()
        assert server.images.active == b""


async def test_a_meter_that_takes_no_images(tmp_path):
    async with bench(tmp_path, STORY) as (driver, server):
        server.images.enabled = False
        with pytest.raises(PeerError) as refused:
            await driver.transfer_image(BLOB, b"fw-2.1", ignore)
        assert refused.value.code == "dlms.image_disabled"


@pytest.mark.req("D9")
async def test_new_keys_are_used_once_the_meter_answers_with_them(tmp_path):
    async with bench(tmp_path, STORY) as (driver, server):
        await driver.read_now()
        vault = Vault()
        await driver.change_keys(NEW, master=master_key_of(STORY), keeper=vault)
        assert vault.steps == ["pend", "promote"]
        assert server.key_store.current().encryption == NEW.encryption_key
        await driver.close()
        assert (await driver.read_now()).identity == STORY.meter


@pytest.mark.req("D9")
async def test_keys_of_suite_2(tmp_path):
    longer = NewKeys(encryption_key=b"E" * 32, authentication_key=b"A" * 32)
    async with bench(tmp_path, STORY) as (driver, server):
        await driver.change_keys(longer, master=master_key_of(STORY), keeper=Vault())
        assert server.key_store.current().suite == 2
        assert (await driver.read_now()).identity == STORY.meter


@pytest.mark.req("D9")
async def test_a_meter_that_keeps_its_old_keys(tmp_path):
    async with bench(tmp_path, STORY) as (driver, server):
        server.key_store.stubborn = True
        vault = Vault()
        with pytest.raises(PeerError) as refused:
            await driver.change_keys(NEW, master=master_key_of(STORY), keeper=vault)
        assert refused.value.code == "dlms.keys_unchanged"
        assert vault.steps == ["pend", "drop"]
        assert (await driver.read_now()).identity == STORY.meter


@pytest.mark.req("D9")
async def test_keys_under_another_master_are_refused(tmp_path):
    async with bench(tmp_path, STORY) as (driver, _server):
        vault = Vault()
        with pytest.raises(PeerError) as refused:
            await driver.change_keys(NEW, master=bytes(16), keeper=vault)
        assert refused.value.code == "dlms.action_refused"
        assert vault.steps == ["pend", "drop"]
        assert (await driver.read_now()).identity == STORY.meter


@pytest.mark.req("D9")
async def test_a_crash_between_sending_and_switching_is_settled_by_asking(tmp_path):
    async with bench(tmp_path, STORY) as (driver, _server):
        await driver.change_keys(NEW, master=master_key_of(STORY), keeper=Vault())
        fresh = DlmsDriver(
            replace(
                driver._target,
                encryption_key=STORY.encryption_key,
                authentication_key=STORY.authentication_key,
            ),
            driver._counters._store,
            Now(),
        )
        vault = Vault()
        assert await fresh.settle_keys(NEW, keeper=vault)
        assert vault.steps == ["promote"]
        assert (await fresh.read_now()).identity == STORY.meter
        vault = Vault()
        wrong = NewKeys(encryption_key=bytes(16), authentication_key=bytes(16))
        assert not await fresh.settle_keys(wrong, keeper=vault)
        assert vault.steps == ["drop"]
        assert (await fresh.read_now()).identity == STORY.meter
        await fresh.close()


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_the_objects_of_a_meter_with_one_of_an_unknown_class(tmp_path, spec):
    async with bench(tmp_path, spec) as (driver, _server):
        view = await driver.read_objects()
        assert len(view.find(image.CLASS_ID)) == 1
        assert [entry.class_id for entry in view.objects if not entry.known] == [8192]
        assert view.malformed == 0


@pytest.mark.req("D9")
async def test_a_dedicated_key_for_each_association(tmp_path):
    async with bench(tmp_path, STORY, dedicated=True) as (driver, _server):
        for _ in range(3):
            assert (await driver.read_now()).identity == STORY.meter
        await driver.close()
        assert (await driver.read_now()).identity == STORY.meter


async def test_entries_and_columns_are_chosen_by_the_meter(tmp_path):
    async with bench(tmp_path, STORY) as (driver, _server):
        await driver.read_now()
        session = driver._session
        whole = (await session.get_one(profile.by_entry(1, 0))).content
        part = await session.get_one(profile.by_entry(2, 4, first_column=3, last_column=3))
        assert [row.content for row in part.content] == [row.content[2:] for row in whole[1:4]]
        layout = profile.Layout.of((profile.CLOCK_COLUMN,), STORY.interval_seconds)
        stamps = [row.start + timedelta(seconds=layout.period) for row in rows_of(whole, layout)]
        asked = profile.by_range(
            stamps[1], stamps[2], deviation=-480, columns=[profile.CLOCK_COLUMN]
        )
        chosen = await session.get_one(asked)
        assert [row.content for row in chosen.content] == [row.content[:1] for row in whole[1:3]]


def rows_of(whole, layout):
    clocks = array(structure(row.content[0]) for row in whole)
    return profile.decode_rows(clocks, layout)
