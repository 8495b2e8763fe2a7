"""The annotated video plays in browsers and keeps the frames' own times."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from edge.core.types import UInt8
from edge.errors import EvidenceError
from edge.evidence.video import AnnotatedVideo
from tests.test_evidence_store import tmpfs

MS = 1_000_000


def grey(level: int, *, width: int = 64, height: int = 48) -> UInt8:
    return np.full((height, width, 3), level, np.uint8)


def write_noise(path: Path, random: np.random.Generator) -> None:
    """Twenty pictures that do not compress."""
    with AnnotatedVideo(path, 5.0, (320, 240)) as video:
        for row in range(20):
            video.write(random.integers(0, 255, (240, 320, 3), np.uint8), row * 200 * MS)


def read_back(path: Path) -> tuple[list[float], list[tuple[int, int]], float]:
    """Times of the pictures in s, their sizes, and the container's duration in s."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = list(container.decode(stream))
        times = [float(frame.pts * frame.time_base) for frame in frames]
        return times, [(frame.width, frame.height) for frame in frames], (container.duration or 0) / 1e6


def test_uneven_times_are_kept_and_every_picture_is_there(tmp_path: Path) -> None:
    times_ms = [0, 200, 400, 1700, 1733, 4000]
    with AnnotatedVideo(tmp_path / "a.mp4", 5.0, (64, 48)) as video:
        for row, time_ms in enumerate(times_ms):
            video.write(grey(40 * row), time_ms * MS)
    times, sizes, duration_s = read_back(tmp_path / "a.mp4")
    assert times == pytest.approx([time_ms / 1000 for time_ms in times_ms], abs=1e-4)
    assert set(sizes) == {(64, 48)}
    assert duration_s == pytest.approx(4.2, abs=0.01)


def test_the_index_stands_before_the_pictures_so_that_play_starts_at_once(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 5.0, (64, 48)) as video:
        video.write(grey(90), 0)
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_a_video_begins_at_zero_and_goes_on_where_time_steps_back(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 5.0, (64, 48)) as video:
        for media_ms in (60_000, 60_200, 0, 200):
            video.write(grey(90), media_ms * MS)
    assert read_back(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-4)


def test_odd_sizes_are_padded_and_a_changed_size_is_fitted(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", 25.0, (63, 47)) as video:
        video.write(grey(90, width=63, height=47), 0)
        video.write(grey(90, width=126, height=94), 40 * MS)
    assert read_back(tmp_path / "a.mp4")[1] == [(64, 48)] * 2


def test_colours_survive_within_what_yuv_keeps(tmp_path: Path) -> None:
    bgr = np.empty((48, 64, 3), np.uint8)
    bgr[:] = (48, 48, 230)
    with AnnotatedVideo(tmp_path / "a.mp4", 5.0, (64, 48)) as video:
        video.write(bgr, 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert int(frame.colorspace) == 1  # BT.709, and said so: a browser that guesses shows other reds
        shown = frame.to_ndarray(format="bgr24")[24, 32]
    print(f"drawn (48, 48, 230), shown {tuple(int(level) for level in shown)}")
    assert np.abs(shown.astype(int) - (48, 48, 230)).max() <= 6


def test_the_same_pictures_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        with AnnotatedVideo(tmp_path / name, 5.0, (64, 48)) as video:
            for row in range(8):
                video.write(grey(20 * row), row * 200 * MS)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"annotated video cannot be written: No such file") as raised:
        AnnotatedVideo(tmp_path / "nowhere" / "a.mp4", 5.0, (64, 48))
    assert "\n" not in str(raised.value)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    with tmpfs(tmp_path / "disk", size="64k") as disk:
        with pytest.raises(EvidenceError, match="cannot be written: No space left") as raised:
            write_noise(disk / "a.mp4", random)
        assert "\n" not in str(raised.value)


def test_closing_without_a_picture_or_twice_is_nothing(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", 5.0, (64, 48))
    video.close()
    video.close()
