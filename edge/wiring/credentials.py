"""The files that prove who we are and whom we believe: passwords, certificates, keys. Their paths are site.yaml's.

Read where they are used, and never into the configuration, which is printed, hashed and handed to every process. A
file that holds a secret must be closed to everybody but its owner and group: who may read it may speak for the gateway.
"""

from __future__ import annotations

import hashlib
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.config.delivery import MqttConfig
from edge.config.loader import Site
from edge.delivery.commands import read_keys
from edge.errors import ConfigError

SECRET_MAX_BYTES = 64 * 1024
AUTHORITIES_MAX_BYTES = 4 << 20  # a system's own list has some 200 kB
_OPEN_TO_OTHERS = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


@dataclass(frozen=True, slots=True)
class Credentials:
    """What logs a gateway in at its broker."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def fingerprint(self) -> str:
        """Another one when any of the files has changed."""
        parts = [self.password or "", *(_digest(path) for path in (self.ca_file, self.cert_file, self.key_file))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def credentials_of(site: Site) -> Credentials:
    """Raises ConfigError, with the line, for a file that cannot be used."""
    mqtt = site.config.mqtt
    if mqtt is None:
        return Credentials()
    password = mqtt.password
    if mqtt.password_file is not None:
        password = _password(site, mqtt.password_file)
    found = Credentials(
        username=mqtt.username,
        password=password,
        ca_file=placed(site, mqtt.ca_file),
        cert_file=placed(site, mqtt.cert_file),
        key_file=placed(site, mqtt.key_file),
    )
    _check_certificates(site, mqtt, found)
    return found


def command_keys(site: Site) -> list[Ed25519PublicKey]:
    """The keys that may sign commands; none where the broker's ACL confines them. Raises ConfigError."""
    wanted = site.config.commands
    if wanted is None or wanted.key is None:
        return []
    loc = ("commands", "key")
    path = placed(site, wanted.key)
    assert path is not None
    try:
        return read_keys(_read(site, loc, path))
    except ValueError as error:
        raise site.fault(loc, f"{path} {error}") from None


def check_credentials(site: Site) -> str:
    """All of them; returns their fingerprint. Raises ConfigError."""
    keys = [key.public_bytes_raw().hex() for key in command_keys(site)]
    upload = site.config.upload
    authorities = placed(site, upload.ca_file) if upload is not None else None
    if authorities is not None:
        _check_authorities(site, ("upload", "ca_file"), authorities)
    parts = [credentials_of(site).fingerprint, _digest(authorities), *keys]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _password(site: Site, written: str) -> str:
    loc = ("mqtt", "password_file")
    path = placed(site, written)
    assert path is not None
    _closed_to_others(site, loc, path)
    try:
        password = _read(site, loc, path).decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise site.fault(loc, f"{path} is no UTF-8 text") from None
    if not password or not password.isprintable():
        raise site.fault(loc, f"{path} must hold the password and nothing else, in one line")
    return password


def _check_certificates(site: Site, mqtt: MqttConfig, found: Credentials) -> None:
    """As the connection will load them, but with words for each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if found.ca_file is not None:
        _check_authorities(site, ("mqtt", "ca_file"), found.ca_file)
    if found.cert_file is not None and found.key_file is not None:
        loc = ("mqtt", "cert_file")
        _read(site, loc, found.cert_file)
        _closed_to_others(site, ("mqtt", "key_file"), found.key_file)
        try:
            context.load_cert_chain(found.cert_file, found.key_file, password=_no_password)
        except _EncryptedError:
            words = f"{found.key_file} is encrypted, and nobody is there to type its password: store it without one"
            raise site.fault(("mqtt", "key_file"), words) from None
        except (ssl.SSLError, OSError):
            words = f"{found.cert_file} and key_file {found.key_file} are no certificate and its private key in PEM"
            raise site.fault(loc, words) from None


def _check_authorities(site: Site, loc: tuple[str, ...], path: Path) -> None:
    _read(site, loc, path, bytes_max=AUTHORITIES_MAX_BYTES)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise site.fault(loc, f"{path} holds no certificate in PEM") from None


class _EncryptedError(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedError


def placed(site: Site, written: str | None) -> Path | None:
    """From the folder of site.yaml."""
    return None if written is None else site.path.parent / written


def _closed_to_others(site: Site, loc: tuple[str, ...], path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unread(site, loc, path, error) from None
    if mode & _OPEN_TO_OTHERS:
        words = f"{path} may be read or changed by others (mode {stat.S_IMODE(mode):03o}): run chmod o-rwx,g-wx {path}"
        raise site.fault(loc, words)


def _read(site: Site, loc: tuple[str, ...], path: Path, *, bytes_max: int = SECRET_MAX_BYTES) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise _unread(site, loc, path, error) from None
    if len(content) > bytes_max:
        raise site.fault(loc, f"{path} is too long to be what it should be")
    return content


def _unread(site: Site, loc: tuple[str, ...], path: Path, error: OSError) -> ConfigError:
    return site.fault(loc, f"{path} cannot be read: {error.strerror or error}: check its path and rights")


def _digest(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # it went in this moment; whoever connects says so
        return "gone"
