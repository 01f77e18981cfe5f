"""Two foreign DLMS clients at our simulated meter: wrapper and HDLC, LLS and HLS5, every step."""

import contextlib
from datetime import timedelta

import pytest

from protocols.timeline import from_ms, to_ms
from simulators.fleet import make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.meter.pty_line import PtyLine
from simulators.truth import TruthLedger
from simulators.world import World
from tests.interop.interop_kit import END, ORIGIN, START, run_peer

pytestmark = [pytest.mark.anyio, pytest.mark.interop]
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
SPECS = {"hls5": FLEET.planted("story"), "lls": FLEET.planted("race")}
CLIENTS = ["gurux_client.py", "cosem_client.py"]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@contextlib.asynccontextmanager
async def meter_for(tmp_path, spec, link, **place):
    """A served meter, the job that leads a client to it, and its server."""
    ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
    meter = world.meters[spec.meter]
    server = DlmsMeterServer(meter, link="wrapper" if link == "wrapper" else "hdlc-tcp", **place)
    line = PtyLine(tmp_path / "line", server.station())
    job = {
        "link": link.removesuffix("-serial"),
        "host": "127.0.0.1",
        "authentication": spec.authentication,
        "password": spec.password.hex() if spec.authentication == "lls" else "",
        "title": b"PEER0001".hex(),
        "authentication_key": spec.authentication_key.hex(),
        "encryption_key": spec.encryption_key.hex(),
        "client_sap": 1,
        "server_sap": 1,
        "server_address": 1,
        "counter": 1000,
        "expect": "visit",
        "start": START.isoformat(),
        "end": END.isoformat(),
    }
    if link == "hdlc-serial":
        await line.start()
        job["serial_port"] = str(line.path)
    else:
        await server.start("127.0.0.1", 0)
        job["port"] = server.port
    try:
        yield meter, job, server
    finally:
        await server.close()
        await line.close()
        ledger.close()


def rows_of(meter, **limits):
    rows = meter.profile_at(to_ms(ORIGIN), **limits)
    ends = [from_ms(end).isoformat() for end in rows.ends_ms.tolist()]
    return [list(row) for row in zip(ends, rows.status.tolist(), rows.wh.tolist(), strict=True)]


@pytest.mark.req("A1", "A2", "A10")
@pytest.mark.parametrize("link", ["wrapper", "hdlc", "hdlc-serial"])
@pytest.mark.parametrize("authentication", ["lls", "hls5"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_foreign_client_sees_what_the_meter_has(tmp_path, client, authentication, link):
    spec = SPECS[authentication]
    async with meter_for(tmp_path, spec, link) as (meter, job, _):
        seen = await run_peer(client, job)
        shown = meter.snapshot()
        assert seen["name"] == seen["name_again"] == spec.meter
        assert seen["clock"] == from_ms(shown.device_ms // 10 * 10).isoformat()
        assert seen["register"] == [shown.register_wh, 0, 30]
        assert seen["list"] == [shown.register_wh, shown.voltage_mv[0] // 100]
        assert seen["columns"] == [
            "8:0.0.1.0.0.255:2", "1:0.0.96.10.1.255:2", "3:1.0.1.29.0.255:2",
        ]  # fmt: skip
        wanted = rows_of(meter, first_end_ms=to_ms(START), last_end_ms=to_ms(END))
        assert seen["range"] == wanted
        assert len(wanted) == timedelta(hours=3).total_seconds() // spec.interval_seconds
        assert seen["entry"] == rows_of(meter)[2:6]
        # mode 4: a remote reconnect closes at once
        assert (seen["disconnect"], seen["reconnect"]) == ([False, 0], [True, 1])


@pytest.mark.req("A10")
@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize(
    ("authentication", "wrong"),
    [("lls", "password"), ("hls5", "encryption_key"), ("hls5", "authentication_key")],
)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_foreign_client_with_a_wrong_key_sees_nothing(
    tmp_path, client, authentication, wrong, link
):
    async with meter_for(tmp_path, SPECS[authentication], link) as (_, job, _server):
        key = bytearray.fromhex(job[wrong])
        key[3] ^= 1
        seen = await run_peer(client, job | {wrong: key.hex(), "expect": "refusal"})
        assert seen["refused"]


@pytest.mark.req("A10")
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_foreign_client_whose_counter_does_not_rise_is_refused(tmp_path, client):
    async with meter_for(tmp_path, SPECS["hls5"], "wrapper") as (_, job, _server):
        seen = await run_peer(client, job)
        assert seen["counter"] > 1000
        again = await run_peer(client, job | {"expect": "refusal"})
        assert again["refused"]
        above = await run_peer(client, job | {"counter": seen["counter"] + 1})
        assert above["name"] == SPECS["hls5"].meter
