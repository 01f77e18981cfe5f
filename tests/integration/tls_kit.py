"""An authority, certificates good and bad, and a mosquitto that is strict about them."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from meterloop.embedded.broker import free_port, mosquitto_path
from protocols.mqtt.broker import BrokerAddress

REPO = Path(__file__).parents[2]
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path
    serial: int


class Authority:
    """Signs certificates and revokes them, all as files in a folder."""

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        own = (
            x509.CertificateBuilder()
            .subject_name(self._name).issuer_name(self._name)
            .public_key(self._key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY).not_valid_after(NOW + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, SHA256())
        )  # fmt: skip
        self.file = folder / "ca.crt"
        self.file.write_bytes(own.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, ends: datetime = NOW + 10 * DAY, file: str = "") -> Pair:
        """Return a certificate for `name`, valid on this machine's loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        signed = (
            x509.CertificateBuilder()
            .subject_name(_name(name)).issuer_name(self._name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(ends - 20 * DAY).not_valid_after(ends)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, SHA256())
        )  # fmt: skip
        stem = self.folder / (file or name)
        pair = Pair(stem.with_suffix(".crt"), stem.with_suffix(".key"), signed.serial_number)
        pair.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )  # fmt: skip
        return pair

    def revoke(self, *pairs: Pair) -> Path:
        """Return the list of revoked certificates."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(NOW - DAY).next_update(NOW + 10 * DAY)
        for pair in pairs:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(pair.serial).revocation_date(NOW - DAY).build()
            )  # fmt: skip
        file = self.folder / "revoked.pem"
        file.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        return file


def need_mosquitto() -> str:
    """Return the broker's path; skip where it is missing, but never where the gate runs."""
    path = mosquitto_path()
    if path is None and not os.environ.get("CI"):
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    assert path is not None, "the gate needs mosquitto: deploy/test-broker.sh"
    return path


@contextmanager
def strict_broker(folder: Path, authority: Authority, server: Pair, revoked: Path) -> Iterator[int]:
    """Serve with the shipped configuration and access list; yields the port."""
    mosquitto, port = need_mosquitto(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPO / "deploy/mosquitto/acl", folder / "acl")
    text = (REPO / "deploy/mosquitto/mosquitto.conf").read_text()
    for shipped, here in {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/run/certs/ca.crt": str(authority.file),
        "/run/certs/broker.crt": str(server.certificate),
        "/run/certs/broker.key": str(server.key),
        "/mosquitto/config/acl": str(folder / "acl"),
        "/mosquitto/data/": f"{folder}/",
    }.items():
        assert shipped in text
        text = text.replace(shipped, here)
    settings = folder / "mosquitto.conf"
    settings.write_text(f"{text}crlfile {revoked}\nuser {folder.owner()}\n")
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen([mosquitto, "-c", str(settings)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            assert broker.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        broker.terminate()
        broker.wait(30)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def address(port: int, authority: Authority, pair: Pair | None) -> BrokerAddress:
    """Return how a client with `pair` reaches the broker."""
    return BrokerAddress(
        host="127.0.0.1",
        port=port,
        tls_ca=str(authority.file),
        tls_cert=str(pair.certificate) if pair else "",
        tls_key=str(pair.key) if pair else "",
    )
