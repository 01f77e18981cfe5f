"""
A foreign client at our simulated meter: every proof and every ciphered form that it can do.

gurux-dlms 1.0.203 has no AES-256 (it takes keys of 16 octets alone) and no other peer has suite 2,
so that suite is held to published vectors instead, in `tests/unit/dlms/test_dlms_published.py`.
"""

import hashlib
from dataclasses import replace

import pytest

from protocols.dlms.association import Authentication
from protocols.dlms.initiate import OFFERED
from simulators.meter.dlms_care import IMAGE_BLOCK, master_key_of, sealed_image
from simulators.meter.dlms_server import MANAGEMENT_SAP
from tests.interop.interop_kit import run_peer
from tests.interop.test_interop_clients import SPECS, meter_for

pytestmark = [pytest.mark.anyio, pytest.mark.interop]
HASHED = ["hls-md5", "hls-sha1", "hls-sha256"]
SECRET = b"a secret of two"
DEDICATED = bytes(range(0x40, 0x50))
IMAGE = sealed_image(bytes(range(256)) * 9)
NEW_KEYS = {
    "new_encryption_key": bytes(range(0x10, 0x20)).hex(),
    "new_authentication_key": bytes(range(0x20, 0x30)).hex(),
}


@pytest.fixture
def anyio_backend():
    return "asyncio"


def alter(server, **changes):
    """Change what the meter's own association demands."""
    profile = server._profiles[MANAGEMENT_SAP]
    server._profiles[MANAGEMENT_SAP] = replace(profile, **changes)


@pytest.mark.req("A10")
@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize("is_ciphered", [False, True], ids=["plain", "ciphered"])
@pytest.mark.parametrize("authentication", HASHED)
async def test_hashed_proofs_are_the_same_on_both_sides(
    tmp_path, authentication, is_ciphered, link
):
    async with meter_for(tmp_path, SPECS["hls5"], link) as (meter, job, server):
        alter(
            server,
            authentication=Authentication(authentication),
            password=SECRET,
            ciphered=is_ciphered,
        )
        job |= {
            "authentication": authentication, "password": SECRET.hex(), "ciphered": is_ciphered,
        }  # fmt: skip
        seen = await run_peer("gurux_client.py", job)
        assert seen["name"] == seen["name_again"] == meter.spec.meter
        assert seen["register"] == [meter.snapshot().register_wh, 0, 30]
        assert (seen["disconnect"], seen["reconnect"]) == ([False, 0], [True, 1])
        wrong = {"password": b"a secret of one".hex(), "expect": "refusal"}
        assert (await run_peer("gurux_client.py", job | wrong | {"counter": 90_000}))["refused"]


# what the client offers and withholds -> the first octet of what it asks once associated
FORMS = {
    "service-glo": ({"withhold": ["GENERAL_PROTECTION"]}, 0xC8),
    "general-glo": ({"offer": ["GENERAL_PROTECTION"]}, 0xDB),
    "service-ded": (
        {"withhold": ["GENERAL_PROTECTION"], "dedicated_key": DEDICATED.hex()}, 0xD0,
    ),
    "general-ded": ({"offer": ["GENERAL_PROTECTION"], "dedicated_key": DEDICATED.hex()}, 0xDC),
}  # fmt: skip


@pytest.mark.req("A10", "D9")
@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize("form", FORMS)
async def test_every_ciphered_form_is_spoken_with_a_foreign_client(tmp_path, form, link):
    changes, tag = FORMS[form]
    async with meter_for(tmp_path, SPECS["hls5"], link) as (meter, job, _):
        seen = await run_peer("gurux_client.py", job | changes)
        assert seen["name"] == seen["name_again"] == meter.spec.meter
        assert seen["range"]
        assert seen["disconnect"] == [False, 0]
        if link == "wrapper":
            assert tag in seen["tags"]


@pytest.mark.req("A10")
@pytest.mark.parametrize("pdu", [100, 200])
@pytest.mark.parametrize("authentication", ["lls", "hls5"])
async def test_a_long_answer_in_general_blocks_reaches_a_foreign_client(
    tmp_path, authentication, pdu
):
    async with meter_for(tmp_path, SPECS[authentication], "wrapper") as (meter, job, server):
        alter(server, conformance=OFFERED, general_blocks=True, max_pdu=pdu)
        seen = await run_peer("gurux_client.py", job | {"offer": ["GENERAL_BLOCK_TRANSFER"]})
        assert seen["name"] == meter.spec.meter
        assert len(seen["range"]) > 4
        assert 0xE0 in seen["tags"]


@pytest.mark.req("A10")
@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize("authentication", ["lls", "hls5"])
async def test_a_foreign_client_brings_an_image_block_by_block(tmp_path, authentication, link):
    async with meter_for(tmp_path, SPECS[authentication], link) as (_, job, server):
        count = -(-len(IMAGE) // IMAGE_BLOCK)
        lost = [2, 7]
        told = await run_peer(
            "gurux_care.py",
            job | {"expect": "image", "image": IMAGE.hex(), "identifier": "FW-2", "lost": lost},
        )
        assert (told["block"], told["enabled"]) == (IMAGE_BLOCK, True)
        assert (told["missing"], told["first_missing"]) == (lost, lost[0])
        assert told["blocks"] == "1" * count
        assert told["status"] == [1, 3, 6]
        assert hashlib.sha256(server.images.active).digest() == hashlib.sha256(IMAGE).digest()


@pytest.mark.req("A10")
async def test_a_foreign_client_brings_keys_that_hold_from_the_next_association_on(tmp_path):
    spec = SPECS["hls5"]
    async with meter_for(tmp_path, spec, "wrapper") as (meter, job, server):
        order = {"expect": "keys", "master": master_key_of(spec).hex()} | NEW_KEYS
        told = await run_peer("gurux_care.py", job | order)
        assert told == {"new": meter.spec.meter, "old": ""}
        assert server.key_store.current().encryption.hex() == NEW_KEYS["new_encryption_key"]
        assert NEW_KEYS["new_authentication_key"] == server.key_store.current().authentication.hex()


# the server's HDLC address of 1, 2 and 4 octets: logical device 1, physical device 17 (or none)
ADDRESSES = {1: (None, 1), 2: (17, (1 << 7) | 17), 4: (17, (1 << 14) | 17)}


@pytest.mark.req("A2")
@pytest.mark.parametrize("octets", ADDRESSES)
@pytest.mark.parametrize("authentication", ["lls", "hls5"])
async def test_hdlc_addresses_of_every_length(tmp_path, authentication, octets):
    physical, address = ADDRESSES[octets]
    spec = SPECS[authentication]
    async with meter_for(tmp_path, spec, "hdlc", physical=physical) as (meter, job, _):
        job |= {"server_address": address, "server_address_octets": octets}
        seen = await run_peer("gurux_client.py", job)
        assert seen["name"] == meter.spec.meter
        assert seen["entry"]
