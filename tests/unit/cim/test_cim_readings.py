"""MeterReadings between systems: both forms, both ways, and what is refused by name."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.cim import reading_type
from protocols.cim.quality import REF, quality_of
from protocols.cim.reading_type import PERIODS, channel_of, parse, type_of
from protocols.cim.readings import MAX_VALUE, Series
from protocols.cim.wire import from_json, from_xml, to_json, to_xml
from protocols.errors import PeerError
from protocols.reading import INTERVALS, OBIS, Channel, Quality
from protocols.timeline import to_ms

_FORMS = ((to_xml, from_xml), (to_json, from_json))


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("seconds", PERIODS)
def test_every_channel_has_one_type_and_comes_back_from_it(channel: Channel, seconds: int) -> None:
    length = seconds if channel in INTERVALS else 0
    type_ = type_of(channel, length)
    assert parse(str(type_)) == type_
    assert channel_of(type_) == (channel, length, 0)
    assert reading_type.obis_of(type_) == OBIS[channel]


@pytest.mark.parametrize(
    ("text", "channel", "seconds", "power"),
    [
        # published default types of 15-minute delta, bulk and billing-period kWh
        ("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0", Channel.IMPORT_INTERVAL_WH, 900, 3),
        ("0.0.2.4.19.1.12.0.0.0.0.0.0.0.0.3.72.0", Channel.EXPORT_INTERVAL_WH, 900, 3),
        ("0.0.5.4.1.1.12.0.0.0.0.0.0.0.0.0.72.0", Channel.IMPORT_INTERVAL_WH, 1800, 0),
        ("0.0.2.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0", Channel.IMPORT_WH, 0, 3),
        ("8.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0", Channel.IMPORT_WH, 0, 3),
    ],
)
def test_types_that_others_write(text: str, channel: Channel, seconds: int, power: int) -> None:
    assert channel_of(parse(text)) == (channel, seconds, power)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0.0.2.4.1.2.12.0.0.0.0.0.0.0.0.3.72.0", "commodity 2"),
        ("0.0.2.4.1.7.12.0.0.0.0.0.0.0.0.3.72.0", "commodity 7"),
        ("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.73.0", "no channel"),
        ("0.0.2.9.1.1.12.0.0.0.0.0.0.0.0.3.72.0", "no channel"),
        ("0.0.2.4.1.1.12.0.0.0.0.1.0.0.0.3.72.0", "no channel"),
        ("0.0.0.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0", "period 0"),
        ("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.99.72.0", "multiplier 99"),
        ("0.0.2.4.1.1.12", "7 parts"),
        ("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.k.72.0", "'k'"),
    ],
)
def test_a_type_that_nobody_reads_is_refused_by_name(text: str, names: str) -> None:
    with pytest.raises(PeerError, match=names) as refused:
        channel_of(parse(text))
    assert refused.value.code == "cim.reading_type"


def _series(channel: Channel, seconds: int) -> st.SearchStrategy[Series]:
    step = (seconds or 1) * 1000
    rows = st.lists(
        st.tuples(
            st.integers(0, 4_000_000_000_000 // step),
            st.integers(-MAX_VALUE, MAX_VALUE), st.sampled_from(Quality),
        ),
        min_size=1, max_size=6,
    )  # fmt: skip
    return rows.map(
        lambda told: Series(
            meter="M-7", usage_point="UP-1", channel=channel, seconds=seconds,
            at_ms=np.array([at * step for at, _, _ in told], dtype=np.int64),
            value=np.array([value for _, value, _ in told], dtype=np.int64),
            quality=tuple(quality for _, _, quality in told),
        )
    )  # fmt: skip


@pytest.mark.parametrize(("write", "read"), _FORMS)
@given(told=st.sampled_from(Channel).flatmap(
    lambda channel: _series(channel, 1800 if channel in INTERVALS else 0)
))  # fmt: skip
def test_what_is_written_is_read_again(write: object, read: object, told: Series) -> None:
    [back] = read(write([told]))  # type: ignore[operator]
    assert (back.meter, back.usage_point, back.channel, back.seconds) == (
        told.meter, told.usage_point, told.channel, told.seconds,
    )  # fmt: skip
    assert back.at_ms.tolist() == told.at_ms.tolist()
    assert back.value.tolist() == told.value.tolist()
    assert back.quality == told.quality


_ENVELOPE = """<?xml version="1.0" encoding="UTF-8"?>
<EventMessage xmlns="http://iec.ch/TC57/2011/schema/message">
  <Header><Verb>created</Verb><Noun>MeterReadings</Noun></Header>
  <Payload>
    <m:MeterReadings xmlns:m="http://iec.ch/TC57/2011/MeterReadings#">
      <m:MeterReading>
        <m:IntervalBlocks>
          <m:IntervalReadings>
            <m:timeStamp>2022-11-18T06:45:00.000+08:00</m:timeStamp>
            <m:value>1.2345</m:value>
            <m:ReadingQualities><m:source>HES</m:source>
              <m:ReadingQualityType ref="1.0.0"/></m:ReadingQualities>
            <m:ReadingQualities><m:ReadingQualityType ref="5.4.260"/></m:ReadingQualities>
          </m:IntervalReadings>
          <m:ReadingType ref="0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"/>
        </m:IntervalBlocks>
        <m:Meter><m:Names><m:name>16714752</m:name>
          <m:NameType><m:name>EndpointID</m:name></m:NameType></m:Names></m:Meter>
        <m:valuesInterval><m:start>2022-11-18T06:30:00+08:00</m:start></m:valuesInterval>
      </m:MeterReading>
    </m:MeterReadings>
  </Payload>
</EventMessage>"""


def test_an_envelope_of_a_head_end_is_read() -> None:
    [told] = from_xml(_ENVELOPE.encode())
    start = datetime(2022, 11, 17, 22, 30, tzinfo=UTC)
    assert (told.meter, told.channel, told.seconds) == ("16714752", Channel.IMPORT_INTERVAL_WH, 900)
    assert told.at_ms.tolist() == [to_ms(start)], "the wire names the interval by its end"
    assert told.value.tolist() == [1235], "1.2345 kWh, half away from zero"
    assert told.quality == (Quality.QUESTIONABLE,)


@pytest.mark.parametrize(
    ("was", "becomes", "code"),
    [
        ("+08:00</m:timeStamp>", "</m:timeStamp>", "cim.meter_readings"),
        ("2022-11-18T06:45", "2022-13-18T06:45", "cim.meter_readings"),
        ("1.2345", "1,2345", "cim.meter_readings"),
        ("1.2345", "NaN", "cim.meter_readings"),
        ("1.2345", "٣", "cim.meter_readings"),
        ('"1.0.0"', '"fine"', "cim.reading_quality"),
        ("3.72.0", "3.73.0", "cim.reading_type"),
        ("<m:name>16714752</m:name>", "", "cim.meter_readings"),
        ("MeterReadings xmlns", "MeterConfig xmlns", "cim.meter_readings"),
        ("<EventMessage", "<!DOCTYPE a [<!ENTITY x 'y'>]><EventMessage", "cim.meter_readings"),
        ("</m:value>", "</m:value><m:value>9</m:value>", "cim.meter_readings"),
    ],
)
def test_a_wrong_message_is_refused_whole(was: str, becomes: str, code: str) -> None:
    assert was in _ENVELOPE
    with pytest.raises(PeerError) as refused:
        from_xml(_ENVELOPE.replace(was, becomes).encode())
    assert refused.value.code == code


@pytest.mark.parametrize(
    "octets",
    [b"", b"[]", b"{", b'{"MeterReadings": 3}', b'{"MeterReadings": {"MeterReading": [3]}}',
     b"\xff\xfe", b'{"MeterReadings": {"MeterReading": [{}]}}',
     json.dumps({"MeterReading": [{"Meter": {"mRID": "a"}, "Readings": [
         {"timeStamp": "2026-01-01T00:00:00Z", "value": float("nan"),
          "ReadingType": {"@ref": str(type_of(Channel.IMPORT_WH, 0))}}]}]}).encode()],
)  # fmt: skip
def test_a_wrong_twin_is_refused_whole(octets: bytes) -> None:
    with pytest.raises(PeerError):
        from_json(octets)


def test_qualities_come_back_and_the_gravest_of_many_stays() -> None:
    assert {quality_of([ref]) for ref in REF.values()} == set(Quality)
    for quality, ref in REF.items():
        assert quality_of([ref]) is quality
    assert quality_of([]) is Quality.RAW
    assert quality_of(["2.8.0", "1.0.0"]) is Quality.ESTIMATED
    assert quality_of(["1.4.131"]) is Quality.RAW, "read by hand, as good as any"
    assert quality_of(["1.2.32"]) is Quality.RAW, "a power failure says nothing of the value"
