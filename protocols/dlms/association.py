"""
The association as two tables: what may happen when, on the client's side and on the server's.

    client      open     accepted challenged rejected proven   ask      block    answer   exception release  released
    IDLE        PENDING
    PENDING              READY    PROVING    IDLE
    PROVING                                           READY                               IDLE
    READY                                                      WAITING                              RELEASING
    WAITING                                                             WAITING  READY    READY
    RELEASING                                                                             IDLE               IDLE
    BROKEN

    server      accept   challenge refuse   proven   disproven request  release
    IDLE        READY    PROVING   IDLE                                 IDLE
    PROVING     READY    PROVING   IDLE     READY    IDLE               IDLE
    READY       READY    PROVING   IDLE                        READY    IDLE

A client's `fault` leads to BROKEN from every state and nothing leads out: close, connect anew.
An exception-response to a request leaves the association usable. A new AARQ always ends what was.
*Source*: IEC 62056-5-3 clause 6.2 (control function states), simplified to confirmed services.
"""  # noqa: E501 - a state table is read as a table

from enum import StrEnum

from protocols.errors import PeerError


class Authentication(StrEnum):
    """How client and server prove themselves."""

    NONE = "none"
    LLS = "lls"
    HLS_MD5 = "hls-md5"
    HLS_SHA1 = "hls-sha1"
    HLS5 = "hls5"
    """GMAC both ways, and unless told otherwise every APDU ciphered."""
    HLS_SHA256 = "hls-sha256"


class ClientState(StrEnum):
    """Where the client's side stands."""

    IDLE = "idle"
    PENDING = "pending"
    PROVING = "proving"
    READY = "ready"
    WAITING = "waiting"
    RELEASING = "releasing"
    BROKEN = "broken"


class ClientEvent(StrEnum):
    """What happens to the client's side; OPEN, ASK and RELEASE are its own doing."""

    OPEN = "open"
    ACCEPTED = "accepted"
    CHALLENGED = "challenged"
    REJECTED = "rejected"
    PROVEN = "proven"
    ASK = "ask"
    BLOCK = "block"
    ANSWER = "answer"
    EXCEPTION = "exception"
    RELEASE = "release"
    RELEASED = "released"
    FAULT = "fault"


class ServerState(StrEnum):
    """Where the server's side stands, for one client."""

    IDLE = "idle"
    PROVING = "proving"
    READY = "ready"


class ServerEvent(StrEnum):
    """What happens to the server's side."""

    ACCEPT = "accept"
    CHALLENGE = "challenge"
    REFUSE = "refuse"
    PROVEN = "proven"
    DISPROVEN = "disproven"
    REQUEST = "request"
    RELEASE = "release"


OWN_EVENTS = frozenset({ClientEvent.OPEN, ClientEvent.ASK, ClientEvent.RELEASE})

_C, _CE = ClientState, ClientEvent
_CLIENT: dict[tuple[ClientState, ClientEvent], ClientState] = {
    (_C.IDLE, _CE.OPEN): _C.PENDING,
    (_C.PENDING, _CE.ACCEPTED): _C.READY,
    (_C.PENDING, _CE.CHALLENGED): _C.PROVING,
    (_C.PENDING, _CE.REJECTED): _C.IDLE,
    (_C.PROVING, _CE.PROVEN): _C.READY,
    (_C.PROVING, _CE.EXCEPTION): _C.IDLE,
    (_C.READY, _CE.ASK): _C.WAITING,
    (_C.READY, _CE.RELEASE): _C.RELEASING,
    (_C.WAITING, _CE.BLOCK): _C.WAITING,
    (_C.WAITING, _CE.ANSWER): _C.READY,
    (_C.WAITING, _CE.EXCEPTION): _C.READY,
    (_C.RELEASING, _CE.RELEASED): _C.IDLE,
    (_C.RELEASING, _CE.EXCEPTION): _C.IDLE,
    **{(state, _CE.FAULT): _C.BROKEN for state in _C},
}

_S, _SE = ServerState, ServerEvent
_SERVER: dict[tuple[ServerState, ServerEvent], ServerState] = {
    **{(state, _SE.ACCEPT): _S.READY for state in _S},
    **{(state, _SE.CHALLENGE): _S.PROVING for state in _S},
    **{(state, _SE.REFUSE): _S.IDLE for state in _S},
    **{(state, _SE.RELEASE): _S.IDLE for state in _S},
    (_S.PROVING, _SE.PROVEN): _S.READY,
    (_S.PROVING, _SE.DISPROVEN): _S.IDLE,
    (_S.READY, _SE.REQUEST): _S.READY,
}


def client_step(state: ClientState, event: ClientEvent) -> ClientState:
    """
    Return the client's next state.

    Raises: PeerError `dlms.unexpected` when the server did what it may not do now; RuntimeError
    when the caller did, which is a bug.
    """
    after = _CLIENT.get((state, event))
    if after is not None:
        return after
    if event in OWN_EVENTS:
        raise RuntimeError(f"cannot {event} an association that is {state}")
    raise PeerError("dlms.unexpected", f"the server sent {event} to an association that is {state}")


def server_step(state: ServerState, event: ServerEvent) -> ServerState:
    """Return the server's next state. Raises: PeerError `dlms.unexpected`."""
    after = _SERVER.get((state, event))
    if after is None:
        raise PeerError("dlms.unexpected", f"{event} in an association that is {state}")
    return after
