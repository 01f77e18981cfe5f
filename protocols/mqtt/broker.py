"""Where the broker is and how to sign in to it; shared by everything that speaks MQTT."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """An MQTT 5 broker. Files hold the secrets; an empty name means that part is not used."""

    host: str
    port: int
    username: str = ""
    password_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
