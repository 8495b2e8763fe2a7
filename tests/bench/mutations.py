"""What a bad line does to access units: flipped bits, cut tails, swapped and lost units. The seed decides all.

Standard library only: the RTSP server runs it in the system's Python, tests run it in the project's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("bitflip", "truncate", "reorder", "drop")
_FLIPS_MAX = 8


@dataclass(frozen=True)
class Corruption:
    """Which units are spoiled and how. A unit's fate depends on the seed and its number alone, never on the time."""

    seed: int
    kinds: tuple[str, ...] = KINDS
    probability: float = 0.1  # of each unit

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown or not self.kinds:
            raise ValueError(f"kinds: {', '.join(unknown) or 'empty'}; known are {', '.join(KINDS)}")
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability: {self.probability} is not between 0 and 1")

    def fate(self, number: int) -> str | None:
        """The kind of damage that unit `number` takes, or None."""
        dice = self._dice(number)
        return dice.choice(self.kinds) if dice.random() < self.probability else None

    def damage(self, data: bytes, number: int, kind: str) -> bytes:
        """`data` after a bitflip or truncation. Bits flip behind the first start code, so that it stays a unit."""
        dice = self._dice(number)
        dice.random()
        body = min(5, len(data) - 1)
        if kind == "truncate":
            return data[: dice.randint(body, max(body, len(data) - 1))]
        spoiled = bytearray(data)
        for _ in range(dice.randint(1, _FLIPS_MAX)):
            spoiled[dice.randint(body, len(data) - 1)] ^= 1 << dice.randrange(8)
        return bytes(spoiled)

    def _dice(self, number: int) -> random.Random:
        return random.Random(f"{self.seed}:{number}")


def spoil(units: Sequence[bytes], corruption: Corruption) -> tuple[list[bytes], int]:
    """A whole sequence as it leaves a bad line, and how many of its units were touched: for tests without a server."""
    out: list[bytes] = []
    held: bytes | None = None
    touched = 0
    for number, data in enumerate(units):
        kind = corruption.fate(number)
        touched += kind is not None
        if kind == "reorder" and held is None:
            held = data
            continue
        if kind != "drop":
            out.append(corruption.damage(data, number, kind) if kind in {"bitflip", "truncate"} else data)
        if held is not None:
            out.append(held)
            held = None
    return out + ([held] if held is not None else []), touched
