"""`edge status` asks the running supervisor: a unix socket in the state folder, one JSON document to each who connects.

It is served from the supervisor's own loop, and none who asks can hold that up: nothing here blocks, a client that does
not read waits in a place of its own, and when the places are taken, the one that has waited longest is put out.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge import __version__
from edge.clock import elapsed_s
from edge.errors import StateError
from edge.runtime.health import GatewayStatus, from_document

SOCKET_NAME = "status.sock"
CLIENTS_MAX = 8
ANSWER_S = 3.0
_DOCUMENT_MAX_BYTES = 4_000_000  # 256 cameras need about 400,000
_NAME_MAX_BYTES = 107  # of a socket: sockaddr_un has 108, one of them for the end
# Members of the service's group may ask; the state folder itself keeps others out.
_MODE = 0o660


class NotRunningError(StateError):
    """No gateway has its state in that folder now."""


class StatusSocket:
    """Register `fileno()` for reading, and call `serve()` when it is ready; or call it now and then."""

    def __init__(self, folder: Path, snapshot: Callable[[], dict[str, Any]]) -> None:
        """`snapshot` gives the document, once for all who ask at one time.

        Raises StateError where another gateway answers in that folder, or the socket cannot be made.
        """
        self._path = folder / SOCKET_NAME
        self._snapshot = snapshot
        self._waiting: OrderedDict[int, tuple[socket.socket, memoryview]] = OrderedDict()  # by file descriptor
        self.answered = 0
        self.put_out = 0  # clients that were sent away for others
        _remove_stale(folder)
        self._listener = _listen(folder)
        self._identity = _identity(self._path)
        self._ready = select.epoll()
        self._ready.register(self._listener, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable whenever `serve()` has something to do, be it a new client or the rest for an old one."""
        return self._ready.fileno()

    def serve(self) -> None:
        """Answer all who can be answered now."""
        for fd, _ in self._ready.poll(0):
            if fd == self._listener.fileno():
                self._take()
            elif fd in self._waiting:
                self._go_on(fd)

    def close(self) -> None:
        for fd in list(self._waiting):
            self._leave(fd)
        self._ready.close()
        self._listener.close()
        if _identity(self._path) == self._identity:  # else it is another gateway's by now
            with suppress(OSError):
                self._path.unlink()

    def _take(self) -> None:
        document = b""
        for _ in range(CLIENTS_MAX):  # more come with the next turn
            try:
                client, _ = self._listener.accept()
            except OSError:  # none is left, or no file descriptor is
                break
            client.setblocking(False)
            document = document or json.dumps(self._snapshot(), ensure_ascii=False, separators=(",", ":")).encode()
            if len(self._waiting) >= CLIENTS_MAX:
                self._leave(next(iter(self._waiting)))
                self.put_out += 1
            self._waiting[client.fileno()] = (client, memoryview(document))
            self._ready.register(client, select.EPOLLOUT)
            self._go_on(client.fileno())

    def _go_on(self, fd: int) -> None:
        client, rest = self._waiting[fd]
        try:
            while rest:
                rest = rest[client.send(rest) :]
            self.answered += 1
        except BlockingIOError:
            self._waiting[fd] = (client, rest)
            return
        except OSError:  # it has gone
            pass
        self._leave(fd)

    def _leave(self, fd: int) -> None:
        client, _ = self._waiting.pop(fd)
        with suppress(OSError):
            self._ready.unregister(client)
        client.close()


def fetch_status(folder: Path, *, limit_s: float = ANSWER_S) -> GatewayStatus:
    """Ask the gateway that runs in `folder`.

    Raises NotRunningError, or StateError for one that does not answer, is of another version, or may not be asked.
    """
    content = _ask(folder, limit_s)
    document: Any = None
    try:
        document = json.loads(content)
        return from_document(document)
    except (ValueError, TypeError, KeyError):
        supervisor = document.get("supervisor") if isinstance(document, dict) else None
        theirs = supervisor.get("software") if isinstance(supervisor, dict) else None
        raise StateError(
            f"{folder}: the gateway there is of another version ({theirs or 'unknown'}), this is {__version__}: "
            "use the `edge` that it was started with"
        ) from None


def _ask(folder: Path, limit_s: float) -> bytes:
    parts: list[bytes] = []
    end_s = elapsed_s() + limit_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel, _short_name(folder) as name:
            channel.settimeout(limit_s)
            channel.connect(name)
            while sum(map(len, parts)) < _DOCUMENT_MAX_BYTES:
                channel.settimeout(max(end_s - elapsed_s(), 0.001))
                part = channel.recv(1 << 18)
                if not part:
                    return b"".join(parts)
                parts.append(part)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise NotRunningError(f"{folder}: no gateway runs there; start one, or name its folder with --state") from None
    except PermissionError:
        raise StateError(
            f"{folder}: no rights to ask the gateway there: run as root, or as a member of its group"
        ) from None
    except (TimeoutError, BlockingIOError):
        raise StateError(
            f"{folder}: the gateway there does not answer within {limit_s:g} s: see `journalctl -u city-eye-edge`"
        ) from None
    except ConnectionError:
        raise StateError(f"{folder}: the gateway there broke off: it is stopping, or too many ask; try again") from None
    return b"".join(parts)


@contextmanager
def _short_name(folder: Path) -> Iterator[str]:
    """A name for the socket that fits into its address, wherever the folder is."""
    name = str(folder / SOCKET_NAME)
    if len(os.fsencode(name)) <= _NAME_MAX_BYTES:
        yield name
        return
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


def _listen(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with _short_name(folder) as name:
            listener.bind(name)
            os.chmod(name, _MODE)  # before it listens, so that nobody comes in earlier
        listener.listen(2 * CLIENTS_MAX)
    except OSError as error:
        listener.close()
        raise StateError(
            f"{folder / SOCKET_NAME}: cannot be made: {error.strerror or error}: check the folder and its rights"
        ) from error
    return listener


def _remove_stale(folder: Path) -> None:
    """The socket of a gateway that was killed stays behind."""
    path = folder / SOCKET_NAME
    try:
        kind = path.lstat().st_mode
    except OSError:
        return  # binding says what is wrong, if anything is
    if not stat.S_ISSOCK(kind):
        raise StateError(f"{path}: is not a socket: remove it, or name another folder with --state")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as channel,
        _short_name(folder) as name,
    ):
        code = channel.connect_ex(name)
    if code in (0, errno.EAGAIN):
        raise StateError(f"{folder}: a gateway runs there already; stop it, or name another folder with --state")
    with suppress(FileNotFoundError):
        path.unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
