"""Letters: what goes to the broker beside the alerts, and several boxes of them as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol


class Letter(NamedTuple):
    """One message at QoS 1, published until the broker confirms it."""

    key: str  # tells it from the others of its box
    topic: str
    body: str
    retain: bool = False


class Box(Protocol):
    """See `courier.LetterBox`."""

    def unposted(self, limit: int) -> Sequence[tuple[str, str, str] | Letter]: ...

    def mark_posted(self, keys: Iterable[str]) -> None: ...


class LetterBoxes:
    """Several boxes for one courier, each by a name that holds no colon. The first one's letters go first."""

    def __init__(self, boxes: Mapping[str, Box]) -> None:
        self._boxes = boxes

    def unposted(self, limit: int) -> Sequence[Letter]:
        """A box that is full holds up those behind it; none is asked for more than there is room."""
        found: list[Letter] = []
        for name, box in self._boxes.items():
            if len(found) < limit:
                found += [Letter(f"{name}:{key}", *rest) for key, *rest in box.unposted(limit - len(found))]
        return found

    def mark_posted(self, keys: Iterable[str]) -> None:
        """Keys of a box together, in one call."""
        by_box: dict[str, list[str]] = {}
        for key in keys:
            name, _, own = key.partition(":")
            by_box.setdefault(name, []).append(own)
        for name, own_keys in by_box.items():
            self._boxes[name].mark_posted(own_keys)
