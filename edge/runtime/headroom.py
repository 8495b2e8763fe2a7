"""Whether the machine and the service's own limit can hold what is about to be reserved.

Asked before anything is reserved: the kernel ends a process that goes over its cgroup's limit without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.errors import EdgeError

_ROOT = Path("/")
_MIB = 2**20
_NO_LIMIT = 2**60  # cgroup v1 says "no limit" with a number near 2**63


class SharedMemoryError(EdgeError):
    """Shared memory cannot be reserved in the size that the configuration needs."""


def check_memory(wanted_bytes: int, *, purpose: str, root: Path = _ROOT) -> None:
    """Raises SharedMemoryError when `wanted_bytes` are not available; `root` is where proc and sys are looked for."""
    for place, available in (*_machine(root), *_limits(root)):
        if wanted_bytes > available:
            raise SharedMemoryError(
                f"{purpose}: {_mib(wanted_bytes)} MiB of memory needed, {_mib(available)} MiB available ({place}): "
                "use fewer cameras or a smaller input, or raise the limit"
            )


def _mib(count: int) -> int:
    return -(-count // _MIB)


def _machine(root: Path) -> Iterator[tuple[str, int]]:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield "MemAvailable of this machine", int(value.split()[0]) * 1024


def _limits(root: Path) -> Iterator[tuple[str, int]]:
    """What each control group around this process leaves free; file cache that can be dropped counts as free."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _group_limits(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            yield from _group_limits(
                root / "sys/fs/cgroup/memory",
                path,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )


def _group_limits(mount: Path, path: str, limit: str, used: str, droppable: str) -> Iterator[tuple[str, int]]:
    own = mount / path.lstrip("/")
    # Inside a container the path may be the host's, and the mount is the container's own group.
    for group in (own, *own.parents):
        maximum, current = _number(group / limit), _number(group / used)
        if maximum is not None and current is not None and maximum < _NO_LIMIT:
            dropped = next((int(v) for k, v in map(str.split, _lines(group / "memory.stat")) if k == droppable), 0)
            yield f"{limit} of {group}", max(maximum - current + dropped, 0)
        if group == mount:
            return


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []  # another kernel, another container: what cannot be read limits nothing that we know of
