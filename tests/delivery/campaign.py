"""Faults of every kind, one after the other and at times two at once, while a gateway tells its alerts.

    mosquitto   in a network of its own: stopped, killed, hung, unplugged, black hole, firewall, full disk
    nats        three nodes behind a relay: a node killed or hung, the relay stalled
    both        producer, courier, gateway, brain: SIGKILL at any moment; producer and courier: before any line

After each fault every alert told so far must reach the brain within two minutes; at the end the brain's ledger is held
against what the gateway stored, the evidence of every alert is verified, and so is what was uploaded of it.
Example: python -m tests.delivery.campaign mosquitto --folder /var/tmp/faults --faults 60 --alerts 2000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import cv2

from edge.clock import SystemClock
from tests.delivery import brain, gateway, ledger, lines
from tests.delivery.forks import Life, Watch, lived
from tests.delivery.gateway import Allowed, Place
from tests.delivery.lines import Line
from tests.delivery.street import Broker, House, Relay, kept_mosquitto, move_out, nats_cluster

CAMERAS = 2
RECOVERED_S = 120.0  # an alert under which three connections broke is held back for a minute, and probes are as rare
ALL_STORED_S = 60.0
ARMED_S = (
    0.6,
    1.5,
    4.0,
)  # how long a process may take to come by the line that it is to die at: by tries
HELD_S = (0.1, 1.2)  # a fault that is to be mended
LONG_S = 4.0  # one in twelve of them: longer than any of the gateway's own patience here
SECOND = 0.2  # how often something dies during an outage
DISK_MB = 24
ALERTS_A_LINE = 4
BOUND, BEYOND = 100, 120  # alerts in the outbox, and how many more are told
USUAL_BOUND = 200_000
PROBLEMS_MAX = 20
ENDING = "ending"
PATIENCE = {"poll_s": 0.05, "retry_s": 0.05, "retry_max_s": 0.4, "confirm_s": 1.5}

BROKEN = ("broker stopped", "broker killed", "broker hung", "port blackholed", "cable unplugged", "port refused")
FULL = ("disk full", "disk full and broker killed")
OFFLINE = "offline beyond the bound"  # of the outbox: updates merge
NODES = ("node killed", "node of the last connection killed", "node hung", "relay stalled")
DEATHS = ("producer killed", "courier killed", "gateway killed", "brain killed")
LINES = ("producer killed at a line", "courier killed at a line")


@dataclass
class Tally:
    """What became of all faults of one kind."""

    count: int = 0
    alerts: int = 0
    repeats: int = 0
    receipts: int = 0
    recovery_s: list[float] = field(default_factory=list)
    failed: int = 0


@dataclass
class Outcome:
    """What a campaign found."""

    broker: str
    road: str  # what the port is shut by
    seed: int
    tallies: dict[str, Tally] = field(default_factory=dict)
    faults: int = 0
    alerts: int = 0
    repeats: int = 0
    receipts: int = 0
    replaced: int = 0  # alerts that came only in the `replaces` of a later one
    waiting_max: int = 0  # in an outbox that may hold BOUND
    left_in_outbox: int = 0
    uploaded: int = 0  # different files, each whole in the store
    lines: int = 0  # of the delivery path, as far as they ran without a fault
    lines_died_at: int = 0
    lines_missed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def of(self, kind: str) -> Tally:
        return self.tallies.setdefault(kind, Tally())

    def found(self, *problems: str) -> None:
        self.problems.extend(problems)
        del self.problems[PROBLEMS_MAX:]


class Street:
    """A gateway's processes, its broker and its brain."""

    def __init__(self, folder: Path, *, host: str, port: int, chance: random.Random) -> None:
        url = f"mqtt://{host}:{port}"
        self.place = Place.make(folder / "gateway", url=url, cameras=CAMERAS, start_wall_ns=SystemClock().wall_ns())
        lived(lambda: gateway.Database.open(self.place.database).close())
        ledger.keep_copies(self.place.folder)
        self.ledger = folder / "brain.db"
        brain.make_ledger(self.ledger)
        self.allowed = Allowed()
        self._board = gateway.board_of(self.place)
        self._chance = chance
        self._tasks: dict[str, Callable[[], Any]] = {
            "courier": self._courier,
            "brain": partial(brain.listen, host, port, self.ledger, site=gateway.SITE, gateway=gateway.GATEWAY),
        }
        self.producers = [f"producer {camera}" for camera in range(CAMERAS)]
        for camera, name in enumerate(self.producers):
            self._tasks[name] = partial(self._producer, camera)
        self.lives: dict[str, Life] = {}
        self._armed: set[str] = set()

    def start(self, name: str, *, line: Line | None = None) -> None:
        """Anew, at once; with `line`, to die before it."""
        task = self._tasks[name]

        def life() -> Any:
            if line is not None:
                lines.kill_at(line)
            return task()

        self.lives[name] = Life(life)
        (self._armed.discard if line is None else self._armed.add)(name)

    def record(self, name: str) -> None:
        """Start it so that it notes the lines by which it comes; see `recorded`."""
        task = self._tasks[name]

        def life() -> list[tuple[str, int, str]]:
            run = lines.LinesRun()
            threading.Thread(target=lambda: _STOP.wait() and setattr(run, "phase", ENDING), daemon=True).start()
            run.start()
            task()
            sys.settrace(None)
            return [(*line, run.phases[line]) for line in sorted(run.visits)]

        self.lives[name] = Life(life)

    def recorded(self, name: str) -> dict[Line, str]:
        """The lines, and when it came by each for the first time: "" or ENDING."""
        life = self.lives.pop(name)
        life.signal(signal.SIGTERM)
        return {(path, number): phase for path, number, phase in life.end().value}

    def kill(self, name: str) -> None:
        life = self.lives.pop(name)
        life.signal(signal.SIGKILL)
        assert life.end().killed

    def died(self, name: str, within_s: float) -> bool:
        """Whether it has ended by SIGKILL, and is no more."""
        if not self.lives[name].has_ended(within_s):
            return False
        assert self.lives.pop(name).end().killed
        return True

    def ended_by(self, name: str) -> bool:
        """Told to end, whether it died on the way; it is no more."""
        self.lives[name].signal(signal.SIGTERM)
        return self.lives.pop(name).end(15).killed

    def bound_outbox(self, alerts_max: int) -> None:
        def life() -> None:
            with gateway.Database.open(self.place.database) as database:
                database.bound_outbox(alerts_max=alerts_max, bytes_max=1_000_000_000)

        lived(life)

    def look_after(self) -> None:
        """Start what has died at its line after all; whatever else has ended raises AssertionError."""
        for name in list(self.lives):
            if self.lives[name].has_ended():
                assert name in self._armed, f"{name} ended by itself: {self.lives.pop(name).end()}"
                self.lives.pop(name).end()
                self.start(name)

    def close(self) -> None:
        for name in list(self.lives):
            self.lives[name].signal(signal.SIGKILL)
            self.lives.pop(name).end()

    def _producer(self, camera: int) -> None:
        changed = self._chance.random() < 0.2  # the parent draws the same number next: a campaign can be run again
        gateway.produce_on(self.place, camera, self.allowed, changed=changed, stop=_STOP)

    def _courier(self) -> None:
        gateway.impatient(**PATIENCE)
        gateway.deliver(self.place, self._board, stop=_STOP)


_STOP = threading.Event()


def _hear_sigterm() -> None:
    """Before any life begins, so that none can be told to end before it listens; this process itself just ends."""
    own = os.getpid()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == own:
            raise SystemExit(1)
        _STOP.set()

    signal.signal(signal.SIGTERM, stop)


class Campaign:
    """One broker's faults, in an order that the seed gives."""

    def __init__(
        self,
        street: Street,
        *,
        brokers: Sequence[Broker],
        house: House | None,
        relay: Relay | None,
        outcome: Outcome,
        chance: random.Random,
    ) -> None:
        self.street = street
        self._brokers = brokers
        self._house = house
        self._relay = relay
        self._outcome = outcome
        self._chance = chance
        self._lines: dict[str, list[Line]] = {}
        self._ending: set[Line] = set()
        self._died_at: set[Line] = set()

    @property
    def kinds(self) -> tuple[str, ...]:
        if len(self._brokers) > 1:
            return (*NODES, *DEATHS, *LINES)
        return (*(BROKEN + FULL if self._house else (*BROKEN[:3], "relay stalled")), *DEATHS, *LINES, OFFLINE)

    def warm_up(self, alerts: int) -> None:
        """Without a fault, noting the lines that run."""
        street = self.street
        street.start("brain")
        for name in ("courier", *street.producers):
            street.record(name)
        street.allowed.alerts = alerts
        self._recovered(0, "warm-up")
        courier = street.recorded("courier")
        recorded = [street.recorded(name) for name in street.producers]
        self._ending = {line for line, phase in courier.items() if phase == ENDING}
        self._lines = {"courier": sorted(courier), "producer": sorted({line for one in recorded for line in one})}
        for name in ("courier", *street.producers):
            street.start(name)
        for name in self._lines:
            self._chance.shuffle(self._lines[name])
        self._outcome.lines = len({line for known in self._lines.values() for line in known})

    def suffer(self, kind: str, alerts: int, inject: Callable[[], None] | None = None) -> None:
        """One fault in the middle of `alerts` new alerts; without `inject` the one that the kind says."""
        street, tally = self.street, self._outcome.of(kind)
        before, kept = street.allowed.alerts, brain.kept(street.ledger)
        street.allowed.alerts = before + alerts // 2
        time.sleep(self._chance.uniform(0, 0.1))
        street.allowed.alerts = before + alerts
        (inject or partial(self._inject, kind))()
        self._outcome.faults += 1
        seconds, whole = self._recovered(before, kind)
        now = brain.kept(street.ledger)
        tally.count += 1
        tally.alerts += street.allowed.alerts - before
        tally.repeats += now.repeats - kept.repeats
        tally.receipts += now.receipts - kept.receipts
        tally.recovery_s.append(round(seconds, 3))
        tally.failed += not whole

    def finish(self) -> None:
        """Everything stored at the brain and struck out at the gateway; then both books are compared."""
        street, outcome = self.street, self._outcome
        folder, last = street.place.folder, street.allowed.alerts
        left, until = self._left(), time.monotonic() + ALL_STORED_S
        while left and time.monotonic() < until:
            street.look_after()
            time.sleep(0.05)
            before, left = left, self._left()
            if left < before:  # files go one by one: as long as they go, they are waited for
                until = time.monotonic() + ALL_STORED_S
        outcome.left_in_outbox, not_uploaded = ledger.waiting(folder), ledger.relayed(folder)
        street.close()
        kept = brain.kept(street.ledger)
        copies = ledger.copies(folder)
        last = max(copies)
        outcome.alerts, outcome.repeats, outcome.receipts = last, kept.repeats, kept.receipts
        outcome.replaced = last - kept.alerts
        outcome.found(*brain.problems_of(street.ledger, copies, last))
        told = partial(gateway.Script, street.place)
        lived(lambda: [told(camera).close() for camera in range(CAMERAS)])
        outcome.found(*ledger.problems_of(folder, delivered=True))
        outcome.uploaded, wrong = ledger.store_problems(folder, street.place.store)
        outcome.found(*wrong)
        if not_uploaded:
            outcome.found(f"evidence of {not_uploaded} alerts still waits for its upload")
        if outcome.left_in_outbox:
            outcome.found(
                f"{outcome.left_in_outbox} alerts are still in the outbox, though the brain has receipted them"
            )
        outcome.lines_died_at = len(self._died_at)

    def _left(self) -> int:
        """Alerts without a receipt, and alerts whose evidence is not uploaded."""
        folder = self.street.place.folder
        return ledger.waiting(folder) + ledger.relayed(folder)

    def _recovered(self, before: int, kind: str) -> tuple[float, bool]:
        """How long until the brain has all that was told, at most a minute, and whether it has."""
        street = self.street
        begin = time.monotonic()
        while (missing := brain.missing(street.ledger, before, street.allowed.alerts)) > 0:
            street.look_after()
            if time.monotonic() - begin > RECOVERED_S:
                self._outcome.found(f"{kind}: {missing} alerts have not come within {RECOVERED_S:g} s")
                return time.monotonic() - begin, False
            time.sleep(0.02)
        return time.monotonic() - begin, True

    def _inject(self, kind: str) -> None:
        if kind in LINES:
            self._kill_at_a_line(kind.partition(" ")[0])
        elif kind == OFFLINE:
            self._go_offline()
        elif kind in DEATHS:
            self._kill(kind.partition(" ")[0])
        else:
            self._break(kind)

    def _kill(self, who: str) -> None:
        street = self.street
        names = {"producer": [self._chance.choice(street.producers)], "gateway": [*street.producers, "courier"]}
        chosen = names.get(who, [who])
        for name in chosen:
            street.kill(name)
        if who == "gateway":
            lived(partial(gateway.tidy_up, street.place))
        for name in chosen:
            street.start(name)

    def _kill_at_a_line(self, who: str, line: Line | None = None, *, within_s: float = ARMED_S[1]) -> None:
        """`line`, else the next of all; those that only run at the end of a process are come by at its end."""
        street = self.street
        name = self._chance.choice(street.producers) if who == "producer" else who
        if line is None:
            line = self._lines[who].pop()
            self._lines[who].insert(0, line)
        street.kill(name)
        street.start(name, line=line)
        if street.died(name, ARMED_S[0] / 2 if line in self._ending else within_s) or street.ended_by(name):
            self._died_at.add(line)
        street.start(name)

    def every_line(self, who: str, alerts: int) -> None:
        """Killed at each line at which it has not died yet; what no life comes by is named."""
        for within_s in ARMED_S:
            left = [line for line in self._lines[who] if line not in self._died_at]
            for line in left:
                self.suffer(
                    f"{who} killed at a line", alerts, partial(self._kill_at_a_line, who, line, within_s=within_s)
                )
        left = [line for line in self._lines[who] if line not in self._died_at]
        self._outcome.lines_missed = [f"{path}:{number}" for path, number in sorted(left)]

    def _break(self, kind: str) -> None:
        hold_s = LONG_S if self._chance.random() < 1 / 12 else self._chance.uniform(*HELD_S)
        broker = self._chance.choice(self._brokers)
        house, relay = self._house, self._relay
        if kind == "node of the last connection killed" and relay is not None:
            broker = self._brokers[relay.last]
        number = {"hung": signal.SIGSTOP, "stopped": signal.SIGTERM, "killed": signal.SIGKILL}.get(
            kind.rpartition(" ")[2]
        )
        if kind.startswith("disk full") and house is not None:
            house.fill()
            broker.send(signal.SIGUSR1)  # save now
        if number == signal.SIGSTOP:
            broker.send(number)
        elif number is not None:
            broker.stop() if number == signal.SIGTERM else broker.kill()
        elif house is not None and kind in BROKEN:
            {"port blackholed": house.swallow, "cable unplugged": house.unplug, "port refused": house.refuse}[kind]()
        elif relay is not None and kind == "relay stalled":
            relay.stall()
        self._hold(hold_s)
        if kind.startswith("disk full") and house is not None:
            house.free()
        if number == signal.SIGSTOP:
            broker.send(signal.SIGCONT)
        elif number is not None:
            broker.start()
        if house is not None:
            house.mend()
        if relay is not None:
            relay.mend()

    def _go_offline(self) -> None:
        """Until more has been told than the outbox may hold."""
        street, broker = self.street, self._brokers[0]
        broker.stop()
        street.bound_outbox(BOUND)
        street.allowed.alerts += BOUND + BEYOND
        until = time.monotonic() + RECOVERED_S
        while ledger.last(street.place.folder) < street.allowed.alerts and time.monotonic() < until:
            street.look_after()
            time.sleep(0.02)
        self._outcome.waiting_max = max(self._outcome.waiting_max, ledger.waiting(street.place.folder))
        street.bound_outbox(USUAL_BOUND)
        broker.start()

    def _hold(self, hold_s: float) -> None:
        second = self._chance.random() < SECOND
        time.sleep(hold_s / 2)
        if second:
            kind = self._chance.choice(DEATHS)
            self._outcome.faults += 1
            self._outcome.of(f"{kind} in an outage").count += 1
            self._kill(kind.partition(" ")[0])
        time.sleep(hold_s / 2)


def run(folder: Path, which: str, *, faults: int, alerts: int, seed: int, every_line: bool) -> Outcome:
    """`alerts` in all, a share of them round each of `faults`."""
    watch, chance = Watch(), random.Random(seed)
    _hear_sigterm()
    apart = move_out()
    house = House(folder, disk_mb=DISK_MB) if apart and which == "mosquitto" else None
    brokers = nats_cluster(folder) if which == "nats" else [kept_mosquitto(folder, house)]
    road = "a network namespace" if house is not None else "a relay that stalls"
    outcome = Outcome(which, road, seed)
    relay = None
    try:
        for broker in brokers:
            broker.launch()
        for broker in brokers:
            broker.start()
        relay = Relay([broker.port for broker in brokers]) if house is None else None
        at = relay or brokers[0]
        street = Street(folder, host=at.host, port=at.port, chance=chance)
        campaign = Campaign(street, brokers=brokers, house=house, relay=relay, outcome=outcome, chance=chance)
        try:
            campaign.warm_up(min(80, alerts // 4))
            _all_faults(campaign, faults, alerts, chance, every_line=every_line)
            campaign.finish()
        finally:
            street.close()
    finally:
        if relay is not None:
            relay.close()
        for broker in brokers:
            broker.send(signal.SIGCONT)
            broker.kill()
        if house is not None:
            house.close()
    outcome.seconds = watch.seconds
    return outcome


def _all_faults(campaign: Campaign, faults: int, alerts: int, chance: random.Random, *, every_line: bool) -> None:
    """Every kind equally often; `every_line` adds one fault for each line of the courier's."""
    kinds = campaign.kinds
    plan = [kinds[turn % len(kinds)] for turn in range(faults)]
    chance.shuffle(plan)
    share = max(-(-(alerts - campaign.street.allowed.alerts) // max(len(plan), 1)), 2)
    for kind in plan:
        campaign.suffer(kind, share)
    if every_line:
        campaign.every_line("courier", ALERTS_A_LINE)


def table(outcome: Mapping[str, Any]) -> str:
    """An outcome, as `asdict` has it, to read."""
    rows = [
        f"{outcome['broker']} (road: {outcome['road']}, seed {outcome['seed']})",
        f"{'fault':38} {'count':>5} {'alerts':>7} {'repeats':>7} {'receipts':>8} {'p50 s':>6} {'max s':>6}  result",
    ]
    for kind, tally in sorted(outcome["tallies"].items()):
        took = tally["recovery_s"]
        p50, most = (f"{statistics.median(took):.2f}", f"{max(took):.2f}") if took else ("", "")
        rows.append(
            f"{kind:38} {tally['count']:5} {tally['alerts']:7} {tally['repeats']:7} {tally['receipts']:8} "
            f"{p50:>6} {most:>6}  {str(tally['failed']) + ' FAILED' if tally['failed'] else 'ok'}"
        )
    rows.append(
        f"{outcome['faults']} faults, {outcome['alerts']} alerts, {outcome['repeats']} repeats, "
        f"{outcome['receipts']} receipts, {outcome['left_in_outbox']} left in the outbox, "
        f"{outcome['uploaded']} files uploaded"
    )
    if outcome["waiting_max"]:
        rows.append(f"{outcome['replaced']} replaced by a later one; {outcome['waiting_max']} in an outbox for {BOUND}")
    rows.append(
        f"died at {outcome['lines_died_at']} different of {outcome['lines']} lines; {outcome['seconds']:.0f} s; "
        f"{len(outcome['problems'])} problems"
    )
    if outcome["lines_missed"]:
        rows.append(f"lines that no life came by again: {', '.join(outcome['lines_missed'])}")
    return "\n".join([*rows, *outcome["problems"]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("broker", choices=("mosquitto", "nats"))
    parser.add_argument("--folder", type=Path, required=True, help="an empty one")
    parser.add_argument("--faults", type=int, default=150)
    parser.add_argument("--alerts", type=int, default=5000)
    parser.add_argument("--every-line", action="store_true", help="besides, the courier killed at each of its lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # lives are forks of this process
    outcome = run(
        arguments.folder,
        arguments.broker,
        faults=arguments.faults,
        alerts=arguments.alerts,
        seed=arguments.seed,
        every_line=arguments.every_line,
    )
    print(json.dumps(asdict(outcome), indent=1) if arguments.json else table(asdict(outcome)))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
