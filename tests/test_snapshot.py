"""`edge snapshot`: the picture that was asked for, or one line and nothing on the disk."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge.cli.main import run
from edge.core.types import UInt8
from tests.clips import picture, regular_times, write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "street.mp4", regular_times(frames=100, fps=25))


def read(path: Path) -> UInt8:
    return np.asarray(cv2.imread(str(path)), np.uint8)


def distance(path: Path, time_s: float) -> float:
    """Mean grey levels between a snapshot and what the synthetic camera saw at a time."""
    return float(cv2.absdiff(read(path), picture(time_s)).mean())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("at_s", [0.0, 0.5, 2.0, 3.9])
def test_the_picture_is_the_one_at_that_second(clip: Path, tmp_path: Path, at_s: float) -> None:
    output = tmp_path / "x.png"
    assert run(["snapshot", str(clip), "-o", str(output), "--at", str(at_s)]) == 0
    distances = {time_s: distance(output, time_s) for time_s in (0.0, 0.5, 2.0, 3.9)}
    assert min(distances, key=lambda time_s: distances[time_s]) == at_s


def test_the_grid_is_drawn_only_where_asked_for(clip: Path, tmp_path: Path) -> None:
    assert run(["snapshot", str(clip), "-o", str(tmp_path / "plain.jpg")]) == 0
    assert run(["snapshot", str(clip), "-o", str(tmp_path / "grid.jpg"), "--grid"]) == 0
    difference = cv2.absdiff(read(tmp_path / "plain.jpg"), read(tmp_path / "grid.jpg")).max(axis=2)
    assert (difference[30:210, 158:163].max(axis=1) > 40).mean() > 0.9  # the line at 0.5


def test_a_recording_that_begins_black_shows_its_first_picture(tmp_path: Path) -> None:
    dark = np.zeros((240, 320, 3), np.uint8)
    with av.open(str(tmp_path / "fade.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for row in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(dark if row < 20 else picture(0), format="bgr24")))
        container.mux(stream.encode(None))
    assert run(["snapshot", str(tmp_path / "fade.mp4"), "-o", str(tmp_path / "x.png")]) == 0
    assert distance(tmp_path / "x.png", 0) < 10


def test_an_earlier_snapshot_is_replaced(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    assert run(["snapshot", str(clip), "-o", str(tmp_path / "x.png")]) == 0
    assert read(tmp_path / "x.png").shape == (240, 320, 3)
    assert names(tmp_path) == ["street.mp4", "x.png"]


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (("street.mp4", "x.gif"), 2, "written as .jpg or .png"),
        (("street.mp4", "nowhere/x.jpg"), 2, "cannot be written"),
        (("street.mp4", "x.jpg", "--at", "100"), 2, "ends before 100 s"),
        (("street.mp4", "x.jpg", "--at", "-1"), 2, "greater than or equal to 0"),
        (("missing.mp4", "x.jpg"), 1, "no such file"),
        (("rtsp://user:secret@127.0.0.1:1/x", "x.jpg"), 1, "cannot be opened"),
    ],
)
@pytest.mark.usefixtures("clip")
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...], status: int, words: str
) -> None:
    source = asked[0] if "://" in asked[0] else str(tmp_path / asked[0])
    assert run(["snapshot", source, "-o", str(tmp_path / asked[1]), *asked[2:]]) == status
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert "secret" not in told
    assert names(tmp_path) == ["street.mp4"]


def site(clip: Path, tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(
        f"""version: 1
site: {{id: xiaohe, name: 小河街道, timezone: Asia/Shanghai}}
gateway: {{id: gw-01}}
model: yolox-nano
cameras:
  - id: gate
    source: {clip}
    zones: [{{id: kerb, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}}]
    scenarios: [{{use: illegal-parking, zones: [kerb]}}]
""",
        encoding="utf-8",
    )
    return path


def test_a_configured_camera_is_named_by_its_id(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.png"
    assert run(["snapshot", "gate", "-o", str(output), "--config", str(site(clip, tmp_path))]) == 0
    assert distance(output, 0) < 10


def test_an_unknown_camera_is_answered_with_those_that_there_are(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = site(clip, tmp_path)
    assert run(["snapshot", "gat", "-o", str(tmp_path / "x.png"), "--config", str(config)]) == 2
    assert "has no camera 'gat'; it has gate" in capsys.readouterr().err
