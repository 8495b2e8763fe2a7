"""Listens to alerts as a street brain would: what `edge demo` prints comes from here, over a real broker.

It does not reconnect, remember or confirm: that is the brain's work.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from edge.delivery.message import ALL_ALERTS
from edge.delivery.mqtt import BrokerAddress, MqttLink
from edge.errors import DeliveryError

AlertHandler = Callable[[str, dict[str, object]], None]


class Subscriber:
    """Calls `on_alert(topic, alert)` from one thread, in the order of arrival; a repeat comes as it arrives."""

    def __init__(
        self,
        url: str,
        on_alert: AlertHandler,
        *,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        topics: str = ALL_ALERTS,
        connect_s: float = 10.0,
    ) -> None:
        self._address = BrokerAddress.parse(url, username=username, password=password)
        self._on_alert = on_alert
        self._topics = topics
        self._connect_s = connect_s
        self._subscribed = threading.Event()
        self._reasons: list[ReasonCode] = []
        self._link = MqttLink(
            self._address,
            client_id=client_id,
            keepalive_s=30,
            connect_s=connect_s,
            ca_file=None,
            version5=False,
            on_lost=lambda _reason: self.lost.set(),
        )
        self._link.client.on_message = self._received
        self._link.client.on_subscribe = self._confirmed
        self.lost = threading.Event()
        self.unreadable = 0  # messages that were no JSON object

    def start(self) -> None:
        """Returns when the broker has confirmed the subscription: every alert from now on arrives."""
        self._link.open()
        self._link.client.subscribe(self._topics, qos=1)
        if not self._subscribed.wait(self._connect_s) or any(reason.is_failure for reason in self._reasons):
            self.close()
            raise DeliveryError(f"{self._address}: the broker did not grant the subscription to {self._topics}")

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Subscriber:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _confirmed(self, _client: Any, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        self._reasons = reasons
        self._subscribed.set()

    def _received(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            alert = json.loads(message.payload)
        except ValueError:
            alert = None
        if isinstance(alert, dict):
            self._on_alert(message.topic, alert)
        else:
            self.unreadable += 1
