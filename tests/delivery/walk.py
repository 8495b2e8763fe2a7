"""Walks the points at which a gateway may be killed; prints one JSON object of what it found.

    lines      every line that the producer runs, from a case's change to its row in the outbox
    syscalls   every system call that changes the disk, from a case's change to its row in the outbox

After each death the gateway starts again and everything on its disk must hold; then it goes on and dies elsewhere.
Example: python -m tests.delivery.walk lines --folder /dev/shm/walk
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import cv2

from edge.core.types import NS_PER_S
from tests.delivery import gateway, lines, syscalls
from tests.delivery.forks import Watch, lived
from tests.delivery.gateway import LANES, LIFE, WITHDRAWN_EVERY, Place
from tests.delivery.ledger import problems_of

START_WALL_NS = 1_777_858_200 * NS_PER_S
ROUND = LANES * LIFE * WITHDRAWN_EVERY  # alerts after which every kind of alert has come
TIDY = "evidence/upkeep.py"  # what it does hangs on what an earlier kill has left
PURE = ("evidence/drawing.py", "evidence/picture.py", "delivery/message.py")
LINES_EVERY, CALLS_EVERY = 8, 40  # of which one is taken in the short form
CHECK_EVERY = 4  # deaths, in the short form: what is lost stays lost
FAULTS_A_FOLDER = 12  # what is checked after each death grows with the folder
PROBLEMS_MAX = 20


@dataclass(frozen=True)
class Chance:
    """A life in which a line may come by: in an empty folder or not, with alerts told before, and some to tell."""

    alerts: int
    behind: int = 0
    fresh: bool = False


FIRST_LIFE = Chance(alerts=LANES, fresh=True)
LIVES = (Chance(alerts=LANES * LIFE), Chance(alerts=ROUND, behind=LANES), Chance(alerts=ROUND, fresh=True))


@dataclass(frozen=True)
class Stage:
    """A folder, and how much may be told in it now."""

    place: Place
    alerts: int


@dataclass
class Walked:
    """What a walk found."""

    points: int = 0  # places to be killed at
    killed: int = 0  # of those, at which a life ended
    missed: list[str] = field(default_factory=list)  # those that no life came by
    deaths: int = 0
    alerts: int = 0
    checks: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    by_file: dict[str, int] = field(default_factory=dict)

    def found(self, where: str, problems: list[str]) -> None:
        self.checks += 1
        self.problems.extend(f"{where}: {problem}" for problem in problems)
        del self.problems[PROBLEMS_MAX:]


def walk_lines(top: Path, *, seed: int, whole: bool = True) -> Walked:
    """Not `whole`: every eighth, and none that only maps values to values."""
    watch, result, chance = Watch(), Walked(), random.Random(seed)
    place = Place.make(top / "first", url="mqtt://127.0.0.1:1", start_wall_ns=START_WALL_NS)
    visits = lived(partial(_recorded, place)).value
    points = sorted((name, number) for name, number, _ in visits if whole or name not in PURE)
    chance.shuffle(points)
    points = points if whole else points[::LINES_EVERY]
    result.points = len(points)
    result.by_file = dict(Counter(name for name, _ in points))
    folder = _Folders(top, place, result)
    firsts = {(name, number) for name, number, count in visits if count == 1}
    for point in points:
        where = f"{point[0]}:{point[1]}"
        lives = (FIRST_LIFE, *LIVES) if point in firsts else LIVES
        here = next((here for here in map(folder.next, lives) if _killed_at(here, point, chance)), None)
        if here is None:
            result.missed.append(where)
            continue
        result.deaths += 1
        if whole or point[0] == TIDY or result.deaths % CHECK_EVERY == 0:
            again = partial(_restarted, here.place, wholly=point[0] == TIDY)
            result.found(f"killed before {where}", lived(again).value)
    folder.close()
    result.killed = result.points - len(result.missed)
    result.seconds = watch.seconds
    return result


def _recorded(place: Place) -> list[tuple[str, int, int]]:
    run = lines.LinesRun()
    run.start()
    _begun(place, until=ROUND + 4, changed=False)
    _litter(place)
    _begun(place, until=ROUND + 6, changed=False)  # a second start finds what the first has left
    sys.settrace(None)
    return [(*line, count) for line, count in run.visits.items()]


def _killed_at(here: Stage, point: lines.Line, chance: random.Random) -> bool:
    until, changed = _told(here.place) + here.alerts, chance.random() < 0.3
    if point[0] == TIDY:
        _litter(here.place)

    def life() -> int:
        lines.kill_at(point)
        return _begun(here.place, until=until, changed=changed)

    return lived(life).killed


def walk_syscalls(top: Path, *, seed: int, whole: bool = True) -> Walked:
    """A case opened, updated, and over, each killed before its first call, its second, and so on, until it is told.

    Not `whole`: before every fortieth call of each.
    """
    watch, result, chance = Watch(), Walked(), random.Random(seed)
    place = Place.make(top / "first", url="mqtt://127.0.0.1:1", start_wall_ns=START_WALL_NS)
    here = place.at(top / "1")
    here.folder.mkdir()
    step = 1 if whole else CALLS_EVERY
    for stretch in range(ROUND // LANES):  # what lies between is of the same kinds
        first = _told(here)
        number = 1 + stretch % step
        while True:
            life = partial(_begun, here, until=first + 1, changed=chance.random() < 0.1)
            end, names = syscalls.traced(life, kill_before=number)
            if not end.killed:
                break
            result.deaths += 1
            number += step
            if not whole and result.deaths % CHECK_EVERY:
                continue
            where = f"killed before call {len(names)} ({names[-1]}) of alert {first + 1}"
            result.found(where, lived(partial(_restarted, here)).value)
        result.by_file[f"alert {first + 1}"] = len(names)
        lived(partial(gateway.produce, here, 0, until=_told(here) + LANES - 1))
    lived(partial(gateway.produce, here, 0, until=_told(here) + LIFE * LANES))
    result.found("at the end", lived(partial(_restarted, here)).value)
    result.alerts = _told(here)
    result.points = result.killed = result.deaths
    result.seconds = watch.seconds
    return result


def _told(place: Place) -> int:
    """The number of the last alert. Closed at once, for no connection may cross a fork."""
    if not place.database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(place.database)) as database:
        try:
            rows = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchall()
        except sqlite3.OperationalError:  # killed before it had any table
            return 0
    return int(rows[0][0]) if rows else 0


def _begun(place: Place, *, until: int, changed: bool) -> int:
    """The whole gateway's start, and on."""
    gateway.tidy_up(place)
    return gateway.produce(place, 0, until=until, changed=changed)


def _litter(place: Place) -> None:
    """What an earlier kill may have left, in any case."""
    for case in (place.folder / "evidence").glob("*"):
        for name in ("overview-99.jpg", ".still-99-1.jpg.part"):
            (case / name).write_bytes(b"left by a kill")


def _restarted(place: Place, *, wholly: bool = False) -> list[str]:
    """What is wrong once the camera's process has begun again: alone, or `wholly` with the gateway."""
    if wholly:
        gateway.tidy_up(place)
    gateway.Script(place, 0).close()
    return problems_of(place.folder)


class _Folders:
    """State folders for one death after the other; each is told to its end before the next one is made."""

    def __init__(self, top: Path, place: Place, result: Walked) -> None:
        self._top = top
        self._place = place
        self._result = result
        self._made = 0
        self._used = FAULTS_A_FOLDER
        self._now: Place | None = None

    def next(self, chance: Chance) -> Stage:
        if chance.fresh or self._used >= FAULTS_A_FOLDER or self._now is None:
            self.close()
            self._made, self._used = self._made + 1, 0
            folder = self._top / str(self._made)
            folder.mkdir()
            self._now = self._place.at(folder)
        self._used += 1
        if chance.behind:
            lived(partial(gateway.produce, self._now, 0, until=_told(self._now) + chance.behind))
        return Stage(self._now, chance.alerts)

    def close(self) -> None:
        if self._now is None:
            return
        here, self._now = self._now, None
        told = _told(here)
        last = int(lived(partial(gateway.produce, here, 0, until=told + LIFE * LANES)).value)
        self._result.alerts += last
        self._result.found("at the end", lived(partial(_restarted, here, wholly=True)).value)
        shutil.rmtree(here.folder)


WALKS: dict[str, Callable[..., Walked]] = {"lines": walk_lines, "syscalls": walk_syscalls}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("walk", choices=WALKS)
    parser.add_argument("--folder", type=Path, required=True, help="an empty one, best in memory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="the form for every change: fewer points")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # lives are forks of this process
    walked = WALKS[arguments.walk](arguments.folder, seed=arguments.seed, whole=not arguments.short)
    print(json.dumps(asdict(walked), indent=1))
    return 1 if walked.problems or walked.missed else 0


if __name__ == "__main__":
    sys.exit(main())
