"""A camera's empty place over restarts: what stood keeps its time, what came meanwhile is found, no damage ends us."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.clock import SystemClock
from edge.config.models import CameraConfig
from edge.core.background import BackgroundModel
from edge.core.types import NS_PER_S, Float32, Frame, StaticRegions, Tracks, UInt8
from edge.errors import StateError
from edge.wiring.place import PLACE_RESET, PLACE_SET, place_takes, reset_place, show_place
from edge.wiring.place_file import PlaceFile, packed, unpacked
from tests.test_background import HEIGHT, NOISE, WHOLE, WIDTH, ground, leaves, put, thing

SQUARE = ((0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98))
BOX, OTHER = thing(30, 24), thing(26, 30, 21)
STEP_NS = NS_PER_S // 2


class HandClock(SystemClock):
    """Two clocks: the monotonic one begins anew with the machine."""

    def __init__(self, mono_s: int, wall_s: int) -> None:
        self.now_ns, self._apart_ns = mono_s * NS_PER_S, (wall_s - mono_s) * NS_PER_S

    def mono_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns + self._apart_ns


def a_camera(**changes: Any) -> CameraConfig:
    zones = changes.pop("zones", ({"id": "kerb", "polygon": SQUARE},))
    return CameraConfig.model_validate({"id": "gate", "source": "rtsp://gate/1", "zones": zones, **changes})


class Run:
    """One process's life: a model, its file, and pictures of a second each half a second."""

    def __init__(self, folder: Path, *, mono_s: int, wall_s: int, **camera: Any) -> None:
        self.clock = HandClock(mono_s, wall_s)
        self.model = BackgroundModel([np.array(SQUARE, np.float32)])
        self.file = PlaceFile(folder, a_camera(**camera), self.model, clock=self.clock)
        self.index = 0

    def watch(self, seconds: float, picture: UInt8, light: Callable[[UInt8], UInt8] = lambda bgr: bgr) -> StaticRegions:
        regions = StaticRegions.empty()
        for _ in range(int(2 * seconds)):
            noisy = cv2.add(light(picture), NOISE[self.index % len(NOISE)], dtype=cv2.CV_8U)
            regions = self.model.update(np.asarray(noisy, np.uint8), Tracks.empty(), self.clock.now_ns)
            self.clock.now_ns += STEP_NS
            self.index += 1
            self.file.save(False)
        return regions

    def end(self) -> None:
        self.file.save(True)

    def since_wall_s(self, regions: StaticRegions, row: int = 0) -> float:
        return (int(regions.since_ns[row]) + self.clock.wall_ns() - self.clock.mono_ns()) / NS_PER_S


def first_run(folder: Path, **camera: Any) -> Run:
    """From 5,000 s by the wall; a box stands from 5,010 s on; off at 5,020 s."""
    run = Run(folder, mono_s=900, wall_s=5_000, **camera)
    run.watch(10, ground())
    assert len(run.watch(10, put(ground(), BOX, 140, 120))) == 1
    run.end()
    return run


@cache
def kept_by_first_run() -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        first_run(Path(folder))
        (path,) = (Path(folder) / "place").iterdir()
        return path.name, path.read_bytes()


def keep_first_run(folder: Path) -> None:
    """As `first_run`, where only its file matters."""
    name, content = kept_by_first_run()
    (folder / "place").mkdir()
    (folder / "place" / name).write_bytes(content)


def test_a_thing_that_stood_keeps_its_time_over_a_restart_of_the_machine(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    run = Run(tmp_path, mono_s=7, wall_s=5_600)
    regions = run.watch(3, put(ground(), BOX, 140, 120))
    assert len(regions) == 1
    print(f"put down at 5010 s, told {run.index / 2:.1f} s after the restart, since {run.since_wall_s(regions):.1f} s")
    assert run.since_wall_s(regions) == pytest.approx(5_010, abs=1)
    assert regions.appeared.all()


def test_what_was_put_down_while_the_gateway_was_off_has_appeared(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    run = Run(tmp_path, mono_s=50, wall_s=5_600)
    regions = run.watch(8, put(put(ground(), BOX, 140, 120), OTHER, 230, 60))
    times = sorted(run.since_wall_s(regions, row) for row in range(len(regions)))
    assert times == [pytest.approx(5_010, abs=1), pytest.approx(5_600, abs=1)]


def test_what_was_taken_away_meanwhile_is_no_longer_told(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    assert len(Run(tmp_path, mono_s=50, wall_s=5_600).watch(8, ground())) == 0


@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_another_light_after_the_restart_keeps_the_place_and_its_thing(tmp_path: Path, gain: float) -> None:
    keep_first_run(tmp_path)
    run = Run(tmp_path, mono_s=50, wall_s=5_600)
    now = np.clip(put(put(ground(), BOX, 140, 120), OTHER, 230, 60) * gain, 0, 255).astype(np.uint8)
    regions = run.watch(10, now)
    times = sorted(run.since_wall_s(regions, row) for row in range(len(regions)))
    assert times == [pytest.approx(5_010, abs=1), pytest.approx(5_600, abs=1)]


@pytest.mark.parametrize("other", [leaves(), np.roll(ground(8), 37, 1)], ids=["leaves", "another pavement"])
def test_another_street_is_learned_anew(tmp_path: Path, other: UInt8) -> None:
    keep_first_run(tmp_path)
    run = Run(tmp_path, mono_s=50, wall_s=5_600)
    assert len(run.watch(9, other)) == 0
    assert len(run.watch(5, put(other, OTHER, 230, 60))) == 1


def test_a_camera_that_was_turned_meanwhile_learns_its_place_anew(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    run = Run(tmp_path, mono_s=50, wall_s=5_600)
    assert len(run.watch(9, np.roll(put(ground(), BOX, 140, 120), (31, 47), (0, 1)))) == 0


def test_other_zones_another_source_or_size_begin_anew(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    standing = put(ground(), BOX, 140, 120)
    larger = np.asarray(cv2.resize(standing, None, fx=1.5, fy=1.5), np.uint8)
    run = Run(tmp_path, mono_s=50, wall_s=5_600)
    for _ in range(16):
        assert len(run.model.update(larger, Tracks.empty(), run.clock.now_ns)) == 0
        run.clock.now_ns += STEP_NS
    assert len(Run(tmp_path, mono_s=50, wall_s=5_600, source="rtsp://gate/2").watch(8, standing)) == 0


def test_a_place_in_the_cells_of_an_earlier_version_is_dropped_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_first_run(tmp_path)
    (file,) = (tmp_path / "place").iterdir()
    place = unpacked(file.read_bytes())
    left, top, cell_px = place.window_px
    file.write_bytes(packed(replace(place, window_px=(left, top, cell_px + 1))))
    run = Run(tmp_path, mono_s=50, wall_s=5_600)
    run.watch(9, put(ground(), BOX, 140, 120))
    (told,) = [record.getMessage() for record in caplog.records if "kept place" in record.getMessage()]
    assert told.startswith("gate: ")
    assert "`edge place reset gate`" in told
    run.end()
    assert unpacked(file.read_bytes()).window_px == place.window_px


def test_the_file_is_written_when_there_is_something_and_then_every_five_minutes(tmp_path: Path) -> None:
    run = Run(tmp_path, mono_s=900, wall_s=5_000)
    run.watch(2, ground())
    assert not (tmp_path / "place").exists()
    run.watch(4, ground())
    (path,) = (tmp_path / "place").iterdir()
    first = path.read_bytes()
    run.watch(2, put(ground(), BOX, 140, 120))
    assert path.read_bytes() == first
    run.clock.now_ns += 300 * NS_PER_S
    run.file.save(False)
    assert path.read_bytes() != first
    print(f"{len(first)} bytes for {WIDTH}x{HEIGHT}")
    assert len(first) < 1_000_000


def test_no_damage_to_the_file_ends_a_worker_or_is_believed(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    (path,) = (tmp_path / "place").iterdir()
    whole, dice = path.read_bytes(), random.Random(3)
    line, _, body = whole.partition(b"\n")
    bomb = line.replace(b'"shape": [', b'"shape": [9999999, ')
    damaged = [b"", b"\n", whole[: len(whole) // 2], whole + b"x", line, b"[]\n" + body, b"{}\n" + body, bomb + b"\n"]
    for _ in range(60):
        content = bytearray(whole)
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        damaged.append(bytes(content))
    refused = 0
    for content in damaged:
        try:
            unpacked(content)
        except ValueError:
            refused += 1
    print(f"{refused} of {len(damaged)} damaged files refused")
    assert refused >= len(damaged) - 3  # a flipped bit in a number of the header may give another true header
    path.write_bytes(b"damaged")
    assert len(Run(tmp_path, mono_s=50, wall_s=5_600).watch(6, put(ground(), BOX, 140, 120))) == 0


def test_what_is_kept_comes_back_within_a_small_part_of_what_counts(tmp_path: Path) -> None:
    run = first_run(tmp_path)
    place = run.model.place()
    assert place is not None
    back = unpacked(packed(place))
    for name in ("empty", "noise"):
        apart = np.abs(getattr(back, name) - getattr(place, name)).max()
        assert apart < 0.01, name
    assert np.array_equal(back.has_thing, place.has_thing)
    assert np.array_equal(back.thing_since_ns, place.thing_since_ns)


def a_frame(run: Run, picture: UInt8) -> Frame:
    return Frame("gate", 1, run.clock.mono_ns(), run.clock.wall_ns(), picture)


def test_an_operator_says_that_what_stands_there_is_the_empty_place(tmp_path: Path) -> None:
    run = first_run(tmp_path)
    standing = put(ground(), BOX, 140, 120)
    answer = place_takes(run.model, run.file)[PLACE_RESET]({}, a_frame(run, standing))
    assert answer.done
    assert list((tmp_path / "place").iterdir()) == []
    assert len(run.watch(8, standing)) == 0
    assert len(run.watch(5, put(standing, OTHER, 230, 60))) == 1
    run.end()
    assert len(Run(tmp_path, mono_s=50, wall_s=5_600).watch(5, standing)) == 0


def test_an_operator_gives_a_picture_of_the_empty_place_and_what_was_there_from_the_start_appears(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, mono_s=900, wall_s=5_000)
    standing = put(ground(), BOX, 140, 120)
    assert len(run.watch(10, standing)) == 0
    picture = tmp_path / "empty.png"
    cv2.imwrite(str(picture), ground())
    answer = place_takes(run.model, run.file)[PLACE_SET]({"picture": str(picture)}, a_frame(run, standing))
    assert answer.done, answer.words
    regions = run.watch(6, standing)
    assert len(regions) == 1
    assert regions.xyxy[0].tolist() == pytest.approx([140, 120, 170, 144], abs=3)


def test_a_picture_of_another_street_or_shape_or_none_at_all_is_refused_in_words(tmp_path: Path) -> None:
    run = first_run(tmp_path)
    takes = place_takes(run.model, run.file)
    pictures: dict[str, UInt8] = {"does not show what the camera sees": leaves(), "320x240": ground()[:100]}
    for words, picture in pictures.items():
        path = tmp_path / "other.png"
        cv2.imwrite(str(path), picture)
        answer = takes[PLACE_SET]({"picture": str(path)}, a_frame(run, ground()))
        assert not answer.done
        assert words in answer.words
    (tmp_path / "other.png").write_text("no picture")
    assert "no picture" in takes[PLACE_SET]({"picture": str(tmp_path / "other.png")}, a_frame(run, ground())).words
    assert not takes[PLACE_SET]({"picture": str(tmp_path / "gone.png")}, a_frame(run, ground())).done
    assert "no scenario" in place_takes(None, None)[PLACE_RESET]({}, a_frame(run, ground())).words
    assert len(run.watch(2, put(ground(), BOX, 140, 120))) == 1  # nothing was lost by it


def test_without_a_gateway_the_kept_place_is_deleted_and_another_cameras_is_not(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    first_run(tmp_path, id="gate-2")
    assert "deleted" in reset_place(tmp_path, "gate")
    assert [path.name[:7] for path in (tmp_path / "place").iterdir()] == ["gate-2-"]


def test_the_kept_place_can_be_looked_at(tmp_path: Path) -> None:
    keep_first_run(tmp_path)
    show_place(tmp_path, "gate", tmp_path / "place.png")
    shown = cv2.imread(str(tmp_path / "place.png"))
    assert shown is not None
    whole: Float32 = WHOLE
    x, y = (round(float(corner)) for corner in whole[0] * (WIDTH, HEIGHT))
    box = shown[120 - y : 144 - y, 140 - x : 170 - x].astype(int)
    assert abs(box.mean() - ground()[120:144, 140:170].mean()) < 12  # the ground, not the box


def test_a_damaged_place_is_named_and_how_it_goes_away(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / f"gate-{'0' * 12}.place").write_bytes(b"junk")
    with pytest.raises(StateError, match=r"is damaged .*; delete it with `edge place reset gate`"):
        show_place(tmp_path, "gate", tmp_path / "place.png")
    assert not (tmp_path / "place.png").exists()
