"""Whether a camera's name has an address, asked with a limit.

The system's look-up has none of its own: each name server that is away costs 5 s and more, and FFmpeg's opening waits
for it without a sign of life. So the name is looked up before, in a thread that may be left behind: one, never two.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from edge.errors import CaptureError, redact

LIMIT_S = 12.0  # longer than one dead name server before a good one takes (5 s, asked twice)
_BEAT_S = 0.5


class UnknownHostError(CaptureError):
    """The name has no address, or nobody answered who would know."""


class LookUp:
    """Of one caller's names; a look-up that still hangs from the last time is waited for and not doubled."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._host = ""
        self._known = False

    def check(self, source: str, *, limit_s: float = LIMIT_S, beat: Callable[[], object] = lambda: None) -> None:
        """Raises UnknownHostError where the source's name is not known within `limit_s`; beats meanwhile.

        An address that is no address at all passes: who opens it says more of it.
        """
        try:
            host = urlsplit(source).hostname
        except ValueError:
            return
        if host and not self.knows(host, limit_s=limit_s, beat=beat):
            raise UnknownHostError(f"{redact(source)}: its name is not known; check its spelling and the name server")

    def knows(self, host: str, *, limit_s: float, beat: Callable[[], object] = lambda: None) -> bool:
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._host, self._known = host, False
            thread = self._thread = threading.Thread(target=self._look_up, args=(host,), name="look-up", daemon=True)
            thread.start()
        for _ in range(max(1, round(limit_s / _BEAT_S))):
            thread.join(min(limit_s, _BEAT_S))
            beat()
            if not thread.is_alive():
                return self._known and self._host == host
        return False

    def _look_up(self, host: str) -> None:
        try:
            self._known = bool(socket.getaddrinfo(host, None))
        except (OSError, UnicodeError):
            self._known = False
