"""The process boundary, with real processes: how children begin and end, who dies with whom, and what is left."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import util
from pathlib import Path
from typing import Any

import pytest

from edge.errors import StateError
from edge.runtime.process import Child, run_child, sole_holder
from tests.conftest import missing

LIMIT_S = 10.0
METHODS = ["spawn", "forkserver"]


# What runs in the children


def idle() -> None:
    run_child(lambda stop: stop.wait() and None, name="test:idle")


def deaf() -> None:
    run_child(lambda stop: time.sleep(60), name="test:deaf")


def refuse() -> None:
    def main(stop: threading.Event) -> None:
        raise StateError("the disk is full; free some space")

    run_child(main, name="test:refuse")


def stumble() -> None:
    run_child(lambda stop: int("stumbled"), name="test:stumble")


def lose_a_thread() -> None:
    def main(stop: threading.Event) -> None:
        threading.Thread(target=int, args=("stumbled",), name="capture").start()
        stop.wait()

    run_child(main, name="test:thread")


def hold(path: str) -> None:
    def main(stop: threading.Event) -> None:
        with sole_holder(Path(path), what="this place"):
            Path(f"{path}.held").touch()
            stop.wait()

    run_child(main, name="test:hold")


def killed_by(number: int) -> None:
    os.kill(os.getpid(), number)


def no_more() -> None:
    """Ends at once, with status 0."""


def parent_of(method: str, *targets: Callable[[], None]) -> None:
    """What runs as the parent, in an interpreter of its own: tells its children's numbers, and stays."""
    context = multiprocessing.get_context(method)
    for target in targets:
        child = Child(start(context, target))
        print(child.pid, flush=True)
    time.sleep(60)


def start(context: Any, target: Callable[..., None], *arguments: object) -> Any:
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


# Around them


class Parents:
    """Interpreters that have children; all of them are gone at the end."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def run(self, code: str, *prefix: str, **more: Any) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, "-c", f"from tests.test_process import *\n{code}"]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, **more)
        self.started.append(parent)
        return parent

    def child_of(self, parent: subprocess.Popen[str]) -> int:
        assert parent.stdout is not None
        return int(parent.stdout.readline())

    def close(self) -> None:
        for parent in self.started:
            parent.kill()
            parent.wait(LIMIT_S)
            assert parent.stdout is not None
            parent.stdout.close()


@pytest.fixture
def parents() -> Iterator[Parents]:
    parents = Parents()
    yield parents
    parents.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(holds: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> float:
    begin_s = time.monotonic()
    while not holds():
        assert time.monotonic() - begin_s < limit_s, f"not within {limit_s} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - begin_s


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def begin(method: str, target: Callable[..., None], *arguments: object) -> Child:
    """A child that has got as far as its work."""
    child = Child(start(multiprocessing.get_context(method), target, *arguments))
    wait_until(lambda: name_of(child.pid).startswith("test:") or child.ended, "the child's work begins")
    time.sleep(0.05)  # between its name and its signals lie some microseconds
    return child


def end_of(child: Child) -> str:
    wait_until(lambda: child.ended, "the child ends")
    return child.close()


def zombies() -> int:
    own = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(not alive(int(pid)) for pid in own)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# Who dies with whom


@pytest.mark.parametrize("method", METHODS)
def test_a_child_is_gone_soon_after_its_parent_was_killed(method: str, parents: Parents) -> None:
    parent = parents.run(f"parent_of({method!r}, idle)")
    child = parents.child_of(parent)
    wait_until(lambda: name_of(child) == "test:idle", "the child works")
    parent.kill()
    gone_s = wait_until(lambda: not alive(child), "the child is gone")
    print(f"{method}: gone {gone_s * 1000:.0f} ms after its parent")
    assert gone_s < 1


@pytest.mark.parametrize("method", METHODS)
def test_a_child_is_gone_whenever_in_its_beginning_the_parent_is_killed(method: str, parents: Parents) -> None:
    dice = random.Random(method)
    longest_s = 0.0
    for _ in range(6):
        parent = parents.run(f"parent_of({method!r}, idle)")
        child = parents.child_of(parent)
        time.sleep(dice.uniform(0, 0.3))
        parent.kill()
        longest_s = max(longest_s, wait_until(lambda child=child: not alive(child), "the child is gone"))  # type: ignore[misc]
    print(f"{method}: gone after {longest_s:.2f} s at the latest")


def test_a_child_that_cannot_be_watched_does_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(pid: int) -> int:
        raise OSError(24, "Too many open files")

    process = start(multiprocessing.get_context("spawn"), deaf)
    monkeypatch.setattr(os, "pidfd_open", no_descriptor)
    with pytest.raises(OSError, match="Too many open files"):
        Child(process)
    process.join(LIMIT_S)
    assert process.exitcode == -signal.SIGKILL


def test_children_of_the_first_process_of_a_container_live(parents: Parents) -> None:
    """There the parent's number is 1, which elsewhere means that it has died."""
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
        inside = ["unshare", "--user", "--map-root-user", *inside[1:]]
        if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
            missing("process namespaces: unshare of util-linux, as root or with user namespaces")
    code = (
        "assert os.getpid() == 1\n"
        "for method in METHODS:\n"
        "    child = begin(method, idle)\n"
        "    print(int(child.ended), flush=True)\n"
    )
    parent = parents.run(code, *inside)
    assert [parents.child_of(parent) for _ in METHODS] == [0, 0]


def test_workers_of_a_killed_forkserver_leave_no_zombie_with_the_first_process(parents: Parents) -> None:
    """Orphans become children of the supervisor where it is the first process, or has asked for them."""
    code = (
        "import ctypes\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"  # PR_SET_CHILD_SUBREAPER
        "children = [begin('forkserver', idle) for _ in range(3)]\n"
        "server = int(Path(f'/proc/{children[0].pid}/stat').read_text().rpartition(')')[2].split()[1])\n"
        "os.kill(server, signal.SIGKILL)\n"
        "ends = [end_of(child) for child in children]\n"
        "assert set(ends) == {'killed'}, ends\n"
        "os.waitpid(server, 0)\n"
        "print(zombies(), flush=True)\n"
    )
    assert parents.child_of(parents.run(code)) == 0


# How they end


@pytest.mark.parametrize("method", METHODS)
def test_sigterm_is_the_wish_to_stop(method: str) -> None:
    child = begin(method, idle)
    child.signal(signal.SIGTERM)
    assert end_of(child) == "ended with status 0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE])
def test_what_is_meant_for_the_supervisor_does_nothing_to_children(number: int) -> None:
    child = begin("spawn", idle)
    child.signal(number)
    time.sleep(0.2)
    assert not child.ended
    child.signal(signal.SIGTERM)
    assert end_of(child) == "ended with status 0"


def test_ctrl_c_at_the_terminal_leaves_the_end_to_the_parent(parents: Parents) -> None:
    parent = parents.run("signal.signal(signal.SIGINT, signal.SIG_IGN); parent_of('forkserver', idle)")
    child = parents.child_of(parent)
    wait_until(lambda: name_of(child) == "test:idle", "the child works")
    os.killpg(parent.pid, signal.SIGINT)
    time.sleep(0.2)
    assert alive(child)


def test_an_error_on_purpose_is_one_line_and_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    assert end_of(begin("spawn", refuse)) == "ended with status 1"
    assert capfd.readouterr().err.splitlines() == ["the disk is full; free some space"]


def test_a_fault_of_ours_is_a_traceback_and_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    assert end_of(begin("spawn", stumble)) == "ended with status 1"
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "ValueError" in err


def test_a_process_does_not_outlive_its_threads(capfd: pytest.CaptureFixture[str]) -> None:
    assert end_of(begin("spawn", lose_a_thread)) == "ended with status 1"
    err = capfd.readouterr().err
    assert "capture" in err
    assert "ValueError" in err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "killed by SIGKILL"),
        (signal.SIGSEGV, "killed by SIGSEGV"),
        (signal.SIGRTMIN + 6, f"killed by signal {signal.SIGRTMIN + 6}"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_who_was_killed_says_by_what(method: str, number: int, words: str) -> None:
    assert end_of(begin(method, killed_by, int(number))) == words


def test_a_child_that_ended_before_it_was_watched_is_ended() -> None:
    process = start(multiprocessing.get_context("spawn"), no_more)
    process.join(LIMIT_S)
    child = Child(process)
    assert child.fileno() == -1
    assert child.ended
    child.signal(signal.SIGKILL)
    assert child.close() == "ended with status 0"


@pytest.mark.parametrize(("method", "rounds"), [("spawn", 6), ("forkserver", 15)])
def test_children_leave_no_descriptor_and_no_zombie(method: str, rounds: int) -> None:
    """Those that end by themselves, that are killed at work, and that are killed before they have begun."""
    context = multiprocessing.get_context(method)
    end_of(Child(start(context, no_more)))  # what stays for good, stays from the first one on
    before, finalizers = descriptors(), len(util._finalizer_registry)  # type: ignore[attr-defined]
    for _ in range(rounds):
        children = [Child(start(context, no_more)), Child(start(context, deaf)), begin(method, deaf)]
        for child in children[1:]:
            child.signal(signal.SIGKILL)
        ends = [end_of(child) for child in children]
        assert ends == ["ended with status 0", "killed by SIGKILL", "killed by SIGKILL"]
    del child, children
    print(f"{method}: {before} descriptors before, {descriptors()} after {3 * rounds} children, {zombies()} zombies")
    assert descriptors() <= before
    assert zombies() == 0
    assert len(util._finalizer_registry) <= finalizers  # type: ignore[attr-defined]


# Locks


def test_the_second_holder_is_told_who_is_the_first(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    child = begin("spawn", hold, str(path))
    wait_until(lambda: Path(f"{path}.held").exists(), "the lock is held")
    with pytest.raises(StateError, match=f"already run by process {child.pid}; stop that one first"), holding(path):
        pass
    child.signal(signal.SIGKILL)
    end_of(child)
    with holding(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_patient_holder_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "camera.lock"
    child = begin("spawn", hold, str(path))
    wait_until(lambda: Path(f"{path}.held").exists(), "the lock is held")
    asked = []

    def wait() -> bool:
        asked.append(1)
        child.signal(signal.SIGTERM)
        time.sleep(0.01)
        return len(asked) < 1000

    with sole_holder(path, what="this place", wait=wait):
        assert path.read_text() == f"{os.getpid()}\n"
    assert end_of(child) == "ended with status 0"


def test_a_lock_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be opened: Is a directory: check the rights"), holding(tmp_path):
        pass


def holding(path: Path) -> Any:
    return sole_holder(path, what="this place")
