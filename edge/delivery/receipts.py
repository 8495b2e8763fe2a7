"""The street brain's word that it has stored alerts: `{"ids": ["uuid", ...]}` on the gateway's topic `receipt`.

Anybody may have sent it, so it is checked to the last letter. One that is malformed counts as a whole: what it may have
meant is said again when the alert is sent again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.delivery.inbox import Inbox, Received

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 65_536  # some 1,600 ids
_MESSAGES_MAX = 256
_AT_ONCE = 8  # so that a flood does not keep the courier from its alerts
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_TELL_NS = 60 * NS_PER_S  # malformed ones are logged once in so long: somebody may send thousands


class Receipts:
    """A queue from the network's thread, which calls it, to the courier's."""

    def __init__(self, *, clock: SystemClock | None = None) -> None:
        self._inbox = Inbox(messages_max=_MESSAGES_MAX, body_max_bytes=BODY_MAX_BYTES, on_arrival=self._arrived)
        self._clock = clock or SystemClock()
        self._malformed = 0
        self._told_ns: int | None = None
        self.on_arrival: Callable[[], None] = lambda: None  # called in the network's thread

    def __call__(self, message: Received) -> None:
        self._inbox(message)

    @property
    def malformed(self) -> int:
        """Messages that were no receipt, or too long for one."""
        return self._malformed + self._inbox.oversized

    @property
    def dropped(self) -> int:
        """Those that came faster than they were dealt with."""
        return self._inbox.dropped

    def take(self) -> list[str]:
        """The ids of the next receipts, as UUIDs."""
        ids: list[str] = []
        for message in self._inbox.take(_AT_ONCE):
            try:
                ids += ids_of(message.body)
            except ValueError as error:
                self._malformed += 1
                self._tell(message, error)
        return ids

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._inbox)

    def _arrived(self) -> None:
        self.on_arrival()

    def _tell(self, message: Received, error: ValueError) -> None:
        now_ns = self._clock.mono_ns()
        if self._told_ns is None or now_ns - self._told_ns >= _TELL_NS:
            self._told_ns = now_ns
            words = '%s: not a receipt (%s), %d so far; it must be {"ids": ["uuid of an alert", ...]}'
            log.warning(words, message.topic, error, self.malformed)


def ids_of(body: bytes) -> Sequence[str]:
    """Raises ValueError, in words that hold nothing of the body."""
    try:
        receipt = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    ids = receipt.get("ids") if isinstance(receipt, dict) else None
    if not isinstance(ids, list):
        raise ValueError("no list `ids`")
    if not all(isinstance(one, str) and _UUID.fullmatch(one) for one in ids):
        raise ValueError("an id that is no UUID in lower case")
    return ids
