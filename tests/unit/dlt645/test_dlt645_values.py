"""Numbers, stamps, items, records, orders and state words; octets by hand from the standard."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645 import bcd, items, records, relay
from protocols.dlt645.exchange import (
    Expectation,
    Judgement,
    SecurityError,
    read,
    read_next,
    token,
    write,
)
from protocols.dlt645.exchange import (
    relay as relay_request,
)
from protocols.dlt645.frame import Control, Frame
from protocols.errors import PeerError
from protocols.reading import RelayState

ADDRESS = "123456789012"
LOCAL = datetime(2026, 11, 21, 9, 30, 5)


@pytest.mark.parametrize(
    ("item", "octets", "raw"),
    [
        (items.IMPORT, "26000000", 26),  # 0.26 kWh
        (items.VOLTAGE_OF[0], "0110", 1001),  # 100.1 V
        (items.CURRENT_OF[0], "992200", 2299),  # 2.299 A
        (items.POWER, "563482", -23456),  # top bit: 2.3456 kW to the grid
        (items.FREQUENCY, "0150", 5001),  # 50.01 Hz
    ],
)  # fmt: skip
def test_an_item_is_its_digits(item, octets, raw):
    assert items.decode_fields(item, bytes.fromhex(octets)) == (raw,)
    assert items.encode_fields(item, (raw,)).hex() == octets


def test_a_block_holds_each_phase_and_ff_is_no_value():
    assert items.decode_fields(items.VOLTAGES, bytes.fromhex("0123FFFF0223")) == (2301, None, 2302)
    assert items.decode_fields(items.IMPORT, b"\xff" * 4) == (None,)


@pytest.mark.parametrize(
    ("item", "octets", "code"),
    [
        (items.IMPORT, "2600000A", "dlt645.bcd"),
        (items.IMPORT, "260000", "dlt645.shape"),
        (items.IMPORT, "", "dlt645.shape"),
        (items.IMPORT, "2600000026000000", "dlt645.shape"),
        (items.VOLTAGES, "01230123012301 23", "dlt645.shape"),
    ],
)
def test_octets_that_are_no_number_are_refused(item, octets, code):
    with pytest.raises(PeerError) as error:
        items.decode_fields(item, bytes.fromhex(octets))
    assert error.value.code == code


@given(st.integers(-799_999, 799_999))
def test_signed_numbers_come_back(value):
    assert bcd.decode_signed(bcd.encode_signed(value, 3)) == value


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))
def test_stamps_come_back_to_the_second(local):
    second = local.replace(microsecond=0)
    assert bcd.decode_date_time(bcd.encode_date_time(local)) == second
    assert bcd.decode_minute(bcd.encode_minute(local)) == second.replace(second=0)
    parts = bcd.encode_date(local), bcd.encode_time(local)
    assert bcd.decode_date_and_time(*parts) == second


def test_stamps_are_written_low_octet_first_and_sunday_is_zero():
    assert bcd.encode_date_time(LOCAL).hex() == "053009211126"
    assert bcd.encode_date(LOCAL).hex() == "06211126"  # a Saturday
    assert bcd.encode_date(datetime(2026, 11, 22)).hex()[:2] == "00"


@pytest.mark.parametrize("octets", ["053009310226", "056009211126", "0530092111", "0f3009211126"])
def test_a_stamp_that_is_no_time_is_refused(octets):
    with pytest.raises(PeerError) as error:
        bcd.decode_date_time(bytes.fromhex(octets))
    assert error.value.code == "dlt645.stamp"


@pytest.mark.req("D6", "C13")
def test_a_trip_order_octet_for_octet():
    order = relay.RelayOrder(order=relay.Order.TRIP, valid_until=LOCAL)
    request = relay_request(
        ADDRESS, relay.encode_order(order),
        password=bytes.fromhex("02000000"), operator=bytes(4),
    )  # fmt: skip
    assert request.frame.control == 0x1C
    assert request.frame.content.hex() == "02000000000000001a00053009211126"
    assert relay.decode_order(request.frame.content[8:]) == order


@pytest.mark.parametrize(
    ("word", "edition", "closed", "state", "keeps"),
    [
        (0x0000, relay.Edition.SUPPLEMENT, True, RelayState.CONNECTED, False),
        (0x0050, relay.Edition.SUPPLEMENT, False, RelayState.DISCONNECTED, False),
        (0x0010, relay.Edition.SUPPLEMENT, False, RelayState.ARMED, False),
        (0x0040, relay.Edition.SUPPLEMENT, True, RelayState.DISCONNECTED, False),  # stuck
        (0x1000, relay.Edition.SUPPLEMENT, True, RelayState.CONNECTED, True),
        (0x0010, relay.Edition.FIRST, False, RelayState.DISCONNECTED, False),
        (0x0040, relay.Edition.FIRST, True, RelayState.CONNECTED, False),
    ],
)
def test_the_state_word_says_where_the_switch_is(word, edition, closed, state, keeps):
    told = relay.decode_state_word(word.to_bytes(2, "little"))
    assert relay.encode_state_word(told) == word.to_bytes(2, "little")
    reading = relay.relay_reading(told, edition=edition, closes_remotely=True)
    assert (reading.output_closed, reading.control_state) == (closed, state)
    assert told.keeps_power is keeps


@pytest.mark.parametrize("octets", ["", "1a00", "1d00053009211126", "1a00053009310226"])
def test_what_is_no_order_is_refused(octets):
    with pytest.raises(PeerError):
        relay.decode_order(bytes.fromhex(octets))


RECORD = records.LoadRecord(at=LOCAL.replace(second=0), import_raw=123456, export_raw=7)


def test_a_load_record_octet_for_octet():
    # A0 A0, 27 octets, stamp, three empty blocks, 16 octets of energy, two empty, sum, E5
    framed = "a0a01b3009211126aaaaaa56341200070000000000000000000000aaaaaa"
    total = sum(bytes.fromhex(framed)) & 0xFF
    assert records.encode_record(RECORD).hex() == f"{framed}{total:02x}e5"
    two = records.encode_record(RECORD) * 2
    assert records.decode_records(two) == (RECORD, RECORD)


def test_a_record_with_every_block_is_read():
    blocks = [bytes(17), bytes(24), bytes(8), bytes.fromhex("56341200 07000000") + bytes(8),
              bytes(16), bytes(6)]  # fmt: skip
    body = bcd.encode_minute(LOCAL) + b"".join(block + b"\xaa" for block in blocks)
    framed = b"\xa0\xa0" + bytes((len(body),)) + body
    octets = framed + bytes((sum(framed) & 0xFF, 0xE5))
    assert records.decode_records(octets) == (RECORD,)


@pytest.mark.parametrize("cut", range(1, 35))
def test_half_a_record_is_a_typed_error(cut):
    octets = records.encode_record(RECORD)
    with pytest.raises(PeerError):
        records.decode_records(octets[:-cut] if cut < len(octets) else b"\xa0")


def test_identifiers_of_records_and_freezes():
    assert records.load_di(records.ENERGY_CLASS, records.GIVEN_TIME) == 0x06040001
    daily = records.freeze_di(records.Freeze.DAILY, records.FreezePart.IMPORT, 1)
    assert daily == 0x05060101
    assert records.decode_frozen(bytes.fromhex("5634120011000000")) == (123456, 11)


def test_only_the_answer_to_the_question_is_taken():
    question = read(ADDRESS, items.IMPORT.di).expect
    content = items.encode_di(items.IMPORT.di) + bytes(4)

    def judged(**changes):
        return question.judge(
            Frame(**({"address": ADDRESS, "control": 0x91, "content": content} | changes))
        )

    assert judged() is Judgement.ANSWER
    assert judged(control=0x11) is Judgement.ECHO
    assert judged(address="000000000161") is Judgement.FOREIGN
    assert judged(control=0x94) is Judgement.STALE
    assert judged(content=items.encode_di(items.EXPORT.di) + bytes(4)) is Judgement.STALE
    assert judged(control=0xD1, content=b"\x02") is Judgement.ANSWER
    part = read_next(ADDRESS, items.IMPORT.di, 2).expect
    first = Frame(address=ADDRESS, control=0x92, content=content + b"\x01")
    assert part.judge(first) is Judgement.STALE
    assert part.content(Frame(address=ADDRESS, control=0x92, content=content + b"\x02")) == bytes(4)


@pytest.mark.parametrize(
    ("word", "code"),
    [(b"\x02", "no_such_item"), (b"\x04", "password"), (b"\x01", "refused"), (b"", "refused"),
     (b"\x80", "refused"), (b"\x08", "baud")],
)  # fmt: skip
def test_a_refusal_says_why(word, code):
    expect = Expectation(address=ADDRESS, control=Control.READ)
    with pytest.raises(PeerError) as error:
        expect.content(Frame(address=ADDRESS, control=0xD1, content=word))
    assert error.value.code == f"dlt645.{code}"


@pytest.mark.req("A9", "C13")
def test_a_token_is_carried_as_it_is():
    opaque = bytes(range(40))
    request = token(ADDRESS, items.RECHARGE, opaque, operator=b"\x01\x02\x03\x04")
    assert request.frame.control == 0x03
    assert request.frame.content == bytes.fromhex("ff02010701020304") + opaque
    refusal = Frame(address=ADDRESS, control=0xC3, content=b"\x02\x00")
    with pytest.raises(PeerError) as error:
        request.expect.content(refusal)
    assert error.value.code == "dlt645.token_refused"
    assert error.value.evidence["error"] == SecurityError.REPEATED
    with pytest.raises(ValueError, match="does not fit"):
        token(ADDRESS, items.RECHARGE, bytes(250), operator=bytes(4))


def test_a_password_of_another_length_is_not_sent_and_not_shown():
    with pytest.raises(ValueError, match="4 octets") as error:
        write(ADDRESS, items.TIME, bytes(3), password=b"secret", operator=bytes(4))
    assert "secret" not in str(error.value)
