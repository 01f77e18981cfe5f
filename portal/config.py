"""What the portal process is told at its start."""

from dataclasses import dataclass, field

from protocols.mqtt.broker import BrokerAddress
from protocols.timeline import TimeScale


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalConfig:
    """
    One portal process. Files hold the secrets.

    `peers_file` is JSON that names the payment peers with doors of their own; without it those
    doors are shut.
    `messages_key_file` is JSON with the keys that seal what comes and goes through those doors;
    without it that is not kept. `messages_kept_years` is for how long.
    `secure_cookies` is for a site behind TLS: cookies then carry `Secure` and the `__Host-` name.
    `demo_credentials_file` is JSON `{login: password}`; read only when `demo` is set, to offer
    one-click sign-in on the tour page.
    """

    dsn: str = field(repr=False)
    broker: BrokerAddress
    scale: TimeScale = field(default_factory=TimeScale)
    host: str = "127.0.0.1"
    port: int = 8000
    demo: bool = False
    demo_credentials_file: str = ""
    peers_file: str = ""
    messages_key_file: str = ""
    messages_kept_years: int = 3
    secure_cookies: bool = False
    database_user: str = "meterloop_portal"
