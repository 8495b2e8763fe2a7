"""One MQTT connection, made once and given up when it breaks: paho with its own retry and queue switched off.

Whoever uses it decides what is sent again and when (see `courier.py`), so that nothing hangs on a queue in memory.
Speaks MQTT 3.1.1, or 5 where asked and the broker can. Errors say what an installer can mend, never a password.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.delivery.message import CONTENT_TYPE
from edge.errors import DeliveryError, redact

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and how to log in; `str()` is safe to print."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str, *, username: str | None = None, password: str | None = None) -> BrokerAddress:
        """`mqtt[s]://[user[:password]@]host[:port]`; a name and password given apart win over the URL's."""
        shown = _shown(url)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its words may hold a piece of the password
            raise DeliveryError(f"{shown}: not a broker's address; write mqtt://host:port") from None
        if parts.scheme not in _PORTS:
            raise DeliveryError(f"{shown}: an MQTT address begins with mqtt:// or mqtts://")
        if not parts.hostname:
            raise DeliveryError(f"{shown}: the address names no host; write {parts.scheme}://host:port")
        if port == 0:
            raise DeliveryError(f"{shown}: port 0 is no broker's port; leave it out or name the right one")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise DeliveryError(f"{shown}: nothing may follow the port; topics are fixed")
        return cls(
            host=parts.hostname,
            port=_PORTS[parts.scheme] if port is None else port,
            tls=parts.scheme == "mqtts",
            username=username if username is not None else _plain(parts.username),
            password=password if password is not None else _plain(parts.password),
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"BrokerAddress({self})"


def _shown(url: str) -> str:
    """Safe to print, also where the scheme is missing: then what stands before the last @ may hold a password."""
    if "://" in url:
        return redact(url)
    _, at, rest = url.rpartition("@")
    return f"{'***@' if at else ''}{rest}"


def _plain(word: str | None) -> str | None:
    return None if word is None else unquote(word)


class MqttLink:
    """One connection to a broker. `open` once, `close` once; a broken link is not mended but replaced.

    `on_lost` is called at most once, from the network thread, when an open link breaks without `close`.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        keepalive_s: int,
        connect_s: float,
        ca_file: Path | None,
        version5: bool,
        on_lost: Callable[[str], None],
    ) -> None:
        self._address = address
        self._keepalive_s = keepalive_s
        self._connect_s = connect_s
        self._ca_file = ca_file
        self._on_lost = on_lost
        self._answered = threading.Event()
        self._answer: ReasonCode | None = None
        self._open = False
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=paho.MQTTv5 if version5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self.client.connect_timeout = connect_s
        self.client.username_pw_set(address.username, address.password)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected

    def open(self) -> None:
        """Connect and wait for the broker's word. Raises DeliveryError, within about twice `connect_s`."""
        try:
            self._dial()
        except (OSError, UnicodeError) as error:
            raise DeliveryError(f"{self._address}: {_advice(error)}") from error
        self.client.loop_start()
        answered = self._answered.wait(self._connect_s)
        if self._open:
            return
        self.close()
        if not answered:
            raise DeliveryError(
                f"{self._address}: no MQTT answer within {self._connect_s:g} s; check that this is a broker's port"
            )
        raise self._refusal()

    def close(self) -> None:
        """Say goodbye and end the network thread; nothing is called back afterwards."""
        self._open = False
        self.client.disconnect()
        self.client.loop_stop()

    def _dial(self) -> None:
        if self._address.tls:
            self.client.tls_set(ca_certs=None if self._ca_file is None else str(self._ca_file))
        self.client.connect(self._address.host, self._address.port, keepalive=self._keepalive_s)

    def _connected(self, _client: Any, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._answer = reason
        self._open = not reason.is_failure
        self._answered.set()

    def _disconnected(self, _client: Any, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        was_open, self._open = self._open, False
        self._answered.set()
        if was_open:
            self._on_lost(f"{self._address}: the connection broke off ({reason}); it will be tried again")

    def _refusal(self) -> DeliveryError:
        answer = "" if self._answer is None else str(self._answer)
        if not answer:
            return ProtocolError(
                f"{self._address}: the host hung up without an answer; check the port and whether it speaks TLS"
            )
        if answer == "Unsupported protocol version":
            return ProtocolError(f"{self._address}: the broker does not speak this version of MQTT")
        if answer in ("Bad user name or password", "Not authorized"):
            return DeliveryError(f"{self._address}: the broker refused the user name or password ({answer})")
        return DeliveryError(f"{self._address}: the broker refused the connection ({answer})")


class ProtocolError(DeliveryError):
    """The broker took the connection but not our version of the protocol."""


# The first that fits; a narrower error stands before the wider one that it belongs to.
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "the host name is not known; check the address and the name server"),
    (UnicodeError, "this is no host name; check the address"),
    (ConnectionRefusedError, "nothing listens on that port; start the broker or check the port"),
    (ConnectionResetError, "the host hung up; check that this is a broker's port and whether it speaks TLS"),
    (TimeoutError, "the host did not answer in time; check the address and the network"),
    (ssl.SSLCertVerificationError, "the broker's certificate does not verify; check its authority and host name"),
    (ssl.SSLError, "no TLS with this port; check that it is the broker's TLS port"),
    (FileNotFoundError, "the certificate authority's file is missing; check its path"),
    (Exception, "cannot be reached; check the address and the network"),
)


def _advice(error: Exception) -> str:
    advice = next(words for kind, words in _ADVICE if isinstance(error, kind))
    return f"{advice} ({error})"


class MqttPublisher:
    """Publishes text at QoS 1 over one connection at a time, and reports what the broker has confirmed."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        keepalive_s: int = 30,
        connect_s: float = 10.0,
        ca_file: Path | None = None,
        version5: bool = False,
    ) -> None:
        self._address = BrokerAddress.parse(url, username=username, password=password)
        self._client_id = client_id
        self._keepalive_s = keepalive_s
        self._connect_s = connect_s
        self._ca_file = ca_file
        self._version5 = version5
        self._link: MqttLink | None = None

    @property
    def version5(self) -> bool:
        """Whether MQTT 5 is spoken; a broker that cannot has turned it off."""
        return self._version5

    def check(self) -> None:
        """Connect and hang up: raises DeliveryError where the broker cannot be used."""
        self.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: None)
        self.close()

    def connect(self, *, on_confirmed: Callable[[int], None], on_lost: Callable[[str], None]) -> None:
        """Open a fresh connection. Both callbacks come from another thread, and never after `close`.

        `on_confirmed` gets the ticket of `publish`; it can come before `publish` has returned.
        """
        try:
            self._link = self._opened(on_confirmed, on_lost)
        except ProtocolError:
            if not self._version5:
                raise
            self._version5 = False
            self._link = self._opened(on_confirmed, on_lost)

    def publish(self, topic: str, body: str) -> int:
        """Hand one message to the connection; returns its ticket. Raises DeliveryError on a broken connection."""
        if self._link is None:
            raise DeliveryError(f"{self._address}: not connected")
        properties = None
        if self._version5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = CONTENT_TYPE
        sent = self._link.client.publish(topic, body.encode(), qos=1, properties=properties)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"{self._address}: the connection broke off ({paho.error_string(sent.rc)})")
        return sent.mid

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _opened(self, on_confirmed: Callable[[int], None], on_lost: Callable[[str], None]) -> MqttLink:
        link = MqttLink(
            self._address,
            client_id=self._client_id,
            keepalive_s=self._keepalive_s,
            connect_s=self._connect_s,
            ca_file=self._ca_file,
            version5=self._version5,
            on_lost=on_lost,
        )

        def answered(_client: Any, _userdata: Any, ticket: int, reason: ReasonCode, _properties: Any) -> None:
            if reason.is_failure:
                on_lost(f"{self._address}: the broker refused an alert ({reason}); check the rights of its user")
            else:
                on_confirmed(ticket)

        link.client.on_publish = answered
        # The courier holds the window; paho must not queue behind its back.
        link.client.max_inflight_messages_set(65_535)
        link.open()
        return link
