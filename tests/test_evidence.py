"""What a case leaves behind: stills while it lasts, pictures and a manifest at each alert, and chains over them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta, timezone
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import NS_PER_S, OPENED, PENDING, Case, CaseChange, Float32, Frame, UInt8
from edge.errors import EvidenceError, UsageError
from edge.evidence.chain import Chain, Head, chain_end
from edge.evidence.hiding import Hiding
from edge.evidence.manifest import listed_files
from edge.evidence.recorder import CASES_MAX, STILLS_MAX, CaseRecorder, EvidenceOrigin
from edge.evidence.store import EvidenceStore, canonical
from edge.evidence.verify import verify
from edge.ports import EvidenceFile
from tests.test_evidence_store import tmpfs

START_WALL_NS = 1_777_858_200 * NS_PER_S + 123_456_789  # 2026-05-04T09:30:00.123 in Shanghai
KERB = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]], np.float32)
WINDOW = np.array([[0.0, 0.0], [0.25, 0.0], [0.25, 0.25], [0.0, 0.25]], np.float32)
ORIGIN = EvidenceOrigin(
    camera="qiaonong-03",
    zones={"kerb": KERB},
    timezone=timezone(timedelta(hours=8)),
    model_of=lambda scenario, zone: ("yolox-nano", "a" * 64),
    config_sha256=lambda: "b" * 64,
    software="0.1.0",
)


@lru_cache
def texture(seed: int = 0) -> UInt8:
    coarse = np.random.default_rng(seed).integers(30, 220, (24, 32, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC), np.uint8)


def a_frame(time_s: float, *, bgr: UInt8 | None = None) -> Frame:
    time_ns = round(time_s * NS_PER_S)
    bgr = texture() if bgr is None else bgr
    return Frame("qiaonong-03", round(time_s * 5), time_ns, START_WALL_NS + time_ns, bgr, media_ns=time_ns)


def a_case(time_s: float, *, number: int = 1, alerts: int = 0, seen_s: float | None = None) -> Case:
    """A car that has stood at the kerb since 0; opened from its first alert on."""
    return Case(
        case_id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))),
        camera="qiaonong-03",
        scenario="illegal-parking",
        zone="kerb",
        state=OPENED if alerts else PENDING,
        label="car",
        score=0.8,
        count=1,
        footprint=(100.0, 80.0, 180.0, 140.0),
        appearance=np.zeros((8, 8), np.float32),
        started_ns=0,
        opened_ns=60 * NS_PER_S if alerts else 0,
        last_seen_ns=round((time_s if seen_s is None else seen_s) * NS_PER_S),
        visible_ns=0,
        cleared_ns=0,
        started_wall_ns=START_WALL_NS,
        opened_wall_ns=START_WALL_NS + 60 * NS_PER_S if alerts else 0,
        alerts=alerts,
    )


def a_change(kind: str, time_s: float, *, alerts: int, number: int = 1, reason: str = "") -> CaseChange:
    case = a_case(time_s, number=number, alerts=alerts)
    if kind in ("cleared", "withdrawn"):
        case = replace(case, state=kind, cleared_ns=round(time_s * NS_PER_S))
    return CaseChange(case, kind, reason)


def a_recorder(root: Path, *, privacy: Sequence[Float32] = (), chain: Chain | None = None) -> CaseRecorder:
    return CaseRecorder(EvidenceStore(root), origin=ORIGIN, hiding=Hiding(privacy), chain=chain)


def problems_in(root: Path) -> list[str]:
    return verify(root).problems


def watch(recorder: CaseRecorder, *, start_s: float, end_s: float, alerts: int = 0, number: int = 1) -> None:
    for tick in range(round(start_s * 2), round(end_s * 2)):
        recorder.watch([a_case(tick / 2, number=number, alerts=alerts)], a_frame(tick / 2))


def tell_whole_case(root: Path, *, number: int = 1, chain: Chain | None = None) -> list[Sequence[EvidenceFile]]:
    """A case of four minutes: opened at 60 s, updated at 180 s, cleared at 240 s."""
    recorder = a_recorder(root, chain=chain)
    watch(recorder, start_s=0, end_s=60, number=number)
    told = [recorder.record(a_change("opened", 60, alerts=1, number=number), a_frame(60))]
    watch(recorder, start_s=60, end_s=180, alerts=1, number=number)
    told.append(recorder.record(a_change("updated", 180, alerts=2, number=number), a_frame(180)))
    watch(recorder, start_s=180, end_s=230, alerts=2, number=number)
    change = a_change("cleared", 240, alerts=3, number=number, reason="seen-empty")
    told.append(recorder.record(change, a_frame(240, bgr=texture(1))))
    return told


class ForgetfulStore(EvidenceStore):
    """A store that keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))

    def save(
        self, *, case_id: str, name: str, content: bytes, role: str, media_type: str, taken_wall_ns: int
    ) -> EvidenceFile:
        return EvidenceFile(role, media_type, "", len(content), f"evidence/{case_id}/{name}", taken_wall_ns)


def tiny_frame(time_s: float) -> Frame:
    return a_frame(time_s, bgr=np.zeros((16, 16, 3), np.uint8))


def roles(files: Sequence[EvidenceFile]) -> list[str]:
    return [file.role for file in files]


def times_s(files: Sequence[EvidenceFile], role: str = "still") -> list[float]:
    return [(file.taken_wall_ns - START_WALL_NS) / NS_PER_S for file in files if file.role == role]


def manifest_of(root: Path, files: Sequence[EvidenceFile]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / files[-1].path).read_bytes())
    return document


def picture_of(root: Path, files: Sequence[EvidenceFile], role: str) -> UInt8:
    path = next(root / file.path for file in files if file.role == role)
    return np.asarray(cv2.imread(str(path)), np.uint8)


def test_a_case_leaves_the_pictures_that_its_alerts_name(tmp_path: Path) -> None:
    opened, updated, cleared = tell_whole_case(tmp_path)
    assert [role for role in roles(opened) if role != "still"] == ["overview", "original", "crop", "manifest"]
    assert [role for role in roles(updated) if role != "still"] == ["overview", "manifest"]
    assert "still" in roles(updated)
    assert [role for role in roles(cleared) if role != "still"] == ["after", "manifest"]
    for file in [*opened, *updated, *cleared]:
        content = (tmp_path / file.path).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.bytes)
    assert [Path(file.path).name for file in opened if file.role != "still"] == [
        "overview-1.jpg",
        "original-1.jpg",
        "crop-1.jpg",
        "manifest-1.json",
    ]


def test_stills_are_at_least_three_and_ten_seconds_apart(tmp_path: Path) -> None:
    told = tell_whole_case(tmp_path)
    taken_s = [time_s for files in told for time_s in times_s(files)]
    print(f"stills at {taken_s} s")
    assert taken_s[0] == 0
    assert len(times_s(told[0])) >= 3
    assert all(later - earlier >= 10 for earlier, later in pairwise(taken_s))


@settings(max_examples=40, deadline=None)
@given(after_s=st.integers(20, 1200))
def test_waiting_stills_span_however_long_a_case_waits(after_s: int) -> None:
    store = ForgetfulStore()
    recorder = CaseRecorder(store, origin=ORIGIN)
    for time_s in range(after_s):
        recorder.watch([a_case(time_s)], tiny_frame(time_s))
    taken_s = times_s(recorder.record(a_change("opened", after_s, alerts=1), tiny_frame(after_s)))
    assert 3 <= len(taken_s) <= STILLS_MAX + 1
    assert taken_s[0] == 0
    assert after_s - taken_s[-1] < 10
    gaps_s = [later - earlier for earlier, later in pairwise(taken_s)]
    assert min(gaps_s) >= 10
    assert max(gaps_s) <= max(20, 0.7 * after_s)


def test_a_case_that_opens_at_once_has_the_still_of_its_first_frame(tmp_path: Path) -> None:
    files = a_recorder(tmp_path).record(a_change("opened", 0, alerts=1), a_frame(0))
    assert times_s(files) == [0]


def test_a_still_is_taken_only_while_the_thing_is_seen(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path)
    watch(recorder, start_s=0, end_s=8)
    for tick in range(40, 125):  # hidden from 8 s to 25 s
        recorder.watch([a_case(tick / 5, seen_s=8)], a_frame(tick / 5))
    watch(recorder, start_s=25, end_s=26)
    assert times_s(recorder.record(a_change("opened", 26, alerts=1), a_frame(26))) == [0, 25]


def test_the_original_is_the_frame_untouched_and_the_overview_is_drawn(tmp_path: Path) -> None:
    opened = tell_whole_case(tmp_path)[0]
    difference = cv2.absdiff(picture_of(tmp_path, opened, "original"), texture())
    print(f"JPEG changes the original by {difference.mean():.2f} grey levels in the mean")
    assert difference.mean() < 3
    drawn = cv2.absdiff(picture_of(tmp_path, opened, "overview"), picture_of(tmp_path, opened, "original"))
    assert drawn[80, 100:180].max() > 60  # the box's upper edge


def test_the_crop_is_the_footprint_with_a_margin(tmp_path: Path) -> None:
    opened = tell_whole_case(tmp_path)[0]
    assert picture_of(tmp_path, opened, "crop").shape == (60 + 18, 80 + 24, 3)


@pytest.mark.parametrize("footprint", [(-9.0, -9.0, 1.0, 1.0), (318.0, 238.0, 340.0, 260.0), (50.0, 50.0, 50.0, 50.0)])
def test_a_footprint_at_the_edge_still_gives_a_crop_to_look_at(
    tmp_path: Path, footprint: tuple[float, float, float, float]
) -> None:
    case = replace(a_case(0, alerts=1), footprint=footprint)
    files = a_recorder(tmp_path).record(CaseChange(case, "opened", ""), a_frame(0))
    assert picture_of(tmp_path, files, "crop").shape == (32, 32, 3)


def test_manifest_and_crop_of_a_box_that_leaves_the_frame_end_where_it_ends(tmp_path: Path) -> None:
    case = replace(a_case(0, alerts=1), footprint=(240.0, 80.0, 400.0, 140.0))
    files = a_recorder(tmp_path).record(CaseChange(case, "opened", ""), a_frame(0))
    assert manifest_of(tmp_path, files)["object"]["box_px"] == [240, 80, 320, 140]
    assert picture_of(tmp_path, files, "crop").shape == (60 + 18, 80 + 12, 3)  # the margin is that of what is seen


def test_privacy_masks_are_blurred_in_all_but_the_sealed_original(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path, privacy=[WINDOW])
    watch(recorder, start_s=0, end_s=60)
    opened = recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    corner = (slice(2, 50), slice(2, 70))
    for role in ("overview", "still"):
        masked = picture_of(tmp_path, opened, role)[corner].astype(int)
        assert np.abs(masked - texture()[corner]).mean() > 15
    untouched = picture_of(tmp_path, opened, "original")[corner].astype(int)
    assert np.abs(untouched - texture()[corner]).mean() < 3
    listed = {entry["role"]: entry["masked"] for entry in manifest_of(tmp_path, opened)["files"]}
    assert listed == {"overview": True, "original": False, "crop": True, "still": True}


def test_a_withdrawn_case_gets_a_manifest_and_no_picture(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path)
    recorder.record(a_change("opened", 0, alerts=1), a_frame(0))
    files = recorder.record(a_change("withdrawn", 9, alerts=2, reason="dismissed"), a_frame(9))
    assert roles(files) == ["manifest"]
    assert manifest_of(tmp_path, files)["alert"] == {"kind": "withdrawn", "number": 2, "reason": "dismissed"}


def test_a_case_of_a_zone_that_is_gone_is_still_recorded(tmp_path: Path) -> None:
    case = replace(a_case(0, alerts=1), zone="old", label="")
    files = a_recorder(tmp_path).record(CaseChange(case, "opened", ""), a_frame(0))
    assert manifest_of(tmp_path, files)["zone"] == {"id": "old", "polygon": None}


def test_a_manifest_tells_what_was_taken_when_and_by_what(tmp_path: Path) -> None:
    opened = tell_whole_case(tmp_path)[0]
    content = (tmp_path / opened[-1].path).read_bytes()
    manifest = json.loads(content)
    assert content == canonical(manifest)
    assert content.endswith(b"}\n")
    assert str(tmp_path).encode() not in content
    assert manifest["started_at"] == "2026-05-04T09:30:00.123+08:00"
    assert manifest["opened_at"] == manifest["taken_at"] == "2026-05-04T09:31:00.123+08:00"
    assert manifest["cleared_at"] is None
    assert manifest["model"] == {"name": "yolox-nano", "sha256": "a" * 64}
    assert manifest["object"] == {"label": "car", "box_px": [100, 80, 180, 140], "frame_px": [320, 240]}
    assert [entry["path"] for entry in manifest["files"]] == [file.path for file in opened[:-1]]


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tell_whole_case(tmp_path / "a"), tell_whole_case(tmp_path / "b")
    assert first == second


def test_chains_hold_within_a_case_and_over_cases(tmp_path: Path) -> None:
    chain = Chain()
    first = tell_whole_case(tmp_path, number=1, chain=chain)
    second = tell_whole_case(tmp_path, number=2, chain=chain)
    told = [*first, *second]
    before = [None, *(files[-1].sha256 for files in told)]
    assert [manifest_of(tmp_path, files)["previous"] for files in told] == before[:-1]
    assert [manifest_of(tmp_path, files)["previous_in_case"] for files in second] == [None, *before[4:6]]
    assert problems_in(tmp_path) == []
    assert chain_end(tmp_path) == chain.head == Head(6, before[-1])


def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path, chain=Chain(chain_end(tmp_path)))
    recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    restarted = a_recorder(tmp_path, chain=Chain(chain_end(tmp_path)))
    restarted.record(a_change("updated", 99, alerts=2), a_frame(99))
    assert problems_in(tmp_path) == []


def test_an_alert_whose_evidence_is_stored_keeps_it(tmp_path: Path) -> None:
    told = a_recorder(tmp_path).record(a_change("opened", 60, alerts=1), a_frame(60))
    again = a_recorder(tmp_path).record(a_change("opened", 61, alerts=1), a_frame(61, bgr=texture(2)))
    assert [(file.path, file.sha256, file.bytes) for file in again] == [
        (file.path, file.sha256, file.bytes) for file in told
    ]
    assert all(abs(a.taken_wall_ns - b.taken_wall_ns) < 1_000_000 for a, b in zip(again, told, strict=True))
    manifest = (tmp_path / told[-1].path).read_bytes()
    assert listed_files(a_case(0).case_id, "manifest-1.json", manifest, b"") == again


def test_evidence_of_an_alert_that_was_never_told_is_not_anothers(tmp_path: Path) -> None:
    """The worker is killed before the commit of an update; when it is back the car has gone, and is seen again."""
    killed = a_recorder(tmp_path)
    killed.record(a_change("opened", 60, alerts=1), a_frame(60))
    untold = killed.record(a_change("updated", 99, alerts=2), a_frame(99))
    kept = {path: path.read_bytes() for path in tmp_path.glob("evidence/*/*-2*")}
    changes = [
        a_change("cleared", 120, alerts=2, reason="seen-empty"),
        a_change("cleared", 130, alerts=2, reason="hours"),
        a_change("updated", 140, alerts=2),
        a_change("cleared", 150, alerts=3, reason="seen-empty"),
    ]
    told = []
    for change in changes:
        told.append(a_recorder(tmp_path, chain=Chain(chain_end(tmp_path))).record(change, a_frame(change_s(change))))
        entry = manifest_of(tmp_path, told[-1])["alert"]
        assert entry == {"number": change.case.alerts, "kind": change.kind, "reason": change.reason}
    assert [roles(files) for files in told] == [["after", "manifest"], ["after", "manifest"], *FRESH]
    assert [Path(files[-1].path).name for files in told] == [f"manifest-{number}.json" for number in (3, 4, 5, 6)]
    again = a_recorder(tmp_path).record(changes[-1], a_frame(160))
    assert [file.sha256 for file in again] == [file.sha256 for file in told[-1]]
    assert len(kept) == len(untold) == 3
    assert {path: path.read_bytes() for path in kept} == kept
    assert problems_in(tmp_path) == []


FRESH = [["overview", "still", "manifest"], ["after", "manifest"]]


def change_s(change: CaseChange) -> float:
    return max(change.case.cleared_ns, change.case.last_seen_ns) / NS_PER_S


def test_a_damaged_manifest_stays_and_holds_no_alert_up(tmp_path: Path) -> None:
    told = a_recorder(tmp_path).record(a_change("opened", 60, alerts=1), a_frame(60))
    (tmp_path / told[-1].path).write_bytes(b"{")
    files = a_recorder(tmp_path).record(a_change("opened", 61, alerts=1), a_frame(61))
    assert Path(files[-1].path).name == "manifest-2.json"
    assert problems_in(tmp_path)[0] == f"{told[-1].path}: not a manifest in canonical JSON"


def test_what_a_killed_program_left_of_an_alert_is_replaced(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    for name in ("overview-1.jpg", "still-1-3.jpg"):
        store.save(
            case_id=a_case(0).case_id, name=name, content=b"old", role="x", media_type="image/jpeg", taken_wall_ns=0
        )
    a_recorder(tmp_path).record(a_change("opened", 60, alerts=1), a_frame(60))
    assert problems_in(tmp_path) == []


def test_what_a_kill_left_of_a_running_case_is_gone_before_its_next_alert(tmp_path: Path) -> None:
    """Which may be long in coming, and may come while the camera is blind."""
    told = a_recorder(tmp_path).record(a_change("opened", 60, alerts=1), a_frame(60))
    folder = (tmp_path / told[-1].path).parent
    before = sorted(folder.iterdir())
    for name in ("overview-2.jpg", ".still-2-1.jpg.part"):
        (folder / name).write_bytes(b"begun")
    a_recorder(tmp_path).resume([a_case(70, alerts=1), a_case(70, number=2)])
    assert sorted(folder.iterdir()) == before
    assert problems_in(tmp_path) == []


def test_what_was_begun_of_an_alert_that_never_came_does_not_outlive_its_case(tmp_path: Path) -> None:
    """Cleared but not told, seen again and killed at that, gone after all: the first manifest holds."""
    a_recorder(tmp_path).record(a_change("opened", 60, alerts=1), a_frame(60))
    untold = a_change("cleared", 120, alerts=2, reason="seen-empty")
    stored = a_recorder(tmp_path, chain=Chain(chain_end(tmp_path))).record(untold, a_frame(120))
    begun = tmp_path / stored[0].path.replace("after-2", "overview-3")
    begun.write_bytes(b"begun")
    assert a_recorder(tmp_path).record(untold, a_frame(130))[-1].sha256 == stored[-1].sha256
    assert not begun.exists()
    assert problems_in(tmp_path) == []


def test_a_full_disk_takes_all_of_an_alert_back_and_the_next_one_holds(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)
    with tmpfs(tmp_path / "disk", size="400k") as disk:
        recorder = a_recorder(disk)
        recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
        filler = disk / "filler"
        filler.write_bytes(b"x" * 200_000)
        before = sorted(disk.rglob("*"))
        with pytest.raises(EvidenceError, match="No space left on device"):
            recorder.record(a_change("opened", 99, alerts=1, number=2), a_frame(99, bgr=noise))
        assert sorted(disk.rglob("*")) == before
        filler.unlink()
        files = recorder.record(a_change("updated", 120, alerts=2), a_frame(120))
        assert roles(files) == ["overview", "still", "manifest"]
        assert problems_in(disk) == []


def test_memory_is_bounded_and_what_it_costs_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = a_recorder(tmp_path)
    many = [a_case(0, number=number) for number in range(CASES_MAX + 5)]
    recorder.watch(many, a_frame(0))
    recorder.watch(many, a_frame(0.2))
    assert recorder.counts.stills_refused == 10
    assert len(caplog.records) == 1
    for tick in range(2, 5):  # the others are gone: their places are free again
        recorder.watch(many[-5:], a_frame(tick / 5))
    files = recorder.record(a_change("opened", 20, alerts=1, number=CASES_MAX + 4), a_frame(20))
    assert times_s(files)[0] <= 0.8


def test_an_open_case_takes_the_place_of_the_youngest_passer_by(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path)
    passers = [a_case(0, number=number) for number in range(CASES_MAX - 1)]
    recorder.watch(passers, a_frame(0))
    youngest = a_case(1, number=CASES_MAX)
    recorder.watch([*passers, youngest], a_frame(1))
    real = a_case(2, number=999, alerts=1)
    for time_s in (2, 12, 22):
        everybody = [replace(case, last_seen_ns=time_s * NS_PER_S) for case in (*passers, youngest, real)]
        recorder.watch(everybody, a_frame(time_s))
    assert times_s(recorder.record(a_change("updated", 30, alerts=2, number=999), a_frame(30))) == [2, 12, 22]
    opened = recorder.record(a_change("opened", 30, alerts=1, number=CASES_MAX - 2), a_frame(30))
    assert len(times_s(opened)) >= 3
    evicted = recorder.record(a_change("opened", 30, alerts=1, number=CASES_MAX), a_frame(30))
    assert times_s(evicted) == [30]
    assert recorder.counts.stills_refused >= 3


def test_a_case_that_opens_in_a_full_table_has_the_still_of_that_frame(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path)
    recorder.watch([a_case(0, number=number) for number in range(CASES_MAX)], a_frame(0))
    assert times_s(recorder.record(a_change("opened", 0, alerts=1, number=999), a_frame(0))) == [0]


def test_open_cases_do_not_drive_one_another_out(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path)
    recorder.watch([a_case(0, number=number, alerts=1) for number in range(CASES_MAX + 1)], a_frame(0))
    assert recorder.counts.stills_refused == 1


def test_stills_of_a_case_that_ends_in_this_frame_are_not_lost(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path)
    recorder.record(a_change("opened", 0, alerts=1), a_frame(0))
    watch(recorder, start_s=0, end_s=15, alerts=1)
    recorder.watch([], a_frame(15))  # the worker gives living cases only, then tells that this one has ended
    files = recorder.record(a_change("cleared", 15, alerts=2, reason="left"), a_frame(15))
    assert times_s(files) == [10]


# --- verification ---------------------------------------------------------------------------------------------


def case_folder(root: Path) -> Path:
    return EvidenceStore(root).case_folder(a_case(0).case_id)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("chain")
    recorder = a_recorder(root)
    recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    recorder.record(a_change("withdrawn", 70, alerts=2), a_frame(70))
    names = [name for name in EvidenceStore(root).names(a_case(0).case_id) if name != "manifest-2.json"]
    path = case_folder(root) / data.draw(st.sampled_from(names))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    problems = problems_in(root)
    assert problems
    assert all("\n" not in problem and str(root) not in problem for problem in problems)


@pytest.mark.parametrize("name", ["overview-1.jpg", "manifest-1.json", "manifest-2.json"])
def test_a_removed_file_is_found(tmp_path: Path, name: str) -> None:
    tell_whole_case(tmp_path)
    (case_folder(tmp_path) / name).unlink()
    assert problems_in(tmp_path)


def test_a_file_that_no_manifest_names_is_found(tmp_path: Path) -> None:
    tell_whole_case(tmp_path)
    folder = f"evidence/{a_case(0).case_id}"
    foreign = {"overview-2-1.jpg": b"foreign", "manifest-2.sig": bytes(64), "note.txt": b""}
    for name, content in foreign.items():
        (case_folder(tmp_path) / name).write_bytes(content)
    assert problems_in(tmp_path) == [
        f"{folder}/{name}: named by no manifest: unfinished or foreign" for name in sorted(foreign)
    ]


def test_files_of_the_next_alert_are_no_fault_while_a_gateway_may_write_them(tmp_path: Path) -> None:
    tell_whole_case(tmp_path)
    for name in ("overview-4.jpg", ".still-4-1.jpg.part", "manifest-4.sig"):
        (case_folder(tmp_path) / name).write_bytes(b"begun")
    verdict = verify(tmp_path)
    assert (verdict.problems, verdict.unfinished) == ([], 3)
    assert verify(case_folder(tmp_path)).problem_count == 3  # alone, nothing tells that no manifest was taken away


def test_two_manifests_that_follow_the_same_one_are_found(tmp_path: Path) -> None:
    tell_whole_case(tmp_path, number=1, chain=Chain())
    tell_whole_case(tmp_path, number=2, chain=Chain())
    (problem,) = problems_in(tmp_path)
    assert problem.endswith("the chain has two ends")


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "evidence/x/y", "", "\0", None, 7])
def test_a_manifest_that_names_a_file_elsewhere_is_found(tmp_path: Path, path: object) -> None:
    opened = a_recorder(tmp_path).record(a_change("opened", 60, alerts=1), a_frame(60))
    manifest = manifest_of(tmp_path, opened)
    manifest["files"][0]["path"] = path
    (tmp_path / opened[-1].path).write_bytes(canonical(manifest))
    assert any("is not a file of this case" in problem for problem in problems_in(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"[]\n", b"{}\n", b"{", b"\xff", b"[" * 100_000, b'{"a":NaN}\n', b'{"previous":[]}\n']
)
def test_whatever_stands_in_a_manifest_is_a_problem_and_no_traceback(tmp_path: Path, content: bytes) -> None:
    tell_whole_case(tmp_path)
    (case_folder(tmp_path) / "manifest-3.json").write_bytes(content)
    assert problems_in(tmp_path)


def test_a_folder_without_evidence_is_misuse_and_the_chain_of_none_has_no_end(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no evidence"):
        verify(tmp_path)
    assert chain_end(tmp_path) == Head()
