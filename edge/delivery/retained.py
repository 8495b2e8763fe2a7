"""Which notices the broker holds, which are on their way, and so which must be published next.

A notice is a retained message of which only the newest counts. Nothing of it is stored: a new connection begins with
nothing held, so all are published again. A topic that is no longer wanted is cleared by an empty body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

WINDOW = 16  # notices in flight, beside the alerts'
_ONCE_HELD_MAX = 2048  # topics to clear, should they be wanted no more; the oldest are forgotten beyond


class RetainedNotices:
    """Bookkeeping of one broker's retained notices. Not thread-safe."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}  # topic -> body, confirmed on this connection
        self._on_way: dict[int, tuple[str, str]] = {}  # ticket -> topic and body, at most `WINDOW`
        self._once_held: dict[str, None] = {}  # topics that may hold something, from earlier connections too
        self.forgotten = 0  # topics that were not remembered any more

    @property
    def in_flight(self) -> int:
        return len(self._on_way)

    def forget_connection(self) -> None:
        self._held.clear()
        self._on_way.clear()

    def remember(self, topics: Iterable[str]) -> None:
        """The broker may hold something under these."""
        for topic in topics:
            self._once_held[topic] = None
            if len(self._once_held) > _ONCE_HELD_MAX:
                self._once_held.pop(next(iter(self._once_held)))
                self.forgotten += 1

    def due(self, wanted: Mapping[str, str]) -> list[tuple[str, str]]:
        """Topic and body of what is to be published now, as far as the window allows; one of a topic at a time."""
        on_way = {topic for topic, _ in self._on_way.values()}
        changed = [(topic, body) for topic, body in wanted.items() if self._held.get(topic) != body]
        unwanted = [(topic, "") for topic in self._once_held if topic not in wanted]
        due = [(topic, body) for topic, body in (*changed, *unwanted) if topic not in on_way]
        return due[: WINDOW - len(self._on_way)]

    def sent(self, ticket: int, topic: str, body: str) -> None:
        self._on_way[ticket] = (topic, body)
        if body:
            self.remember([topic])

    def answered(self, ticket: int) -> str | None:
        """The topic of this ticket, if it is one of ours. A refused notice is not tried again until it changes."""
        if ticket not in self._on_way:
            return None
        topic, body = self._on_way.pop(ticket)
        if body:
            self._held[topic] = body
        else:
            self._held.pop(topic, None)
            self._once_held.pop(topic, None)
        return topic
