"""What the service and its processes write to stderr: one line a record, no password, never a flood.

    record -> its kind's allowance -> the process's allowance -> redacted, cut, escaped -> one write

Where stderr is the journal, a line begins with its priority (`<4>`, sd-daemon(3)) and has no time; else with the time.
A log that nobody reads, or a disk that is full, holds nobody up: what does not fit is lost, counted and told later.
FFmpeg's own messages stay off (PyAV's default): handing them to Python takes the interpreter's lock in decoder threads,
and one that waits for it while its decoder is being closed never ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import re
import select
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal
from urllib.parse import quote, quote_plus, urlsplit

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.errors import redact

Form = Literal["auto", "text", "json"]

# Of one kind: the same logger, template and camera. A camera that refuses us every 3 s is told six times a minute.
KIND_BURST = 10
KIND_PER_MINUTE = 6
KINDS_MAX = 512
# Of one process, whatever the kind.
PROCESS_BURST = 200
PROCESS_PER_MINUTE = 200
ERROR_RESERVE = 60  # lines that only errors may use when the rest is spent
MESSAGE_MAX = 2000  # characters
FIELDS_MAX = 12
FIELD_MAX = 300  # characters
TRACE_MAX = 60  # lines, of which the last ones say most
_TRACE_FIRST = 10
_CUT_BEFORE = 8000  # characters: redaction takes longer than linearly with one long word
_SWEEP_NS = 60 * NS_PER_S
_WRITE_MAX = 4096  # bytes: a pipe takes so much in one piece, and lines of several processes do not mix
_LINE_MAX = 4000  # bytes, without the prefix or the time
_WAIT_MS = 100

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "camera"}
# Line breaks of any alphabet, what moves a terminal's cursor, and what turns the direction of reading.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN = re.compile(r'[^\s"=\\]+')
_AUTHORIZATION = re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?\w+\s+)[^\r\n]+", re.IGNORECASE)
_HIDDEN = "***"

_log = logging.getLogger(__name__)


def set_up(
    *,
    process: str,
    camera: str = "",
    level: str = "info",
    form: Form = "auto",
    secrets: Collection[str] = (),
    fd: int = 2,
) -> LogHandler:
    """Send all of this process's records to `fd`; call it once, at the start of each process.

    `process` and `camera` are fields of every line; a record may name another camera by `extra={"camera": ...}`, and
    what else it has in `extra` becomes fields, too. `secrets` are values that may never be shown, such as those that
    came from the environment. `form`: auto (for the journal or with the time), text (always with the time), json.
    Uncaught errors and warnings go the same way. Libraries are heard from WARNING upwards.
    """
    handler = LogHandler(process=process, camera=camera, form=form, secrets=secrets, fd=fd)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("edge").setLevel(level.upper())
    logging.captureWarnings(True)
    # Asked for before OpenCV is loaded: its own FFmpeg would print addresses with their passwords.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    _hear_uncaught()
    with contextlib.suppress(OSError, ValueError):  # no stderr at all
        faulthandler.enable(fd, all_threads=False)
    return handler


def redactor(secrets: Collection[str]) -> Callable[[str], str]:
    """A function that takes these values, the secrets of all URLs and HTTP credentials out of a text."""
    shown: dict[str, str] = {}
    for secret in filter(None, secrets):
        replacement = redact(secret) if "://" in secret else _HIDDEN
        for form in (secret, *_spellings(secret), *_url_password(secret)):
            shown.setdefault(form, replacement if form == secret else _HIDDEN)
    longest_first = sorted(shown, key=len, reverse=True)
    # A short one, such as "admin1" never is but "a" would be, hides whole words only.
    forms = [re.escape(form) if len(form) > 3 else rf"(?<!\w){re.escape(form)}(?!\w)" for form in longest_first]
    pattern = re.compile("|".join(forms)) if forms else None

    def clean(text: str) -> str:
        if pattern:
            text = pattern.sub(lambda match: shown[match.group()], text)
        return _AUTHORIZATION.sub(rf"\1{_HIDDEN}", redact(_cut(text)))

    return clean


@dataclass(slots=True)
class _Allowance:
    """A token bucket: `burst` at once, then `per_minute`."""

    burst: float
    per_minute: float
    tokens: float
    filled_ns: int
    refused: int = 0
    like: str = ""  # the last message that it let through, redacted
    level: int = logging.INFO

    def take(self, now_ns: int, *, floor: float = 0.0) -> bool:
        gained = (now_ns - self.filled_ns) * self.per_minute / (60 * NS_PER_S)
        self.tokens, self.filled_ns = min(self.burst, self.tokens + gained), now_ns
        if self.tokens - 1 < floor:
            self.refused += 1
            return False
        self.tokens -= 1
        return True

    def is_full(self, now_ns: int) -> bool:
        return self.tokens + (now_ns - self.filled_ns) * self.per_minute / (60 * NS_PER_S) >= self.burst


class LogHandler(logging.Handler):
    """Writes records to a file descriptor. `suppressed` and `lost` count records and lines since the start."""

    def __init__(
        self,
        *,
        process: str,
        camera: str = "",
        form: Form = "auto",
        secrets: Collection[str] = (),
        fd: int = 2,
        mono_ns: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self.suppressed = 0
        self.lost = 0
        self._process, self._camera, self._fd = process, camera, fd
        self._json = form == "json"
        self._journal = form != "text" and is_journal(fd, os.environ)
        self._clean = redactor(secrets)
        self._mono_ns = mono_ns or SystemClock().mono_ns
        now_ns = self._mono_ns()
        self._kinds: OrderedDict[tuple[str, str | int, str], _Allowance] = OrderedDict()
        self._whole = _Allowance(PROCESS_BURST, PROCESS_PER_MINUTE, PROCESS_BURST, now_ns)
        self._sweep_ns = now_ns + _SWEEP_NS
        self._stuck = False
        self._untold = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        now_ns = self._mono_ns()
        kind = self._kind(record, now_ns)
        reserve = -ERROR_RESERVE if record.levelno >= logging.ERROR else 0
        if not kind.take(now_ns) or not self._whole.take(now_ns, floor=reserve):
            self.suppressed += 1
            return
        if now_ns >= self._sweep_ns:
            self._sweep(now_ns)
        message = self._clean(_message(record))
        lines = [*self._suppressed_of(kind), *self._lines(record, message)]
        kind.like, kind.level = _cut_to(message, 80), record.levelno
        self._whole.tokens -= len(lines) - 1
        self._write(lines)

    def close(self) -> None:
        """Tell what was held back and not told yet."""
        with self.lock or contextlib.nullcontext():
            waiting = [line for kind in self._kinds.values() for line in self._suppressed_of(kind)]
            self._kinds.clear()
            self._write(waiting[:PROCESS_BURST])
        super().close()

    def _kind(self, record: logging.LogRecord, now_ns: int) -> _Allowance:
        # A message that was put together before it was logged is known by where it was logged.
        template = record.msg if record.args and isinstance(record.msg, str) else record.lineno
        key = (record.name, template, str(getattr(record, "camera", self._camera)))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                _, oldest = self._kinds.popitem(last=False)
                self._write(self._suppressed_of(oldest) if self._whole.take(now_ns) else [])
            kind = self._kinds[key] = _Allowance(KIND_BURST, KIND_PER_MINUTE, KIND_BURST, now_ns)
        else:
            self._kinds.move_to_end(key)
        return kind

    def _sweep(self, now_ns: int) -> None:
        """Forget the kinds that have been quiet, and say what was held back of them."""
        self._sweep_ns = now_ns + _SWEEP_NS
        quiet = [key for key, kind in self._kinds.items() if kind.is_full(now_ns)]
        for key in quiet:
            kind = self._kinds.pop(key)
            if kind.refused and self._whole.take(now_ns):
                self._write(self._suppressed_of(kind))

    def _suppressed_of(self, kind: _Allowance) -> Iterator[str]:
        if kind.refused:
            yield self._own_line(kind.level, f"suppressed {kind.refused} more like: {kind.like}")
            kind.refused = 0
        if self._whole.refused:
            words = f"suppressed {self._whole.refused} of every kind: over {PROCESS_PER_MINUTE} lines a minute"
            yield self._own_line(logging.WARNING, words)
            self._whole.refused = 0

    def _own_line(self, level: int, words: str) -> str:
        told = logging.makeLogRecord({"name": __name__, "levelno": level, "levelname": logging.getLevelName(level)})
        return self._lines(told, words)[0]

    def _lines(self, record: logging.LogRecord, message: str) -> list[str]:
        fields = self._fields(record, _cut_to(message, MESSAGE_MAX))
        trace = [line for line in _trace(record).splitlines() if line.strip()]
        if len(trace) > TRACE_MAX:
            left_out = len(trace) - TRACE_MAX
            trace = [*trace[:_TRACE_FIRST], f"... {left_out} lines left out", *trace[_TRACE_FIRST + left_out :]]
        trace = [_cut_to(self._clean(line), FIELD_MAX) for line in trace]
        if self._json:
            time = {} if self._journal else {"time": _stamp(record)}
            end = {"traceback": "\n".join(trace)} if trace else {}
            return [self._prefix(record) + _fitting({**time, **fields, **end}, _as_json)]
        begin = self._prefix(record) or f"{_stamp(record)} "
        whose = _as_text({name: fields[name] for name in ("process", "camera") if name in fields})
        # A traceback in one escaped field cannot be read in journalctl; a line each can, and still says whose it is.
        return [begin + _fitting(fields, _as_text), *(f"{begin}{whose} | {_escaped(line)}" for line in trace)]

    def _prefix(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITY.get(record.levelno // 10 * 10, 6)}>" if self._journal else ""

    def _fields(self, record: logging.LogRecord, message: str) -> dict[str, str]:
        camera = str(getattr(record, "camera", self._camera))
        fields = {"level": record.levelname.lower(), "process": self._process}
        if camera:
            fields["camera"] = _cut_to(self._clean(camera), FIELD_MAX)
        fields["message"] = message
        extra = [(name, value) for name, value in vars(record).items() if name not in _STANDARD]
        for name, value in extra[:FIELDS_MAX]:
            fields.setdefault(_escaped(name), _cut_to(self._clean(str(value)), FIELD_MAX))
        fields["logger"] = record.name
        return fields

    def _write(self, lines: list[str] | Iterator[str]) -> None:
        """Whole lines in as few writes as may be; waits a moment once, and not again until the reader reads."""
        for piece, count in _pieces(lines):
            try:
                ready = self._poll.poll(0 if self._stuck else _WAIT_MS)
                self._stuck = not any(event & select.POLLOUT for _, event in ready)
                if not self._stuck:
                    os.write(self._fd, piece)
            except OSError:  # nobody at the other end, a full disk
                self._stuck = True
            if self._stuck:
                self.lost += count
                self._untold += count
            elif self._untold:
                untold, self._untold = self._untold, 0
                self._write([self._own_line(logging.WARNING, f"lost {untold} lines: nobody read them")])


def is_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether systemd connected `fd` to the journal: it tells device and inode."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError):
        return f"{record.msg} (its arguments do not fit: {record.pathname}:{record.lineno})"


def _trace(record: logging.LogRecord) -> str:
    parts = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else record.exc_text or ""
    return f"{parts}{record.stack_info or ''}"


def _stamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds")


def _spellings(secret: str) -> Iterator[str]:
    """The same in a URL, and in the repr() of a library that shows its arguments."""
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1])


def _url_password(secret: str) -> Iterator[str]:
    if "://" in secret:
        with contextlib.suppress(ValueError):  # no URL after all
            yield from filter(None, [urlsplit(secret).password])


def _cut(text: str) -> str:
    """Not longer than redaction can take, and never in the middle of a URL: half a password does not look like one."""
    if len(text) <= _CUT_BEFORE:
        return text
    text = text[:_CUT_BEFORE]
    last = text.rfind("://", MESSAGE_MAX)
    return text[:last] + "…" if last >= 0 else text + "…"


def _cut_to(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _escaped(text: str) -> str:
    return _CONTROL.sub(_as_code, text)


def _as_code(match: re.Match[str]) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(match.group(), f"\\u{ord(match.group()):04x}")


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value) and not _CONTROL.search(value):
        return value
    return '"' + _escaped(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _as_text(fields: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _as_json(fields: Mapping[str, str]) -> str:
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(fields, ensure_ascii=False))


def _fitting(fields: dict[str, str], form: Callable[[Mapping[str, str]], str]) -> str:
    """One whole line: what is longest is halved until it fits. Of a traceback the end stays."""
    while len(line := form(fields)) * 3 >= _LINE_MAX and len(_bytes(line)) >= _LINE_MAX:
        longest = max(fields, key=lambda name: len(_bytes(fields[name])))
        value = fields[longest]
        half = len(value) // 2
        fields[longest] = f"…{value[half + 1 :]}" if longest == "traceback" else f"{value[: half - 1]}…"
    return line


def _bytes(line: str) -> bytes:
    return line.encode(errors="backslashreplace")


def _pieces(lines: list[str] | Iterator[str]) -> Iterator[tuple[bytes, int]]:
    """Bytes that fit into one write, and how many lines they hold."""
    piece, count = b"", 0
    for line in lines:
        content = _bytes(line) + b"\n"
        if count and len(piece) + len(content) > _WRITE_MAX:
            yield piece, count
            piece, count = b"", 0
        piece, count = piece + content, count + 1
    if count:
        yield piece, count


def _hear_uncaught() -> None:
    def ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            _log.warning("interrupted")
        else:
            _log.critical("ended by an error that nobody expected", exc_info=(kind, error, trace))

    def thread_ended(hint: threading.ExceptHookArgs) -> None:
        if hint.exc_value is not None and hint.exc_type is not SystemExit:
            thread = hint.thread.name if hint.thread else "?"
            told = (hint.exc_type, hint.exc_value, hint.exc_traceback)
            _log.critical("thread %s ended by an error that nobody expected", thread, exc_info=told)

    def unraisable(hint: sys.UnraisableHookArgs) -> None:
        if hint.exc_value is not None:
            told = (hint.exc_type, hint.exc_value, hint.exc_traceback)
            _log.error("%s", hint.err_msg or "an error where none can be raised", exc_info=told)

    sys.excepthook = ended
    threading.excepthook = thread_ended
    sys.unraisablehook = unraisable
