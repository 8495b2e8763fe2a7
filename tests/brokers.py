"""Brokers to test against, each on its own port of the loopback, and what hears the alerts that they pass on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, Protocol

from edge.delivery.broker import EmbeddedBroker
from tests.conftest import need_program

WAIT_S = 20.0  # how long a test waits for an event that should come at once


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StreetBroker(Protocol):
    """A broker that can be killed and started again at the same address."""

    url: str
    port: int

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Embedded:
    """The broker of the demo; it knows no other end than a sudden one."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._broker: EmbeddedBroker | None = None

    def start(self) -> None:
        self._broker = EmbeddedBroker(self.port)

    def kill(self) -> None:
        if self._broker is not None:
            self._broker.close()


class Mosquitto:
    """The broker that most sites run. `settings` are lines of its configuration."""

    def __init__(self, folder: Path, *settings: str, scheme: str = "mqtt", host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.url = f"{scheme}://{host}:{self.port}"
        self._program = need_program("mosquitto")
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            "connection_messages false",
            "log_dest stderr",  # its stdout is buffered
            *(["user root"] if os.geteuid() == 0 else []),  # else it steps down and cannot read our files
            *(settings or ["allow_anonymous true"]),
        ]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when its log says that it runs."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if line.rstrip().endswith("running"):
                return
        raise AssertionError("mosquitto ended: " + "".join(said))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """A signal, such as SIGSTOP for a broker that hangs."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(WAIT_S)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


class Inbox:
    """Remembers alerts in the order of their arrival."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.alerts: list[dict[str, Any]] = []
        self._first: dict[int, None] = {}  # sequences in the order of their first arrival
        self._changed = threading.Condition()

    def __call__(self, topic: str, alert: dict[str, Any]) -> None:
        with self._changed:
            self.topics.append(topic)
            self.alerts.append(alert)
            self._first.setdefault(alert["sequence"])
            self._changed.notify_all()

    def sequences(self) -> list[int]:
        """Without repeats: the first time that each arrived."""
        return list(self._first)

    def wait_for(self, count: int) -> bool:
        """Until `count` different alerts have come."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._first) >= count, timeout=WAIT_S)
