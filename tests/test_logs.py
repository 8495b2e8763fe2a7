"""What reaches the journal: one line a record, no password, and never a flood."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from edge import logs
from edge.clock import elapsed_s
from edge.core.types import NS_PER_S
from edge.logs import KIND_BURST, KINDS_MAX, PROCESS_BURST, LogHandler, redactor

PASSWORD = "S3cr@t/Pa ss%word#1"
MINUTE_NS = 60 * NS_PER_S


class Log:
    """A handler on a file, the clock that it goes by, and a logger of its own."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.path = folder / "log"
        self.now_ns = 0
        self._file = self.path.open("wb", buffering=0)
        self.handler = LogHandler(
            **{
                "process": "camera",
                "camera": "gate",
                "fd": self._file.fileno(),
                "mono_ns": lambda: self.now_ns,
                **settings,
            }
        )  # type: ignore[arg-type]
        self.logger = logging.Logger("edge.test")
        self.logger.addHandler(self.handler)

    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines()

    def close(self) -> None:
        self.handler.close()
        self._file.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path, secrets=[PASSWORD])
    yield log
    log.close()


def test_a_record_is_one_line_of_fields(log: Log) -> None:
    log.logger.warning("no picture\nfor %d s", 5, extra={"reason": "no-frames", "words": 'a "b"\x1b[31m'})
    [line] = log.lines()
    print(line)
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d level=warning process=camera camera=gate ", line
    )
    assert 'message="no picture\\nfor 5 s"' in line
    assert "reason=no-frames" in line
    assert 'words="a \\"b\\"\\u001b[31m"' in line
    assert line.endswith("logger=edge.test")


def test_a_record_may_name_its_camera(log: Log) -> None:
    log.logger.info("x", extra={"camera": "桥弄街 3"})
    assert 'camera="桥弄街 3"' in log.lines()[0]


def test_under_the_journal_a_line_has_its_priority_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.touch()
    found = path.stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    log = Log(tmp_path)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.logger.log(level, "word")
    assert [line[:9] for line in log.lines()] == [f"<{number}>level=" for number in (7, 6, 4, 3, 2)]
    plain = Log(tmp_path, form="text")
    plain.logger.info("word")
    assert plain.lines()[0][:2] == "20"
    log.close()
    plain.close()


def test_another_file_than_the_journal_is_not_taken_for_it() -> None:
    with open(os.devnull, "wb") as elsewhere:
        assert not logs.is_journal(elsewhere.fileno(), {"JOURNAL_STREAM": "8:4711"})
        assert not logs.is_journal(elsewhere.fileno(), {})
    assert not logs.is_journal(-1, {"JOURNAL_STREAM": "8:4711"})


def failing(words: str) -> None:
    try:
        raise ValueError(words)
    except ValueError as error:
        raise RuntimeError("the second\nerror") from error


def test_every_line_of_a_traceback_says_whose_it_is(log: Log) -> None:
    try:
        failing(f"rtsp://admin:{PASSWORD}@10.0.0.8/stream1")
    except RuntimeError:
        log.logger.exception("the worker ended")
    first, *trace = log.lines()
    print(*trace, sep="\n")
    assert 'message="the worker ended"' in first
    assert len(trace) > 8
    assert all(" process=camera camera=gate | " in line for line in trace)
    assert any("ValueError: rtsp://***@10.0.0.8/stream1" in line for line in trace)
    assert PASSWORD not in "".join(trace)


def deep(levels: int) -> None:
    if levels:
        (deep if levels % 2 else deeper)(levels - 1)
    raise ValueError("the end of it")


def deeper(levels: int) -> None:
    deep(levels - 1) if levels else deep(0)


def test_a_long_traceback_keeps_its_end(log: Log) -> None:
    try:
        deep(100)
    except ValueError:
        log.logger.exception("x")
    lines = log.lines()
    assert len(lines) == 1 + logs.TRACE_MAX + 1
    assert "lines left out" in "".join(lines)
    assert "the end of it" in lines[-1]


def test_json_is_one_whole_object_a_line_however_long_the_words(tmp_path: Path) -> None:
    log = Log(tmp_path, form="json", secrets=[PASSWORD])
    log.logger.warning("%s", "桥弄街" * 5000, extra={f"field{n}": "好" * 1000 for n in range(40)})
    log.logger.info("short\u2028word\x1b", extra={"level": "faked"})
    try:
        deep(100)
    except ValueError:
        log.logger.exception("with a traceback of %s", PASSWORD)
    content = log.path.read_bytes()
    long, short, failed = (json.loads(line) for line in content.splitlines())
    assert max(map(len, content.splitlines())) < 4096
    assert long["message"].endswith("…")
    assert set(short) == {"time", "level", "process", "camera", "message", "logger"}
    assert (short["message"], short["level"]) == ("short\u2028word\x1b", "info")
    assert "\u2028" not in content.decode()
    assert failed["traceback"].splitlines()[-1] == "ValueError: the end of it"
    assert PASSWORD not in content.decode()
    log.close()


def test_a_secret_is_hidden_however_it_is_spelled() -> None:
    clean = redactor([PASSWORD, "rtsp://root:gate-Pass@10.1.1.1:8554/live", "ab", ""])
    for text in (
        f"login {PASSWORD} refused",
        f"{[PASSWORD]!r}",
        "GET /?p=S3cr%40t%2FPa%20ss%25word%231",
        "p=S3cr%40t%2FPa+ss%25word%231",
        json.dumps({"p": PASSWORD}),
        f"rtsp://user:{PASSWORD}@10.0.0.8/x",
        "gate-Pass alone",
        "Authorization: Basic cm9vdDpnYXRl",
        "{'Authorization': 'Digest username=\"root\", response=\"cm9vdDpnYXRl\"'}",
        "pin ab",
    ):
        shown = clean(text)
        print(shown)
        assert "***" in shown
        assert not re.search(r"S3cr|ss%|word|gate-Pass|cm9v|\bab\b", shown), shown
    assert clean("rtsp://root:gate-Pass@10.1.1.1:8554/live: refused") == "rtsp://***@10.1.1.1:8554/live: refused"
    assert clean("about a cab") == "about a cab"


def test_a_long_text_is_never_cut_inside_a_password() -> None:
    clean = redactor([])
    for length in range(7960, 8010):
        assert "hunter" not in clean("x " * (length // 2) + "x" * (length % 2) + "rtsp://admin:hunter22@10.0.0.8/live")


def test_arguments_that_do_not_fit_are_no_reason_to_print_them(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    log.logger.warning("%d cameras", PASSWORD)
    assert "its arguments do not fit" in log.lines()[0]
    assert PASSWORD not in log.lines()[0] + capfd.readouterr().err


def test_of_one_kind_ten_come_at_once_and_then_six_a_minute(log: Log) -> None:
    for _ in range(100):
        log.logger.warning("refused by %s", "10.0.0.8")
    assert len(log.lines()) == KIND_BURST
    log.logger.warning("refused by %s", "10.0.0.9", extra={"camera": "yard"})
    assert len(log.lines()) == KIND_BURST + 1, "another camera has its own allowance"
    log.now_ns += 11 * NS_PER_S
    log.logger.warning("refused by %s", "10.0.0.8")
    assert 'message="suppressed 90 more like: refused by 10.0.0.8"' in log.lines()[-2]
    assert "level=warning" in log.lines()[-2]
    for _ in range(600):  # ten minutes
        log.now_ns += NS_PER_S
        log.logger.warning("refused by %s", "10.0.0.8")
    written = [line for line in log.lines()[KIND_BURST + 3 :] if "suppressed" not in line]
    print(f"ten minutes of one record a second: {len(written)} lines")
    assert 59 <= len(written) <= 61
    assert log.handler.suppressed == 90 + 600 - len(written)


def test_what_was_held_back_is_told_when_it_has_become_quiet(log: Log) -> None:
    for _ in range(50):
        log.logger.info("noise")
    log.now_ns += 3 * MINUTE_NS
    log.logger.info("something else")
    assert any('"suppressed 40 more like: noise"' in line for line in log.lines())
    for _ in range(30):
        log.logger.info("at the end")
    log.handler.close()
    assert '"suppressed 20 more like: at the end"' in log.lines()[-1]


def test_a_million_records_are_a_few_lines(log: Log) -> None:
    count = 1_000_000
    begin_s = elapsed_s()
    for number in range(count):
        log.now_ns = number * 1000  # a million a second
        log.logger.warning("packet %d of %s is broken", number, "gate")
    spent_s = elapsed_s() - begin_s
    log.handler.close()
    print(
        f"{count} records: {len(log.lines())} lines, {spent_s / count * 1e6:.1f} µs each, logging's own part included"
    )
    assert len(log.lines()) <= KIND_BURST + 1
    assert f"suppressed {count - KIND_BURST} more" in log.lines()[-1]


def test_a_million_different_records_are_bounded_too_and_so_is_the_table(log: Log) -> None:
    for number in range(100_000):
        log.now_ns += NS_PER_S // 1000  # a thousand a second, for 100 s
        log.logger.info(f"word {number} of %s", "x")
    print(f"100,000 templates in 100 s: {len(log.lines())} lines")
    assert len(log.lines()) <= PROCESS_BURST * (1 + 100 / 60) * 1.02
    assert "of every kind: over 200 lines a minute" in "".join(log.lines())
    assert len(log.handler._kinds) <= KINDS_MAX


def test_a_message_put_together_beforehand_is_known_by_its_place(log: Log) -> None:
    for number in range(100):
        log.logger.info(f"picture {number}")
    assert len(log.lines()) == KIND_BURST


def test_an_error_is_heard_above_a_flood(log: Log) -> None:
    for number in range(1000):
        log.logger.info(f"flood {number} %s", "x")
    assert len(log.lines()) == PROCESS_BURST
    log.logger.error("the disk is full")
    assert 'message="the disk is full"' in log.lines()[-1]


def test_a_log_that_nobody_reads_holds_nobody_up() -> None:
    read_fd, write_fd = os.pipe()
    handler = LogHandler(process="x", fd=write_fd)
    logger = logging.Logger("edge.test")
    logger.addHandler(handler)
    begin_s = elapsed_s()
    for number in range(PROCESS_BURST):
        logger.info(f"{'long ' * 300} %s" + str(number), "x")
    spent_s = elapsed_s() - begin_s
    print(f"{PROCESS_BURST} records into a full pipe: {spent_s:.2f} s, {handler.lost} lost")
    assert handler.lost > 100
    assert spent_s < 2
    os.set_blocking(read_fd, False)
    os.read(read_fd, 1 << 20)
    lost = handler.lost
    logger.error("somebody reads again")
    content = os.read(read_fd, 1 << 20).decode()
    assert "somebody reads again" in content
    assert f"lost {lost} lines: nobody read them" in content
    os.close(read_fd)
    logger.error("and is gone")  # a broken pipe raises nothing
    assert handler.lost == lost + 1
    os.close(write_fd)


def test_lines_of_several_threads_stay_whole(log: Log) -> None:
    def write(number: int) -> None:
        for row in range(10):
            log.logger.info(f"thread {number} row {row} %s", "y" * 500)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = log.lines()
    assert len(lines) == 80
    assert all(line.endswith("logger=edge.test") for line in lines)


PROGRAM = """
import logging, os, sys, threading, warnings
from edge.logs import set_up
set_up(process="courier", secrets=[os.environ["MQTT_PASSWORD"]], level="info", form="text")
secret = os.environ["MQTT_PASSWORD"]
logging.getLogger("edge.delivery").info("connecting with %s", secret)
logging.getLogger("edge.delivery").debug("too quiet to be heard")
for name in ("paho.mqtt.client", "urllib3.connectionpool", "libav.h264", "asyncio"):
    logging.getLogger(name).info("chatter of %s", name)
    logging.getLogger(name).warning("%s says %s", name, secret)
warnings.warn(f"deprecated: mqtt://gw:{secret}@brain/")
def fail(): raise ValueError(f"in a thread: {secret}")
thread = threading.Thread(target=fail, name="drain"); thread.start(); thread.join()
class Dying:
    def __del__(self): raise OSError(f"unraisable {secret}")
Dying()
raise SystemError(f"uncaught {secret}")
"""


def test_whatever_the_source_no_password_leaves_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "MQTT_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    print(done.stderr)
    assert done.returncode == 1
    assert done.stdout == ""
    for said in (
        "connecting with ***",
        "paho.mqtt.client says ***",
        "deprecated",
        "in a thread: ***",
        "unraisable ***",
    ):
        assert said in done.stderr
    assert "chatter" not in done.stderr
    assert "quiet" not in done.stderr
    assert not re.search("S3cr|Pa ss|word#1", done.stderr)
    assert all(re.match(r"20\d\d-.* process=courier ", line) for line in done.stderr.splitlines())


def test_ffmpegs_own_messages_stay_off() -> None:
    """They are off by default, and nothing here changes it: PyAV's callback takes Python's lock in decoder threads.

    Capture hears errors alone, for all of its process: lost datagrams are told nowhere else.
    """
    level_before = av.logging.get_level()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    edge_level = logging.getLogger("edge").level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    try:
        root.handlers[:] = []
        handler = logs.set_up(process="camera", camera="gate")
        assert root.handlers == [handler]
        assert av.logging.get_level() == level_before
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)
        logging.getLogger("edge").setLevel(edge_level)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
