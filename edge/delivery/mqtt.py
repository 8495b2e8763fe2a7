"""One MQTT connection, made once and given up when it breaks: paho with its own retry and queue switched off.

Whoever uses it decides what is sent again and when (see `courier.py`), so that nothing hangs on a queue in memory.
Speaks MQTT 3.1.1, or 5 where asked and the broker can. Errors say what an installer can mend, never a password.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.delivery.inbox import Received
from edge.delivery.message import CONTENT_TYPE
from edge.errors import DeliveryError, OversizedError, redact

log = logging.getLogger(__name__)

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_GOODBYE_S = 1.0  # how long a connection may take to take leave, for a broker that hangs takes nothing
_PACKET_REST_BYTES = 64  # of a PUBLISH beside topic and body: header, ticket, content type
RECEIVE_MAX = 65_535  # messages in flight, where the broker does not say
_RECALLED_MAX = 1024  # topics of an earlier life; more are left as they are
_PACKET_MAX_BYTES = 1_000_000  # of what we hear; a broker of MQTT 5 keeps longer ones from us

Hear = Callable[[Received], None]


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
        cert_file: Path | None = None,
        key_file: Path | None = None,
        version5: bool,
        on_lost: Callable[[str], None],
        will: tuple[str, str] | None = None,
    ) -> None:
        """`will` is the topic and body that the broker publishes, retained, when this link ends without `close`."""
        self._address = address
        self._keepalive_s = keepalive_s
        self._connect_s = connect_s
        self._ca_file = ca_file
        self._cert_file = cert_file
        self._key_file = key_file
        self._version5 = version5
        self._on_lost = on_lost
        self._answered = threading.Event()
        self._answer: ReasonCode | None = None
        self._open = False
        self.receive_max = RECEIVE_MAX
        self.packet_max_bytes: int | None = None  # None: the broker does not say
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=paho.MQTTv5 if version5 else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self.client.connect_timeout = connect_s
        self.client.username_pw_set(address.username, address.password)
        if will is not None:
            topic, body = will
            will_properties = _content_type(PacketTypes.WILLMESSAGE) if version5 else None
            self.client.will_set(topic, body.encode(), qos=1, retain=True, properties=will_properties)
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
        cut = threading.Timer(_GOODBYE_S, self._cut)
        cut.start()
        self.client.loop_stop()
        cut.cancel()

    def _cut(self) -> None:
        """paho's thread ends when all is written; a broker that hangs would keep it."""
        connection = self.client.socket()
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):  # it has ended in this moment
                connection.shutdown(socket.SHUT_RDWR)

    def _dial(self) -> None:
        if self._address.tls:
            self.client.tls_set_context(self._tls())
        properties = _packet_limit() if self._version5 else None
        self.client.connect(self._address.host, self._address.port, keepalive=self._keepalive_s, properties=properties)

    def _tls(self) -> ssl.SSLContext:
        """The broker must prove who it is, by the authorities of `ca_file` alone where there is one."""
        context = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._cert_file is not None:
            context.load_cert_chain(self._cert_file, self._key_file)
        return context

    def _connected(self, _client: Any, _userdata: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._answer = reason
        # MQTT 5's, which paho leaves to us.
        self.receive_max = getattr(properties, "ReceiveMaximum", RECEIVE_MAX)
        self.packet_max_bytes = getattr(properties, "MaximumPacketSize", None)
        self._open = not reason.is_failure
        self._answered.set()

    def _disconnected(self, _client: Any, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        was_open, self._open = self._open, False
        self._answered.set()
        if was_open:
            self._on_lost(f"{self._address}: the connection broke off ({reason}); it will be tried again")

    def _refusal(self) -> DeliveryError:
        answer = "" if self._answer is None else str(self._answer)
        if not answer and self._address.tls:
            return ProtocolError(
                f"{self._address}: the broker hung up without an answer; it may ask for a certificate of ours that it "
                "knows: check cert_file and key_file"
            )
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
    """Publishes text at QoS 1 over one connection at a time, reports what the broker has confirmed, and listens."""

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
        cert_file: Path | None = None,
        key_file: Path | None = None,
        version5: bool = False,
        recall: str | Sequence[str] = (),
    ) -> None:
        """`recall` is a topic filter, or some; what is found retained there on connecting is told by `recalled`."""
        self._address = BrokerAddress.parse(url, username=username, password=password)
        self._client_id = client_id
        self._keepalive_s = keepalive_s
        self._connect_s = connect_s
        self._ca_file = ca_file
        self._cert_file = cert_file
        self._key_file = key_file
        self._version5 = version5
        self._recall = [recall] if isinstance(recall, str) else list(recall)
        self._recalled: set[str] = set()
        self._recall_overflow = False
        self._subscriptions: dict[str, Hear] = {}  # as many as the program has parts that listen
        self._refused_topics: set[str] = set()
        self._link: MqttLink | None = None

    @property
    def address(self) -> str:
        """The broker's, without secrets."""
        return str(self._address)

    @property
    def version5(self) -> bool:
        """Whether MQTT 5 is spoken; a broker that cannot has turned it off."""
        return self._version5

    @property
    def receive_max(self) -> int:
        """How many messages the broker takes before it has confirmed any of them."""
        return RECEIVE_MAX if self._link is None else self._link.receive_max

    @property
    def refused_topics(self) -> frozenset[str]:
        """Those of `subscribe` that the broker has not granted on this connection."""
        return frozenset(self._refused_topics)

    def subscribe(self, topic: str, hear: Hear) -> None:
        """From the next connection on, `hear` is given each message on this topic, at QoS 1.

        It is called in the network's thread, so it only puts the message aside: see `Inbox`. The session is not kept:
        what is said while we are away is not heard.
        """
        self._subscriptions[topic] = hear

    def check(self) -> None:
        """Connect and hang up: raises DeliveryError where the broker cannot be used."""
        self.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: None)
        self.close()

    def connect(
        self,
        *,
        on_confirmed: Callable[[int], None],
        on_lost: Callable[[str], None],
        on_refused: Callable[[int, str], None] | None = None,
        will: tuple[str, str] | None = None,
    ) -> None:
        """Open a fresh connection. The callbacks come from another thread, and never after `close`.

        `on_confirmed` gets the ticket of `publish`; it can come before `publish` has returned. `on_refused` gets a
        ticket, too, and the broker's words; without it a refusal counts as a loss. `will` is a topic and a body.
        """
        on_refused = on_refused or (lambda _ticket, words: on_lost(words))
        try:
            self._link = self._opened(on_confirmed, on_refused, on_lost, will)
        except ProtocolError:
            if not self._version5:
                raise
            self._version5 = False
            self._link = self._opened(on_confirmed, on_refused, on_lost, will)

    def publish(self, topic: str, body: str, *, retain: bool = False) -> int:
        """Hand one message to the connection; returns its ticket. Raises DeliveryError on a broken connection.

        An empty body that is to be retained clears what the broker retains under this topic.
        """
        if self._link is None:
            raise DeliveryError(f"{self._address}: not connected")
        self._check_size(topic, body)
        properties = _content_type(PacketTypes.PUBLISH) if self._version5 and body else None
        sent = self._link.client.publish(topic, body.encode(), qos=1, retain=retain, properties=properties)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"{self._address}: the connection broke off ({paho.error_string(sent.rc)})")
        return sent.mid

    def publish_once(self, topic: str, body: str) -> None:
        """Hand one message over at QoS 0: nobody confirms it, and nobody sends it again. Raises DeliveryError."""
        if self._link is None:
            raise DeliveryError(f"{self._address}: not connected")
        self._check_size(topic, body)
        properties = _content_type(PacketTypes.PUBLISH) if self._version5 else None
        sent = self._link.client.publish(topic, body.encode(), qos=0, properties=properties)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"{self._address}: the connection broke off ({paho.error_string(sent.rc)})")

    def _check_size(self, topic: str, body: str) -> None:
        limit = None if self._link is None else self._link.packet_max_bytes
        if limit is None or len(body) + _PACKET_REST_BYTES < limit // 4:  # a letter has four bytes at most
            return
        size = len(body.encode()) + len(topic.encode()) + _PACKET_REST_BYTES
        if size > limit:
            raise OversizedError(f"{self._address}: a message of {size} bytes is beyond the broker's limit of {limit}")

    def recalled(self) -> set[str]:
        """The topics under `recall` that held something when we connected, once the broker has confirmed a message.

        Ends the subscription, so call it once for a connection: it would bring us all that we publish there.
        """
        if self._link is not None and self._recall:
            self._link.client.unsubscribe(self._recall)
        found, self._recalled = self._recalled, set()
        return found

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _opened(
        self,
        on_confirmed: Callable[[int], None],
        on_refused: Callable[[int, str], None],
        on_lost: Callable[[str], None],
        will: tuple[str, str] | None,
    ) -> MqttLink:
        link = MqttLink(
            self._address,
            client_id=self._client_id,
            keepalive_s=self._keepalive_s,
            connect_s=self._connect_s,
            ca_file=self._ca_file,
            cert_file=self._cert_file,
            key_file=self._key_file,
            version5=self._version5,
            on_lost=on_lost,
            will=will,
        )

        def answered(_client: Any, _userdata: Any, ticket: int, reason: ReasonCode, _properties: Any) -> None:
            if reason.is_failure:
                words = f"{self._address}: the broker refused a message ({reason}); check the rights of its user"
                on_refused(ticket, words)
            else:
                on_confirmed(ticket)

        link.client.on_publish = answered
        link.client.on_message = self._retained
        link.client.on_subscribe = self._granted
        # The courier holds the window; paho must not queue behind its back. 0 is no limit: with one, paho looks through
        # all that is in flight at each confirmation.
        link.client.max_inflight_messages_set(0)
        for topic, hear in self._subscriptions.items():
            link.client.message_callback_add(topic, _heard_by(hear))
        self._recalled, self._refused_topics = set(), set()
        link.open()
        wanted = [*((topic, 1) for topic in self._subscriptions), *((topics, 0) for topics in self._recall)]
        if wanted:
            link.client.subscribe(wanted)
        return link

    def _granted(self, _client: Any, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        """The broker answers in the order in which we asked; what it refuses, it refuses until its rights change."""
        for topic, reason in zip(self._subscriptions, reasons, strict=False):
            if reason.is_failure:
                self._refused_topics.add(topic)
                log.warning(
                    "%s: we may not listen to %s (%s); check the rights of its user", self._address, topic, reason
                )

    def _retained(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        """Only what the broker held before has the mark; what we publish now comes back without it."""
        if not message.retain:
            return
        if len(self._recalled) < _RECALLED_MAX:
            self._recalled.add(message.topic)
        elif not self._recall_overflow:
            self._recall_overflow = True
            log.warning("%s: more than %d topics are retained; the others stay", self._address, _RECALLED_MAX)


def _heard_by(hear: Hear) -> Callable[[Any, Any, paho.MQTTMessage], None]:
    def heard(_client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        hear(Received(message.topic, bytes(message.payload), bool(message.retain)))

    return heard


def _packet_limit() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = _PACKET_MAX_BYTES
    return properties


def _content_type(packet: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.ContentType = CONTENT_TYPE
    return properties
