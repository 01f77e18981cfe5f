"""
A DLMS meter built on gurux-dlms: a job as JSON on stdin, its port as JSON on stdout, until stdin
ends; then how its switch stands.

Runs in the peers' own environment and imports nothing of the product. The server of version
1.0.203 cannot answer a GET, an ACTION or an SNRM (it calls methods that are not there), so framing,
association, ciphering and encoding are the library's and only the dispatch of services is written
here. Its decryption never compares the tag; here the proof of the key is the HLS exchange.
"""

import datetime as dt
import json
import select
import socket
import sys

from gurux_dlms import GXByteBuffer, GXDateTime
from gurux_dlms._GXAPDU import _GXAPDU
from gurux_dlms.ConnectionState import ConnectionState
from gurux_dlms.enums import (
    AssociationResult,
    Authentication,
    Command,
    Conformance,
    DataType,
    InterfaceType,
    RequestTypes,
    Security,
    SourceDiagnostic,
)
from gurux_dlms.GXCiphering import GXCiphering
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXDLMSLNParameters import GXDLMSLNParameters
from gurux_dlms.GXDLMSSettings import GXDLMSSettings
from gurux_dlms.GXReplyData import GXReplyData
from gurux_dlms.GXSecure import GXSecure
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo

UNDEFINED, SUCCESS, NO_STATUS = 4, 0, 0xFF
LEVELS = {
    "lls": Authentication.LOW,
    "hls-md5": Authentication.HIGH_MD5,
    "hls-sha1": Authentication.HIGH_SHA1,
    "hls5": Authentication.HIGH_GMAC,
    "hls-sha256": Authentication.HIGH_SHA256,
}


class Meter:
    def __init__(self, job):
        self.job = job
        self.hdlc = job["link"] == "hdlc"
        self.switch = [True, 1]
        self.cipher = None
        if job["ciphered"]:
            self.cipher = GXCiphering(bytes.fromhex(job["title"]))
            self.cipher.blockCipherKey = bytes.fromhex(job["encryption_key"])
            self.cipher.authenticationKey = bytes.fromhex(job["authentication_key"])
            self.cipher.security = Security.AUTHENTICATION_ENCRYPTION
            self.cipher.invocationCounter = job["counter"]
        self.reset()

    def reset(self):
        job = self.job
        settings = self.settings = GXDLMSSettings(True, None)
        settings.setUseLogicalNameReferencing(True)
        settings.interfaceType = InterfaceType.HDLC if self.hdlc else InterfaceType.WRAPPER
        settings.proposedConformance = (
            Conformance.GET
            | Conformance.ACTION
            | Conformance.SELECTIVE_ACCESS
            | Conformance.MULTIPLE_REFERENCES
            | (Conformance.GENERAL_PROTECTION if job["general"] else Conformance.NONE)
        )
        settings.maxServerPDUSize = 0xFFFF
        settings.cipher = self.cipher  # its counter goes on, whatever ends
        self.received, self.reply, self.seen = GXByteBuffer(), GXByteBuffer(), GXReplyData()
        self.proven = False

    def receive(self, octets):
        """Return the octets that answer `octets`, empty while a frame is incomplete."""
        settings, seen = self.settings, self.seen
        self.received.set(octets)
        GXDLMS.getData(settings, self.received, seen, None)
        if not seen.complete:
            return b""
        self.received.clear()
        command = seen.command
        if seen.moreData & RequestTypes.FRAME:
            return GXDLMS.getHdlcFrame(settings, settings.getReceiverReady(), self.reply)
        frame = settings.getNextSend(False) if self.reply else 0
        if command == Command.SNRM:
            frame = self.on_snrm()
        elif command == Command.DISCONNECT_REQUEST:
            frame = int(Command.UA)
        elif command == Command.AARQ:
            self.on_aarq(seen.data)
        elif command == Command.RELEASE_REQUEST:
            self.llc()
            self.reply.set(bytes.fromhex("6303800100"))
        elif command == Command.GET_REQUEST:
            self.on_get(seen.data)
        elif command == Command.METHOD_REQUEST:
            self.on_action(seen.data)
        seen.clear()
        if self.hdlc:
            return GXDLMS.getHdlcFrame(settings, frame, self.reply)
        return GXDLMS.getWrapperFrame(settings, command, self.reply)

    def llc(self):
        if self.hdlc:
            self.reply.set(_GXCommon.LLC_REPLY_BYTES)

    def on_snrm(self):
        self.settings.resetFrameSequence()
        self.reply.clear()
        self.reply.set(bytes.fromhex("818012050180060180070400000001080400000001"))
        return int(Command.UA)

    def on_aarq(self, octets):
        settings, job = self.settings, self.job
        settings.setCtoSChallenge(None)
        self.proven = False
        wanted, refusal = LEVELS[job["authentication"]], SourceDiagnostic.AUTHENTICATION_FAILURE
        try:
            diagnostic = _GXAPDU.parsePDU(settings, settings.cipher, octets, None)
        except Exception:  # what a wrong key leaves of the request can be anything
            diagnostic = refusal
        if diagnostic == SourceDiagnostic.NONE and settings.authentication == wanted:
            if wanted == Authentication.LOW:
                self.proven = bytes(settings.password) == bytes.fromhex(job["password"])
                diagnostic = SourceDiagnostic.NONE if self.proven else refusal
            else:
                diagnostic = SourceDiagnostic.AUTHENTICATION_REQUIRED
                settings.setStoCChallenge(GXSecure.generateChallenge())
        else:
            diagnostic = refusal
        self.llc()
        if diagnostic == refusal:
            self.reply.set(aare(1, diagnostic, b"", ciphered=settings.cipher is not None))
        elif wanted == Authentication.LOW:
            _GXAPDU.generateAARE(
                settings, self.reply, AssociationResult.ACCEPTED, diagnostic, None, None, None
            )
        else:
            # the library's own writes no system title: it calls a method without its argument
            cipher = settings.cipher
            initiate = bytes(_GXAPDU.getUserInformation(settings, cipher))
            if cipher:
                cipher.invocationCounter += 1
            challenge = bytes(settings.stoCChallenge)
            middle = (
                b"\xa4\x0a\x04\x08" + bytes.fromhex(job["title"])
                + bytes.fromhex("88020780" + "8907608574050802") + bytes((wanted,))
                + bytes((0xAA, len(challenge) + 2, 0x80, len(challenge))) + challenge
                + bytes((0xBE, len(initiate) + 2, 0x04, len(initiate))) + initiate
            )  # fmt: skip
            self.reply.set(aare(0, diagnostic, middle, ciphered=cipher is not None))

    def answer(self, command, kind, invoke, octets, status=SUCCESS):
        self.settings.count = self.settings.index = 0
        self.settings.resetBlockIndex()
        parameters = GXDLMSLNParameters(self.settings, invoke, command, kind, None, octets, status)
        GXDLMS.getLNPdu(parameters, self.reply)

    def on_get(self, request):
        kind, invoke = request.getUInt8(), request.getUInt8()
        self.settings.updateInvokeId(invoke)
        body = GXByteBuffer()
        if kind == 1:
            status = self.put(request, body)
            self.answer(Command.GET_RESPONSE, 1, invoke, body, status)
            return
        count = _GXCommon.getObjectCount(request)
        _GXCommon.setObjectCount(count, body)
        for _ in range(count):
            value = GXByteBuffer()
            status = self.put(request, value)
            body.setUInt8(1 if status else 0)
            if status:
                body.setUInt8(status)
            else:
                body.set(value)
        self.answer(Command.GET_RESPONSE, 3, invoke, body, NO_STATUS)

    def put(self, request, body):
        """Write the value asked for to `body` and return the result."""
        name, index = self.place(request)
        selector, selection = 0, None
        if request.getUInt8():
            selector = request.getUInt8()
            selection = _GXCommon.getData(self.settings, request, _GXDataInfo())
        found = self.value(name, index, selector, selection) if self.proven else None
        if found is None:
            return UNDEFINED
        put(self.settings, body, found)
        return SUCCESS

    def place(self, request):
        request.getUInt16()
        name = bytearray(6)
        request.get(name)
        return ".".join(map(str, name)), request.getUInt8()

    def value(self, name, index, selector, selection):
        job = self.job
        fixed = {
            ("0.0.42.0.0.255", 2): (DataType.OCTET_STRING, job["name"].encode()),
            ("0.0.1.0.0.255", 2): (DataType.OCTET_STRING, stamp(self.settings, job["now"])),
            ("1.0.99.1.0.255", 3): columns(job["columns"]),
            ("1.0.99.1.0.255", 4): (DataType.UINT32, job["period"]),
            ("0.0.96.3.10.255", 2): (DataType.BOOLEAN, self.switch[0]),
            ("0.0.96.3.10.255", 3): (DataType.ENUM, self.switch[1]),
            ("0.0.96.3.10.255", 4): (DataType.ENUM, 4),
        }
        for register, (raw, scaler, unit) in job["registers"].items():
            fixed[register, 2] = (DataType.UINT32, raw)
            both = [(DataType.INT8, scaler), (DataType.ENUM, unit)]
            fixed[register, 3] = (DataType.STRUCTURE, both)
        if (name, index) != ("1.0.99.1.0.255", 2):
            return fixed.get((name, index))
        rows = job["rows"]
        if selector == 1:
            start, end = (instant(self.settings, selection[place]) for place in (1, 2))
            rows = [row for row in rows if start <= dt.datetime.fromisoformat(row[0]) <= end]
        elif selector == 2:
            rows = rows[selection[0] - 1 : selection[1] or None]
        return (DataType.ARRAY, [self.row(row) for row in rows])

    def row(self, row):
        cells = [
            (DataType.OCTET_STRING, stamp(self.settings, row[0])),
            (DataType.UINT8, row[1]),
            (DataType.UINT32, row[2]),
        ]
        return (DataType.STRUCTURE, cells)

    def on_action(self, request):
        request.getUInt8()
        invoke = request.getUInt8()
        name, index = self.place(request)
        parameter = None
        if request.getUInt8():
            parameter = _GXCommon.getData(self.settings, request, _GXDataInfo())
        body, status = GXByteBuffer(), SUCCESS
        if (name, index) == ("0.0.40.0.0.255", 1):
            proof = self.prove(bytes(parameter))
            status = SUCCESS if proof else 3
            if proof:
                body.setUInt8(1)
                body.setUInt8(0)
                put(self.settings, body, (DataType.OCTET_STRING, proof))
            else:
                body.setUInt8(0)
        elif name == "0.0.96.3.10.255" and self.proven:
            self.switch = [False, 0] if index == 1 else [True, 1]
            body.setUInt8(0)
        else:
            status = UNDEFINED
            body.setUInt8(0)
        self.answer(Command.METHOD_RESPONSE, 1, invoke, body, status)
        if self.proven:
            # from here on the library speaks the general form, under the dedicated key if any
            self.settings.connected = ConnectionState.DLMS

    def prove(self, theirs):
        """Check pass 3 and return pass 4, nothing when the client has not the keys."""
        settings = self.settings
        if settings.authentication != Authentication.HIGH_GMAC:
            return self.prove_by_hash(theirs)
        cipher = settings.cipher
        counter = int.from_bytes(theirs[1:5], "big")
        ours = GXSecure.secure(
            settings, cipher, counter, settings.stoCChallenge, settings.sourceSystemTitle
        )
        if bytes(ours) != theirs:
            return b""
        self.proven = True
        counter = cipher.invocationCounter
        cipher.invocationCounter += 1
        return bytes(
            GXSecure.secure(
                settings, cipher, counter, settings.getCtoSChallenge(), cipher.systemTitle
            )
        )

    def prove_by_hash(self, theirs):
        """As `prove`, with a secret that both sides know in place of a key."""
        settings, job = self.settings, self.job
        password, ours = bytes.fromhex(job["password"]), bytes.fromhex(job["title"])
        to_client, to_server = bytes(settings.stoCChallenge), bytes(settings.getCtoSChallenge())
        wanted, answer = password, password
        if settings.authentication == Authentication.HIGH_SHA256:
            client = bytes(settings.sourceSystemTitle)
            wanted = password + client + ours + to_client + to_server
            answer = password + ours + client + to_server + to_client
        if bytes(GXSecure.secure(settings, None, 0, to_client, wanted)) != theirs:
            return b""
        self.proven = True
        return bytes(GXSecure.secure(settings, None, 0, to_server, answer))


def aare(result, diagnostic, rest, *, ciphered):
    """Return an AARE: context, result, diagnostic, and what follows them."""
    body = bytes.fromhex("a109060760857405080103" if ciphered else "a109060760857405080101")
    body += bytes((0xA2, 3, 2, 1, result, 0xA3, 5, 0xA1, 3, 2, 1, diagnostic)) + rest
    return bytes((0x61, len(body))) + body


def put(settings, body, typed):
    kind, content = typed
    if kind in (DataType.STRUCTURE, DataType.ARRAY):
        body.setUInt8(kind)
        _GXCommon.setObjectCount(len(content), body)
        for item in content:
            put(settings, body, item)
    else:
        _GXCommon.setData(settings, body, kind, content)


def stamp(settings, text):
    """Return a date-time as its 12 octets, written by the library."""
    moment = dt.datetime.fromisoformat(text).astimezone(dt.timezone(dt.timedelta(hours=8)))
    body = GXByteBuffer()
    _GXCommon.setData(settings, body, DataType.OCTET_STRING, GXDateTime(moment))
    octets = bytes(body.array())
    return octets[-12:]


def instant(settings, octets):
    """Return 12 octets as an instant, read by the library."""
    kind = _GXDataInfo()
    kind.type_ = DataType.DATETIME
    return _GXCommon.getData(settings, GXByteBuffer(bytes(octets)), kind).value


def columns(found):
    rows = [
        (
            DataType.STRUCTURE,
            [
                (DataType.UINT16, class_id),
                (DataType.OCTET_STRING, bytes(map(int, name.split(".")))),
                (DataType.INT8, index),
                (DataType.UINT16, 0),
            ],
        )
        for class_id, name, index in found
    ]
    return (DataType.ARRAY, rows)


def serve(listener, meter):
    """Serve one connection after the other until stdin ends."""
    connection = None
    while True:
        waiting = [sys.stdin, connection or listener]
        ready, _, _ = select.select(waiting, [], [])
        if sys.stdin in ready:
            return
        if connection is None:
            connection, _ = listener.accept()
            meter.reset()
            continue
        octets = connection.recv(65536)
        if not octets:
            connection.close()
            connection = None
            continue
        connection.sendall(bytes(meter.receive(octets)))


if __name__ == "__main__":
    job = json.loads(sys.stdin.readline())
    # the library prints to stdout what it does, which would end up in the answer
    answers, sys.stdout = sys.stdout, sys.stderr
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"port": listener.getsockname()[1]}), file=answers, flush=True)
    meter = Meter(job)
    serve(listener, meter)
    print(json.dumps({"switch": meter.switch}), file=answers, flush=True)
