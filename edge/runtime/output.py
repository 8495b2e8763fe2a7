"""The folder that a replay writes: all of it or nothing.

Everything is written into a hidden folder inside it and moved into place at the end, `summary.json` last. What was
there is set aside first and deleted last, so that a move that fails is taken back. An interrupted replay leaves the
files of the one before untouched; foreign files are never overwritten, links never followed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from edge.errors import OutputError

PRODUCED_BY = "edge replay"
_OURS = re.compile(
    r"alerts\.jsonl|measures\.jsonl|report\.html|summary\.json|evidence|chain\.json|keys|annotated(-\d+)?\.mp4"
)
_SUMMARY = "summary.json"  # the last to come and the first to go: with it a replay is whole
_WORK = re.compile(r"\.replay-\d+")
_BEFORE = re.compile(r"\.replay-\d+-before")
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OutputFolder:
    """Use as a context manager: write into `work`, call `publish()` at the end; leaving without it takes all back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / f".replay-{os.getpid()}"
        self._before = path / f"{self.work.name}-before"
        self._made: list[Path] = []  # the folders that were not there before, innermost first
        self._lock = -1

    def __enter__(self) -> OutputFolder:
        try:
            self._begin()
        except BaseException as error:  # also Ctrl-C: it is raised again
            self._end()
            if isinstance(error, OSError):
                words = f"{self.path}: cannot write here ({error.strerror or error}); name another folder"
                raise OutputError(words) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def publish(self) -> None:
        """Put the new files in the place of the old. Raises OSError; the old are then where they were."""
        with _undisturbed():
            moves: list[tuple[Path, Path]] = []
            try:
                self._before.mkdir()
                self._exchange(moves)
            except OSError:
                for source, target in reversed(moves):
                    target.rename(source)
                self._before.rmdir()
                raise
            shutil.rmtree(self._before, ignore_errors=True)  # the next replay tries again
            self.work.rmdir()
            self._made = []

    def _exchange(self, moves: list[tuple[Path, Path]]) -> None:
        """`moves` gets each as it is done."""
        ours = [entry for entry in self.path.iterdir() if _OURS.fullmatch(entry.name)]
        old = sorted(ours, key=lambda entry: entry.name != _SUMMARY)
        new = sorted(self.work.iterdir(), key=lambda entry: entry.name == _SUMMARY)
        for source, folder in [(entry, self._before) for entry in old] + [(entry, self.path) for entry in new]:
            source.rename(folder / source.name)
            moves.append((source, folder / source.name))

    def _begin(self) -> None:
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        self._refuse_foreign()
        self._lock = _locked(self.path)
        self._sweep()
        self.work.mkdir()

    def _end(self) -> None:
        """Take back what was not published, and the folders that were made for nothing."""
        if self._lock >= 0:
            shutil.rmtree(self.work, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1
        for folder in self._made:
            with suppress(OSError):  # it holds something by now, or was never made
                folder.rmdir()

    def _refuse_foreign(self) -> None:
        entries = sorted(self.path.iterdir())
        names = [entry.name for entry in entries]
        foreign = [name for name in names if not (_OURS.fullmatch(name) or _is_hidden(name))]
        if foreign:
            raise OutputError(f"{self.path}: holds {foreign[0]!r}, which no replay wrote; name another folder")
        for entry in entries:
            if entry.is_symlink():
                raise OutputError(
                    f"{entry}: is a link, which no replay wrote; move away the link or name another folder"
                )
        interrupted = any(_is_hidden(name) for name in names)
        if names and not interrupted and not self._was_produced_by_us():
            raise OutputError(f"{self.path}: holds {names[0]!r}, but not from a replay; name another folder")

    def _was_produced_by_us(self) -> bool:
        try:
            summary = json.loads((self.path / _SUMMARY).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(summary, dict) and summary.get("produced_by") == PRODUCED_BY

    def _sweep(self) -> None:
        """Take away what killed replays left, and put back what one had set aside for files that never came."""
        whole = (self.path / _SUMMARY).exists()
        for entry in sorted(self.path.iterdir()):
            if _BEFORE.fullmatch(entry.name) and not whole:
                _put_back(entry)
            if _is_hidden(entry.name):
                shutil.rmtree(entry)


def _is_hidden(name: str) -> bool:
    return bool(_WORK.fullmatch(name) or _BEFORE.fullmatch(name))


def _put_back(before: Path) -> None:
    for entry in sorted(before.iterdir(), key=lambda entry: entry.name == _SUMMARY):
        place = before.parent / entry.name
        if place.is_dir():
            shutil.rmtree(place)
        entry.replace(place)


def _locked(folder: Path) -> int:
    """One replay a folder. The lock ends with its process, however that ends, in a container as well."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(f"{folder}: another replay is writing here; wait for it or name another folder") from None
    except OSError:
        pass  # some network file systems know no locks
    return descriptor


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Whoever stops us waits these milliseconds: half an exchange of files would be neither replay."""
    if threading.current_thread() is not threading.main_thread():  # only the main one is told of signals
        yield
        return
    stopped: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _STOPPING}
    heard = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, lambda number, _: stopped.append(number))
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
    if stopped:
        signal.raise_signal(stopped[0])
