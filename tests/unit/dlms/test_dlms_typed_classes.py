"""Classes 4, 5, 9, 17, 20, 21, 22, 71: both ways, and what is none of them."""

from datetime import UTC, datetime

import pytest

from protocols.dlms.axdr import decode_whole, encode
from protocols.dlms.classes.calendar import Calendar, Day, SapAssignment, Season, Week
from protocols.dlms.classes.demand import DemandRegister, ExtendedRegister
from protocols.dlms.classes.limiter import Crossing, EmergencyProfile, Limiter, RegisterMonitor
from protocols.dlms.classes.register import ScalerUnit
from protocols.dlms.classes.scripts import (
    DISCONNECT_SCRIPTS,
    Script,
    ScriptAction,
    ScriptTable,
    Service,
    SingleActionSchedule,
)
from protocols.dlms.classes.typed import Monitored, ScriptCall, attributes_of
from protocols.dlms.obis import DISCONNECT_CONTROL, obis
from protocols.dlms.reference import Attribute
from protocols.dlms.values import (
    array,
    as_items,
    double_long_unsigned,
    enum,
    integer,
    octet_string,
    structure,
    unsigned,
)
from protocols.errors import PeerError

AT = datetime(2026, 3, 4, 10, 15, tzinfo=UTC)
WATTS = ScalerUnit(scaler=0, unit=27)
OPEN = ScriptCall(table=DISCONNECT_SCRIPTS, selector=1)
NOTHING = ScriptCall(table=DISCONNECT_SCRIPTS, selector=0)
POWER = Monitored(class_id=3, name=obis("1-0:1.7.0"), index=2)
DISCONNECT = ScriptAction(
    service=Service.EXECUTE,
    target=Attribute(class_id=70, name=DISCONNECT_CONTROL, index=1),
    parameter=integer(0),
)
OBJECTS = [
    ExtendedRegister(raw=4711, scaler=WATTS, status=0, captured=AT, deviation=-480),
    DemandRegister(
        current=100, last=90, scaler=WATTS, status=0, captured=AT, started=AT, period=900, periods=1
    ),
    ScriptTable(scripts=(Script(number=1, actions=(DISCONNECT,)),)),
    SingleActionSchedule(
        script=OPEN, kind=1, times=((bytes.fromhex("00000000"), bytes.fromhex("ffffff01ff")),)
    ),
    SapAssignment(devices=((1, b"M-000042"),)),
    Calendar(
        name=b"household",
        seasons=(Season(name=b"S", start=bytes.fromhex("ffff0101ff000000008000ff"), week=b"W"),),
        weeks=(Week(name=b"W", days=(1, 1, 1, 1, 1, 2, 2)),),
        days=(Day(number=1, switches=((bytes(4), OPEN),)), Day(number=2, switches=())),
    ),
    RegisterMonitor(
        thresholds=(5000,), monitored=POWER, actions=(Crossing(up=OPEN, down=NOTHING),)
    ),
    Limiter(
        monitored=POWER, active=5000, normal=5000, emergency=1000, over_seconds=60,
        under_seconds=0, profile=EmergencyProfile(number=0, begins=b"\xff" * 12, seconds=0),
        groups=(1, 2), in_emergency=False, actions=Crossing(up=OPEN, down=NOTHING),
    ),
]  # fmt: skip


@pytest.mark.parametrize("thing", OBJECTS, ids=lambda thing: type(thing).__name__)
def test_an_object_comes_off_the_line_as_it_went_on(thing):
    wire = [encode(value) for value in thing.encode()]
    values = [decode_whole(octets) for octets in wire]
    assert len(values) == len(type(thing).INDEXES)
    assert type(thing).of(values) == thing


def test_the_script_that_opens_a_switch_is_these_octets():
    (table,) = ScriptTable(scripts=(Script(number=1, actions=(DISCONNECT,)),)).encode()
    assert encode(table).hex() == (
        "0101" "0202" "120001" "0101" "0205" "1602" "120046" "090600006003" "0aff" "0f01" "0f00"
    )  # fmt: skip


def test_what_is_read_of_a_demand_register_are_its_eight_attributes():
    name = obis("1-0:1.4.0")
    asked = attributes_of(DemandRegister, name)
    assert [str(one) for one in asked] == [f"5/1-0:1.4.0*255/{n}" for n in range(2, 10)]


def changed(thing, at, value):
    values = list(thing.encode())
    values[at] = value
    return type(thing), values


@pytest.mark.parametrize(
    ("kind_and_values", "code"),
    [
        (changed(OBJECTS[1], 6, double_long_unsigned(0)), "dlms.demand"),
        (changed(OBJECTS[2], 0, array([unsigned(0)] * 257)), "dlms.script"),
        (changed(OBJECTS[3], 1, enum(6)), "dlms.schedule"),
        (
            changed(OBJECTS[3], 2, array([structure(octet_string(b""), octet_string(b""))])),
            "dlms.schedule",
        ),
        (changed(OBJECTS[4], 0, array([unsigned(0)] * 257)), "dlms.calendar"),
        (changed(OBJECTS[5], 2, array([])), "dlms.calendar"),
        (changed(OBJECTS[5], 3, array([])), "dlms.calendar"),
        (changed(OBJECTS[6], 0, array([])), "dlms.monitor"),
        (changed(OBJECTS[7], 7, array([unsigned(0)] * 257)), "dlms.limiter"),
        (changed(OBJECTS[7], 1, octet_string(b"")), "dlms.type"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_code(kind_and_values, code):
    kind, values = kind_and_values
    with pytest.raises(PeerError) as caught:
        kind.of(values)
    assert caught.value.code == code


def test_a_script_action_of_no_known_service_is_refused():
    (table,) = OBJECTS[2].encode()
    ((number, _),) = [as_items(script) for script in as_items(table)]
    wrong = structure(enum(9), *as_items(DISCONNECT.encode())[1:])
    with pytest.raises(PeerError, match="service 9"):
        ScriptTable.of([array([structure(number, array([wrong]))])])
