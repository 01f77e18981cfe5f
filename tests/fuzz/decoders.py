"""
Every decoder by name, grouped by the wire it reads, and the bound that all of them are held to.

Whatever octets arrive, a decoder gives a value or its typed error within `SLOWEST_SECONDS` of
processor time. Both the fuzz of the gate and the coverage-guided one take their decoders from here,
so that a decoder is forgotten by both or by neither.
"""

import contextlib
import itertools
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import ConfigError as EdgeConfigError
from edge.config import config_from_json
from meterloop.config import ConfigError, parse_installation
from protocols.cim.reading_type import channel_of
from protocols.cim.reading_type import parse as parse_type
from protocols.cim.wire import from_json, from_xml
from protocols.dlms import (
    acse,
    apdu,
    axdr,
    explain,
    gbt,
    general_glo,
    hdlc,
    initiate,
    notification,
    security,
    writing,
)
from protocols.dlms.ciphering import CounterFloor
from protocols.dlms.classes import (
    association_ln,
    clock,
    columns,
    event_log,
    image,
    profile,
    register,
    security_setup,
    token_gateway,
)
from protocols.dlms.classes.calendar import Calendar, SapAssignment
from protocols.dlms.classes.demand import DemandRegister, ExtendedRegister
from protocols.dlms.classes.limiter import Limiter, RegisterMonitor
from protocols.dlms.classes.scripts import ScriptTable, SingleActionSchedule
from protocols.dlms.classes.typed import Typed
from protocols.dlms.hdlc_control import decode_limits
from protocols.dlms.mode_e import Identification, ModeEMeter, SignOn
from protocols.dlms.security import Keys
from protocols.dlms.values import NULL
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.dlt645 import bcd, items, records, relay
from protocols.dlt645.frame import FrameReader as DltReader
from protocols.dlt645.frame import decode_address, decode_frame
from protocols.errors import PeerError
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.modbus.pdu import FrameReader, RequestRefusedError, read_request
from protocols.modbus.plan import ReadRequest
from protocols.modbus.registers import MapError, parse_map
from protocols.modbus.rtu import RtuRead
from protocols.modbus.scaling import WordOrder, WordType
from protocols.modbus.scaling import decode as decode_words
from protocols.modbus.sunspec import map_of, survey
from protocols.mqtt import envelope, topics
from protocols.mqtt.downlink import Command, Verb, open_signed, seal, token_of, watch_from_plain
from protocols.mqtt.live import live_from_bytes
from protocols.mqtt.receipt import receipt_from_plain
from protocols.mqtt.topics import Live
from protocols.mqtt.upkeep import (
    block_from_plain,
    fetch_from_plain,
    firmware_of,
    open_config,
    open_keys,
)
from protocols.mqtt.uplink import ack_from_plain, batch_from_plain
from protocols.nem12 import read_nem12
from protocols.tape.lines import TapeError, parse_tape
from protocols.tape.redact import Redactor

Decoder = Callable[[bytes], object]

SLOWEST_SECONDS = 0.05
TYPED = (PeerError, RequestRefusedError, MapError, TapeError, EdgeConfigError, ConfigError)
KEYS = Keys(encryption=bytes(16), authentication=bytes(16))
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

METER_E = Identification(maker="MTL", name="METER", baud_character="5", speaks_hdlc=True)
_COMMAND = Command(
    id=CommandId("c-1"),
    concentrator=ConcentratorId("C-01"),
    meter=MeterId("M-1"),
    verb=Verb.READ_RELAY,
    not_before=datetime(2026, 7, 1, tzinfo=UTC),
    expires=datetime(2026, 7, 2, tzinfo=UTC),
    issuer="fuzz",
    epoch=1,
)
_ENERGY = profile.CaptureObject(class_id=3, name=b"\x01\x00\x01\x08\x00\xff")
_LAYOUT = profile.Layout.of((profile.CLOCK_COLUMN, profile.STATUS_COLUMN, _ENERGY), 900)
_BOOK = explain.KeyBook(keys=KEYS, dedicated_key=bytes(16), client_title=bytes(8))
_READ = RtuRead(unit=1, request=ReadRequest(fc=4, address=0, count=2))
_MARKER = struct.unpack(">HH", b"SunS")


def seconds_of(decoder: Decoder, octets: bytes, codes: tuple[str, ...] = ()) -> float:
    """Return the processor time of one run; what is neither a value nor typed escapes."""
    begun = time.thread_time()
    try:
        decoder(octets)
    except PeerError as error:
        if not error.code.startswith(codes or ("",)):
            raise
    except TYPED:
        pass
    return time.thread_time() - begun


def check(decoder: Decoder, octets: bytes, *codes: str) -> None:
    """
    Run one input and hold it to the bound; a PeerError must have one of these codes, if any.

    Only what is slow twice is slow: the first run may have paid for a collection of garbage.
    """
    if seconds_of(decoder, octets, codes) > SLOWEST_SECONDS:
        spent = seconds_of(decoder, octets, codes)
        assert spent <= SLOWEST_SECONDS, f"{spent:.3f} s for {len(octets)} octets"


def _value(opener: Callable[[axdr.Value], object]) -> Decoder:
    return lambda octets: opener(axdr.decode_whole(octets))


def _typed(kind: type[Typed]) -> Decoder:
    """Read a typed object of as many values as it has, null where the octets end."""

    def read(octets: bytes) -> None:
        values, at = [], 0
        while len(values) < len(kind.INDEXES):
            value, at = axdr.decode(octets, at) if at < len(octets) else (NULL, at)
            values.append(value)
        kind.of(values)

    return read


def _log(octets: bytes) -> None:
    event_log.decode_log(axdr.decode_whole(octets), event_log.LogLayout(width=2, clock=0, code=1))


def _plain(opener: Callable[[object], object], content_type: str = envelope.CBOR) -> Decoder:
    return lambda octets: opener(envelope.decode(octets, content_type))


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", errors="replace")


def _words(octets: bytes) -> list[int]:
    return [word for (word,) in struct.iter_unpack(">H", octets[: len(octets) // 2 * 2])]


def _redact(octets: bytes) -> None:
    redactor = Redactor()
    redactor.client(octets)
    redactor.flush()
    redactor.meter(octets)


def _modbus_tcp(octets: bytes) -> None:
    for frame in FrameReader().feed(octets):
        with contextlib.suppress(RequestRefusedError):
            read_request(frame.pdu)


def _points(octets: bytes) -> None:
    words = _words(octets)
    for kind, order, count in itertools.product(WordType, WordOrder, (1, 2, 4)):
        with contextlib.suppress(PeerError):
            decode_words(kind, words[:count], order, resolution=-3)


def _fields(octets: bytes) -> None:
    for item in items.ITEMS.values():
        with contextlib.suppress(PeerError):
            items.decode_fields(item, octets)


def _survey(octets: bytes) -> None:
    """Answer the survey of a SunSpec device with these words, behind the marker it looks for."""
    words: Iterator[int] = iter([*_MARKER, *_words(octets)])
    asking = survey()
    request = next(asking)
    while True:
        try:
            request = asking.send([next(words, 0xFFFF) for _ in range(request.count)])
        except StopIteration as found:
            map_of(found.value)
            return


def _listen(octets: bytes) -> None:
    notification.Listener(
        keys_of=lambda title: KEYS,
        floor_of=lambda title: CounterFloor(),
        title=bytes(8),
        allow_plain=True,
        allow_untagged=True,
    ).hear(octets)


def _order(read: Callable[[Command], object]) -> Decoder:
    """Read what the arguments of a command hold, whatever they are."""

    def arguments(octets: bytes) -> None:
        plain = envelope.decode(octets, envelope.CBOR)
        for args in (plain, {"sealed": octets}):
            if isinstance(args, dict):
                with contextlib.suppress(PeerError):
                    read(replace(_COMMAND, args=args))

    return arguments


def _topic(octets: bytes) -> None:
    for read in (topics.concentrator_of, topics.live_of):
        with contextlib.suppress(PeerError):
            read(_text(octets))


DLMS: dict[str, Decoder] = {
    "explain": lambda octets: list(explain.explain(octets, _BOOK)),
    "explain-hdlc": lambda octets: list(explain.explain(b"\x7e" + octets, _BOOK)),
    "explain-wrapper": lambda octets: list(
        explain.explain(pack(1, 1, octets or b"\0") + pack(1, 16, octets or b"\0"), _BOOK)
    ),
    "notification": notification.decode_notification,
    "listener": _listen,
    "general-block": gbt.decode_block,
    "general-blocks": lambda octets: gbt.GeneralReceiver(limit=1000).feed(octets),
    "outcome": writing.outcome_of_text,
    "unwrap-key": lambda octets: security.unwrap_key(bytes(16), octets),
    "axdr": axdr.decode,
    "request": apdu.decode_request,
    "response": apdu.decode_response,
    "aarq": acse.decode_aarq,
    "aare": acse.decode_aare,
    "rlrq": lambda octets: acse.decode_release(octets, acse.RLRQ),
    "initiate-request": initiate.decode_request,
    "initiate-response": initiate.decode_response,
    "glo": lambda octets: general_glo.decode_ciphered(octets, 0xDB, 0xCC),
    "unseal": lambda octets: security.unseal(KEYS, bytes(8), octets),
    "unseal-unproven": lambda octets: security.unseal_unproven(KEYS, bytes(8), octets),
    "gmac": lambda octets: security.check_gmac(KEYS, bytes(8), b"challenge", octets),
    "wrapper": lambda octets: Unwrapper().feed(octets),
    "hdlc": lambda octets: hdlc.Deframer().feed(octets),
    "hdlc-address": hdlc.decode_address,
    "hdlc-limits": decode_limits,
    "mode-e-sign-on": lambda octets: SignOn().identification(octets),
    "mode-e-meter": lambda octets: ModeEMeter(METER_E).receive(octets),
    "moment": clock.decode_moment,
    "rows": lambda octets: profile.decode_rows(axdr.decode_whole(octets), _LAYOUT),
    "columns": lambda octets: columns.read_columns(octets, _LAYOUT, (2,)),
    "range": _value(profile.decode_range),
    "entries": _value(profile.decode_entries),
    "capture-objects": _value(profile.decode_capture_objects),
    "scaler": _value(register.decode_scaler_unit),
    "object-list": _value(association_ln.decode_object_list),
    "image-blocks": _value(lambda value: image.missing_blocks(value, 9)),
    "image-block": _value(image.decode_block),
    "image-initiate": _value(image.decode_initiate),
    "image-active": _value(image.decode_to_activate),
    "image-status": _value(image.status_of),
    "keys": _value(lambda value: security_setup.decode_transfer(bytes(16), value)),
}
TYPED_CLASSES: tuple[type[Typed], ...] = (
    ExtendedRegister,
    DemandRegister,
    ScriptTable,
    SingleActionSchedule,
    SapAssignment,
    Calendar,
    RegisterMonitor,
    Limiter,
)
TYPED_OBJECTS = {f"typed-{kind.__name__}": _typed(kind) for kind in TYPED_CLASSES}
DLMS |= TYPED_OBJECTS | {
    "event-log": _log,
    "token-status": _value(token_gateway.decode_status),
    "token-descriptions": _value(token_gateway.decode_descriptions),
}
DLT645: dict[str, Decoder] = {
    "dlt645": decode_frame,
    "dlt645-stream": lambda octets: DltReader().feed(octets),
    "dlt645-address": decode_address,
    "dlt645-bcd": bcd.decode_bcd,
    "dlt645-signed": bcd.decode_signed,
    "dlt645-date-time": bcd.decode_date_time,
    "dlt645-minute": bcd.decode_minute,
    "dlt645-date-and-time": lambda octets: bcd.decode_date_and_time(octets[:4], octets[4:]),
    "dlt645-order": relay.decode_order,
    "dlt645-state-word": relay.decode_state_word,
    "dlt645-records": records.decode_records,
    "dlt645-given-time": records.split_given_time,
    "dlt645-frozen": records.decode_frozen,
    "dlt645-demand": items.decode_demand,
    "dlt645-di": items.split_di,
    "dlt645-fields": _fields,
}
MODBUS: dict[str, Decoder] = {
    "modbus-tcp": _modbus_tcp,
    "modbus-rtu": lambda octets: _READ.search().feed(octets),
    "modbus-words": _points,
    "modbus-map": lambda octets: parse_map(_text(octets)),
    "sunspec": _survey,
}
MQTT: dict[str, Decoder] = {
    "cbor": lambda octets: envelope.decode(octets, envelope.CBOR),
    "cbor-zstd": lambda octets: envelope.decode(octets, envelope.CBOR_ZSTD),
    "json": lambda octets: envelope.decode(octets, envelope.JSON),
    "json-deflate": lambda octets: envelope.decode(octets, envelope.JSON_DEFLATE),
    "batch": _plain(batch_from_plain),
    "batch-json": _plain(batch_from_plain, envelope.JSON),
    "ack": _plain(ack_from_plain),
    "receipt": _plain(receipt_from_plain),
    "watch": _plain(watch_from_plain),
    "config-order": lambda octets: open_config(
        seal(octets, SIGNER.sign(octets)), SIGNER.public_key()
    ),
    "fetch": _plain(fetch_from_plain),
    "block": _plain(block_from_plain),
    "firmware-order": _order(firmware_of),
    "token-order": _order(token_of),
    "rekey-order": _order(lambda command: open_keys(command, bytes(32))),
    "sealed": lambda octets: open_signed(octets, SIGNER.public_key()),
    "signed": lambda octets: open_signed(seal(octets, SIGNER.sign(octets)), SIGNER.public_key()),
    "live": lambda octets: [live_from_bytes(what, octets) for what in Live],
    "topic": _topic,
}
FILES: dict[str, Decoder] = {
    "cim-xml": from_xml,
    "cim-json": from_json,
    "reading-type": lambda octets: channel_of(parse_type(_text(octets))),
    "nem12": read_nem12,
    "tape": lambda octets: parse_tape(_text(octets)),
    "redactor": _redact,
    "edge-config": config_from_json,
    "installation": lambda octets: parse_installation(
        _text(octets), source="town.toml", base=Path("/town")
    ),
}
GROUPS = {"dlms": DLMS, "dlt645": DLT645, "modbus": MODBUS, "mqtt": MQTT, "files": FILES}


def decoders() -> dict[str, Decoder]:
    """Return every decoder by name."""
    return {name: decoder for group in GROUPS.values() for name, decoder in group.items()}
