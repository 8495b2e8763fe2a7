"""The gateway's evidence kept in order: put right when it starts, and bounded hourly, by a thread of the supervisor.

A thread of lowest priority, because it mostly waits for the disk; no camera's process has anything to do with it.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from edge.clock import SystemClock
from edge.config.evidence import EvidenceConfig
from edge.config.loader import Site
from edge.core.types import seconds_to_ns
from edge.errors import EvidenceError, StateError, UsageError
from edge.evidence.keys import gateway_key
from edge.evidence.retention import DISMISSED, OPEN, WAITING, Bounds
from edge.evidence.upkeep import Pruned, prune, tidy
from edge.runtime.health import KeptEvidence
from edge.runtime.process import sole_holder
from edge.state.claims import Claims
from edge.state.database import Database
from edge.state.kept_cases import KeptCases
from edge.wiring.process_order import DATABASE

log = logging.getLogger(__name__)

EVERY_S = 3600.0
LOOK_S = 30.0  # at the room that is left: a disk can fill within the hour
TIGHT_S = 300.0  # between two times that it was too little: where nothing may go, looking more often helps nobody
LOCK = "upkeep.lock"
_GB = 1_000_000_000
_DAY_S = 86_400
_BUSY_S = 5.0
_LOWEST = 19
_ODD = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)  # files of other contents


def bounds_of(config: EvidenceConfig, *, disk_bytes: int) -> Bounds:
    """`disk_bytes`: how large the disk is. Of a small one a tenth is reserve enough."""
    return Bounds(
        keep_ns=seconds_to_ns(config.keep_days * _DAY_S),
        keep_bytes=round(config.keep_gb * _GB),
        reserve_bytes=min(round(config.reserve_gb * _GB), disk_bytes // 10),
        dismissed_first=config.dismissed_first,
    )


def states_of(database: Path) -> Mapping[str, str]:
    """Of the cases that the gateway knows to be something else than over. Raises StateError."""
    with Database.open(database, busy_s=_BUSY_S) as opened:
        claims = Claims(opened)
        return {
            **dict.fromkeys(claims.dismissed(), DISMISSED),
            **dict.fromkeys(claims.waited_for(), WAITING),
            **dict.fromkeys(claims.running(), OPEN),
        }


def prune_evidence(
    site: Site,
    folder: Path,
    *,
    now_wall_ns: int,
    dry_run: bool = False,
    still_wanted: Callable[[], bool] = lambda: True,
) -> Pruned:
    """Give up what the site's bounds say. Raises EvidenceError or StateError where nothing can be done at all, and
    UsageError where no gateway has ever kept its state: only that knows which cases are open."""
    if not (folder / DATABASE).is_file():
        raise UsageError(f"{folder}: is no state folder of a gateway: there is no {DATABASE}; name it with --state")
    config = site.config.evidence
    with sole_holder(folder / LOCK, what="the upkeep of this evidence"):
        pruned = prune(
            folder,
            gateway_key(folder),
            bounds_of(config, disk_bytes=shutil.disk_usage(folder).total),
            states=lambda: states_of(folder / DATABASE),
            now_wall_ns=now_wall_ns,
            free_bytes=lambda: shutil.disk_usage(folder).free,
            dry_run=dry_run,
            still_wanted=still_wanted,
        )
        if config.keep_days and not dry_run:
            configured = {camera.id for camera in site.config.cameras}
            before_wall_ns = now_wall_ns - seconds_to_ns(config.keep_days * _DAY_S)
            KeptCases(folder).forget_cameras(configured, before_wall_ns=before_wall_ns)
    return pruned


def tidy_evidence(folder: Path, *, now_wall_ns: int) -> None:
    """Before the cameras start. What cannot be put right now holds no camera up: evidence that is named stays."""
    try:
        done = tidy(folder, gateway_key(folder), now_wall_ns=now_wall_ns)
    except (EvidenceError, OSError) as error:
        log.error("evidence is not put in order: %s", error)
        return
    if done.unproved:
        log.warning(
            "evidence: the manifests of %d files are gone; the files stay: see what `edge evidence verify` says",
            done.unproved,
        )
    if done.files or done.finished:
        log.info(
            "evidence put in order after a kill: %d unfinished files of %d cases removed, %d removals finished",
            done.files,
            done.cases,
            done.finished,
        )


class Upkeep:
    """The thread. It begins with the first configuration that is in force."""

    def __init__(self, folder: Path, *, clock: SystemClock) -> None:
        self._folder = folder
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._site: Site | None = None
        self.kept = KeptEvidence()

    def go_on_with(self, site: Site) -> None:
        """From now on its bounds hold."""
        begun, self._site = self._site is not None, site
        if not begun:
            self._thread.start()

    def close(self) -> None:
        """It ends between two cases; what it has recorded and not deleted is finished by the next start."""
        self._stop.set()
        if self._site is not None:
            self._thread.join(1.0)

    def turn(self) -> None:
        """Once over everything."""
        if self._site is None:
            return
        try:
            pruned = prune_evidence(
                self._site,
                self._folder,
                now_wall_ns=self._clock.wall_ns(),
                still_wanted=lambda: not self._stop.is_set(),
            )
        except (EvidenceError, StateError, OSError) as error:
            log.error("evidence is not bounded now: %s", error)
            return
        self.kept = KeptEvidence(
            cases=pruned.cases - pruned.removed_cases,
            bytes=pruned.bytes,
            removed_cases=self.kept.removed_cases + pruned.removed_cases,
            removed_bytes=self.kept.removed_bytes + pruned.removed_bytes,
            failures=self.kept.failures + pruned.failures,
        )
        if pruned.removed_cases:
            log.info(
                "evidence: %d files of %d cases given up, %.1f MB; %d cases with %.1f MB stay",
                pruned.removed_files,
                pruned.removed_cases,
                pruned.removed_bytes / 1e6,
                self.kept.cases,
                self.kept.bytes / 1e6,
            )

    def _run(self) -> None:
        with suppress(OSError):  # a container may forbid it; then it is one thread of many
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        waited_s = EVERY_S
        while not self._stop.is_set():
            if waited_s >= EVERY_S or (waited_s >= TIGHT_S and self._is_tight()):
                try:
                    self.turn()
                except _ODD:  # whatever lies there: without its upkeep the disk would fill
                    log.exception("evidence is not bounded now; the next turn tries again")
                waited_s = 0.0
            self._stop.wait(LOOK_S)
            waited_s += LOOK_S

    def _is_tight(self) -> bool:
        if self._site is None:
            return False
        try:
            disk = shutil.disk_usage(self._folder)
            return disk.free < bounds_of(self._site.config.evidence, disk_bytes=disk.total).reserve_bytes
        except OSError:
            return False
