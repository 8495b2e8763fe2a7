"""What comes in over the broker, put aside by the network's thread for whoever works on it.

Bounded in number and in bytes: a flood costs the messages beyond it, which are counted, and neither memory nor alerts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came."""

    topic: str
    body: bytes
    retained: bool  # the broker had kept it: it was said before we listened


class Inbox:
    """A queue between the network's thread, which calls it, and one that takes. What comes to a full one is lost."""

    def __init__(
        self, *, messages_max: int, body_max_bytes: int, on_arrival: Callable[[], None] = lambda: None
    ) -> None:
        """`on_arrival` is called in the network's thread after each message that was put in."""
        self._messages: deque[Received] = deque()  # at most `messages_max`
        self._messages_max = messages_max
        self._body_max_bytes = body_max_bytes
        self._on_arrival = on_arrival
        self._lock = threading.Lock()
        self.dropped = 0  # came to a full queue
        self.oversized = 0

    def __call__(self, message: Received) -> None:
        if len(message.body) > self._body_max_bytes:
            self.oversized += 1
            return
        with self._lock:
            if len(self._messages) >= self._messages_max:
                self.dropped += 1
                return
            self._messages.append(message)
        self._on_arrival()

    def take(self, limit: int | None = None) -> list[Received]:
        """What waits, oldest first, at most `limit`."""
        with self._lock:
            count = len(self._messages) if limit is None else min(limit, len(self._messages))
            return [self._messages.popleft() for _ in range(count)]

    def __len__(self) -> int:
        return len(self._messages)
