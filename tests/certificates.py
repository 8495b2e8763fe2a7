"""Authorities and certificates for tests, made on the spot: each lives for a day, or has ended yesterday."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Files:
    """A certificate and its key as files; the key is its owner's alone."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is `files.certificate`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = generate_private_key(SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = _dated(self._name, self._name, self._key).add_extension(basic, critical=True)
        self.files = self._written(name, builder.add_extension(usage, critical=True), self._key)

    def certify(self, name: str, *hosts: str, expired: bool = False, password: bytes | None = None) -> Files:
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _dated(subject, self._name, key, expired=expired)
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return self._written(name, builder, key, password=password)

    def _written(
        self,
        name: str,
        builder: x509.CertificateBuilder,
        key: EllipticCurvePrivateKey,
        *,
        password: bytes | None = None,
    ) -> Files:
        files = Files(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        files.certificate.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        sealed = BestAvailableEncryption(password) if password else NoEncryption()
        files.key.touch(0o600)
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
        return files


def _dated(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, *, expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    first, last = (now - 3 * DAY, now - DAY) if expired else (now - DAY, now + DAY)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
    )
