"""Killed between any two system calls: the kernel stops a process at each of them, and we say whether it goes on.

What `strace -e inject=...:signal=KILL:when=N` does, without its start for each of hundreds of lives.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Callable
from typing import Any

from tests.delivery.forks import End, Life

_TRACEME, _CONT_TO_SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_GOOD_STOPS, _EXIT_KILL = 0x1, 0x100000
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_ENTRY = 1

# Those that change what others find on the disk, or who may write it. Elsewhere every call counts.
_CHANGING: dict[str, dict[int, str]] = {
    "x86_64": {
        1: "write",
        2: "open",
        18: "pwrite64",
        20: "writev",
        72: "fcntl",
        73: "flock",
        74: "fsync",
        75: "fdatasync",
        76: "truncate",
        77: "ftruncate",
        82: "rename",
        83: "mkdir",
        84: "rmdir",
        86: "link",
        87: "unlink",
        88: "symlink",
        90: "chmod",
        91: "fchmod",
        257: "openat",
        258: "mkdirat",
        263: "unlinkat",
        264: "renameat",
        265: "linkat",
        285: "fallocate",
        316: "renameat2",
        326: "copy_file_range",
    },
    "aarch64": {
        25: "fcntl",
        32: "flock",
        34: "mkdirat",
        35: "unlinkat",
        37: "linkat",
        38: "renameat",
        45: "truncate",
        46: "ftruncate",
        47: "fallocate",
        52: "fchmod",
        53: "fchmodat",
        56: "openat",
        64: "write",
        66: "writev",
        68: "pwrite64",
        82: "fsync",
        83: "fdatasync",
        276: "renameat2",
        285: "copy_file_range",
    },
}
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.ptrace.restype = ctypes.c_long


class _Entry(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


def traced(task: Callable[[], Any], *, kill_before: int = 0) -> tuple[End, list[str]]:
    """A whole life of one thread, killed right before its `kill_before`-th call that changes the disk; 0 for never.

    Returns its end and the names of those calls, the last the one that it did not live to make.
    """

    def begin() -> Any:
        _call(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        return task()

    life = Life(begin)
    os.waitpid(life.pid, 0)
    _call(_SETOPTIONS, life.pid, data=_GOOD_STOPS | _EXIT_KILL)
    names: list[str] = []
    number = 0
    while True:
        if len(names) != kill_before or not kill_before:
            _call(_CONT_TO_SYSCALL, life.pid, data=number)
        status = os.waitpid(life.pid, 0)[1]
        if not os.WIFSTOPPED(status):
            life.reaped(status)
            return life.end(), names
        number = os.WSTOPSIG(status)
        if number == _SYSCALL_STOP:
            number = 0
            if name := _entered(life.pid):
                names.append(name)
                if len(names) == kill_before:
                    os.kill(life.pid, signal.SIGKILL)


def _entered(pid: int) -> str:
    """The call that it is about to make, "" where it changes nothing or has just been made."""
    entry = _Entry()
    _call(_SYSCALL_INFO, pid, address=ctypes.sizeof(entry), data=ctypes.addressof(entry))
    if entry.kind != _ENTRY:
        return ""
    known = _CHANGING.get(platform.machine())
    return str(entry.number) if known is None else known.get(entry.number, "")


def _call(request: int, pid: int, *, address: int = 0, data: int = 0) -> None:
    if _LIBC.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")
