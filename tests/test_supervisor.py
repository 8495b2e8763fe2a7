"""The supervisor under a clock that the tests move, with children that remember what was done to them.

Real processes where it matters how they end: a child that ignores SIGTERM, and hundreds of restarts.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.errors import ConfigError, StateError
from edge.runtime import supervisor as module
from edge.runtime.board import SUPERVISOR_ROW, Board
from edge.runtime.health import RUNNING, STOPPED, WAITING, ProcessEntry, SupervisorReport, read_report
from edge.runtime.process import Child, run_child
from edge.runtime.supervisor import Gateway, Plan, Supervisor
from tests.boards import SUPERVISOR

TURN_NS = NS_PER_S // 4
HANG_S = 10.0


class HandClock(SystemClock):
    """Stands still but for a millisecond a look, so that nobody who waits waits for ever."""

    def __init__(self) -> None:
        self.now_ns = 1000 * NS_PER_S
        self.tick_ns = 1_000_000

    def mono_ns(self) -> int:
        self.now_ns += self.tick_ns
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_777_858_200 * NS_PER_S + self.now_ns


class FakeChild:
    """Ends when told to: by the test, by SIGTERM unless it is deaf, by SIGKILL unless it hangs in the kernel."""

    def __init__(self, pid: int, *, deaf: bool = False, stuck: bool = False) -> None:
        self.pid = pid
        self.ended = False
        self.how = "ended with status 1"
        self.signals: list[int] = []
        self.deaf, self.stuck = deaf, stuck
        self.closed = 0

    def fileno(self) -> int:
        return -1

    def signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL and not self.stuck:
            self.end("killed by SIGKILL")
        elif number == signal.SIGTERM and not self.deaf:
            self.end("ended with status 0")

    def end(self, how: str = "ended with status 1") -> None:
        self.ended, self.how = True, how

    def close(self) -> str:
        self.closed += 1
        return self.how


class Notices:
    """Remembers in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def ready(self) -> None:
        self.told.append("ready")

    def status(self, words: str) -> None:
        self.told.append(f"status {words}")

    def watchdog(self) -> None:
        self.told.append("watchdog")

    def stopping(self) -> None:
        self.told.append("stopping")

    def reloading(self) -> None:
        self.told.append("reloading")

    def extend(self, seconds: float) -> None:
        self.told.append(f"extend {seconds:g}")


class Window:
    """Always somebody asks, so that no turn of a test waits."""

    def __init__(self) -> None:
        self._fd, self._other = os.pipe()
        os.write(self._other, b"x")
        self.served = 0
        self.seen: list[SupervisorReport] = []
        self.look: Callable[[], SupervisorReport] | None = None

    def fileno(self) -> int:
        return self._fd

    def serve(self) -> None:
        self.served += 1
        if self.look is not None:
            self.seen.append(self.look())

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._other)


@dataclass
class Configuration:
    next: Gateway | Exception | None = None
    loads: int = 0

    def changed(self) -> bool:
        return self.next is not None

    def load(self) -> Gateway:
        self.loads += 1
        answer, self.next = self.next, None
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer


@dataclass
class Bench:
    """A supervisor and all that it sees; `turn` lets time pass."""

    clock: Any = field(default_factory=HandClock)
    board: Board = field(default_factory=Board.create)
    notices: Notices = field(default_factory=Notices)
    window: Window = field(default_factory=Window)
    configuration: Configuration = field(default_factory=Configuration)
    children: dict[str, list[FakeChild]] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)
    started_ns: dict[str, list[int]] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)
    faults: dict[str, Exception] = field(default_factory=dict)  # what a start raises
    kinds: dict[str, dict[str, bool]] = field(default_factory=dict)  # what its children are like
    beating: bool = True

    def plan(self, name: str, *, kind: str = "camera", fingerprint: str = "a", **changes: Any) -> Plan:
        def start(row: int) -> Any:
            self.started_ns.setdefault(name, []).append(self.clock.now_ns)
            if name in self.faults:
                raise self.faults[name]
            children = self.children.setdefault(name, [])
            self.rows.setdefault(name, []).append(row)
            children.append(FakeChild(1000 + 100 * row + len(children), **self.kinds.get(name, {})))
            return children[-1]

        plan = Plan(
            kind=kind,
            name=name,
            start=start,
            fingerprint=fingerprint,
            hang_s=HANG_S,
            stop_order={"camera": 0, "detector": 1, "courier": 2}[kind],
            carries_on=kind == "camera",
            deaf=lambda: name in self.deaf,
        )
        return replace(plan, **changes)

    def begin(self, *plans: Plan) -> Supervisor:
        self.supervisor = Supervisor(
            board=self.board,
            configuration=self.configuration,
            first=gateway(*plans),
            notifier=self.notices,
            window=self.window,
            clock=self.clock,
        )
        self.supervisor._listen()
        self.supervisor._take(gateway(*plans))
        self.supervisor._report()
        return self.supervisor

    def turn(self, seconds: float = 0.25) -> None:
        """As many turns as fit, all that live beating."""
        for _ in range(max(round(seconds * NS_PER_S / TURN_NS), 1)):
            self.clock.now_ns += TURN_NS
            if self.beating:
                for name in self.children:
                    self.board.row(self.rows[name][-1]).beat(self.clock.now_ns)
            self.supervisor._turn()

    def child(self, name: str) -> FakeChild:
        return self.children[name][-1]

    def report(self) -> SupervisorReport:
        return read_report(self.board.row(SUPERVISOR_ROW), SupervisorReport)

    def entry(self, name: str) -> ProcessEntry:
        return next(entry for entry in self.report().processes if entry.name == name)


def gateway(*plans: Plan, sha: str = "b" * 64) -> Gateway:
    return Gateway(plans, replace(SUPERVISOR, config_sha256=sha))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.window.close()
    os.close(bench.board.fd)


def waits_s(bench: Bench, name: str) -> list[float]:
    times = bench.started_ns[name]
    return [(later - earlier) / NS_PER_S for earlier, later in itertools.pairwise(times)]


# Restarts


def test_restarts_come_at_once_and_then_ever_later(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    for _ in range(10):
        bench.child("cam").end()
        before = len(bench.children["cam"])
        while len(bench.children["cam"]) == before:
            bench.turn()
    waits = waits_s(bench, "cam")
    print([round(wait_s, 1) for wait_s in waits])
    expected = [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert waits == pytest.approx(expected, abs=0.8)
    assert bench.entry("cam").restarts == 10


def test_thirty_seconds_of_health_forget_the_past(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    for _ in range(5):
        bench.child("cam").end()
        before = len(bench.children["cam"])
        while len(bench.children["cam"]) == before:
            bench.turn()
    bench.turn(31)
    bench.child("cam").end("killed by SIGSEGV")
    bench.turn()
    assert len(bench.children["cam"]) == 7
    assert bench.entry("cam").reason == "killed by SIGSEGV"


def test_a_process_that_fails_for_ever_counts_as_failing_for_ever(bench: Bench) -> None:
    """Also at the longest waits, when its ends are a minute apart; and it is never given up."""
    bench.begin(bench.plan("cam"))
    told = []
    for second in range(1800):
        if not bench.child("cam").ended:
            bench.child("cam").end()
        bench.turn(1)
        told.append(bench.entry("cam").over_budget)
        if second == 3:
            assert not told[-1]
    first = told.index(True)
    print(f"failing after {first} s, {len(bench.children['cam'])} starts in half an hour")
    assert all(told[first:])
    assert first < 60
    bench.turn(module.BUDGET_WINDOW_NS / NS_PER_S + 60)
    assert not bench.entry("cam").over_budget


def test_five_kills_half_a_minute_apart_are_within_the_budget(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    for _ in range(5):
        bench.turn(30)
        bench.child("cam").end("killed by SIGKILL")
        bench.turn(1)
        assert bench.entry("cam").state == RUNNING
    assert not bench.entry("cam").over_budget


def test_a_start_that_fails_is_tried_again(bench: Bench) -> None:
    bench.faults["cam"] = StateError("no room for a slot; use fewer cameras")
    bench.begin(bench.plan("cam"), bench.plan("other"))
    assert bench.entry("cam").state == WAITING
    assert bench.entry("cam").reason == "could not be started: no room for a slot; use fewer cameras"
    assert bench.entry("other").state == RUNNING
    for fault in (OSError(24, "Too many open files"), EOFError("unexpected EOF")):
        bench.faults["cam"] = fault
        bench.turn(4)
        assert str(fault) in bench.entry("cam").reason
    del bench.faults["cam"]
    bench.turn(20)
    assert bench.entry("cam").state == RUNNING


# Hangs


def test_what_hangs_is_killed_once_and_the_reason_told(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    bench.beating = False
    bench.turn(HANG_S - 1)
    assert bench.child("cam").signals == []
    bench.turn(2)
    assert bench.children["cam"][0].signals == [signal.SIGKILL]
    assert bench.entry("cam").reason.startswith("hung for 10 s and was killed")
    assert len(bench.children["cam"]) == 2


def test_a_later_kill_by_others_is_not_taken_for_the_old_hang(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    bench.beating = False
    bench.turn(HANG_S + 1)
    bench.beating = True
    bench.turn(1)
    assert bench.entry("cam").reason.startswith("hung")
    bench.child("cam").end("killed by SIGKILL")
    bench.turn()
    assert bench.entry("cam").reason == "killed by SIGKILL"


def test_what_hangs_in_the_kernel_is_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.kinds["cam"] = {"stuck": True}
    bench.begin(bench.plan("cam"))
    bench.beating = False
    bench.turn(60)
    assert sum("hung" in record.message for record in caplog.records) == 1
    assert bench.child("cam").signals == [signal.SIGKILL]
    bench.child("cam").end("killed by SIGKILL")
    bench.turn()
    assert len(bench.children["cam"]) == 2


def test_a_halted_machine_is_not_a_gateway_that_hangs(bench: Bench) -> None:
    """A container that was paused, a virtual machine that was moved: nobody could beat meanwhile."""
    bench.begin(bench.plan("cam"), bench.plan("other"))
    bench.turn(30)
    bench.clock.now_ns += 120 * NS_PER_S
    bench.beating = False
    bench.turn(1)
    assert [bench.child(name).signals for name in ("cam", "other")] == [[], []]
    for _ in range(60):
        bench.board.row(bench.rows["cam"][-1]).beat(bench.clock.now_ns)
        bench.turn()
    assert bench.children["cam"][0].signals == []
    assert bench.children["other"][0].signals == [signal.SIGKILL]


# What is told


def test_the_watchdog_hears_of_every_turn_that_was_completed(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    before = bench.notices.told.count("watchdog")
    bench.turn(5)
    assert bench.notices.told.count("watchdog") - before == 20

    def broken() -> bool:
        raise RuntimeError("a fault of ours")

    bench.configuration.changed = broken  # type: ignore[method-assign]
    before = bench.notices.told.count("watchdog")
    with pytest.raises(RuntimeError):
        bench.turn()
    assert bench.notices.told.count("watchdog") == before


def test_a_report_too_long_for_its_row_leaves_reasons_out(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{number:03d}".ljust(64, "x") for number in range(280)]
    for name in names:
        bench.faults[name] = StateError("\x00" * 400)
    bench.begin(*(bench.plan(name) for name in names))
    bench.turn()
    entries = bench.report().processes
    assert [entry.name for entry in entries] == names
    assert {(entry.state, entry.reason) for entry in entries} == {(WAITING, "")}
    assert "reasons are left out" in caplog.text


def test_an_old_report_does_not_outlive_its_process_but_counts_of_a_camera_do(bench: Bench) -> None:
    bench.begin(bench.plan("cam"), bench.plan("yolox", kind="detector"))
    for name in ("cam", "yolox"):
        bench.board.row(bench.rows[name][0]).write(name)
        bench.child(name).end()
    bench.turn()
    assert [bench.board.row(bench.rows[name][0]).read() for name in ("cam", "yolox")] == ["cam", ""]


# Reload


def test_silence_is_told_before_it_is_ended(bench: Bench) -> None:
    bench.begin(bench.plan("courier", kind="courier"))
    bench.turn()
    assert not bench.entry("courier").silent
    bench.beating = False
    bench.turn(6)
    assert bench.entry("courier").silent
    assert bench.children["courier"][0].signals == []
    bench.beating = True
    bench.turn()
    assert not bench.entry("courier").silent


def test_a_process_that_takes_no_more_words_is_started_anew(bench: Bench) -> None:
    bench.begin(bench.plan("detector", kind="detector"))
    bench.turn()
    bench.deaf.add("detector")
    bench.turn()
    bench.deaf.clear()
    assert bench.children["detector"][0].signals == [signal.SIGKILL]
    bench.turn(1)
    assert len(bench.children["detector"]) == 2
    assert "did not take what it was told" in bench.entry("detector").reason


def test_a_reload_touches_only_what_changed(bench: Bench) -> None:
    bench.begin(bench.plan("same"), bench.plan("changed"), bench.plan("gone"))
    row = bench.rows["gone"][0]
    bench.board.row(row).write("of the one that is gone")
    taken: list[set[str]] = []
    bench.configuration.next = replace(
        gateway(bench.plan("same"), bench.plan("changed", fingerprint="b"), bench.plan("new"), sha="c" * 64),
        taken=lambda: taken.append({entry.name for entry in bench.report().processes}),
    )
    bench.turn()
    assert taken == [{"same", "changed", "new"}]
    assert bench.children["same"][0].signals == []
    assert bench.children["changed"][0].signals == [signal.SIGTERM]
    assert len(bench.children["changed"]) == 2
    assert bench.rows["changed"] == [bench.rows["changed"][0]] * 2
    assert bench.children["gone"][0].signals == [signal.SIGTERM]
    assert bench.rows["new"] == [row]
    assert bench.board.row(row).read() == ""
    assert {entry.name for entry in bench.report().processes} == {"same", "changed", "new"}
    assert bench.report().config_sha256 == "c" * 64
    assert [word for word in bench.notices.told if word in ("reloading", "ready")] == ["reloading", "ready"]
    assert bench.children["gone"][0].closed == bench.children["changed"][0].closed == 1


def test_what_changed_while_it_waited_is_started_at_once(bench: Bench) -> None:
    bench.faults["cam"] = StateError("no room")
    bench.begin(bench.plan("cam"))
    bench.turn(200)
    del bench.faults["cam"]
    bench.configuration.next = gateway(bench.plan("cam", fingerprint="b"))
    bench.turn()
    assert bench.entry("cam").state == RUNNING


def test_the_newest_plan_is_used_for_the_next_start(bench: Bench) -> None:
    """Its fingerprint is the same, yet it may know more: the whole of the new configuration."""
    bench.begin(bench.plan("cam"))
    newer = Bench(clock=bench.clock, board=bench.board)
    bench.configuration.next = gateway(newer.plan("cam"))
    bench.turn()
    assert newer.children == {}
    bench.child("cam").end()
    bench.turn()
    assert len(newer.children["cam"]) == 1
    newer.window.close()


def test_a_refused_configuration_changes_nothing(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    bench.configuration.next = ConfigError("site.yaml:23: cameras.gate.zones[1]: polygon needs 3 points, has 2")
    bench.turn()
    assert bench.report().config_refused == "site.yaml:23: cameras.gate.zones[1]: polygon needs 3 points, has 2"
    assert bench.report().config_sha256 == "b" * 64
    assert bench.child("cam").signals == []
    bench.turn(10)
    assert bench.configuration.loads == 1
    bench.configuration.next = gateway(bench.plan("cam"))
    bench.turn()
    assert bench.report().config_refused == ""


def test_too_many_processes_are_refused(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    bench.configuration.next = gateway(*(bench.plan(f"cam-{number}") for number in range(288)))
    bench.turn()
    assert "288 processes, room for 287" in bench.report().config_refused
    assert bench.entry("cam").state == RUNNING


# The end


def test_the_end_goes_order_by_order(bench: Bench) -> None:
    order: list[str] = []

    class Told(FakeChild):
        def __init__(self, name: str, pid: int) -> None:
            super().__init__(pid)
            self.name = name

        def signal(self, number: int) -> None:
            order.append(self.name)
            super().signal(number)

    def plan(name: str, kind: str) -> Plan:
        return bench.plan(name, kind=kind, start=lambda row: Told(name, row))

    bench.begin(plan("courier", "courier"), plan("yolox", "detector"), plan("cam-1", "camera"), plan("cam-2", "camera"))
    bench.supervisor._stop()
    assert order == ["cam-1", "cam-2", "yolox", "courier"]
    assert {entry.state for entry in bench.report().processes} == {STOPPED}
    assert bench.report().stopping
    assert bench.notices.told.count("stopping") == 1


def test_the_deaf_are_killed_within_ten_seconds_and_others_may_ask_meanwhile(bench: Bench) -> None:
    for name in ("cam", "yolox", "courier"):
        bench.kinds[name] = {"deaf": True}
    bench.begin(
        bench.plan("cam"), bench.plan("yolox", kind="detector"), bench.plan("courier", kind="courier"), bench.plan("ok")
    )
    begin_ns, served, beats = bench.clock.now_ns, bench.window.served, bench.notices.told.count("watchdog")
    bench.window.look = bench.report
    bench.supervisor._stop()
    took_s = (bench.clock.now_ns - begin_ns) / NS_PER_S
    print(f"three deaf processes in three orders: the end took {took_s:.2f} s")
    assert took_s < 10
    assert bench.child("cam").signals == [signal.SIGTERM, signal.SIGKILL]
    assert bench.child("courier").signals == [signal.SIGTERM, signal.SIGKILL]
    assert bench.child("ok").signals == [signal.SIGTERM]
    assert bench.window.served > served
    assert all(report.stopping for report in bench.window.seen)
    assert bench.notices.told.count("watchdog") > beats


def test_a_stop_asked_for_during_a_reload_starts_nothing_more(bench: Bench) -> None:
    bench.begin(bench.plan("cam"))
    bench.configuration.next = gateway(bench.plan("cam"), *(bench.plan(f"new-{number}") for number in range(5)))
    bench.supervisor.stop()
    bench.supervisor._turn()
    assert [name for name in bench.children if name.startswith("new")] == []


# With real processes


def deaf() -> None:
    run_child(lambda stop: time.sleep(60), name="test:deaf")


def quick() -> None:
    os._exit(3)


def real(bench: Bench, name: str, target: Callable[[], None], **changes: Any) -> Plan:
    context = multiprocessing.get_context("fork")  # what is under test is the supervisor's side

    def start(row: int) -> Child:
        process = context.Process(target=target)
        process.start()
        return Child(process)

    return bench.plan(name, start=start, **changes)


def test_a_real_deaf_process_is_killed_and_the_end_is_timely(bench: Bench) -> None:
    bench.clock = SystemClock()
    plans: Sequence[Plan] = [real(bench, "deaf", deaf, stop_s=1.0)]
    supervisor = bench.begin(*plans)
    pid = bench.entry("deaf").pid
    time.sleep(0.3)  # until it is deaf
    begin_s = time.monotonic()
    supervisor._stop()
    took_s = time.monotonic() - begin_s
    print(f"stopped after {took_s:.2f} s")
    assert 1 <= took_s < 3
    assert bench.entry("deaf").state == STOPPED
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_two_hundred_restarts_leave_no_descriptor(bench: Bench) -> None:
    bench.begin(real(bench, "cam", quick))
    counts = []
    for number in range(200):
        restarts = bench.entry("cam").restarts
        while bench.entry("cam").restarts == restarts:
            bench.turn(1)
            bench.clock.now_ns += 60 * NS_PER_S
            time.sleep(0.001)
        if number in (20, 199):
            counts.append(len(os.listdir("/proc/self/fd")))
    print(f"{counts[0]} descriptors after 20 restarts, {counts[1]} after 200")
    assert counts[1] <= counts[0] + 1  # one that runs, or not, at this moment
    bench.supervisor._stop()
