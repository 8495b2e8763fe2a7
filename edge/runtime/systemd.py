"""What the supervisor tells systemd (sd_notify(3)): ready, alive, what it is doing. Nothing, where systemd did not ask.

Only the supervisor may: the variables are taken out of the environment, so that its children do not know where to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping

from edge.clock import SystemClock
from edge.errors import redact

_WAIT_S = 0.2  # systemd's queue is full, or it is being started anew
_WORDS_MAX = 300


class Notifier:
    """Made once, by the supervisor, before it starts anything. No method raises: no work depends on them."""

    def __init__(
        self, environ: MutableMapping[str, str] | None = None, *, mono_ns: Callable[[], int] | None = None
    ) -> None:
        """Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `environ`, by default that of this process."""
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", "")
        limit_us = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        meant = limit_us.isdecimal() and int(limit_us) > 0 and pid == str(os.getpid())
        self.watchdog_s = int(limit_us) / 1e6 if meant else None  # watchdog() at least twice as often; None: no need
        self.lost = 0  # messages that systemd did not take
        self._address = address if address.startswith("/") else ""
        if address.startswith("@"):
            self._address = "\0" + address[1:]  # an abstract name
        self._mono_ns = mono_ns or SystemClock().mono_ns

    def ready(self, words: str = "") -> None:
        self._send("READY=1", words)

    def status(self, words: str) -> None:
        """One line for `systemctl status`."""
        self._send("", words)

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, words: str = "") -> None:
        self._send("STOPPING=1", words)

    def reloading(self, words: str = "") -> None:
        """To be followed by ready(), whether the new configuration was taken or not."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self._mono_ns() // 1000}", words)

    def extend(self, seconds: float) -> None:
        """While starting, reloading or stopping: it may take so long from now on, whatever the unit's limit says."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def _send(self, state: str, words: str = "") -> None:
        told = " ".join(redact(words).split())[:_WORDS_MAX]
        message = "\n".join(part for part in (state, told and f"STATUS={told}") if part)
        if not self._address or not message:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(_WAIT_S)
                channel.connect(self._address)
                channel.sendall(message.encode(errors="replace"))
        except (OSError, ValueError):  # ValueError: a name with a NUL in it
            self.lost += 1
