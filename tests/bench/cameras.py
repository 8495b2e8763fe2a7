"""Street cameras for tests: an RTSP server in a process of its own, that breaks as its test says.

Every wait is bounded, and a server that fails or ends by itself fails the test that uses it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

from tests.bench.streams import Stream
from tests.conftest import missing

WAIT_S = 20.0  # for any answer of the server
_LOOK_S = 0.2  # between two looks whether it still lives
PYTHON = Path("/usr/bin/python3")  # the one that has gi
_SERVER = Path(__file__).with_name("rtsp_server.py")
_NEEDS = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')"


def need_rtsp_server() -> None:
    """Skips or fails where gst-rtsp-server is not installed."""
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", _NEEDS], capture_output=True, check=False).returncode:
        missing("gst-rtsp-server for the system's Python is not installed; scripts/test installs it as root")


class StreetCameras:
    """A context manager. Paths such as `/gate` name cameras; `port` stays the same over a restart.

    The server dies with the thread that started it: start it in the main thread.
    """

    def __init__(self, *, port: int = 0) -> None:
        need_rtsp_server()
        self.port = port
        self._numbers = itertools.count(1)
        self._added: dict[str, dict[str, Any]] = {}
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] = tempfile.TemporaryFile("a+", encoding="utf-8")  # noqa: SIM115  # closed by __exit__
        self._asking = threading.Lock()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._changed = threading.Condition()
        self._seen: Counter[tuple[str, str]] = Counter()  # events by kind and path

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        try:
            if process is not None:
                ended_early = process.poll() is not None
                self._end(process)
                assert kind is not None or not ended_early, self._failure("the RTSP server ended by itself")
        finally:
            self._errors.close()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Returns when the server listens."""
        command = [str(PYTHON), "-u", str(_SERVER), "--port", str(self.port)]
        # The system's Python has its own modules, and its bytecode does not belong into the source tree.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        self.wait_for("ready")
        for path, arguments in self._added.items():
            self._ask("add", path=path, **arguments)

    def kill(self) -> None:
        """The power fails: all connections are gone, and so is what was broken on command."""
        process = self._running()
        process.kill()
        self._end(process)
        self._process = None

    def restart(self) -> None:
        """The same cameras at the same port, in order again."""
        if self._process is not None:
            self.kill()
        with self._changed:
            self._seen.clear()
        self.start()

    def add(
        self,
        path: str,
        stream: Stream,
        *,
        pace: float = 1.0,
        user: str = "",
        password: str = "",
        schemes: Sequence[str] = ("basic", "digest"),
    ) -> str:
        """A new camera; its URL, with user and password if it asks for them. `pace` 10 sends ten times as fast."""
        arguments = {"media": str(stream.index), "pace": pace}
        arguments |= {"user": user, "password": password, "schemes": list(schemes)}
        self._ask("add", path=path, **arguments)
        self._added[path] = arguments
        return self.url(path, user=user, password=password)

    def url(self, path: str, *, user: str = "", password: str = "") -> str:
        who = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        return f"rtsp://{who}127.0.0.1:{self.port}{path}"

    def remove(self, path: str) -> None:
        self._ask("remove", path=path)
        del self._added[path]

    def pause(self, path: str) -> None:
        """No more pictures; the connection stays open, and a new one gets no further than DESCRIBE."""
        self._ask("set", path=path, paused=True)

    def resume(self, path: str) -> None:
        """Pictures go on where they stopped, stamped with the time of now."""
        self._ask("set", path=path, paused=False)

    def hang(self, path: str | None = None) -> None:
        """One camera, or the whole server, sends nothing and answers nothing; sockets stay open."""
        if path is None:
            self._running().send_signal(signal.SIGSTOP)
        else:
            self._ask("set", path=path, hung=True)

    def wake(self, path: str | None = None) -> None:
        if path is None:
            self._running().send_signal(signal.SIGCONT)
        else:
            self._ask("set", path=path, hung=False)

    def freeze(self, path: str) -> None:
        """The same keyframe again and again, at the old rate with new times."""
        self._ask("set", path=path, frozen=True)

    def thaw(self, path: str) -> None:
        self._ask("set", path=path, frozen=False)

    def drop(self, path: str) -> int:
        """Close the connections of all who watch; how many there were."""
        return int(self._ask("drop", path=path)["dropped"])

    def switch(self, path: str, stream: Stream, *, drop: bool = True) -> None:
        """Other pictures: after a new connection, or without `drop` at the next keyframe of the present ones."""
        self._ask("switch", path=path, media=str(stream.index), drop=drop)
        self._added[path]["media"] = str(stream.index)

    def corrupt(self, path: str, *, seed: int, kinds: list[str], probability: float) -> None:
        """Spoil access units, see mutations.py; the first of a connection stays whole."""
        self._ask("corrupt", path=path, seed=seed, kinds=kinds, probability=probability)

    def clean(self, path: str) -> None:
        self._ask("clean", path=path)

    def stats(self, path: str) -> dict[str, Any]:
        """clients, connections, pushed, mutated, mutated_by_kind, overflowed and switched_ns of one camera."""
        return dict(self._ask("stats")["mounts"][path])

    def client_count(self) -> int:
        """Open RTSP connections, whatever they watch."""
        return int(self._ask("stats")["clients"])

    def seen(self, event: str, path: str = "") -> int:
        """How many clients were connected to (PLAY) or disconnected from a camera since the server's start."""
        with self._changed:
            return self._seen[event, path]

    def wait_for(self, event: str, path: str = "", *, count: int = 1) -> None:
        """Until an event has been seen `count` times: ready, connected or disconnected."""
        with self._changed:
            self._changed.wait_for(lambda: self._seen[event, path] >= count or self._has_ended(), timeout=WAIT_S)
            seen = self._seen[event, path]
        if seen < count:
            raise AssertionError(self._failure(f"{seen} of {count} events {event} {path}"))

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        number = next(self._numbers)
        try:
            with self._asking:
                process.stdin.write(json.dumps({"id": number, "command": command, **arguments}) + "\n")
                process.stdin.flush()
                answer = self._next_answer()
        except (BrokenPipeError, queue.Empty):
            raise AssertionError(self._failure(f"no answer to {command}")) from None
        if answer["id"] != number:
            raise AssertionError(self._failure(f"answer {answer['id']} to question {number}"))
        if "error" in answer:
            raise ValueError(answer["error"])
        return dict(answer["answer"])

    def _next_answer(self) -> dict[str, Any]:
        """Errors: queue.Empty when none comes, at once where the server has ended."""
        for _ in range(int(WAIT_S / _LOOK_S)):
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=_LOOK_S)
            if self._has_ended():
                break
        raise queue.Empty

    def _listen(self, output: IO[str]) -> None:
        for line in output:
            message = json.loads(line)
            if "id" in message:
                self._answers.put(message)
                continue
            with self._changed:
                self._seen[message["event"], message.get("path", "")] += 1
                self.port = message.get("port", self.port)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the cameras are off"
        assert self._process.poll() is None, self._failure("the RTSP server ended by itself")
        return self._process

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _end(self, process: subprocess.Popen[str]) -> None:
        """By closing stdin; a server that hangs is killed."""
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(WAIT_S)

    def _failure(self, what: str) -> str:
        """`what`, and what the server said of itself; one that still lives writes down what its threads do."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
        self._errors.seek(0)
        return f"{what}\n{self._errors.read()[-4000:]}"
