"""Single keys from the terminal, without Enter and without echo. Nothing where there is no terminal to type at."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
from types import TracebackType
from typing import Any


class Keys:
    """Ctrl-C is a key like others while this is open; the terminal is put back as it was at the end."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
        self._before: list[Any] = []

    def __enter__(self) -> Keys:
        if self._fd >= 0:
            self._before = termios.tcgetattr(self._fd)
            changed = termios.tcgetattr(self._fd)
            changed[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)  # 3: the local flags
            termios.tcsetattr(self._fd, termios.TCSADRAIN, changed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def pressed(self, wanted: str, *, within_s: float) -> bool:
        """Whether one of the wanted keys was pressed; waits for any key, at most so long."""
        if self._fd < 0:
            time.sleep(within_s)
            return False
        if not select.select([self._fd], [], [], within_s)[0]:
            return False
        typed = os.read(self._fd, 64).decode(errors="replace")
        return not typed or any(key in wanted for key in typed)  # nothing: the terminal is gone
