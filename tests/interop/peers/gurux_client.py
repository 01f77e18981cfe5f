"""
A gurux-dlms client that visits one meter: a job as JSON on stdin, what it saw as JSON on stdout.

Runs in the peers' own environment and imports nothing of the product.
"""

import datetime as dt
import json
import socket
import sys

from gurux_dlms import GXByteBuffer, GXDateTime, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, InterfaceType, Security
from gurux_dlms.objects import (
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.secure.GXDLMSSecureClient import GXDLMSSecureClient

AUTHENTICATIONS = {
    "none": Authentication.NONE,
    "lls": Authentication.LOW,
    "hls-md5": Authentication.HIGH_MD5,
    "hls-sha1": Authentication.HIGH_SHA1,
    "hls5": Authentication.HIGH_GMAC,
    "hls-sha256": Authentication.HIGH_SHA256,
}


class SocketLine:
    def __init__(self, job):
        self.socket = socket.create_connection((job["host"], job["port"]), timeout=10)

    def send(self, octets):
        self.socket.sendall(octets)

    def receive(self):
        octets = self.socket.recv(65536)
        if not octets:
            raise ConnectionError("the meter ended the connection")
        return octets

    def close(self):
        self.socket.close()


class SerialLine:
    def __init__(self, job):
        import serial

        self.port = serial.Serial(job["serial_port"], 9600, timeout=10)

    def send(self, octets):
        self.port.write(octets)

    def receive(self):
        octets = self.port.read(1) + self.port.read(self.port.in_waiting)
        if not octets:
            raise ConnectionError("the meter is silent")
        return octets

    def close(self):
        self.port.close()


class Reader:
    def __init__(self, job):
        self.job = job
        self.tags = []  # the first octet of each APDU that was sent in the wrapper
        self.line = SerialLine(job) if job.get("serial_port") else SocketLine(job)
        self.client = GXDLMSSecureClient(
            True,
            job["client_sap"],
            job["server_address"],
            AUTHENTICATIONS[job["authentication"]],
            bytes.fromhex(job["password"]) or None,
            InterfaceType.HDLC if job["link"] == "hdlc" else InterfaceType.WRAPPER,
        )
        if job.get("server_address_octets"):
            self.client.serverAddressSize = job["server_address_octets"]
        if job["link"] == "hdlc":
            self.client.hdlcSettings.maxInfoTX = self.client.hdlcSettings.maxInfoRX = 128
        ciphering = self.client.ciphering
        ciphering.systemTitle = bytes.fromhex(job["title"])
        if job.get("ciphered", job["authentication"] == "hls5"):
            ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            ciphering.dedicatedKey = bytes.fromhex(job.get("dedicated_key", "")) or None
            ciphering.blockCipherKey = bytes.fromhex(job["encryption_key"])
            ciphering.authenticationKey = bytes.fromhex(job["authentication_key"])
            ciphering.invocationCounter = job["counter"]
        # its answer to a general block asks for a number by a name that its settings lack
        type(self.client.settings).blockNumber = property(lambda settings: settings.blockIndex)
        for name in job.get("offer", ()):
            self.client.proposedConformance |= Conformance[name]
        for name in job.get("withhold", ()):
            self.client.proposedConformance &= ~Conformance[name]

    def exchange(self, packets):
        """Send each packet, gather the whole answer of the last."""
        reply = GXReplyData()
        for packet in packets if isinstance(packets, list) else [packets]:
            reply.clear()
            self.one(packet, reply)
            while reply.isMoreData():
                self.one(self.client.receiverReady(reply), reply)
        if reply.error:
            raise RuntimeError(f"error {reply.error}")
        return reply

    def one(self, packet, reply):
        self.line.send(bytes(packet))
        self.tags.append(bytes(packet)[8] if self.job["link"] == "wrapper" else 0)
        received = GXByteBuffer()
        notify = GXReplyData()
        while True:
            received.set(self.line.receive())
            if self.client.getData(received, reply, notify):
                return

    def associate(self):
        request = self.client.snrmRequest()
        if request:
            self.client.parseUAResponse(self.exchange(request).data)
        self.client.parseAareResponse(self.exchange(self.client.aarqRequest()).data)
        if self.client.isAuthenticationRequired:
            answer = self.exchange(self.client.getApplicationAssociationRequest())
            self.client.parseApplicationAssociationResponse(answer.data)

    def release(self):
        request = self.client.releaseRequest()
        if request:
            self.exchange(request)
        if self.job["link"] == "hdlc":
            self.exchange(self.client.disconnectRequest())

    def read(self, item, index):
        reply = self.exchange(self.client.read(item, index))
        return self.client.updateValue(item, index, reply.value)


def instant(value):
    """Return a GXDateTime as ISO UTC."""
    moment = value.value if isinstance(value, GXDateTime) else value
    return moment.astimezone(dt.UTC).isoformat()


def rows(buffer):
    return [[instant(row[0]), int(row[1]), int(row[2])] for row in buffer]


def visit(job):
    reader = Reader(job)
    seen = {"tags": reader.tags}
    reader.associate()
    name = GXDLMSData("0.0.42.0.0.255")
    seen["name"] = bytes(reader.read(name, 2)).decode()
    clock = GXDLMSClock("0.0.1.0.0.255")
    reader.read(clock, 2)
    seen["clock"] = instant(clock.time)
    energy = GXDLMSRegister("1.0.1.8.0.255")
    reader.read(energy, 3)
    # the library scales the value by itself: turn it back into what was on the wire
    value = reader.exchange(reader.client.read(energy, 2)).value
    seen["register"] = [int(value), scaler_of(energy), int(energy.unit)]

    voltage = GXDLMSRegister("1.0.32.7.0.255")
    wanted = [(energy, 2), (voltage, 2), (clock, 2)]
    values = []
    for packets in reader.client.readList(wanted):
        values += reader.exchange(packets).value
    seen["list"] = [int(values[0]), int(values[1])]

    profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
    reader.read(profile, 3)
    seen["columns"] = [
        f"{int(item[0].objectType)}:{item[0].logicalName}:{item[1].attributeIndex}"
        for item in profile.captureObjects
    ]
    reader.read(profile, 4)
    start, end = (dt.datetime.fromisoformat(job[key]) for key in ("start", "end"))
    reply = reader.exchange(reader.client.readRowsByRange(profile, start, end))
    seen["range"] = rows(reader.client.updateValue(profile, 2, reply.value))
    reply = reader.exchange(reader.client.readRowsByEntry(profile, 3, 4))
    seen["entry"] = rows(reader.client.updateValue(profile, 2, reply.value))

    switch = GXDLMSDisconnectControl("0.0.96.3.10.255")
    for key, order in (
        ("disconnect", switch.remoteDisconnect),
        ("reconnect", switch.remoteReconnect),
    ):
        reader.exchange(order(reader.client))
        seen[key] = [bool(reader.read(switch, 2)), int(reader.read(switch, 3))]
    reader.release()
    reader.line.close()

    counter = reader.client.ciphering.invocationCounter
    again = Reader({**job, "counter": counter + 1})
    again.associate()
    seen["name_again"] = bytes(again.read(name, 2)).decode()
    again.release()
    again.line.close()
    seen["counter"] = again.client.ciphering.invocationCounter
    return seen


def scaler_of(register):
    scaler, value = register.scaler, 0
    while scaler < 1:
        scaler, value = scaler * 10, value - 1
    while scaler >= 10:
        scaler, value = scaler / 10, value + 1
    return value


def refused(job):
    """Associate with a wrong secret and tell how that ends."""
    reader = Reader(job)
    try:
        reader.associate()
        reader.read(GXDLMSData("0.0.42.0.0.255"), 2)
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"[:120]}
    finally:
        reader.line.close()
    return {"refused": ""}


if __name__ == "__main__":
    job = json.load(sys.stdin)
    # the library prints to stdout what it does, which would end up in the answer
    answers, sys.stdout = sys.stdout, sys.stderr
    json.dump(refused(job) if job["expect"] == "refusal" else visit(job), answers)
