"""
A dlms-cosem client that visits one meter: a job as JSON on stdin, what it saw as JSON on stdout.

Runs in the peers' own environment and imports nothing of the product. Version 25.1.0 needs help
with two things, given here and not in the meter: it looks for the end of an HDLC frame by the next
7E (here frames are read by their length, and tried at each 7E until one fits), and it cannot write
an entry descriptor (written here by hand). It also takes a deviation of 0 for no zone; the
simulated meters send -480, so that one does not show.
"""

import datetime as dt
import json
import logging
import sys

import structlog
from dlms_cosem import cosem, enumerations, utils
from dlms_cosem.client import DlmsClient
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import EntryDescriptor, RangeDescriptor
from dlms_cosem.hdlc.state import NEED_DATA
from dlms_cosem.io import BlockingTcpIO, HdlcTransport, SerialIO, TcpTransport
from dlms_cosem.security import (
    HighLevelSecurityGmacAuthentication,
    LowLevelSecurityAuthentication,
    NoSecurityAuthentication,
)
from dlms_cosem.time import datetime_from_bytes

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
INTERFACE = enumerations.CosemInterface


class ByLength:
    """Reads one HDLC frame by its length field where the library would search 7E."""

    def recv_until(self, end):
        first = self.recv(1)
        while first != end:
            first = self.recv(1)
        head = self.recv(2)
        while head[:1] == end:
            head = head[1:] + self.recv(1)
        length = int.from_bytes(head, "big") & 0x7FF
        return end + head + self.recv(length - 2) + self.recv(1)


class TcpByLength(ByLength, BlockingTcpIO):
    pass


class SerialByLength(ByLength, SerialIO):
    pass


class Hdlc(HdlcTransport):
    def next_event(self):
        connection = self.hdlc_connection
        while (event := connection.next_event()) is NEED_DATA:
            if connection.buffer_search_position >= len(connection.buffer):
                connection.receive_data(self.recv_frame())
        return event


class Entries(EntryDescriptor):
    def to_bytes(self):
        numbers = (
            b"\x06" + self.from_entry.to_bytes(4, "big"),
            b"\x06" + self.to_entry.to_bytes(4, "big"),
            b"\x12" + self.from_selected_value.to_bytes(2, "big"),
            b"\x12" + self.to_selected_value.to_bytes(2, "big"),
        )
        return b"\x02\x02\x04" + b"".join(numbers)


def attribute(interface, obis, index):
    numbers = [int(part) for part in obis.split(".")]
    return cosem.CosemAttribute(interface, cosem.Obis(*numbers), index)


NAME = attribute(INTERFACE.DATA, "0.0.42.0.0.255", 2)
CLOCK = attribute(INTERFACE.CLOCK, "0.0.1.0.0.255", 2)
ENERGY = attribute(INTERFACE.REGISTER, "1.0.1.8.0.255", 2)
SCALER = attribute(INTERFACE.REGISTER, "1.0.1.8.0.255", 3)
VOLTAGE = attribute(INTERFACE.REGISTER, "1.0.32.7.0.255", 2)
PROFILE = attribute(INTERFACE.PROFILE_GENERIC, "1.0.99.1.0.255", 2)
COLUMNS = attribute(INTERFACE.PROFILE_GENERIC, "1.0.99.1.0.255", 3)
SWITCH = "0.0.96.3.10.255"


def connect(job):
    if job["link"] == "hdlc":
        serial = job.get("serial_port")
        line = SerialByLength(serial) if serial else TcpByLength(job["host"], job["port"])
        transport = Hdlc(
            client_logical_address=job["client_sap"],
            server_logical_address=job["server_sap"],
            server_physical_address=job.get("physical"),
            io=line,
        )
    else:
        transport = TcpTransport(
            client_logical_address=job["client_sap"],
            server_logical_address=job["server_sap"],
            io=BlockingTcpIO(job["host"], job["port"]),
        )
    if job["authentication"] == "hls5":
        return DlmsClient(
            transport=transport,
            authentication=HighLevelSecurityGmacAuthentication(challenge_length=32),
            encryption_key=bytes.fromhex(job["encryption_key"]),
            authentication_key=bytes.fromhex(job["authentication_key"]),
            client_system_title=bytes.fromhex(job["title"]),
            client_initial_invocation_counter=job["counter"],
        )
    secret = bytes.fromhex(job["password"])
    lls = job["authentication"] == "lls"
    return DlmsClient(
        transport=transport,
        authentication=LowLevelSecurityAuthentication(secret)
        if lls
        else NoSecurityAuthentication(),
    )


def value(client, wanted, selection=None):
    return utils.parse_as_dlms_data(client.get(wanted, selection))


def instant(octets):
    moment, _ = datetime_from_bytes(bytes(octets))
    return moment.astimezone(dt.UTC).isoformat()


def rows(buffer):
    return [[instant(row[0]), row[1], row[2]] for row in buffer]


def visit(job):
    client, seen = connect(job), {}
    client.connect()
    client.associate()
    seen["name"] = bytes(value(client, NAME)).decode()
    seen["clock"] = instant(value(client, CLOCK))
    seen["register"] = [value(client, ENERGY), *value(client, SCALER)]
    several = [cosem.CosemAttributeWithSelection(one, None) for one in (ENERGY, VOLTAGE)]
    listed = client.get_many(several)
    seen["list"] = [int(one) for one in listed.result]
    seen["columns"] = [
        f"{item[0]}:{'.'.join(map(str, item[1]))}:{item[2]}" for item in value(client, COLUMNS)
    ]
    by_range = RangeDescriptor(
        restricting_object=CaptureObject(CLOCK),
        from_value=dt.datetime.fromisoformat(job["start"]),
        to_value=dt.datetime.fromisoformat(job["end"]),
    )
    seen["range"] = rows(value(client, PROFILE, by_range))
    seen["entry"] = rows(value(client, PROFILE, Entries(3, 6)))
    for method, key in ((1, "disconnect"), (2, "reconnect")):
        place = attribute(INTERFACE.DISCONNECT_CONTROL, SWITCH, 1)
        order = cosem.CosemMethod(place.interface, place.instance, method)
        client.action(order, b"\x0f\x00")
        state = [
            value(client, attribute(INTERFACE.DISCONNECT_CONTROL, SWITCH, index))
            for index in (2, 3)
        ]
        seen[key] = [bool(state[0]), state[1]]
    client.release_association()
    client.disconnect()
    again = connect({**job, "counter": client.client_invocation_counter + 1})
    again.connect()
    again.associate()
    seen["name_again"] = bytes(value(again, NAME)).decode()
    again.release_association()
    again.disconnect()
    seen["counter"] = again.client_invocation_counter
    return seen


def refused(job):
    """Associate with a wrong secret and tell how that ends."""
    client = connect(job)
    client.connect()
    try:
        client.associate()
        value(client, NAME)
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"[:120]}
    return {"refused": ""}


if __name__ == "__main__":
    job = json.load(sys.stdin)
    json.dump(refused(job) if job["expect"] == "refusal" else visit(job), sys.stdout)
