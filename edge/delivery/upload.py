"""Brings evidence to a store: the files of each alert, once the alert is out, and of each case that is asked for again.

    alert -> its manifest -> files that may leave -> hashed -> [gate: alerts first, so many bytes a second] -> target

One file at a time, each in the order of the alerts. What is in the store already is not sent again, so a process that
is killed goes on where it was. Nothing here is needed for an alert: it has a thread of its own, and gives way.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, seconds_to_ns
from edge.delivery.upload_files import (
    ChangedError,
    Leaving,
    Parcel,
    files_of,
    local,
    manifest_named_in,
    manifests_of,
    parcel_of,
)
from edge.errors import DeliveryError, EdgeError

log = logging.getLogger(__name__)

FOLLOWER = "upload"  # among those who follow the alerts
TRIES_MAX = 5  # of a file that the store refuses by name; whatever else fails is tried for ever
_GATE_S = 5.0  # how long a transfer may stand still in the middle: a store gives up on it sooner or later
_ALERT_NS = 30 * NS_PER_S  # that an alert has to go out in, over a connection that stands
_FRONT_MAX = 64
_CREDIT_NS = NS_PER_S // 4
_LOOK_S = 0.05  # how often it is asked whether alerts still wait


class RefusedError(DeliveryError):
    """The store does not want this one file: the others need not wait for it for ever."""


class HeldUpError(DeliveryError):
    """A transfer has given way to alerts, or to the end of the program; it goes on later."""


class AlertsFirst:
    """Whether evidence may go: no alert waits that could go now.

    One that has waited for long over a connection that stands is refused by the broker, or confirmed by nobody; it is
    told of elsewhere, and evidence need not wait with it.
    """

    def __init__(
        self,
        unsent: Callable[[int, int], Sequence[int]],
        connected: Callable[[], bool],
        *,
        clock: SystemClock | None = None,
    ) -> None:
        """`unsent`: the sequences above a first, so many at most, of alerts that no broker has confirmed."""
        self._unsent = unsent
        self._connected = connected
        self._clock = clock or SystemClock()
        self._passed = 0  # none up to this one is waited for
        self._seen_ns: dict[int, int] = {}  # since when each of the first is known to wait, at most _FRONT_MAX

    def is_clear(self) -> bool:
        if not self._connected():
            self._seen_ns = {}
            return True
        now_ns = self._clock.mono_ns()
        front = self._unsent(self._passed, _FRONT_MAX)
        self._seen_ns = {one: self._seen_ns.get(one, now_ns) for one in front}
        if any(now_ns - since_ns < _ALERT_NS for since_ns in self._seen_ns.values()):
            return False
        if len(front) == _FRONT_MAX:
            self._passed = front[-1]  # behind them may be others that have not had their time
            return False
        return True


class Target(Protocol):
    """Where files are brought to. Used from one thread."""

    address: str  # without secrets
    part_bytes: int

    def store(self, parcel: Parcel) -> bool:
        """Whether anything had to be sent. Raises DeliveryError; what was sent by then need not be sent again."""
        ...

    def close(self) -> None: ...


class WaitingAlert(Protocol):
    @property
    def sequence(self) -> int: ...
    @property
    def body(self) -> str: ...


class AlertsToUpload(Protocol):
    """See `edge.state.relays`."""

    def waiting(self, follower: str, *, after: int = 0, limit: int = 100) -> Sequence[WaitingAlert]: ...

    def waiting_count(self, follower: str) -> int: ...

    def done(self, follower: str, sequences: Sequence[int]) -> None: ...


class CasesToUpload(Protocol):
    """See `edge.state.retrievals`."""

    def next_case(self) -> str | None: ...

    def done(self, case_id: str) -> None: ...

    def waiting_count(self) -> int: ...


@dataclass(slots=True)
class UploadCounts:
    """Since the start of the process."""

    files: int = 0  # sent
    bytes: int = 0  # that were handed to the network or the disk, what was sent twice included
    there: int = 0  # files that the store had already
    gone: int = 0  # files that are no longer here, or cannot be read
    changed: int = 0  # files that are not what was told, and so were not sent
    withheld: int = 0  # files that stay here: they show what is hidden in the published pictures
    refused: int = 0  # files that the store does not want
    failures: int = 0  # tries that failed


@dataclass(frozen=True, slots=True)
class UploadState:
    """How the uploading stands."""

    address: str
    waiting: int  # alerts and cases
    counts: UploadCounts
    error: str  # why the newest try failed, "" where it did not
    failing_s: float  # since the last that did not


@dataclass(slots=True)
class _Progress:
    """With the alert or case at hand; forgotten when it is done with."""

    settled: set[str] = field(default_factory=set)  # names of its objects
    tries: dict[Path, int] = field(default_factory=dict)  # of files that were refused or could not be read


class Uploader:
    """It never gives up; `state().error` says what holds it up."""

    def __init__(
        self,
        alerts: AlertsToUpload,
        cases: CasesToUpload,
        target: Target,
        *,
        root: Path,
        way_is_clear: Callable[[], bool],
        originals: bool = False,
        rate_kbps: float = 0.0,
        poll_s: float = 1.0,
        retry_s: float = 1.0,
        retry_max_s: float = 300.0,
    ) -> None:
        """`root` is the folder that evidence paths start from; `way_is_clear`: no alert waits that could go now.

        `originals` lets untouched pictures leave as well; `rate_kbps` is in thousands of bits a second, 0 unlimited.
        """
        self._alerts = alerts
        self._cases = cases
        self._target = target
        self._root = root
        self._way_is_clear = way_is_clear
        self._originals = originals
        self._bytes_a_s = rate_kbps * 1000 / 8
        self.unthrottled = False  # in an emergency the rate does not hold
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._clock = SystemClock()
        self._free_ns = 0  # when the next byte may go
        self._progress = _Progress()
        self._counts = UploadCounts()
        self._error = ""
        self._good_ns = self._clock.mono_ns()
        self._waiting = 0
        self._stopping = threading.Event()
        self._thread = self._new_thread()
        self._mistakes = 0
        self._again_ns = 0  # when to begin anew after a mistake

    def start(self) -> None:
        self._thread.start()

    def tend(self) -> None:
        """Begin anew, after a while, where a mistake of ours has ended the thread. To be called every now and then."""
        if not self._has_ended_by_mistake:
            return
        now_ns = self._clock.mono_ns()
        if not self._again_ns:
            pause_s = min(self._retry_s * 2.0 ** min(self._mistakes, 20), self._retry_max_s)
            self._mistakes += 1
            self._again_ns = now_ns + seconds_to_ns(pause_s)
        elif now_ns >= self._again_ns:
            self._again_ns = 0
            self._target.close()
            self._thread = self._new_thread()
            self._thread.start()

    @property
    def _has_ended_by_mistake(self) -> bool:
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="upload", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self, limit_s: float = 1.0) -> None:
        """End the thread; what is half sent goes on with the next start. One that hangs in a store is left behind."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(limit_s)

    def state(self) -> UploadState:
        """May be called from any thread."""
        mistake = "ended by a mistake of ours, and is begun anew; the log has its traceback"
        error = mistake if self._has_ended_by_mistake else self._error
        failing_s = (self._clock.mono_ns() - self._good_ns) / NS_PER_S if error else 0.0
        return UploadState(self._target.address, self._waiting, replace(self._counts), error, failing_s)

    def _run(self) -> None:
        failed = 0
        while not self._stopping.is_set():
            try:
                worked = self._work()
            except HeldUpError:
                worked = False
            except EdgeError as error:  # a store comes back, a full disk is emptied
                failed += 1
                self._counts.failures += 1
                self._error = str(error)
                pause_s = min(self._retry_s * 2.0 ** min(failed - 1, 20), self._retry_max_s) * random.uniform(0.5, 1)
                log.warning("%s; next try in %.1f s", error, pause_s)
                self._stopping.wait(pause_s)
                continue
            if worked or not self._waiting:
                failed, self._error, self._good_ns = 0, "", self._clock.mono_ns()
            if not worked:
                self._stopping.wait(self._poll_s)
        self._target.close()

    def _work(self) -> bool:
        """One alert's or one case's files; whether there was one."""
        self._waiting = self._alerts.waiting_count(FOLLOWER) + self._cases.waiting_count()
        if not self._waiting or not self._way_is_clear():
            return False
        case_id = self._cases.next_case()
        if case_id is not None:
            for manifest in manifests_of(self._root, case_id):
                self._upload_named(manifest, "")
            self._cases.done(case_id)
        else:
            for alert in self._alerts.waiting(FOLLOWER, limit=1):
                self._upload_alert(alert)
                self._alerts.done(FOLLOWER, [alert.sequence])
        self._progress = _Progress()
        return True

    def _upload_alert(self, alert: WaitingAlert) -> None:
        if named := manifest_named_in(alert.body):
            path, sha256 = named
            with self._passing_over(Path(path)):
                self._upload_named(local(self._root, path), sha256)

    def _upload_named(self, manifest: Path, sha256: str) -> None:
        """Returns when the store has what may leave of an alert's evidence, or it is clear that it never will."""
        withheld = 0
        with self._passing_over(manifest):
            files, withheld = files_of(self._root, manifest, sha256, originals=self._originals)
            for file in files:
                if file.name not in self._progress.settled:
                    with self._passing_over(file.path):
                        self._upload(file)
                    self._progress.settled.add(file.name)
        self._counts.withheld += withheld

    def _upload(self, file: Leaving) -> None:
        sent = self._target.store(parcel_of(file, part_bytes=self._target.part_bytes, passing=self._pass))
        self._counts.files += sent
        self._counts.there += not sent

    @contextmanager
    def _passing_over(self, path: Path) -> Iterator[None]:
        """What can never be sent is told, counted and left behind: it holds up no other file."""
        try:
            yield
        except FileNotFoundError:
            self._counts.gone += 1
            log.warning("%s: is no longer here, and so is not uploaded", path)
        except ChangedError as error:
            self._counts.changed += 1
            log.error("%s", error)
        except (RefusedError, OSError) as error:
            tries = self._progress.tries[path] = self._progress.tries.get(path, 0) + 1
            words = f"{path}: cannot be read: {error.strerror}; check the disk" if isinstance(error, OSError) else error
            if tries < TRIES_MAX:
                raise DeliveryError(str(words)) from error
            self._counts.gone += isinstance(error, OSError)
            self._counts.refused += isinstance(error, RefusedError)
            log.error("%s: given up after %d tries: %s", path, tries, words)

    def _pass(self, count: int) -> None:
        """The gate: returns when `count` bytes may go. Raises HeldUpError where alerts need the way for long."""
        since_ns = self._clock.mono_ns()
        while not self._way_is_clear():
            if self._clock.mono_ns() - since_ns > _GATE_S * NS_PER_S:
                raise HeldUpError("alerts go first")
            self._sleep(_LOOK_S)
        if self._bytes_a_s and not self.unthrottled:
            now_ns = self._clock.mono_ns()
            self._sleep((self._free_ns - now_ns) / NS_PER_S)
            if now_ns - self._free_ns > _CREDIT_NS:  # a sleep that ran over is made good, an idle time is not
                self._free_ns = now_ns
            self._free_ns += round(count / self._bytes_a_s * NS_PER_S)
        if self._stopping.is_set():
            raise HeldUpError("the gateway stops")
        self._counts.bytes += count

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self._stopping.wait(seconds):
            raise HeldUpError("the gateway stops")
