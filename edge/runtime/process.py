"""How every process of the gateway begins, ends and is watched: the one process boundary.

A child dies with its parent (the kernel sees to it), leaves Ctrl-C to the supervisor, takes SIGTERM as the wish to
end in order, and tells whatever ends it otherwise in the log before it exits with a status other than 0.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from edge.errors import EdgeError, StateError

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGE_BYTES = 128 * 1024
_LIBC = ctypes.CDLL(None, use_errno=True)
_FAILED = 1


class Child:
    """A started process, watched by a descriptor of its own.

    Not by its number, which the system gives again, nor by multiprocessing's sentinel, which only says how the
    forkserver does.
    """

    def __init__(self, process: BaseProcess) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process
        try:
            self._fd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # it ended at once, and its parent has noticed already
            self._fd = -1
        except OSError:  # no descriptor is left: nobody could watch it, so it may not live
            process.kill()
            raise

    def fileno(self) -> int:
        """Readable once the process has ended; -1 where it never lived."""
        return self._fd

    @property
    def ended(self) -> bool:
        return self._fd < 0 or bool(connection.wait([self._fd], timeout=0))

    def signal(self, number: int) -> None:
        if self._fd >= 0:
            try:
                signal.pidfd_send_signal(self._fd, number)
            except ProcessLookupError:
                return

    def close(self) -> str:
        """Forget a process that has ended; returns how it did."""
        self._process.join(0.1)  # its parent needs a moment to learn how it ended
        code = self._process.exitcode
        if self._fd >= 0:
            with suppress(ChildProcessError):  # an orphan of the forkserver may have become ours: in a container
                os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
            os.close(self._fd)
            self._fd = -1
        return _how_it_ended(code)


def _how_it_ended(code: int | None) -> str:
    if code is None or code == 255:  # its forkserver died with it, or before it
        return "killed"
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}  # but for most of the real-time ones
        return f"killed by {names.get(-code, f'signal {-code}')}"
    return f"ended with status {code}"


def run_child(main: Callable[[threading.Event], None], *, name: str) -> None:
    """What a child process runs: `main` gets the event that tells it to stop. Ends the process.

    `name` is what `ps` and `top` show, its first 15 letters.
    """
    _LIBC.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    _die_with_parent()
    stop = threading.Event()

    def stopped(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, stopped)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):  # the supervisor hears them, and decides
        signal.signal(ignored, signal.SIG_IGN)
    threading.excepthook = _thread_failed
    status = 0
    try:
        main(stop)
    except EdgeError as error:
        log.error("%s", error)
        status = _FAILED
    except Exception:  # the one process boundary: the supervisor starts us anew
        log.exception("ended by a fault of ours")
        status = _FAILED
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # no thread that hangs in a decoder may keep us


def give_memory_back() -> None:
    """From here on what is freed goes back to the system at once where it was large.

    Else glibc keeps more the more was ever needed at once, for the next time: of many processes each would.
    """
    if hasattr(_LIBC, "mallopt"):  # only glibc has it, and only glibc needs it
        _LIBC.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        _LIBC.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def give_small_memory_back() -> None:
    """What lies free between things in use, too: half a millisecond."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def share_what_is_loaded() -> None:
    """In the forkserver, when all is loaded: the garbage collection of its children leaves it alone."""
    gc.collect()
    gc.freeze()


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """A thread that dies would leave a process that lives and does nothing."""
    log.error("thread %s failed", failure.thread, exc_info=failure.exc_value)
    os._exit(_FAILED)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = parent_process()
    if parent is None:
        return
    adopted = os.getppid() == 1 != parent.pid  # in a container the supervisor itself may be the first process
    if connection.wait([parent.sentinel], timeout=0) or adopted:
        os._exit(_FAILED)  # it died before the kernel knew
    threading.Thread(target=_watch, args=(parent.sentinel,), name="parent-watch", daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(_FAILED)


def end_own_children(limit_s: float = 1.0) -> None:
    """End what multiprocessing keeps beside the processes that we know: its forkserver and its resource tracker.

    They would end by themselves soon after us; a service manager that looks at once would take them for lost.
    """
    for pid in _children():
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                connection.wait([fd], timeout=limit_s)
            finally:
                os.close(fd)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Asking the forkserver for a process waits for its answer: one that hangs is killed; the wait ends in EOFError.

    The next start makes a new one. Its workers die with it.
    """
    timer = threading.Timer(seconds, _kill_forkserver)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kill_forkserver() -> None:
    for pid in _children():
        with suppress(OSError):
            if b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                log.error("the forkserver (pid %d) does not answer; killing it", pid)
                os.kill(pid, signal.SIGKILL)


def _children() -> list[int]:
    listed = (path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for text in listed for pid in text.split()]


@contextmanager
def sole_holder(path: Path, *, what: str, wait: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold a lock file for as long as the process lives, so that no twin does the same work.

    `wait` is asked after each vain try, and says whether to go on. Raises StateError where another one holds it.
    """
    try:
        lock = path.open("a+b")
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror or error}: check the rights") from error
    with lock:
        while not _taken(lock.fileno()):
            if not wait():
                lock.seek(0)
                holder = lock.read(20).decode(errors="replace").strip() or "unknown"
                raise StateError(f"{path}: {what} is already run by process {holder}; stop that one first")
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        yield


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True
