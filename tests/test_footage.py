"""The rules on recorded streets: against ground truth, behind an occluder, and at full HD.

Thresholds are the catalogue's for every clip; figures are printed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.cli.main import run
from edge.resources import configs_dir
from edge.runtime.evaluation import as_text
from edge.wiring.recorded import evaluate
from tests.conftest import need_program

pytestmark = pytest.mark.slow
Picture = npt.NDArray[np.uint8]

PLAZA = configs_dir() / "demo" / "plaza.mp4"
VERGE = [[0.80, 0.05], [0.945, 0.05], [0.945, 0.20], [0.80, 0.20]]
VAN = (651, 44, 725, 102)
SITE = """
version: 1
site: {{id: test, timezone: UTC}}
gateway: {{id: gw-01}}
cameras:
  - id: cam
    source: clip.mp4
    sampling: {{decode: all, fps: 5}}
    zones: [{{id: zone, polygon: {polygon}}}]
    scenarios: [{scenario}]
"""


def site_file(folder: Path, polygon: object, scenario: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(SITE.format(polygon=json.dumps(polygon), scenario=scenario))
    return path


def replayed(clip: Path, site: Path, out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What its alerts say, but for those that bring the clip of a case, and its summary."""
    assert run(["replay", str(clip), "--config", str(site), "--out", str(out)]) == 0
    lines = (out / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line)["data"] for line in lines]
    return [data for data in told if data.get("reason") != "clip"], json.loads((out / "summary.json").read_text())


def frames_of(path: Path) -> Iterator[Picture]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


def write(path: Path, pictures: Iterator[Picture], *, fps: int, size: tuple[int, int]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def paste(picture: Picture, cutout: Picture, *, left: int, top: int) -> Picture:
    """A cut-out with an alpha channel laid over a picture; what lies outside is cut off."""
    height, width = picture.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + cutout.shape[1], width), min(top + cutout.shape[0], height)
    if x2 <= x1 or y2 <= y1:
        return picture
    part = cutout[y1 - top : y2 - top, x1 - left : x2 - left].astype(np.float32)
    alpha = part[..., 3:] / 255
    laid = picture.copy()
    laid[y1:y2, x1:x2] = part[..., :3] * alpha + laid[y1:y2, x1:x2] * (1 - alpha)
    return laid


@pytest.mark.media
def test_the_ground_truth_is_met(media: Path, tmp_path: Path) -> None:
    evaluation = evaluate(media / "events.json", media=media, out=tmp_path / "evaluation", only=())
    print("\n" + as_text(evaluation))
    for name in ("illegal-parking", "piled-goods"):
        totals = evaluation.by_scenario[name]
        assert (totals.found, totals.duplicates, totals.false_alarms) == (totals.events, 0, 0), name
        assert totals.cleared_in_time == totals.clearances, name
    quiet = [clip for clip in evaluation.clips if not clip.score.events]
    assert quiet
    assert not [case for clip in quiet for case in clip.score.false_alarms]


@pytest.mark.media
@pytest.mark.parametrize("clear_after_s", [20, 5])
def test_a_van_hidden_for_ten_seconds_by_a_bus_stays_one_case(media: Path, tmp_path: Path, clear_after_s: int) -> None:
    """A real van behind a real bus that drives up, stands before it for ten seconds and drives on."""
    bus = cv2.imread(str(media / "cutouts" / "bus_03_471.png"), cv2.IMREAD_UNCHANGED)
    assert bus is not None
    scale = 190 / bus.shape[1]
    bus = cv2.resize(bus, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    stop = (VAN[0] + VAN[2]) // 2 - bus.shape[1] // 2
    top = VAN[3] + 14 - bus.shape[0]

    def left_at(time_s: float) -> int:
        if time_s < 20:
            return 768
        arriving = max(stop, round(768 - (time_s - 20) * 80))
        return arriving if time_s < 33 else stop - round((time_s - 33) * 120)

    pictures = (
        paste(picture, bus, left=left_at(index / 10), top=top)
        for index, picture in enumerate(frames_of(PLAZA))
        if index < 600
    )
    clip = write(tmp_path / "hidden.mp4", pictures, fps=10, size=(768, 576))
    site = site_file(
        tmp_path, VERGE, f"{{use: illegal-parking, zones: [zone], after_s: 10, clear_after_s: {clear_after_s}}}"
    )
    alerts, _ = replayed(clip, site, tmp_path / "out")
    vans = [data for data in alerts if abs(data["object"]["box_px"][0] - VAN[0]) < 15]
    print([(data["state"], data["media_time_s"], data["object"]["label"]) for data in alerts])
    assert [data["state"] for data in vans] == ["opened"]


EVERYWHERE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


@pytest.mark.media
def test_each_car_of_a_car_park_is_one_case(media: Path, tmp_path: Path) -> None:
    """Seven cars stand in the picture for five seconds; none of them is told twice."""
    site = site_file(tmp_path, EVERYWHERE, "{use: illegal-parking, zones: [zone], after_s: 5, clear_after_s: 3}")
    alerts, _ = replayed(media / "carpark_leaving_car6.mp4", site, tmp_path / "out")
    opened = [data["object"]["box_px"] for data in alerts if data["state"] == "opened"]
    print(opened)
    assert len(opened) == 7


@pytest.mark.media
def test_a_bollard_and_a_sign_do_not_loiter(media: Path, tmp_path: Path) -> None:
    site = site_file(tmp_path, EVERYWHERE, "{use: loitering, zones: [zone], after_s: 8}")
    for clip, furniture in (
        (media / "jetyey_overpass.mp4", (39, 173, 71, 254)),
        (PLAZA, (30, 110, 48, 141)),
    ):
        alerts, _ = replayed(clip, site, tmp_path / clip.stem)
        centres = [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in (data["object"]["box_px"] for data in alerts)]
        x1, y1, x2, y2 = furniture
        assert not [(x, y) for x, y in centres if x1 < x < x2 and y1 < y < y2], clip.name


def test_full_hd_at_25_frames_replays_faster_than_it_was_recorded(tmp_path: Path) -> None:
    """1920x1080 at 25 fps, `decode: all`, five analysed frames a second, two cores."""
    ffmpeg = need_program("ffmpeg")
    clip = tmp_path / "hd.mp4"
    scaled = "scale=1920:1080:flags=bicubic,fps=25"
    subprocess.run(
        [
            *f"{ffmpeg} -v error -i {PLAZA} -vf {scaled} -t 30 -c:v libx264 -preset veryfast -b:v 4M -g 50".split(),
            str(clip),
        ],
        check=True,
        timeout=240,
    )
    site = site_file(tmp_path, VERGE, "{use: illegal-parking, zones: [zone], after_s: 10}")
    alerts, summary = replayed(clip, site, tmp_path / "out")
    spent = {name: stage["wall_s"] for name, stage in summary["stages"].items()}
    print(
        f"\n{summary['times_real_time']} times real time, {summary['cpu_s']} CPU s for {summary['media_s']} s: {spent}"
    )
    assert [data["state"] for data in alerts] == ["opened"]
    assert summary["frames"]["decoded"] == 750
    assert summary["times_real_time"] > 1
