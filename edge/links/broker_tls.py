"""
The secured line to the broker, and why it does not come to be: a typed fault with what to do.

With TLS 1.3 a broker refuses a client's certificate only after the handshake has succeeded for the
client, and MQTT libraries tell no more than "disconnected". So where connecting failed, `diagnose`
walks the steps one by one and names the first that fails.
"""

import socket
import ssl
from datetime import datetime
from pathlib import Path

from protocols.errors import PeerError
from protocols.mqtt.broker import BrokerAddress

_SECONDS = 3.0
_ALERT_SECONDS = 2.0
"""How late a refusal may come: a round trip over a slow mobile line, or a busy broker."""

_RENEW = "have the authority issue a new certificate for this concentrator"
_ALERTS = {
    "CERTIFICATE_REVOKED": (
        "certificate_revoked",
        "the broker says that our certificate is revoked",
        f"if this concentrator is not lost or stolen, {_RENEW}; an old one never works again",
    ),
    "CERTIFICATE_EXPIRED": (
        "certificate_expired",
        "the broker says that our certificate has expired",
        f"{_RENEW}, and check the clocks of both machines",
    ),
    "UNKNOWN_CA": (
        "certificate_unknown",
        "the broker does not know the authority of our certificate",
        "use a certificate of the authority in the broker's cafile (tls_cert, tls_key)",
    ),
    "CERTIFICATE_REQUIRED": (
        "certificate_missing",
        "the broker wants a certificate and was shown none",
        "give tls_cert and tls_key in the agent's configuration",
    ),
}
_ALERTS["BAD_CERTIFICATE"] = _ALERTS["CERTIFICATE_UNKNOWN"] = _ALERTS["UNKNOWN_CA"]
_SERVER = {
    10: ("server_expired", "the broker's certificate has expired", "renew it at the broker"),
    62: (
        "server_name",
        "the broker's certificate is for another name",
        "give broker.host as it stands in the certificate",
    ),
    64: (
        "server_name",
        "the broker's certificate is for another address",
        "give broker.host as it stands in the certificate",
    ),
}


class BrokerFault(PeerError):  # noqa: N818
    """Why there is no session with the broker; `fix` says what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        """Keep the line that mends it beside the sentence."""
        super().__init__(f"broker.{code}", f"{message}. Fix: {fix}", peer="broker")
        self.fix = fix


def context_of(broker: BrokerAddress) -> ssl.SSLContext | None:
    """
    Return the TLS settings of a broker, None where it has none: TLS 1.2 or newer, both sides shown.

    Raises: BrokerFault `broker.file`, `broker.key_mismatch`.
    """
    if not broker.tls_ca:
        return None
    for name in (broker.tls_ca, broker.tls_cert, broker.tls_key):
        if name and not Path(name).is_file():
            raise BrokerFault("file", f"{name} is not there", "put it there or correct its path")
    try:
        context = ssl.create_default_context(cafile=broker.tls_ca)
    except ssl.SSLError:
        raise BrokerFault(
            "file", f"{broker.tls_ca} holds no certificate", "put the authority's PEM file there"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker.tls_cert:
        try:
            context.load_cert_chain(broker.tls_cert, broker.tls_key or None)
        except ssl.SSLError:
            raise BrokerFault(
                "key_mismatch",
                f"{broker.tls_key} is not the key of {broker.tls_cert}",
                "put the two files of one certificate there",
            ) from None
    return context


def diagnose(broker: BrokerAddress, *, now: datetime) -> BrokerFault | None:
    """Return why `broker` cannot be reached, None when everything below MQTT works. Blocks."""
    try:
        context = context_of(broker)
        if broker.tls_cert:
            _check_validity(Path(broker.tls_cert), now)
        _try_line(broker, context)
    except BrokerFault as fault:
        return fault
    return None


def _check_validity(file: Path, now: datetime) -> None:
    # imported where it is needed: it costs megabytes, and a healthy agent never comes here
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    if certificate.not_valid_after_utc < now:
        until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        raise BrokerFault("certificate_expired", f"our certificate ended on {until}", _RENEW)
    if certificate.not_valid_before_utc > now:
        since = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}"
        raise BrokerFault(
            "certificate_early",
            f"our certificate begins on {since} UTC, our clock says {now:%Y-%m-%d %H:%M}",
            "set this machine's clock",
        )


def _try_line(broker: BrokerAddress, context: ssl.SSLContext | None) -> None:
    try:
        with socket.create_connection((broker.host, broker.port), timeout=_SECONDS) as plain:
            if context is not None:
                _try_tls(plain, broker, context)
    except ssl.SSLCertVerificationError as error:
        known = _SERVER.get(error.verify_code)
        raise BrokerFault(
            *(
                known
                or (
                    "server_unknown",
                    f"the broker's certificate is not believed ({error.verify_message})",
                    "give the authority of the broker's certificate as tls_ca",
                )
            )
        ) from None
    except ssl.SSLError as error:
        raise _told(error) from None
    except OSError as error:
        raise BrokerFault(
            "unreachable",
            f"{broker.host}:{broker.port} cannot be reached ({error.strerror or error})",
            "check broker.host and broker.port, the network, and that the broker runs",
        ) from None


def _try_tls(plain: socket.socket, broker: BrokerAddress, context: ssl.SSLContext) -> None:
    with context.wrap_socket(plain, server_hostname=broker.host) as secured:
        # a broker speaks only when spoken to: what comes by itself now is its refusal
        secured.settimeout(_ALERT_SECONDS)
        try:
            ended = secured.recv(1) == b""
        except TimeoutError:
            return
        if ended:
            raise BrokerFault("closed", "the broker closed the line", "read the broker's log")


def _told(error: ssl.SSLError) -> BrokerFault:
    reason = (error.reason or "").partition("ALERT_")[2]
    known = _ALERTS.get(reason)
    if known is not None:
        return BrokerFault(*known)
    return BrokerFault(
        "tls",
        f"no secured line ({error.reason or 'unknown reason'})",
        "check that broker.port is the broker's TLS port, and its log",
    )
