"""What a gateway does when the street brain asks: one function a command, each with a reply in the end.

    CommandDesk -> action -> a request to the camera's worker | the database | a signal to the supervisor -> Reply

They run one after the other in the courier's process, and each ends within seconds: what does not answer by then is
told as failed. A command that cannot be done as it is asked is refused, with a code for programs and words for people.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from edge.clock import SystemClock, elapsed_s
from edge.core.types import NS_PER_S, OPENED, Case
from edge.delivery.commands import (
    DISMISS,
    DONE,
    FAILED,
    MODE,
    REFUSED,
    RELOAD,
    RESEND,
    RETRIEVE,
    SNAPSHOT,
    VERIFY,
    Command,
    CommandRefusedError,
    Dismiss,
    Mode,
    Reply,
    Resend,
    Retrieve,
    Snapshot,
    Verify,
)
from edge.delivery.upload_files import Leaving, files_of
from edge.errors import EvidenceError
from edge.evidence.store import EVIDENCE, EvidenceStore
from edge.runtime.command_desk import INTERRUPTED, Action
from edge.runtime.health import CAMERA, SupervisorReport
from edge.runtime.requests import ANSWER_S, ask
from edge.state.commands import KnownCommand
from edge.state.database import Answer, Database
from edge.state.judgements import DISMISSED, REASONS, Judgements
from edge.state.mode import mode_of, set_mode
from edge.state.retrievals import Retrievals
from edge.wiring.request_kinds import LOOK, TAKE_SNAPSHOT

INLINE_MAX_BYTES = 48 * 1024  # of a picture in a reply; a third more in base64
FILES_MAX = 500  # named in one reply
RANGES_MAX = 500  # of alerts that are gone, likewise
RELOAD_S = 30.0
_LOOK_S = 0.1
SEARCH_S = 8.0  # for a file by its hash
_CASE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MEDIA_TYPES = {".jpg": "image/jpeg", ".json": "application/json", ".mp4": "video/mp4"}

Supervised = Callable[[], SupervisorReport]


class CommandActions:
    """The actions of one gateway."""

    def __init__(
        self,
        database: Database,
        *,
        folder: Path,
        supervised: Supervised,
        hang_up: Callable[[], None],
        resend: Callable[[int, int], None],
        clock: SystemClock,
        uploads: bool = False,
        answer_s: float = ANSWER_S,
    ) -> None:
        """`supervised`: the supervisor's newest report; `hang_up`: tells it to reload, as SIGHUP does; `resend` sends
        alerts again as far as they are still there; `uploads`: evidence is brought to a store."""
        self._database = database
        self._store = EvidenceStore(folder)
        self._supervised = supervised
        self._hang_up = hang_up
        self._clock = clock
        self._uploads = uploads
        self._resend_alerts = resend
        self._answer_s = answer_s

    def by_name(self) -> Mapping[str, Action]:
        return {
            VERIFY: self._verify,
            DISMISS: self._dismiss,
            SNAPSHOT: self._snapshot,
            RELOAD: self._reload,
            MODE: self._mode,
            RETRIEVE: self._retrieve,
            RESEND: self._resend,
        }

    def after_a_break(self, known: KnownCommand) -> Reply:
        """A reload may start the courier anew, and then it is the next one that tells what came of it."""
        return _reloaded(self._supervised()) if known.name == RELOAD else INTERRUPTED

    def _verify(self, command: Command) -> Reply:
        assert isinstance(command.asked, Verify)
        case = self._case(command.asked.case_id)
        if case.state != OPENED:
            raise CommandRefusedError("case-over", f"the case is {case.state}: there is nothing to verify")
        return self._told(case.camera, self._asked(case.camera, LOOK, {"case_id": case.case_id}))

    def _dismiss(self, command: Command) -> Reply:
        from edge.wiring.judging import Word, judge  # brings OpenCV with it, which nothing else here needs

        assert isinstance(command.asked, Dismiss)
        case = self._case(command.asked.case_id)
        if command.asked.reason not in REASONS:
            raise CommandRefusedError("unknown-reason", f"reason must be one of {', '.join(REASONS)}")
        word = Word(case.case_id, DISMISSED, command.asked.reason, command.asked.note, command.asked.by)
        judgement, words = judge(self._database, word, running=True, clock=self._clock, limit_s=self._answer_s)
        standing = case.case_id in Judgements(self._database).standing(case.camera)
        result = {"case_id": case.case_id, "reason": judgement.reason, "left_alone": standing}
        return Reply(DONE, "", words, result)

    def _snapshot(self, command: Command) -> Reply:
        assert isinstance(command.asked, Snapshot)
        camera = command.asked.camera
        cameras = [entry.name for entry in self._supervised().processes if entry.kind == CAMERA]
        if camera not in cameras:
            raise CommandRefusedError("unknown-camera", f"{camera}: the gateway has no such camera")
        moment = datetime.fromtimestamp(self._clock.wall_ns() // NS_PER_S, UTC)
        name = f"{moment:%Y%m%dT%H%M%SZ}-{hashlib.sha256(command.id.encode()).hexdigest()[:12]}"
        body = {"name": name, "inline_max_bytes": INLINE_MAX_BYTES}
        return self._told(camera, self._asked(camera, TAKE_SNAPSHOT, body))

    def _reload(self, command: Command) -> Reply:
        before = self._supervised().reloads
        self._hang_up()
        end_s = elapsed_s() + RELOAD_S
        while self._supervised().reloads == before:
            if elapsed_s() >= end_s:
                words = f"the supervisor has not reloaded within {RELOAD_S:g} s: see `edge status`"
                return Reply(FAILED, "no-answer", words)
            time.sleep(_LOOK_S)
        return _reloaded(self._supervised())

    def _mode(self, command: Command) -> Reply:
        assert isinstance(command.asked, Mode)
        before, now = mode_of(self._database), command.asked.mode
        if before != now:
            set_mode(self._database, now)
        words = f"the gateway is in the mode {now}" + ("" if before != now else ", as before")
        return Reply(DONE, "", words, {"mode": now, "before": before})

    def _retrieve(self, command: Command) -> Reply:
        assert isinstance(command.asked, Retrieve)
        if command.asked.sha256:
            return self._retrieved_file(command.asked.sha256)
        case_id = command.asked.case_id
        files = [self._described(case_id, name) for name in self._store.names(case_id)]
        if not files:
            raise CommandRefusedError("no-evidence", f"the gateway has no evidence of the case {case_id}")
        left_out = max(len(files) - FILES_MAX, 0)
        queued = self._uploads and Retrievals(self._database).ask(case_id, wall_ns=self._clock.wall_ns())
        words = f"{len(files)} files{'; they are brought to the store' if self._uploads else ''}"
        result = {"case_id": case_id, "files": files[-FILES_MAX:], "left_out": left_out, "queued": queued}
        return Reply(DONE, "", words, result)

    def _retrieved_file(self, sha256: str) -> Reply:
        """What shows what is hidden in published pictures does not leave on request either."""
        found = next(self._with_hash(sha256), None)
        if found is None:
            words = f"no manifest of the newest cases names the hash {sha256}: ask for the case, or in its store"
            raise CommandRefusedError("no-evidence", words)
        file, withheld = found
        entry = self._described(file.path.parent.name, file.path.name)
        result: dict[str, object] = {
            "case_id": file.path.parent.name,
            "files": [entry],
            "left_out": 0,
            "queued": False,
            "withheld": withheld,
        }
        if not withheld and file.bytes <= INLINE_MAX_BYTES:
            content = self._store.read(file.path.parent.name, file.path.name)
            if hashlib.sha256(content).hexdigest() != sha256:
                raise EvidenceError(f"{file.path.name}: is not what its manifest names; see `edge evidence verify`")
            result["inline"] = {"sha256": sha256, "base64": base64.b64encode(content).decode()}
        return Reply(DONE, "", str(entry["path"]), result)

    def _with_hash(self, sha256: str) -> Iterator[tuple[Leaving, bool]]:
        """The file, and whether it stays here; the newest cases first."""
        root, end_s = self._store.root, elapsed_s() + SEARCH_S
        folders = [path for path in (root / EVIDENCE).glob("*") if _CASE.fullmatch(path.name)]
        for folder in sorted(folders, key=os.path.getmtime, reverse=True):
            if elapsed_s() >= end_s:
                return
            for manifest in folder.glob("manifest-*.json"):
                if sha256.encode() not in self._store.read(folder.name, manifest.name):
                    continue
                leaving, all_files = (files_of(root, manifest, "", originals=both)[0] for both in (False, True))
                yield from ((file, file not in leaving) for file in all_files if file.sha256 == sha256)

    def _described(self, case_id: str, name: str) -> dict[str, object]:
        path = self._store.case_folder(case_id) / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise EvidenceError(f"{path.name}: cannot be read: {error.strerror or error}") from error
        return {
            "path": path.relative_to(self._store.root).as_posix(),
            "media_type": _MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
            "sha256": self._hash_of(case_id, name),
            "bytes": size,
        }

    def _hash_of(self, case_id: str, name: str) -> str:
        path = self._store.case_folder(case_id) / name
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EvidenceError(f"{path.name}: cannot be read: {error.strerror or error}") from error

    def _resend(self, command: Command) -> Reply:
        assert isinstance(command.asked, Resend)
        first, last = command.asked.first, command.asked.last
        newest = self._database.backlog().last_sequence
        kept = self._database.numbers_between(first, last)
        gone = _without(first, min(last, newest), kept)
        if kept:
            self._resend_alerts(first, last)
        words = f"{len(kept)} alerts are sent again; those that the gateway has no more were confirmed, or merged"
        result = {"resent": len(kept), "gone": gone[:RANGES_MAX], "left_out": max(len(gone) - RANGES_MAX, 0)}
        return Reply(DONE, "", words, {**result, "last_sequence": newest})

    def _case(self, case_id: str) -> Case:
        case = self._database.known_case(case_id)
        if case is None:
            raise CommandRefusedError("unknown-case", f"{case_id}: this gateway has opened no such case")
        return case

    def _asked(self, camera: str, kind: str, body: Mapping[str, object]) -> Answer | None:
        return ask(self._database, camera, kind, body, limit_s=self._answer_s, clock=self._clock)

    def _told(self, camera: str, answer: Answer | None) -> Reply:
        if answer is None:
            words = f"{camera}: its worker has not answered within {self._answer_s:g} s: see whether it has a picture"
            return Reply(FAILED, "no-answer", words)
        if not answer.done:
            return Reply(FAILED, "failed", answer.words)
        return Reply(DONE, "", answer.words, answer.result)


def _without(first: int, last: int, kept: Sequence[int]) -> list[list[int]]:
    """The ranges of first..last that `kept`, in order, leaves, both ends included."""
    edges = [first - 1, *kept, last + 1]
    return [[one + 1, other - 1] for one, other in pairwise(edges) if one + 1 <= other - 1]


def _reloaded(report: SupervisorReport) -> Reply:
    if report.config_refused:
        return Reply(REFUSED, "configuration", f"the old configuration stays in force: {report.config_refused}")
    words = "the configuration in force is the file's"
    return Reply(DONE, "", words, {"config_sha256": report.config_sha256})
