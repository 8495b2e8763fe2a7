"""A case's clip: when it is cut, with which alert it goes out, and what happens where there is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edge.core.types import NS_PER_S
from edge.delivery.schema import alert_schema
from edge.errors import CaptureError, EvidenceError
from edge.evidence.filming import WAITING_MAX, Filming
from edge.evidence.hiding import Hiding
from edge.evidence.recorder import CaseRecorder
from edge.evidence.store import EvidenceStore
from edge.evidence.verify import verify
from edge.ports import ANALYSED, EvidenceFile, Footage
from tests.alerts import a_change as a_told_change
from tests.alerts import alert_of, closed_schema
from tests.test_evidence import ORIGIN, WINDOW, a_change, a_frame, manifest_of, roles, times_s
from tests.test_live_camera import Rig

pytestmark = pytest.mark.delivery


class FakeFilm:
    """Remembers what it was asked for; the content says it."""

    def __init__(self) -> None:
        self.cuts_s: list[tuple[float, float, float]] = []
        self.missing = ""
        self.begins_s = 0.0  # it does not go back further

    def cut(self, from_ns: int, to_ns: int, *, at_ns: int) -> Footage:
        if self.missing:
            raise CaptureError(self.missing)
        from_ns = max(from_ns, round(self.begins_s * NS_PER_S))
        self.cuts_s.append((from_ns / NS_PER_S, to_ns / NS_PER_S, at_ns / NS_PER_S))
        return Footage(f"film of {self.cuts_s[-1]}".encode(), "video/mp4", from_ns, to_ns, ANALYSED)


def a_filming(film: FakeFilm) -> Filming:
    return Filming(film, pre_roll_ns=10 * NS_PER_S, post_roll_ns=5 * NS_PER_S)


def a_recorder(root: Path, filming: Filming) -> CaseRecorder:
    return CaseRecorder(EvidenceStore(root), origin=ORIGIN, filming=filming)


def filmed(recorder: CaseRecorder, time_s: float, *, last: bool = False) -> int:
    return len(recorder.filmed(round(time_s * NS_PER_S), last=last))


def told(recorder: CaseRecorder, kind: str, time_s: float, *, alerts: int, reason: str = "") -> Sequence[EvidenceFile]:
    return recorder.record(a_change(kind, time_s, alerts=alerts, reason=reason), a_frame(time_s))


# The recorder


def test_the_first_alert_waits_for_no_clip_and_a_later_one_carries_it(tmp_path: Path) -> None:
    film = FakeFilm()
    recorder = a_recorder(tmp_path, a_filming(film))
    opened = told(recorder, "opened", 60, alerts=1)
    assert "clip" not in roles(opened)
    assert (filmed(recorder, 64.9), filmed(recorder, 65.1)) == (0, 1)
    files = told(recorder, "updated", 65.1, alerts=2, reason="clip")
    assert roles(files) == ["clip", "manifest"]
    assert film.cuts_s == [(50, 65, 60)]
    assert files[0].path.endswith("/clip-2.mp4")
    assert (tmp_path / files[0].path).read_bytes() == b"film of (50.0, 65.0, 60.0)"
    assert times_s(files, "clip") == [50]
    document = manifest_of(tmp_path, files)
    assert document["alert"] == {"number": 2, "kind": "updated", "reason": "clip"}
    assert document["files"][0]["sha256"] == hashlib.sha256(b"film of (50.0, 65.0, 60.0)").hexdigest()
    assert (document["files"][0]["media_type"], document["files"][0]["masked"]) == ("video/mp4", False)
    assert verify(tmp_path).problems == []
    assert filmed(recorder, 200, last=True) == 0


@pytest.mark.parametrize("kind", ["cleared", "withdrawn"])
def test_a_case_that_ends_before_takes_its_clip_with_it(kind: str, tmp_path: Path) -> None:
    film = FakeFilm()
    recorder = a_recorder(tmp_path, a_filming(film))
    told(recorder, "opened", 60, alerts=1)
    files = told(recorder, kind, 62, alerts=2, reason="left")
    assert roles(files)[-2:] == ["clip", "manifest"]
    assert film.cuts_s == [(50, 62, 60)]
    assert filmed(recorder, 65) == 0


def test_a_clip_goes_out_once(tmp_path: Path) -> None:
    film = FakeFilm()
    recorder = a_recorder(tmp_path, a_filming(film))
    told(recorder, "opened", 60, alerts=1)
    assert filmed(recorder, 66) == 1
    told(recorder, "updated", 66, alerts=2, reason="clip")
    assert "clip" not in roles(told(recorder, "updated", 180, alerts=3))
    assert "clip" not in roles(told(recorder, "cleared", 240, alerts=4, reason="left"))
    assert len(film.cuts_s) == 1


def test_no_alert_is_made_of_a_clip_that_cannot_be_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    film = FakeFilm()
    filming = a_filming(film)
    recorder = a_recorder(tmp_path, filming)
    film.missing = "camera gate: its pictures of that time are not kept"
    told(recorder, "opened", 60, alerts=1)
    assert filmed(recorder, 66) == 0
    assert filming.lost == 1
    assert "has no clip: camera gate: its pictures of that time are not kept" in caplog.text
    assert roles(told(recorder, "cleared", 240, alerts=2, reason="left")) == ["after", "manifest"]


def test_a_clip_that_begins_too_late_is_counted() -> None:
    film = FakeFilm()
    filming = a_filming(film)
    film.begins_s = 55
    filming.begin("a", 60 * NS_PER_S)
    assert filming.due(65 * NS_PER_S, last=False) == "a"
    assert (film.cuts_s, filming.cut_short, filming.lost) == ([(55, 65, 60)], 1, 0)


def test_a_clip_that_no_alert_could_carry_is_let_go() -> None:
    filming = a_filming(FakeFilm())
    filming.begin("a", 60 * NS_PER_S)
    assert filming.due(65 * NS_PER_S, last=False) == "a"
    assert filming.due(66 * NS_PER_S, last=False) is None
    assert filming.lost == 1
    assert filming.take("a", 66 * NS_PER_S) is None


def test_so_many_wait_for_their_clip_and_no_more() -> None:
    filming = a_filming(FakeFilm())
    for number in range(WAITING_MAX + 3):
        filming.begin(str(number), 60 * NS_PER_S)
    assert filming.lost == 3
    named = 0
    while (case_id := filming.due(65 * NS_PER_S, last=False)) is not None:
        filming.forget(case_id)
        named += 1
    assert (named, filming.lost) == (WAITING_MAX, 3)


def test_cases_that_open_together_share_one_clip_and_are_told_of_one_a_frame() -> None:
    film = FakeFilm()
    filming = a_filming(film)
    for number in range(60):
        filming.begin(str(number), (60 + number // 30) * NS_PER_S)
    held = set()
    for number in range(60):
        now_ns = 66 * NS_PER_S + number
        assert filming.due(now_ns, last=False) == str(number)
        footage = filming.take(str(number), now_ns)
        assert footage is not None
        assert filming.held_bytes == len(footage.content)
        held.add(id(footage.content))
        filming.forget(str(number))
    print(f"60 clips of two moments: {len(film.cuts_s)} cut, {len(held)} different ones held, one at a time")
    assert film.cuts_s == [(50, 65, 60), (51, 66, 61)]
    assert (filming.due(70 * NS_PER_S, last=True), filming.held_bytes, filming.lost) == (None, 0, 0)


def test_a_clip_that_cannot_be_stored_leaves_no_file_and_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filming = a_filming(FakeFilm())
    recorder = a_recorder(tmp_path, filming)
    told(recorder, "opened", 60, alerts=1)
    before = sorted(path.name for path in tmp_path.rglob("*.*"))
    assert filmed(recorder, 66) == 1
    with monkeypatch.context() as patched:
        patched.setattr("edge.evidence.store.write_atomically", refuse)
        with pytest.raises(EvidenceError, match=r"clip-2\.mp4"):
            told(recorder, "updated", 66, alerts=2, reason="clip")
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == before
    assert filmed(recorder, 67) == 0
    assert filming.lost == 1


def refuse(path: Path, content: bytes) -> None:
    raise OSError(28, "No space left on device")


def test_a_manifest_says_which_files_show_what_the_privacy_masks_hide(tmp_path: Path) -> None:
    recorder = CaseRecorder(
        EvidenceStore(tmp_path), origin=ORIGIN, filming=a_filming(FakeFilm()), hiding=Hiding([WINDOW])
    )
    opened = manifest_of(tmp_path, told(recorder, "opened", 60, alerts=1))["files"]
    assert {file["role"] for file in opened if file["private"]} == {"original"}
    assert filmed(recorder, 66) == 1
    (clip,) = manifest_of(tmp_path, told(recorder, "updated", 66, alerts=2, reason="clip"))["files"]
    assert (clip["role"], clip["private"], clip["masked"]) == ("clip", True, False)


# The frame path


@pytest.fixture
def a_rig(tmp_path: Path) -> Any:
    rigs: list[Rig] = []

    def make(film: FakeFilm | None) -> Rig:
        rigs.append(Rig(tmp_path, film=film))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.stop.set()
        rig.database.database.close()


def evidence_roles(alert: dict[str, Any]) -> list[str]:
    return [file["role"] for file in alert["data"]["evidence"]]


def test_an_update_with_the_reason_clip_follows_the_case(a_rig: Callable[[FakeFilm], Rig]) -> None:
    film = FakeFilm()
    rig = a_rig(film)
    rig.look(30)
    assert rig.kinds() == ["opened", "updated"]
    opened, updated = rig.alerts()
    begin_s, end_s, at_s = film.cuts_s[0]
    assert (at_s - begin_s, end_s - at_s) == (10, 5)
    assert updated["data"]["reason"] == "clip"
    assert evidence_roles(updated) == ["clip", "signature", "manifest"]
    assert "clip" not in evidence_roles(opened)
    for number, alert in enumerate((opened, updated), start=1):
        jsonschema.validate({**alert, "sequence": number}, closed_schema(alert_schema()))
    assert verify(rig.folder).problems == []
    rig.live._save()
    rig.start()  # a new process goes on with the case, and films it no second time
    rig.look(30)
    assert rig.kinds() == ["opened", "updated"]


def test_a_worker_that_is_stopped_tells_of_the_clip_as_far_as_it_is(a_rig: Callable[[FakeFilm], Rig]) -> None:
    film = FakeFilm()
    rig = a_rig(film)
    while "opened" not in rig.kinds():
        rig.look()
    rig.look(1)
    rig.live._finish_clips()
    rig.live._save()
    assert rig.kinds() == ["opened", "updated"]
    begin_s, end_s, at_s = film.cuts_s[0]
    assert (at_s - begin_s, end_s - at_s) == (10, 1)
    (case,) = rig.database.running_cases("cam")
    assert case.alerts == 2


def test_a_case_whose_camera_goes_blind_still_gets_its_clip(a_rig: Callable[[FakeFilm], Rig]) -> None:
    film = FakeFilm()
    rig = a_rig(film)
    while "opened" not in rig.kinds():
        rig.look()
    rig.look(10, bgr=np.zeros((240, 320, 3), np.uint8))
    assert rig.worker.blind == "black"
    assert [evidence_roles(alert) for alert in rig.alerts()[1:]] == [["clip", "signature", "manifest"]]


def test_without_clips_nothing_changes(a_rig: Callable[[FakeFilm | None], Rig]) -> None:
    rig = a_rig(None)
    rig.look(30)
    rig.live._finish_clips()
    assert rig.kinds() == ["opened"]
    assert json.loads(next(rig.folder.rglob("manifest-1.json")).read_bytes())["alert"]["kind"] == "opened"


def test_regular_updates_come_as_if_no_clip_had_been_told(a_rig: Callable[[FakeFilm | None], Rig]) -> None:
    rig = a_rig(FakeFilm())
    rig.look(30)
    (case,) = rig.worker.cases
    assert case.alerts == 2
    assert case.grounds.told_ns == case.opened_ns


# The camera's clock


@pytest.mark.parametrize(
    ("offset_s", "told", "off"), [(None, None, False), (-0.99, -0.99, False), (1.0442, 1.044, True)]
)
def test_a_manifest_says_how_far_the_camera_clock_is_off(
    offset_s: float | None, told: float | None, off: bool, tmp_path: Path
) -> None:
    origin = replace(ORIGIN, clock_offset_s=lambda: offset_s)
    files = CaseRecorder(EvidenceStore(tmp_path), origin=origin).record(a_change("opened", 60, alerts=1), a_frame(60))
    document = manifest_of(tmp_path, files)
    assert (document["clock_offset_s"], document["clock_off"]) == (told, off)
    assert verify(tmp_path).problems == []


def test_an_alert_says_so_too_where_the_camera_tells() -> None:
    data = {offset_s: alert_of(a_told_change(), clock_offset_s=offset_s)["data"] for offset_s in (None, 0.5, -2.0)}
    assert "clock_offset_s" not in data[None]
    assert [(data[offset_s]["clock_offset_s"], data[offset_s]["clock_off"]) for offset_s in (0.5, -2.0)] == [
        (0.5, False),
        (-2.0, True),
    ]
    for offset_s in data:
        alert = alert_of(a_told_change(), clock_offset_s=offset_s) | {"sequence": 1}
        jsonschema.validate(alert, closed_schema(alert_schema()))
