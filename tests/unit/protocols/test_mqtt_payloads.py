"""Every message of the wire goes there and back; every other octet string is refused, typed."""

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import numpy as np
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import (
    BatchId,
    CommandId,
    ConcentratorId,
    MeterId,
    UsagePointId,
    is_name,
)
from protocols.mqtt import envelope, topics
from protocols.mqtt.downlink import (
    Command,
    Go,
    Verb,
    Watch,
    body_of,
    open_signed,
    seal,
    sign,
    watch_from_plain,
    watch_to_plain,
)
from protocols.mqtt.live import (
    LiveBalance,
    LiveReading,
    LiveSupply,
    live_from_bytes,
    live_to_bytes,
)
from protocols.mqtt.receipt import (
    AckReceipt,
    BatchReceipt,
    Custody,
    receipt_from_plain,
    receipt_to_plain,
)
from protocols.mqtt.uplink import (
    Ack,
    DataBatch,
    RelayReport,
    Stage,
    ack_from_plain,
    ack_to_plain,
    batch_from_plain,
    batch_to_plain,
    columns_of,
)
from protocols.reading import RelayReading, RelayState

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
INSTANTS = st.integers(0, 4_102_444_800_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
TYPES = [envelope.CBOR, envelope.CBOR_ZSTD, envelope.JSON, envelope.JSON_DEFLATE]
I64 = st.integers(-(2**62), 2**62 - 1)
ROW = st.tuples(
    st.integers(0, 2), st.integers(1, 17), st.integers(0, 2**42), st.integers(0, 2**32 - 1),
    st.integers(0, 2**42), I64, st.integers(-18, 18), st.integers(0, 255),
)  # fmt: skip
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=4),
    max_leaves=12,
)  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> DataBatch:
    rows = draw(st.lists(ROW, max_size=20))
    names = ["meter", "channel", "at_ms", "seconds", "received_ms", "raw", "scaler", "status"]
    columns = columns_of({name: [row[n] for row in rows] for n, name in enumerate(names)})
    at = draw(INSTANTS)
    relay = RelayReading(
        output_closed=draw(st.booleans()),
        control_state=draw(st.sampled_from(RelayState)),
        control_mode=draw(st.integers(0, 6)),
    )
    return DataBatch(
        id=BatchId(
            concentrator=ConcentratorId(draw(NAMES)),
            boot=draw(st.integers(0, 2**62)),
            seq=draw(st.integers(1, 2**31)),
        ),
        made_at=at,
        meters=tuple(MeterId(draw(NAMES)) for _ in range(3)),
        columns=columns,
        relays=(RelayReport(meter=MeterId(draw(NAMES)), at=at, relay=relay),),
        events=(
            EndDeviceEvent(
                meter=MeterId(draw(NAMES)),
                code=draw(st.sampled_from(EventCode)),
                at=at,
                origin=draw(st.text(max_size=20)),
                detail=draw(st.text(max_size=20)),
            ),
        ),
    )


def same(one: DataBatch, other: DataBatch) -> bool:
    return (
        (one.id, one.made_at, one.meters, one.relays, one.events)
        == (other.id, other.made_at, other.meters, other.relays, other.events)
    ) and all(np.array_equal(one.columns[name], other.columns[name]) for name in one.columns)


@pytest.mark.parametrize("content_type", TYPES)
@given(batch=batches())
def test_a_batch_goes_there_and_back_in_every_dress(content_type: str, batch: DataBatch) -> None:
    payload = envelope.encode(batch_to_plain(batch), content_type)
    assert same(batch, batch_from_plain(envelope.decode(payload, content_type)))


@given(
    order=st.builds(
        Command,
        id=NAMES.map(CommandId),
        concentrator=NAMES.map(ConcentratorId),
        meter=NAMES.map(MeterId),
        verb=st.sampled_from(Verb),
        not_before=INSTANTS,
        expires=INSTANTS,
        issuer=st.text(max_size=20),
        epoch=st.integers(0, 2**62),
        args=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
    )
    | st.builds(
        Go,
        id=NAMES.map(CommandId),
        concentrator=NAMES.map(ConcentratorId),
        meter=NAMES.map(MeterId),
        nonce=st.binary(max_size=32),
    )
)
def test_a_signed_message_goes_there_and_back_and_is_worth_nothing_otherwise(
    order: Command | Go,
) -> None:
    payload = sign(order, KEY)
    assert open_signed(payload, KEY.public_key()) == order
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(PeerError, match="signature"):
        open_signed(sign(order, stranger), KEY.public_key())


@given(flip=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_signed_message_with_one_bit_changed_is_refused(flip: int, bit: int) -> None:
    go = Go(id=CommandId("a"), concentrator=ConcentratorId("C"), meter=MeterId("M"), nonce=b"n")
    payload = bytearray(sign(go, KEY))
    payload[flip % len(payload)] ^= 1 << bit
    with pytest.raises(PeerError):
        open_signed(bytes(payload), KEY.public_key())


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"t": "stop"}, {"id": "a b"}, {"id": 7}, {"meter": ""}, {"verb": "explode"},
        {"not_before_ms": "now"}, {"expires_ms": 2**80}, {"epoch": "x"}, {"args": 5},
        {"concentrator": None},
    ],
)  # fmt: skip
def test_a_well_signed_message_of_the_wrong_shape_is_refused(change: dict[str, Any]) -> None:
    order = Command(
        id=CommandId("a"), concentrator=ConcentratorId("C"), meter=MeterId("M"),
        verb=Verb.DISCONNECT, not_before=datetime(2026, 1, 1, tzinfo=UTC),
        expires=datetime(2026, 1, 2, tzinfo=UTC), issuer="i", epoch=1,
    )  # fmt: skip
    body = cbor2.dumps(cbor2.loads(body_of(order)) | change)
    with pytest.raises(PeerError, match=r"command\.shape"):
        open_signed(seal(body, KEY.sign(body)), KEY.public_key())


def test_a_command_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(PeerError, match="too many"):
        open_signed(bytes(5000), KEY.public_key())


@given(
    ack=st.builds(
        Ack,
        id=NAMES.map(CommandId),
        meter=NAMES.map(MeterId),
        stage=st.sampled_from(Stage),
        at=INSTANTS,
        nonce=st.binary(max_size=64),
        reason=st.text(max_size=50),
        evidence=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
    )
)
def test_an_ack_goes_there_and_back(ack: Ack) -> None:
    payload = envelope.encode(ack_to_plain(ack), envelope.CBOR)
    assert ack_from_plain(envelope.decode(payload, envelope.CBOR)) == ack


@given(
    receipt=st.builds(
        BatchReceipt,
        boot=st.integers(0, 2**62),
        seq=st.integers(1, 2**40),
        custody=st.sampled_from(Custody),
    )
    | st.builds(AckReceipt, id=NAMES.map(CommandId), stage=st.sampled_from(Stage)),
    content_type=st.sampled_from(TYPES),
)
def test_a_receipt_goes_there_and_back(
    receipt: BatchReceipt | AckReceipt, content_type: str
) -> None:
    payload = envelope.encode(receipt_to_plain(receipt), content_type)
    assert receipt_from_plain(envelope.decode(payload, content_type)) == receipt


def test_a_watch_wish_goes_there_and_back_and_is_bounded() -> None:
    wish = Watch(meter=MeterId("M-1"), wall_seconds=30)
    assert watch_from_plain(watch_to_plain(wish)) == wish
    long = watch_from_plain({"meter": "M-1", "wall_seconds": 10**9})
    assert long.wall_seconds == 300
    assert watch_from_plain({"meter": "M-1", "wall_seconds": -5}).wall_seconds == 0


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (topics.Live.READING, LiveReading(usage_point=UsagePointId("UP-1"), at_ms=1, wall_ms=2,
                                          quality="raw", register_wh=3, today_wh=4, power_w=5)),
        (topics.Live.BALANCE, LiveBalance(usage_point=UsagePointId("UP-1"), available_micros=-1,
                                          cost_today_micros=2, today_wh=1, as_of_register_wh=3,
                                          at_ms=4, tariff_hash="x")),
        (topics.Live.SUPPLY, LiveSupply(usage_point=UsagePointId("UP-1"), state="armed", at_ms=1)),
    ],
)  # fmt: skip
def test_live_messages_go_there_and_back_and_other_kinds_are_refused(
    what: topics.Live, message: Any
) -> None:
    payload = live_to_bytes(message)
    assert live_from_bytes(what, payload) == message
    for other in set(topics.Live) - {what}:
        with pytest.raises(PeerError, match=r"live\.shape"):
            live_from_bytes(other, payload)
    for bad in (b"", b"[]", b"{", b'{"x":1}', b"\xff", b"null"):
        with pytest.raises(PeerError, match=r"live\.shape"):
            live_from_bytes(what, bad)


@given(octets=st.binary(max_size=200), content_type=st.sampled_from([*TYPES, "text/plain"]))
def test_garbage_decodes_to_a_plain_value_or_a_typed_refusal(
    octets: bytes, content_type: str
) -> None:
    code = "payload.fine"
    try:
        value = envelope.decode(octets, content_type)
    except PeerError as error:
        code = error.code
    else:
        for read in (batch_from_plain, ack_from_plain, receipt_from_plain, watch_from_plain):
            with pytest.raises(PeerError):
                read(value)
    assert code.startswith("payload.")


@given(value=PLAIN)
def test_any_plain_value_is_read_or_refused_with_a_type(value: Any) -> None:
    for read in (batch_from_plain, ack_from_plain, receipt_from_plain, watch_from_plain):
        try:
            read(value)
        except PeerError:
            continue


@given(octets=st.binary(max_size=300))
def test_garbage_is_no_command(octets: bytes) -> None:
    with pytest.raises(PeerError, match="command"):
        open_signed(octets, KEY.public_key())


FIELDS = ["v", "concentrator", "boot", "seq", "made_ms", "meters", "columns", "relays", "events"]


@given(field=st.sampled_from(FIELDS), value=PLAIN, drop=st.booleans())
def test_a_batch_with_one_field_spoiled_is_refused_or_still_a_batch(
    field: str, value: Any, drop: bool
) -> None:
    batch = DataBatch(
        id=BatchId(concentrator=ConcentratorId("C-01"), boot=1, seq=1),
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
        meters=(MeterId("M-1"),),
        columns=columns_of({name: [0] for name in (
            "meter", "channel", "at_ms", "seconds", "received_ms", "raw", "scaler", "status")}),
    )  # fmt: skip
    plain = batch_to_plain(batch)
    if drop:
        del plain[field]
    else:
        plain[field] = value
    code = "batch.fine"
    try:
        batch_from_plain(plain)
    except PeerError as error:
        code = error.code
    assert code.startswith("batch.")


def test_a_batch_is_bounded_in_size_before_it_is_inflated() -> None:
    bomb = bytes(envelope.MAX_INFLATED + 10)
    for payload, kind in (
        (zlib.compress(bomb), envelope.JSON_DEFLATE),
        (zstandard.compress(bomb), envelope.CBOR_ZSTD),
    ):
        with pytest.raises(PeerError, match="too_big"):
            envelope.decode(payload, kind)
    with pytest.raises(PeerError, match="too_big"):
        envelope.decode(bytes(envelope.MAX_PAYLOAD + 1), envelope.CBOR)


def test_topics_name_their_speaker_and_nothing_else() -> None:
    concentrator = ConcentratorId("C-01")
    assert topics.concentrator_of(topics.up_data(concentrator)) == concentrator
    assert topics.live_of(topics.live(UsagePointId("UP-1"), topics.Live.SUPPLY)) == (
        "UP-1", topics.Live.SUPPLY,
    )  # fmt: skip
    for bad in ("", "ami/v1/C-01", "ami/v2/C-01/up/data", "ami/v1/#/up/data", "x" * 500):
        with pytest.raises(PeerError, match=r"mqtt\.topic"):
            topics.concentrator_of(bad)
    with pytest.raises(PeerError, match=r"mqtt\.topic"):
        topics.live_of("ami/v1/live/UP-1/money")


@given(text=st.text(max_size=80))
def test_a_name_is_safe_in_a_topic_and_a_path(text: str) -> None:
    if is_name(text):
        assert not set(text) & set("/+#\0 \n")
        assert text not in {".", ".."}
        assert 1 <= len(text) <= 64


@given(st.binary(max_size=2000), st.integers(0, 12), st.integers(0, 255))
def test_a_frame_that_lies_of_its_size_is_read_as_before_or_refused(
    content: bytes, place: int, octet: int
) -> None:
    """What a frame tells of its size makes room, and no more: nothing else comes out of it."""
    value = {"content": content}
    honest = envelope.encode(value, envelope.CBOR_ZSTD)
    assert envelope.decode(honest, envelope.CBOR_ZSTD) == value
    lying = bytearray(honest)
    lying[place] = octet
    for payload in (bytes(lying), honest[:place]):
        try:
            found = envelope.decode(payload, envelope.CBOR_ZSTD)
        except PeerError:
            continue
        raw = zstandard.ZstdDecompressor().stream_reader(payload).read(envelope.MAX_INFLATED)
        assert found == envelope.decode(raw, envelope.CBOR)


def test_a_frame_without_its_size_is_read() -> None:
    value = {"content": b"x" * 5000}
    raw = envelope.encode(value, envelope.CBOR)
    stream = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    assert zstandard.frame_content_size(stream) == -1
    assert envelope.decode(stream, envelope.CBOR_ZSTD) == value
