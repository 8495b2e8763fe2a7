"""Evidence whose time is over goes, on record and never too early; and what a kill left half-done is put right."""

from __future__ import annotations

import os
import shutil
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.main import run
from edge.clock import SystemClock
from edge.core.types import NS_PER_S, OPENED
from edge.evidence.chain import SharedChain
from edge.evidence.filming import Filming
from edge.evidence.keys import gateway_key
from edge.evidence.manifest import alert_of as alert_number
from edge.evidence.recorder import CaseRecorder
from edge.evidence.retention import DISMISSED, OPEN, OVER, WAITING, Bounds, StoredCase, choose
from edge.evidence.store import EvidenceStore
from edge.evidence.upkeep import YOUNG_NS, Pruned, Tidied, prune, tidy
from edge.evidence.verify import verify
from edge.state.claims import Claims
from edge.state.database import Database
from edge.state.kept_cases import FOLDER, KeptCases
from edge.wiring.upkeep import Upkeep, bounds_of, tidy_evidence
from tests.alerts import a_case, a_change, alert_of, topic_of
from tests.test_evidence import ORIGIN, a_frame, tell_whole_case
from tests.test_evidence import a_case as a_watched_case
from tests.test_evidence import a_change as a_watched_change
from tests.test_evidence_clips import FakeFilm
from tests.test_live_camera import site_in

pytestmark = pytest.mark.delivery

DAY_NS = 86_400 * NS_PER_S
NOW_NS = 1_790_000_000 * NS_PER_S
MB, GB = 1_000_000, 1_000_000_000


def stored(number: int, *, days: float, state: str = OVER, size: int = MB) -> StoredCase:
    return StoredCase(str(number), state, size, NOW_NS - round(days * DAY_NS))


def chosen(cases: list[StoredCase], bounds: Bounds, *, free: int = 100 * GB) -> list[str]:
    return [choice.case.case_id for choice in choose(cases, bounds, now_wall_ns=NOW_NS, free_bytes=free)]


# What goes


def test_age_alone_decides_without_other_bounds() -> None:
    cases = [
        stored(1, days=91),
        stored(2, days=89),
        stored(3, days=200, state=OPEN),
        stored(4, days=200, state=WAITING),
    ]
    choices = choose(cases, Bounds(keep_ns=90 * DAY_NS), now_wall_ns=NOW_NS, free_bytes=0)
    assert [(choice.case.case_id, choice.reason) for choice in choices] == [("1", "older than 90 days")]
    assert chosen(cases, Bounds()) == []


def test_too_many_bytes_take_the_oldest_and_dismissed_ones_first() -> None:
    cases = [stored(1, days=3), stored(2, days=2), stored(3, days=1, state=DISMISSED), stored(4, days=9, state=OPEN)]
    assert chosen(cases, Bounds(keep_bytes=2 * MB)) == ["3", "1"]
    assert chosen(cases, Bounds(keep_bytes=2 * MB, dismissed_first=False)) == ["1", "2"]
    assert chosen(cases, Bounds(keep_bytes=4 * MB)) == []


def test_what_somebody_waits_for_goes_only_for_the_disk() -> None:
    cases = [stored(1, days=9, state=WAITING), stored(2, days=1), stored(3, days=20, state=OPEN)]
    assert chosen(cases, Bounds(keep_bytes=1)) == ["2"]
    reserve = Bounds(reserve_bytes=2 * GB)
    assert chosen(cases, reserve, free=2 * GB - MB // 2) == ["2"]
    assert chosen(cases, reserve, free=2 * GB - 2 * MB) == ["2", "1"]
    assert chosen(cases, reserve, free=0) == ["2"]  # all of it would not be enough: something else has filled the disk


@pytest.mark.parametrize(("disk_gb", "reserve_gb"), [(2, 0.2), (16, 1.6), (64, 2)])
def test_a_small_disk_keeps_a_tenth_free(disk_gb: int, reserve_gb: float, tmp_path: Path) -> None:
    bounds = bounds_of(site_in(tmp_path).config.evidence, disk_bytes=disk_gb * GB)
    assert bounds.reserve_bytes == reserve_gb * GB
    ten = [stored(number, days=1, state=OVER if number < 8 else WAITING, size=10 * MB) for number in range(10)]
    assert chosen(ten, bounds, free=round((reserve_gb - 0.005) * GB)) == ["0"]
    assert chosen(ten, bounds, free=round(reserve_gb * GB)) == []


@settings(max_examples=200)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([OPEN, WAITING, OVER, DISMISSED]), st.integers(0, 9), st.floats(0, 100)), max_size=30
    ),
    keep=st.integers(0, 60),
    days=st.integers(0, 90),
    lacking=st.integers(0, 60),
)
def test_no_open_case_goes_and_the_bounds_hold_as_far_as_they_can(
    rows: list[tuple[str, int, float]], keep: int, days: int, lacking: int
) -> None:
    cases = [stored(row, days=age, state=state, size=size) for row, (state, size, age) in enumerate(rows)]
    bounds = Bounds(keep_ns=days * DAY_NS, keep_bytes=keep, reserve_bytes=1000)
    choices = choose(cases, bounds, now_wall_ns=NOW_NS, free_bytes=1000 - lacking)
    gone = {choice.case.case_id for choice in choices}
    assert len(gone) == len(choices)
    left = [case for case in cases if case.case_id not in gone]
    assert all(case.state != OPEN for case in cases if case.case_id in gone)
    may_go = [case for case in left if case.state in (OVER, DISMISSED) and case.bytes]
    if days:
        assert not [case for case in may_go if NOW_NS - case.newest_wall_ns > bounds.keep_ns]
    if may_go and keep:
        assert sum(case.bytes for case in left) <= keep
    freed = sum(choice.case.bytes for choice in choices)
    if any(case.state == WAITING for case in cases if case.case_id in gone):
        assert not may_go  # the last resort
        assert freed >= lacking
    if freed < lacking:
        assert not may_go


# What is done


def a_state(root: Path, *, cases: int = 1) -> Path:
    """A gateway's folder with some whole cases, each of three alerts."""
    for number in range(1, cases + 1):
        tell_whole_case(root, number=number, chain=SharedChain(root))
    return root


def case_id(number: int = 1) -> str:
    return a_watched_case(0, number=number).case_id


def prune_all(root: Path, *, state: str = OVER, known: tuple[int, ...] = (1,), dry_run: bool = False) -> Pruned:
    """Everything is older than the bound."""
    return prune(
        root,
        gateway_key(root),
        Bounds(keep_ns=DAY_NS),
        states=lambda: {case_id(number): state for number in known},
        now_wall_ns=time.time_ns() + 2 * DAY_NS,
        free_bytes=lambda: GB,
        dry_run=dry_run,
    )


def names(root: Path, number: int = 1) -> set[str]:
    return {path.name for path in (root / "evidence" / case_id(number)).iterdir()}


def test_pictures_go_on_record_and_what_proves_them_stays(tmp_path: Path) -> None:
    root = a_state(tmp_path, cases=2)
    before = {number: names(root, number) for number in (1, 2)}
    pictures = {name for name in before[1] if name.endswith(".jpg")}
    assert prune_all(root, dry_run=True).removed_files == 2 * len(pictures)
    assert names(root) == before[1]
    done = prune_all(root, state=OPEN, known=(2,))
    assert names(root) == before[1] - pictures | {"pruned.json"}
    assert names(root, 2) == before[2]
    assert (done.cases, done.removed_cases, done.removed_files) == (2, 1, len(pictures))
    assert done.removed_bytes > 0 < done.bytes
    verdict = verify(root)
    print(
        f"{done.removed_files} files of one case, {done.removed_bytes} bytes, on record; {verdict.removed} known gone"
    )
    assert verdict.problems == []
    assert verdict.removed == len(pictures)
    assert prune_all(root, state=OPEN, known=(2,)).removed_files == 0


def test_a_young_case_that_no_table_names_yet_stays(tmp_path: Path) -> None:
    root = a_state(tmp_path)
    just_now = time.time_ns() + YOUNG_NS // 2
    tight = Bounds(reserve_bytes=GB)
    done = prune(root, gateway_key(root), tight, states=dict, now_wall_ns=just_now, free_bytes=lambda: 0)
    assert done.removed_files == 0
    later = just_now + YOUNG_NS
    assert prune(root, gateway_key(root), tight, states=dict, now_wall_ns=later, free_bytes=lambda: 0).removed_files


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"files":[1]}',
        b'{"files":[{"path":1,"sha256":"","bytes":1}]}',
        b'{"files":[{"path":"a/b","sha256":"","bytes":1e999}]}',
        b"[" * 100_000,
    ],
)
def test_a_case_whose_manifest_is_damaged_keeps_all_its_files(content: bytes, tmp_path: Path) -> None:
    root = a_state(tmp_path)
    (root / "evidence" / case_id() / "manifest-2.json").write_bytes(content)
    before = names(root)
    done = prune_all(root)
    assert (done.failures, done.removed_files) == (1, 0)
    assert names(root) == before


class KilledError(BaseException):
    """Nobody tidies up after it."""


def test_pictures_whose_manifest_is_gone_stay_and_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only what comes after the newest manifest of a case was never told."""
    root = a_state(tmp_path)
    folder = root / "evidence" / case_id()
    (folder / "manifest-2.json").unlink()
    before = names(root)
    (folder / "overview-4.jpg").write_bytes(b"unfinished")
    tidy_evidence(root, now_wall_ns=time.time_ns())
    assert names(root) == before
    told = [name for name in before if alert_number(name) == 2]
    assert f"the manifests of {len(told)} files are gone" in caplog.text
    assert tidy(root, gateway_key(root), now_wall_ns=time.time_ns()).unproved == len(told) > 0


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The program ends before its `step`-th change of the disk; those before are listed."""
    done: list[str] = []

    def counted(change: str, call: object) -> object:
        def change_disk(*arguments: object, **named: object) -> object:
            if len(done) == step:
                raise KilledError
            done.append(change)
            return call(*arguments, **named)  # type: ignore[operator]

        return change_disk

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", counted("unlink", Path.unlink))
        patched.setattr(Path, "replace", counted("replace", Path.replace))
        patched.setattr(os, "fsync", counted("fsync", os.fsync))
        yield done


def test_a_kill_between_any_two_steps_of_a_removal_leaves_nothing_unproved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = a_state(tmp_path / "whole")
    step, walked = 0, []
    while True:
        root = shutil.copytree(whole, tmp_path / str(step))
        with killed_at(step, monkeypatch) as done:
            try:
                prune_all(root)
            except KilledError:
                assert verify(root).problems == []
            else:
                break
        walked.append(len(done))
        tidied = tidy(root, gateway_key(root), now_wall_ns=time.time_ns())
        assert verify(root).problems == []
        recorded = "pruned.json" in names(root)
        assert not [name for name in names(root) if name.startswith(".")]
        assert (any(name.endswith(".jpg") for name in names(root))) is not recorded
        assert tidied.files + tidied.finished <= 30
        step += 1
    print(f"killed at each of {len(walked)} changes of the disk; each time all was proved, and finished or undone")
    assert step > 10


# After a kill


def test_what_no_manifest_names_goes_and_what_one_names_stays(tmp_path: Path) -> None:
    root = a_state(tmp_path)
    folder = root / "evidence" / case_id()
    before = names(root)
    for name in ("overview-9.jpg", "still-9-1.jpg", "clip-9.mp4", "manifest-9.sig", ".original-9.jpg.part"):
        (folder / name).write_bytes(b"unfinished")
    (root / ".chain.json.part").write_bytes(b"unfinished")
    empty = root / "evidence" / case_id(7)
    empty.mkdir()
    done = tidy(root, gateway_key(root), now_wall_ns=time.time_ns())
    assert done == Tidied(cases=2, files=5, finished=0)
    assert names(root) == before
    assert not empty.exists()
    assert not list(root.glob(".*"))
    assert verify(root).problems == []


def test_a_kill_between_any_two_steps_of_an_alert_is_put_right_and_the_alert_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second alert of a case: its clip, signature, manifest, and the chain's note before and after."""
    whole = tmp_path / "whole"
    first = filming_recorder(whole)
    first.record(a_watched_change("opened", 60, alerts=1), a_frame(60))
    clip = a_watched_change("updated", 66, alerts=2, reason="clip")
    step = leftovers = 0
    while True:
        root = shutil.copytree(whole, tmp_path / str(step))
        recorder = filming_recorder(root)
        assert recorder._filming is not None
        recorder._filming.begin(case_id(), 60 * NS_PER_S)
        with killed_at(step, monkeypatch):
            try:
                recorder.record(clip, a_frame(66))
            except KilledError:
                ended = False
            else:
                ended = True
        tidied = tidy(root, gateway_key(root), now_wall_ns=time.time_ns())
        leftovers += tidied.files
        SharedChain(root).begin()
        verdict = verify(root)
        assert (verdict.problems, verdict.unfinished) == ([], 0)
        again = filming_recorder(root)
        assert again._filming is not None
        again._filming.begin(case_id(), 60 * NS_PER_S)
        assert again.record(clip, a_frame(66))[-1].role == "manifest"
        assert verify(root).problems == []
        if ended:
            break
        step += 1
    print(f"killed at each of {step} changes of the disk; {leftovers} files were removed, nothing was missed")
    assert step > 12
    assert leftovers > 5


def filming_recorder(root: Path) -> CaseRecorder:
    filming = Filming(FakeFilm(), pre_roll_ns=10 * NS_PER_S, post_roll_ns=5 * NS_PER_S)
    return CaseRecorder(EvidenceStore(root), origin=ORIGIN, chain=SharedChain(root), filming=filming)


def test_a_start_looks_only_at_what_changed_since_the_last(tmp_path: Path) -> None:
    count = int(os.environ.get("EDGE_CASE_FOLDERS", "3000"))
    (tmp_path / "evidence").mkdir()
    old_ns = time.time_ns() - DAY_NS
    for number in range(count):
        folder = tmp_path / "evidence" / f"{number:08x}-0000-5000-8000-000000000000"
        folder.mkdir()
        (folder / "manifest-1.json").write_bytes(b"{}")
        (folder / "original-1.jpg").write_bytes(b"picture")
        os.utime(folder, ns=(old_ns, old_ns))
    key, spent_s = gateway_key(tmp_path), []
    for _ in range(3):
        begun_s = time.perf_counter()
        done = tidy(tmp_path, key, now_wall_ns=time.time_ns())
        spent_s.append(time.perf_counter() - begun_s)
    folder = tmp_path / "evidence" / "00000001-0000-5000-8000-000000000000"
    (folder / "clip-2.mp4").write_bytes(b"unfinished")
    changed = tidy(tmp_path, key, now_wall_ns=time.time_ns())
    print(
        f"{count} cases: the first start took {spent_s[0]:.2f} s, the next {spent_s[2]:.3f} s (EDGE_CASE_FOLDERS=...)"
    )
    begun_s = time.perf_counter()
    tracemalloc.start()
    prune(tmp_path, key, Bounds(keep_ns=DAY_NS), states=dict, now_wall_ns=time.time_ns(), free_bytes=lambda: GB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"a look at what is too old: {time.perf_counter() - begun_s:.2f} s, {peak / count:.0f} bytes a case")
    assert peak / count < 1000
    assert done.cases == 0
    assert (changed.cases, changed.files) == (1, 1)
    assert spent_s[2] < 1 + count / 20_000


def test_a_clock_that_was_put_back_makes_a_start_look_at_all(tmp_path: Path) -> None:
    root = a_state(tmp_path)
    key, now_ns = gateway_key(root), time.time_ns()
    tidy(root, key, now_wall_ns=now_ns + DAY_NS)
    assert tidy(root, key, now_wall_ns=now_ns).cases == 1


# The service, and the command


def test_the_service_gives_up_what_its_configuration_says(tmp_path: Path) -> None:
    root = a_state(tmp_path)
    Database.open(root / "edge.db").close()
    upkeep = Upkeep(root, clock=LaterClock())
    upkeep._site = site_in(tmp_path)
    upkeep.turn()
    print(upkeep.kept)
    assert (upkeep.kept.removed_cases, upkeep.kept.cases, upkeep.kept.failures) == (1, 0, 0)
    assert upkeep.kept.removed_bytes > 100_000
    assert verify(root).problems == []
    upkeep.turn()
    assert upkeep.kept.removed_cases == 1


def test_whatever_goes_wrong_in_one_turn_there_is_a_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turns = threading.Semaphore(0)

    def fails(*args: object, **kwargs: object) -> Pruned:
        turns.release()
        raise RecursionError("nested too deeply")

    monkeypatch.setattr("edge.wiring.upkeep.prune_evidence", fails)
    monkeypatch.setattr("edge.wiring.upkeep.LOOK_S", 0.01)
    monkeypatch.setattr("edge.wiring.upkeep.EVERY_S", 0.02)
    upkeep = Upkeep(tmp_path, clock=LaterClock())
    upkeep.go_on_with(site_in(tmp_path))
    assert all(turns.acquire(timeout=10) for _ in range(3))
    upkeep.close()
    assert "evidence is not bounded now; the next turn tries again" in caplog.text


def test_a_database_that_cannot_be_asked_keeps_everything(tmp_path: Path) -> None:
    root = a_state(tmp_path)
    (root / "edge.db").write_bytes(b"not a database")
    before = names(root)
    upkeep = Upkeep(root, clock=LaterClock())
    upkeep._site = site_in(tmp_path)
    upkeep.turn()
    assert names(root) == before


def test_the_command_says_what_would_go_and_deletes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = a_state(tmp_path)
    Database.open(root / "edge.db").close()
    site_in(tmp_path)
    config = tmp_path / "site.yaml"
    config.write_text(f"{config.read_text()}evidence: {{keep_days: 0.000001}}\n")
    command = ["evidence", "prune", "--config", str(config), "--state", str(root)]
    old_ns = time.time_ns() - DAY_NS
    for path in root.rglob("*.jpg"):
        os.utime(path, ns=(old_ns, old_ns))
    assert run([*command, "--dry-run"]) == 0
    assert "would delete 15 files of 1 cases" in capsys.readouterr().out
    assert run(command) == 0
    assert "deleted 15 files of 1 cases" in capsys.readouterr().out
    assert verify(root).removed == 15


def test_the_command_leaves_alone_what_is_no_state_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A replay's folder must not get a private key, nor anybody's own folder a database."""
    site_in(tmp_path)
    for name in ("replay", "nothing"):
        folder = tmp_path / name
        if name == "replay":
            (folder / "evidence").mkdir(parents=True)
        assert run(["evidence", "prune", "--config", str(tmp_path / "site.yaml"), "--state", str(folder)]) == 2
        assert "is no state folder of a gateway: there is no edge.db" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "replay").rglob("*")] == ["evidence"]
    assert not (tmp_path / "nothing").exists()


class LaterClock(SystemClock):
    """A hundred days from now."""

    def wall_ns(self) -> int:
        return super().wall_ns() + 100 * DAY_NS


# Who needs it


def test_running_unsent_and_dismissed_cases_are_known_from_the_database(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        claims = Claims(database)
        opened, cleared = a_change(1), a_change(2, "cleared", "left", state="cleared")
        for change in (opened, cleared):
            database.commit(change, alert_of(change), topic_of(change))
        database.save_running("qiaonong-03", [a_case(3, state=OPENED)])
        ids = [a_case(number).case_id for number in (1, 2, 3)]
        assert claims.running() == {ids[0], ids[2]}
        assert claims.waited_for() == {ids[0], ids[1]}
        database.delete([str(alert_of(change)["id"]) for change in (opened, cleared)])
        assert claims.waited_for() == set()
        assert claims.dismissed() == set()


def test_kept_cases_of_cameras_that_are_gone_go_when_they_are_old(tmp_path: Path) -> None:
    for camera, age_days in (("gone", 100), ("lately", 1), ("here", 100)):
        path = tmp_path / FOLDER / camera / "one.npz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"kept")
        written_ns = NOW_NS - age_days * DAY_NS
        os.utime(path, ns=(written_ns, written_ns))
    gone = KeptCases(tmp_path).forget_cameras({"here"}, before_wall_ns=NOW_NS - 90 * DAY_NS)
    assert gone == 1
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["here", "lately"]
