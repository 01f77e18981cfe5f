"""How agents of the cloud reach the broker."""

from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocols.mqtt.broker import BrokerAddress

_SESSION_SECONDS = 3600
_KEEPALIVE = 15


def typed(content_type: str) -> Properties:
    """Return the properties of a publication with a content type."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = content_type
    return properties


def client_of(broker: BrokerAddress, client_id: str) -> aiomqtt.Client:
    """Return a client with a lasting session: what comes while it is away waits for it."""
    connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    connect.SessionExpiryInterval = _SESSION_SECONDS
    password = Path(broker.password_file).read_text().strip() if broker.password_file else None
    return aiomqtt.Client(
        broker.host, broker.port, identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5, username=broker.username or None, password=password,
        clean_start=False, properties=connect, keepalive=_KEEPALIVE,
        tls_params=(
            aiomqtt.TLSParameters(
                ca_certs=broker.tls_ca, certfile=broker.tls_cert or None,
                keyfile=broker.tls_key or None,
            )
            if broker.tls_ca
            else None
        ),
    )  # fmt: skip
