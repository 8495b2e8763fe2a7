"""Published pictures show no face whose owner a detector has found, and no bystander's plate; the originals do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.loader import load_site
from edge.core.memory import StreetMemory
from edge.core.raster import Raster
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, CaseChange, Detections, StaticRegions, Tracks, UInt8
from edge.core.zones import parted_by_masks
from edge.detect.manifest import load_manifest
from edge.detect.session import OnnxDetector
from edge.errors import ConfigError
from edge.evidence.chain import Chain
from edge.evidence.hiding import HiddenPart, Hiding, heads_of, plates_of_cars
from edge.evidence.recorder import CaseRecorder
from edge.evidence.store import EvidenceStore
from edge.ports import Shot
from edge.resources import models_dir
from edge.wiring.frame_path import check_models, hiding_for
from scripts.measure_hiding import is_hidden, true_boxes
from tests.test_evidence import ORIGIN, WINDOW, a_case, a_change, a_frame, manifest_of, picture_of

pytestmark = pytest.mark.delivery

PERSON, CAR = 0, 2
HIDING = Hiding(
    parts=[
        HiddenPart(np.array([PERSON], np.int16), heads_of, spares_own=False),
        HiddenPart(np.array([CAR], np.int16), plates_of_cars, spares_own=True),
    ],
    own_labels=["car"],
)
SOMEBODY = (20.0, 40.0, 60.0, 160.0)
HEAD = (slice(42, 54), slice(30, 50))
OTHER_CAR = (180.0, 150.0, 300.0, 220.0)
OTHER_PLATE = (slice(190, 215), slice(190, 290))
FEET = (slice(130, 158), slice(24, 56))


def things(*boxes: tuple[float, float, float, float], label: int = PERSON) -> Detections:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(xyxy, np.full(len(boxes), 0.1, np.float32), np.full(len(boxes), label, np.int16))


def both(first: Detections, second: Detections) -> Detections:
    return Detections(
        np.concatenate([first.xyxy, second.xyxy]),
        np.concatenate([first.score, second.score]),
        np.concatenate([first.label, second.label]),
    )


def rough() -> UInt8:
    """A picture without two equal neighbours."""
    return np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)


def detail(bgr: UInt8, part: tuple[slice, slice]) -> float:
    """How much neighbouring pixels differ."""
    seen = bgr[part].astype(float)
    return float(np.abs(np.diff(seen, axis=0)).mean())


def test_a_head_is_blocks_of_one_colour_and_the_rest_is_as_it_was() -> None:
    frame = a_frame(0, bgr=rough())
    published = HIDING.published(frame.bgr, things(SOMEBODY))
    assert detail(published, HEAD) < 0.1 * detail(frame.bgr, HEAD)
    assert np.array_equal(published[FEET], frame.bgr[FEET])
    x1, y1, x2, y2 = (round(edge) for edge in heads_of(np.array([SOMEBODY], np.float32))[0].tolist())
    colours = np.unique(published[y1:y2, x1:x2].reshape(-1, 3), axis=0)
    print(f"{len(colours)} colours in {x2 - x1}x{y2 - y1} px")
    assert len(colours) <= 25
    changed = (published != frame.bgr).any(axis=2)
    assert not changed[: y1 - 1].any()
    assert not changed[y2 + 2 :].any()


@given(st.floats(-50, 300), st.floats(-50, 200), st.floats(2, 200), st.floats(2, 200), st.floats(0.2, 5))
def test_heads_grow_with_their_people_and_hold_the_uppermost_eighth(
    x: float, y: float, width: float, height: float, scale: float
) -> None:
    box = np.array([[x, y, x + width, y + height]], np.float32)
    head, larger = heads_of(box)[0], heads_of(box * np.float32(scale))[0]
    np.testing.assert_allclose(larger, head * scale, rtol=1e-3, atol=0.1)
    assert head[0] <= box[0, 0] + 0.01
    assert head[2] >= box[0, 2] - 0.01
    assert head[1] <= y + 0.01
    assert y + height / 8 - 0.1 <= head[3] <= y + height + 0.1


def test_a_cases_own_plate_stays_and_a_bystanders_goes() -> None:
    frame, case = a_frame(0, bgr=rough()), a_case(0, alerts=1)
    x1, y1, x2, y2 = case.footprint
    own = (slice(round(y1 + 0.6 * (y2 - y1)), round(y2) - 1), slice(round(x1) + 1, round(x2) - 1))
    seen = things((x1 + 2, y1, x2, y2 + 2), OTHER_CAR, label=CAR)
    published = HIDING.published(frame.bgr, seen, HIDING.own(case))
    assert np.array_equal(published[own], frame.bgr[own])
    assert detail(published, OTHER_PLATE) < 0.1 * detail(frame.bgr, OTHER_PLATE)
    assert HIDING.own(replace(case, label="person")) is None
    assert HIDING.own(replace(case, label="")) is None
    everybody = HIDING.published(frame.bgr, seen, None)
    assert detail(everybody, own) < 0.1 * detail(frame.bgr, own)


def test_who_stands_in_an_ignored_place_or_is_missed_for_a_moment_is_hidden_too() -> None:
    found = things(SOMEBODY, (200.0, 40.0, 240.0, 160.0))
    left = np.array([(0, 0), (0.4, 0), (0.4, 1), (0, 1)], np.float32)
    seen, ignored = parted_by_masks(found, Raster([left]), width=320, height=240)
    assert (len(seen), len(ignored)) == (1, 1)
    carried = Tracks(
        track_id=np.array([1, 2], np.int64),
        xyxy=np.array([(100, 40, 140, 160), (200, 40, 240, 160)], np.float32),
        label=np.zeros(2, np.int16),
        score=np.ones(2, np.float32),
        detection=np.array([-1, 0], np.int64),
        first_seen_ns=np.zeros(2, np.int64),
        last_seen_ns=np.zeros(2, np.int64),
        rest_since_ns=np.zeros(2, np.int64),
        speed=np.zeros(2, np.float32),
    )
    scene = Scene(a_frame(0), seen, carried, {}, StaticRegions.empty(), StreetMemory(), ignored=ignored)
    assert scene.things is not None
    assert sorted(scene.things.xyxy[:, 0].tolist()) == [20, 100, 200]
    assert scene.things.label.dtype == np.int16
    assert Scene.unseen(a_frame(0), StreetMemory()).things is None  # nobody has looked: all of it is to be hidden


def a_recorder(root: Path, hiding: Hiding = HIDING) -> CaseRecorder:
    return CaseRecorder(EvidenceStore(root), origin=ORIGIN, chain=Chain(), hiding=hiding)


def test_all_pictures_but_the_sealed_original_are_without_faces_and_the_manifest_says_so(tmp_path: Path) -> None:
    recorder, seen = a_recorder(tmp_path), both(things(SOMEBODY), things(OTHER_CAR, label=CAR))
    for time_s in range(0, 61, 10):
        frame = a_frame(time_s, bgr=rough())
        recorder.watch([a_case(time_s)], frame, seen)
    opened = recorder.record(a_change("opened", 60, alerts=1), frame)
    for role in ("overview", "still"):
        for part in (HEAD, OTHER_PLATE):
            assert detail(picture_of(tmp_path, opened, role), part) < 0.2 * detail(frame.bgr, part), role
    assert detail(picture_of(tmp_path, opened, "original"), HEAD) > 0.5 * detail(frame.bgr, HEAD)
    marks = {entry["role"]: (entry["masked"], entry["private"]) for entry in manifest_of(tmp_path, opened)["files"]}
    assert marks["original"] == (False, True)
    assert {marks[role] for role in ("overview", "crop", "still")} == {(True, False)}
    frame = a_frame(240, bgr=rough())
    recorder.watch([], frame, seen)
    cleared = recorder.record(a_change("cleared", 240, alerts=2, reason="seen-empty"), frame)
    assert detail(picture_of(tmp_path, cleared, "after"), HEAD) < 0.2 * detail(frame.bgr, HEAD)


def test_a_frame_whose_boxes_nobody_knows_is_hidden_as_a_whole(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path)
    recorder.watch([a_case(59)], a_frame(59, bgr=rough()), things())
    files = recorder.record(a_change("opened", 60, alerts=1), a_frame(60, bgr=rough()))
    overview = picture_of(tmp_path, files, "overview")
    for part in (HEAD, FEET):
        assert detail(overview, part) < 0.2 * detail(rough(), part)


class MainStream:
    """Twice as large, and of half a second before."""

    def shot(self, at_ns: int) -> Shot:
        return Shot(cv2.resize(rough(), (640, 480)), at_ns - NS_PER_S // 2, "main")


def test_published_is_the_frame_in_which_people_were_found_and_sealed_the_main_streams(tmp_path: Path) -> None:
    for hiding, wanted in ((HIDING, (240, 320)), (Hiding([WINDOW]), (480, 640))):
        root = tmp_path / str(wanted[1])
        recorder = CaseRecorder(EvidenceStore(root), origin=ORIGIN, hiding=hiding, main=MainStream())
        frame = a_frame(60, bgr=rough())
        recorder.watch([a_case(60)], frame, things(SOMEBODY))
        files = recorder.record(a_change("opened", 60, alerts=1), frame)
        assert picture_of(root, files, "overview").shape[:2] == wanted
        assert picture_of(root, files, "original").shape[:2] == (480, 640)
        sources = {entry["role"]: entry["source"] for entry in manifest_of(root, files)["files"]}
        assert sources["original"] == "main"
        assert sources["overview"] == ("analysed" if hiding is HIDING else "main")


def test_without_a_wish_pictures_are_as_they_were(tmp_path: Path) -> None:
    frame = a_frame(0, bgr=rough())
    assert Hiding().published(frame.bgr, things(SOMEBODY)) is frame.bgr
    files = a_recorder(tmp_path, Hiding()).record(CaseChange(a_case(0, alerts=1), "opened", ""), frame)
    assert not any(entry["private"] or entry["masked"] for entry in manifest_of(tmp_path, files)["files"])


SITE = """\
version: 1
site: {id: xiaohe, timezone: Asia/Shanghai}
gateway: {id: gw-01}
evidence: {blur: [faces, plates]}
cameras:
  - id: qiaonong-03
    source: street.mp4
    zones: [{id: kerb, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}]
    scenarios: [{use: illegal-parking, zones: [kerb]}]
"""


def test_what_the_models_do_not_know_cannot_be_promised(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    site = load_site(tmp_path / "site.yaml", environ={})
    models = check_models(site)["qiaonong-03"]
    assert hiding_for(site, site.config.cameras[0], models.labels).hides
    with pytest.raises(ConfigError, match=r"blur\[0\] cannot be hidden at qiaonong-03"):
        hiding_for(site, site.config.cameras[0], ("crate", "stall"))


def test_heads_of_people_that_can_be_told_by_them_are_hidden(media: Path) -> None:
    detector = OnnxDetector(load_manifest(models_dir() / "yolox-nano"), threads=1)
    hidden: list[bool] = []
    for path in sorted((media / "coco_val128").glob("*.jpg"))[:48]:
        bgr = np.asarray(cv2.imread(str(path)), np.uint8)
        xyxy, label = true_boxes(path, width=bgr.shape[1], height=bgr.shape[0])
        people = xyxy[(label == PERSON) & (xyxy[:, 3] - xyxy[:, 1] >= 80)]
        heads = np.stack([(people[:, 0] + people[:, 2]) / 2, people[:, 1] + (people[:, 3] - people[:, 1]) / 16], axis=1)
        seen = detector.detect([bgr])[0]
        hidden += is_hidden(heads, heads_of(seen.xyxy[seen.label == PERSON])).tolist()
    print(f"{sum(hidden)} of {len(hidden)} heads of people of 80 px and more are hidden")
    assert len(hidden) >= 50
    assert np.mean(hidden) >= 0.93
