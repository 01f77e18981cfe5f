"""Client and server joined by nothing but octets, and the device that stands behind the server."""

import itertools
from dataclasses import replace

from protocols.dlms.apdu import Access, Attribute
from protocols.dlms.association import Authentication
from protocols.dlms.client import ClientConnection, ClientSettings, Opened
from protocols.dlms.hls import PROVEN, WEAK
from protocols.dlms.obis import obis
from protocols.dlms.security import Keys
from protocols.dlms.server import AccessRefusedError, ServerConnection, ServerProfile
from protocols.dlms.values import octet_string, unsigned

KEYS = Keys(encryption=bytes(range(16)), authentication=bytes(range(16, 32)))
CLIENT_TITLE, SERVER_TITLE = b"CLI\0\0\0\0\1", b"SRV\0\0\0\0\2"
DEDICATED = bytes(range(50, 66))
SMALL = Attribute(class_id=1, name=obis("0-0:96.1.0"), index=2)
LONG = Attribute(class_id=1, name=obis("0-0:96.1.1"), index=2)
MISSING = Attribute(class_id=1, name=obis("0-0:96.1.9"), index=2)
METHOD = Attribute(class_id=70, name=obis("0-0:96.3.10"), index=1)
ECHO = Attribute(class_id=18, name=obis("0-0:44.0.0"), index=2)
NO_METHOD = replace(ECHO, index=9)


class Memory:
    """Keeps values and what is done to it: METHOD returns how often, ECHO what it was given."""

    def __init__(self, long_octets=5000):
        self.values = {SMALL: unsigned(7), LONG: octet_string(bytes(long_octets))}
        self.acted = []

    def get(self, attributes):
        return tuple(self.values.get(attribute, Access.UNDEFINED) for attribute in attributes)

    def set(self, attribute, value):
        if attribute not in self.values:
            raise AccessRefusedError(Access.DENIED)
        self.values[attribute] = value

    def act(self, method, parameter):
        if method not in (METHOD, ECHO):
            raise AccessRefusedError(Access.UNDEFINED)
        self.acted.append(parameter)
        return parameter if method == ECHO else unsigned(len(self.acted))


def pair(
    authentication=Authentication.HLS5,
    *,
    device=None,
    keys=KEYS,
    max_pdu=512,
    client=None,
    dedicated_key=b"",
    server_counter=-1,
    **profile,
):
    """Return a client, a server and its device; `client` changes the client's settings."""
    device = device or Memory()
    count, server_count = itertools.count(1), itertools.count(1000)
    settings = {
        "client_sap": 1,
        "server_sap": 1,
        "authentication": authentication,
        "password": b"secret",
        "title": CLIENT_TITLE,
        "keys": keys,
        "weak_hls": authentication in WEAK,
    }
    talker = ClientConnection(
        ClientSettings(**settings | (client or {})),
        counter=lambda: next(count),
        challenge=bytes(range(100, 116)),
        dedicated_key=dedicated_key,
        server_counter=server_counter,
    )
    meter = ServerConnection(
        {
            1: ServerProfile(
                device=device,
                authentication=authentication,
                password=b"secret",
                title=SERVER_TITLE,
                keys=keys,
                counter=lambda: next(server_count),
                challenge=lambda: bytes(range(200, 216)),
                max_pdu=max_pdu,
                **profile,
            )
        }
    )
    return talker, meter, device


def converse(client, server, octets):
    """Pass octets to and fro until there is an answer; count the trips."""
    for trip in range(1, 5000):
        turn = client.receive(server.receive(octets))
        if turn.answer is not None:
            return turn.answer, trip
        octets = turn.send
        assert octets
    raise AssertionError("no end")


def opened(authentication=Authentication.HLS5, **more):
    """Return the same as `pair`, associated."""
    client, server, device = pair(authentication, **more)
    answer, trips = converse(client, server, client.open())
    assert isinstance(answer, Opened)
    assert trips == (2 if authentication in PROVEN else 1)
    return client, server, device
