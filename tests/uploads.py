"""Alerts with evidence on the disk to upload, and a process of its own that does."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.config.delivery import UploadConfig
from edge.delivery.upload import FOLLOWER, Target, Uploader
from edge.evidence.manifest import canonical, file_entry
from edge.ports import EvidenceFile
from edge.state.database import Database
from edge.state.relays import Relays
from edge.state.retrievals import Retrievals
from edge.wiring.uploading import target_of, uploader_for
from tests.alerts import SHANGHAI, START_WALL_NS, a_change, alert_of, topic_of
from tests.brokers import WAIT_S

ENDINGS = {"jpg": "image/jpeg", "mp4": "video/mp4"}


def fix_evidence(
    root: Path, number: int, files: Mapping[str, bytes], *, masked: tuple[str, ...] = (), private: tuple[str, ...] = ()
) -> list[EvidenceFile]:
    """One case's files and their manifest below `root`, as the recorder leaves them. Names are `<role>-1.<ending>`."""
    case_id = a_change(number).case.case_id
    folder = root / "evidence" / case_id
    folder.mkdir(parents=True)
    stored = [_stored(folder, case_id, name, content) for name, content in files.items()]
    hidden = {*private, *({name for name in files if masked} - set(masked))}
    entries = [
        file_entry(one, SHANGHAI, masked=Path(one.path).name in masked, private=Path(one.path).name in hidden)
        for one in stored
    ]
    manifest = canonical({"version": 1, "case_id": case_id, "files": entries})
    return [*stored, _stored(folder, case_id, "manifest-1.json", manifest)]


@contextmanager
def gateway_state(root: Path) -> Iterator[Database]:
    """A state folder whose alerts are followed by the uploading."""
    with Database.open(root / "edge.db") as database:
        Relays(database).set_followers([FOLLOWER])
        yield database


def put_alert(database: Database, number: int, evidence: list[EvidenceFile]) -> int:
    change = a_change(number)
    return database.commit(change, alert_of(change, evidence=evidence), topic_of(change))


def object_of(file: EvidenceFile) -> str:
    """Where a store has it, as docs/upload.md says."""
    ending = Path(file.path).suffix
    return f"sha256/{file.sha256[:2]}/{file.sha256}{ending}"


def an_uploader(database: Database, target: Target, root: Path, **changes: Any) -> Uploader:
    """With no alert in its way, and quick to try again."""
    given: dict[str, Any] = {"way_is_clear": lambda: True, "poll_s": 0.02, "retry_s": 0.05, **changes}
    return Uploader(Relays(database), Retrievals(database), target, root=root, **given)


@contextmanager
def uploading(database: Database, target: Target, root: Path, **changes: Any) -> Iterator[Uploader]:
    uploader = an_uploader(database, target, root, **changes)
    uploader.start()
    try:
        yield uploader
    finally:
        uploader.close(WAIT_S)
        assert not uploader.alive


def wait_until_done(uploader: Uploader, limit_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        state = uploader.state()
        counts = state.counts
        done = counts.files + counts.there + counts.gone + counts.changed + counts.refused + counts.withheld
        if done and not state.waiting and not state.error:
            return
        time.sleep(0.01)
    raise AssertionError(f"still uploading: {uploader.state()}")


def _stored(folder: Path, case_id: str, name: str, content: bytes) -> EvidenceFile:
    (folder / name).write_bytes(content)
    ending = name.rpartition(".")[2]
    return EvidenceFile(
        role=name.partition("-")[0],
        media_type=ENDINGS.get(ending, "application/json"),
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        path=f"evidence/{case_id}/{name}",
        taken_wall_ns=START_WALL_NS,
    )


def main(order: str) -> None:
    """In a process of its own, to be killed: uploads all that waits, and says how."""
    given: dict[str, Any] = json.loads(order)
    config = UploadConfig(**given["config"])
    with Database.open(Path(given["root"]) / "edge.db") as database:
        target = target_of(config)
        type(target).part_bytes = given["part_bytes"]
        uploader = uploader_for(config, database, root=Path(given["root"]), connected=lambda: False, poll_s=0.02)
        uploader.start()
        wait_until_done(uploader, 60)
        uploader.close()
    print(json.dumps({"bytes": uploader.state().counts.bytes, "files": uploader.state().counts.files}))


if __name__ == "__main__":
    main(sys.argv[1])
