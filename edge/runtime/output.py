"""The folder that a replay writes: all of it or nothing.

Everything is written into a hidden folder inside it and moved into place at the end, `summary.json` last. An
interrupted replay leaves the files of the one before untouched; foreign files are never overwritten.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from types import TracebackType

from edge.errors import OutputError

PRODUCED_BY = "edge replay"
_OURS = re.compile(r"alerts\.jsonl|measures\.jsonl|report\.html|summary\.json|evidence|annotated(-\d+)?\.mp4")
_WORK = re.compile(r"\.replay-(\d+)")


class OutputFolder:
    """Use as a context manager: write into `work`, call `publish()` at the end; leaving without it takes all back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / f".replay-{os.getpid()}"
        self._made = False

    def __enter__(self) -> OutputFolder:
        try:
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            self._sweep()
            self.work.mkdir()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot write here ({error.strerror}); name another folder") from error
        return self

    def publish(self) -> None:
        """Put the new files in the place of the old."""
        summary = self.path / "summary.json"
        summary.unlink(missing_ok=True)
        for old in self.path.iterdir():
            if _OURS.fullmatch(old.name):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        for new in sorted(self.work.iterdir(), key=lambda path: path.name == summary.name):
            new.rename(self.path / new.name)
        self.work.rmdir()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.work.exists():
            return
        shutil.rmtree(self.work, ignore_errors=True)
        if self._made and not any(self.path.iterdir()):
            self.path.rmdir()

    def _refuse_foreign(self) -> None:
        names = sorted(entry.name for entry in self.path.iterdir())
        foreign = [name for name in names if not _OURS.fullmatch(name) and not _WORK.fullmatch(name)]
        if foreign:
            raise OutputError(f"{self.path}: holds {foreign[0]!r}, which no replay wrote; name another folder")
        interrupted = any(_WORK.fullmatch(name) for name in names)
        if names and not interrupted and not self._was_produced_by_us():
            raise OutputError(f"{self.path}: holds {names[0]!r}, but not from a replay; name another folder")

    def _was_produced_by_us(self) -> bool:
        try:
            summary = json.loads((self.path / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(summary, dict) and summary.get("produced_by") == PRODUCED_BY

    def _sweep(self) -> None:
        """Take away what a killed replay left; a living one is not disturbed."""
        for entry in self.path.iterdir():
            match = _WORK.fullmatch(entry.name)
            if match is None:
                continue
            if int(match[1]) != os.getpid() and Path(f"/proc/{match[1]}").exists():
                raise OutputError(f"{self.path}: another replay (process {match[1]}) is writing here; wait for it")
            shutil.rmtree(entry)
