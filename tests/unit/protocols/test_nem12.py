"""NEM12: what files say, what they may not say, and both ways round."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import PeerError
from protocols.nem12 import Day, Nem12, Stream, read_nem12, write_nem12
from protocols.timeline import from_ms

MADE = datetime(2026, 3, 2, tzinfo=UTC)
HALF_HOURS = ",".join(f"{n}.5" for n in range(48))


def file_of(*lines: str) -> bytes:
    return "\n".join(["100,NEM12,200505181432,MDP1,RET1", *lines, "900"]).encode()


HEAD = "200,NMI0000001,E1Q1,1,E1,N1,01009,kWh,30,20050610"


def test_a_file_is_read_and_intervals_are_named_by_their_start() -> None:
    found = read_nem12(file_of(HEAD, f"300,20050301,{HALF_HOURS},A,,,20050310121004,"))
    (stream,) = found.streams
    assert (stream.nmi, stream.suffix, stream.minutes, stream.unit) == ("NMI0000001", "E1", 30, 72)
    (day,) = stream.days
    assert day.wh[:3] == (500, 1500, 2500)
    # the value at 00:30 market time covers 00:00 to 00:30, which is 14:00 UTC the day before
    assert from_ms(stream.start_ms(day)) == datetime(2005, 2, 28, 14, tzinfo=UTC)


def test_variable_quality_is_put_in_place_and_null_is_missing() -> None:
    found = read_nem12(
        file_of(HEAD, f"300,20050301,{HALF_HOURS},V,,,,", "400,1,20,A,,", "400,21,24,N,,",
                "400,25,48,S14,32,", "500,O,S01009,20050310121004,1000.5")
    )  # fmt: skip
    (day,) = found.streams[0].days
    assert day.quality[19:21] == ("A", "N")
    assert day.wh[20:24] == (None,) * 4
    assert day.quality[47] == "S14"


def test_what_rounding_takes_the_next_interval_gets() -> None:
    values = ",".join(["0.0004"] * 48)
    found = read_nem12(file_of(HEAD, f"300,20050301,{values},A,,,,"))
    assert sum(value or 0 for value in found.streams[0].days[0].wh) == 19


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ((HEAD, f"300,2.00503E+07,{HALF_HOURS},A,,,,"), "nem12.mangled"),
        ((HEAD, f"300,1/03/2005,{HALF_HOURS},A,,,,"), "nem12.mangled"),
        ((HEAD, f"300,20050301,{HALF_HOURS},A,,,2.00503E+13,"), "nem12.mangled"),
        (("200,6.10273E+09,E1Q1,1,E1,N1,01009,kWh,30,",), "nem12.mangled"),
        ((HEAD, f"300,20050231,{HALF_HOURS},A,,,,"), "nem12.shape"),
        ((HEAD, f"300,00010101,{HALF_HOURS},A,,,,"), "nem12.shape"),
        ((HEAD, "300,20050301,1,2,3,A,,,,"), "nem12.shape"),
        ((HEAD, f"300,20050301,{HALF_HOURS},V,,,,"), "nem12.quality"),
        ((HEAD, f"300,20050301,{HALF_HOURS},V,,,,", "400,1,47,A,,"), "nem12.quality"),
        ((HEAD, f"300,20050301,{HALF_HOURS},V,,,,", "400,2,48,A,,"), "nem12.quality"),
        ((HEAD, f"300,20050301,{HALF_HOURS},A,,,,", "400,1,48,A,,"), "nem12.quality"),
        ((HEAD, f"300,20050301,{HALF_HOURS},X,,,,"), "nem12.quality"),
        ((HEAD.replace("kWh", "kW"),), "nem12.unit"),
        ((HEAD.replace(",30,", ",7,"),), "nem12.shape"),
        ((f"300,20050301,{HALF_HOURS},A,,,,",), "nem12.shape"),
        (("250,what,is,this",), "nem12.shape"),
        (("900", "900"), "nem12.shape"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(lines: tuple[str, ...], code: str) -> None:
    with pytest.raises(PeerError) as error:
        read_nem12(file_of(*lines))
    assert error.value.code == code
    assert "line" in error.value.message


def test_a_file_without_its_end_is_a_part() -> None:
    with pytest.raises(PeerError, match="900"):
        read_nem12(b"100,NEM12,200505181432,A,B\n" + HEAD.encode())


QUALITY = st.sampled_from(["A", "S14", "E52", "F16"])


@st.composite
def files(draw: st.DrawFn) -> Nem12:
    streams = []
    for number in range(draw(st.integers(1, 2))):
        minutes = draw(st.sampled_from([15, 30]))
        count = 1440 // minutes
        days = []
        for place in range(draw(st.integers(0, 2))):
            wh = draw(
                st.lists(st.one_of(st.none(), st.integers(-(10**9), 10**9)), min_size=count,
                         max_size=count)
            )  # fmt: skip
            flag = draw(QUALITY)
            quality = tuple("N" if value is None else flag for value in wh)
            days.append(Day(day=date(2026, 1, 1 + place), wh=tuple(wh), quality=quality))
        streams.append(
            Stream(nmi=f"NMI{number}", configuration="E1", register="1", suffix="E1", serial="S1",
                   unit=draw(st.sampled_from([72, 73])), minutes=minutes, days=tuple(days))
        )  # fmt: skip
    return Nem12(sender="A", receiver="B", streams=tuple(streams))


@given(files())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_again(file: Nem12) -> None:
    assert read_nem12(write_nem12(file, made=MADE).encode()) == file
