"""Damaged streams through the decoder that live cameras use: what comes out is what the camera saw, or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from edge.capture.clean import CleanDecoder
from edge.capture.numbering import Numbering, read_parameters
from edge.core.types import UInt8
from edge.ports import CaptureCounts
from tests.bench.mutations import Corruption
from tests.bench.streams import Recipe, Stream, make_stream
from tests.clips import write_clip

ROOT = Path(__file__).resolve().parent.parent
UNITS = int(os.environ.get("EDGE_MUTATED_UNITS", "300"))  # of each kind and codec; 1250: 10,000 in all, by hand
GROSS = 3.0  # mean grey levels off: a picture that nobody saw
KINDS = ("bitflip", "truncate", "reorder", "drop")
# Of the pictures shown while one unit in twenty is damaged: not goals but what was measured, with room. No network does
# this (TCP and UDP have check sums, and a lost packet is noticed before the decoder); a broken camera can.
GROSS_SHARE_MAX = dict.fromkeys([(c, k) for c in ("h264", "h265") for k in KINDS], 0.0)
GROSS_SHARE_MAX |= {("h264", "bitflip"): 0.01, ("h265", "bitflip"): 0.35, ("h265", "truncate"): 0.15}


def packet_of(data: bytes, number: int, *, key: bool) -> av.Packet[av.VideoStream]:
    """With FFmpeg's padding behind it, which a packet made of bytes alone has not."""
    packet = av.Packet(len(data))
    packet.update(data)
    packet.pts = packet.dts = number
    packet.is_keyframe = key
    return packet


def decoder(codec: str, counts: CaptureCounts) -> CleanDecoder:
    context = av.CodecContext.create({"h265": "hevc"}.get(codec, codec), "r")
    assert isinstance(context, av.VideoCodecContext)
    return CleanDecoder(context, counts, keyframes_only=False, strict=True)


def luma(picture: av.VideoFrame) -> UInt8:
    return picture.reformat(format="gray").to_ndarray()


def true_pictures(codec: str, units: list[bytes], keys: list[bool]) -> dict[int, UInt8]:
    counts = CaptureCounts()
    clean = decoder(codec, counts)
    seen = {
        p.pts: luma(p)
        for n, data in enumerate(units)
        for p in clean.decode(packet_of(data, n, key=keys[n]))
        if p.pts is not None
    }
    assert counts.corrupt == counts.withheld == 0, "a whole stream is not suspected"
    return seen


def spoilt(units: list[bytes], kind: str, seed: int) -> list[tuple[int, bytes, bool]]:
    """(number in the clip, data, touched) of one pass: one unit in twenty is damaged, never the first."""
    corruption = Corruption(seed=seed, kinds=(kind,), probability=0.05)
    line = [(number, data, False) for number, data in enumerate(units)]
    for number in range(len(units) - 2, 0, -1):
        if corruption.fate(number) is None:
            continue
        if kind == "drop":
            del line[number]
            line[number - 1] = (*line[number - 1][:2], True)
        elif kind == "reorder":
            line[number], line[number + 1] = line[number + 1], (*line[number][:2], True)
        else:
            line[number] = (number, corruption.damage(units[number], number, kind), True)
    return line


def torture(index: str, codec: str) -> dict[str, dict[str, int]]:
    """Every kind of damage, `UNITS` damaged units each; what came out. Runs in a process of its own."""
    written = json.loads(Path(index).read_text(encoding="utf-8"))
    data = Path(index).with_name(written["file"]).read_bytes()
    units = [data[at : at + size] for at, size, *_ in written["units"]]
    keys = [bool(unit[4]) for unit in written["units"]]
    truth = true_pictures(codec, units, keys)
    answers = {}
    for kind in KINDS:
        counts, clean_counts = dict.fromkeys(("touched", "fed", "shown", "gross", "worst"), 0), CaptureCounts()
        seed = 0
        while counts["touched"] < UNITS:
            seed += 1
            clean = decoder(codec, clean_counts)
            for number, unit, touched in spoilt(units, kind, seed):
                counts["touched"] += touched
                counts["fed"] += 1
                for picture in clean.decode(packet_of(unit, number, key=keys[number])):
                    counts["shown"] += 1
                    known = truth.get(picture.pts if picture.pts is not None else -1)
                    seen = luma(picture)
                    if known is None or seen.shape != known.shape:
                        counts["gross"] += 1
                        continue
                    off = float(np.abs(seen.astype(np.int16) - known).mean())
                    counts["gross"] += off > GROSS
                    counts["worst"] = max(counts["worst"], round(off))
        answers[kind] = {**counts, "faults": clean_counts.corrupt, "withheld": clean_counts.withheld}
    return answers


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory, media: Path) -> dict[str, Stream]:
    folder = tmp_path_factory.mktemp("streams")
    recipe = {"width": 320, "height": 180, "duration_s": 10.0}
    return {c: make_stream(folder, Recipe(media / "carpark_light.mp4", codec=c, **recipe)) for c in ("h264", "h265")}


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_mutated_access_units_crash_nothing_and_their_harm_is_known(codec: str, streams: dict[str, Stream]) -> None:
    """FFmpeg's H.264 decoder notices nearly all damage inside a picture; its H.265 decoder reads any bits as one."""
    command = [sys.executable, "-m", "tests.test_capture_clean", str(streams[codec].index), codec]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout)
    growth_mib = answers.pop("growth_mib")
    for kind, counts in answers.items():
        share = counts["gross"] / counts["shown"]
        print(f"{codec} {kind}: {counts}, {share:.2%} of what is shown is gross")
        assert counts["touched"] >= UNITS
        assert counts["shown"] > 0
        assert share <= GROSS_SHARE_MAX[codec, kind]
    print(f"{codec}: memory grew by {growth_mib:.1f} MiB")
    assert growth_mib < 10


def test_a_missing_picture_is_seen_in_the_numbers(streams: dict[str, Stream]) -> None:
    units = streams["h264"].units()
    whole = Numbering(None)
    assert not any(whole.misses(unit) for unit in units)
    for lost in (1, 7, 40):
        broken = Numbering(None)
        answers = [broken.misses(unit) for unit in units[:lost] + units[lost + 1 :]]
        assert answers.index(True) == lost


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv422p"])
def test_numbers_are_read_in_every_profile(pixel_format: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", [n / 25 for n in range(60)], pixel_format=pixel_format, b_frames=2)
    with av.open(str(path)) as container:
        units = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    whole = Numbering(None)
    assert not any(whole.misses(unit) for unit in units)


def test_an_encoder_that_cannot_count_is_not_judged_by_it(streams: dict[str, Stream]) -> None:
    """One unit of each group of pictures is missing, always: after ten groups the numbers say nothing any more."""
    stream = streams["h264"]
    keys = [row for row, key in enumerate(stream.keys) if key]
    units = [unit for row, unit in enumerate(stream.units()) if row - 5 not in keys]
    numbering = Numbering(None)
    answers = [numbering.misses(unit) for _ in range(4) for unit in units]
    assert sum(answers) == pytest.approx(10, abs=1)
    assert not any(answers[-len(units) :])


def test_a_cut_parameter_set_is_no_answer() -> None:
    assert read_parameters(b"\x67\x64") is None


def test_nothing_comes_out_between_a_lost_datagram_and_the_next_keyframe(streams: dict[str, Stream]) -> None:
    for codec, stream in streams.items():
        counts = CaptureCounts()
        clean = decoder(codec, counts)
        shown = [
            picture.pts
            for number, unit in enumerate(stream.units())
            for picture in clean.decode(packet_of(unit, number, key=stream.keys[number]), lost=number == 10)
        ]
        following = next(row for row, key in enumerate(stream.keys) if key and row > 10)
        assert shown == [*range(10), *range(following, len(stream.keys))]
        assert (counts.corrupt, counts.withheld) == (1, following - 10)


def test_a_keyframe_is_true_whatever_came_before_it(streams: dict[str, Stream]) -> None:
    """Whoever joins between two keyframes, or goes on after a fault: pictures before the next one leave no trace."""
    for codec, stream in streams.items():
        units, keys = stream.units(), list(stream.keys)
        truth = true_pictures(codec, units, keys)
        following = keys.index(True, 1)
        for begin in range(1, following):
            clean = decoder(codec, CaptureCounts())
            shown = [
                picture
                for number in range(begin, following + 3)
                for picture in clean.decode(packet_of(units[number], number, key=keys[number]))
            ]
            assert [picture.pts for picture in shown] == [following, following + 1, following + 2]
            for picture in shown:
                assert picture.pts is not None
                assert (luma(picture) == truth[picture.pts]).all()


@pytest.fixture(scope="module")
def rare_keyframes(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Stream:
    """What a "smart" codec sends: a keyframe every 400 pictures."""
    recipe = {"width": 160, "height": 90, "fps": 25, "duration_s": 20.0, "group_s": 16.0, "there_and_back": True}
    return make_stream(tmp_path_factory.mktemp("rare"), Recipe(media / "carpark_light.mp4", codec="h265", **recipe))


def test_a_long_wait_for_a_keyframe_is_no_reason_to_be_less_strict(rare_keyframes: Stream) -> None:
    """One lost packet, or joining in the middle, costs the rest of its group and nothing more."""
    units, keys = rare_keyframes.units(), list(rare_keyframes.keys)
    following = keys.index(True, 1)
    assert following == 400
    for first, lost in ((0, 10), (100, -1)):
        counts = CaptureCounts()
        clean = decoder("h265", counts)
        shown = []
        for number in range(first, following + 50):
            packet = packet_of(units[number], number, key=keys[number])
            shown += [picture.pts for picture in clean.decode(packet, lost=number == lost)]
            assert clean.strict
            assert not clean.failure
        assert shown == [*range(first, lost), *range(following, following + 50)]


@pytest.mark.parametrize("keyframes_only", [False, True])
def test_a_camera_that_breaks_the_standard_is_seen_and_one_that_keeps_it_is_held_to_it(
    keyframes_only: bool, streams: dict[str, Stream]
) -> None:
    """An unfinished unit of extra data before each keyframe, as some makers write it; later an update mends it."""
    stream = streams["h265"]
    units, keys = stream.units(), list(stream.keys)
    extra = b"\0\0\0\1\x4e\x01\x81\xff\xff\x10"
    counts = CaptureCounts()
    context = av.CodecContext.create("hevc", "r")
    assert isinstance(context, av.VideoCodecContext)
    clean = CleanDecoder(context, counts, keyframes_only=keyframes_only, strict=True)
    shown, strict = [], []
    rounds = 8
    for number in range(2 * rounds * len(units)):
        row = number % len(units)
        before = extra if keys[row] and number < rounds * len(units) else b""
        shown.append(len(clean.decode(packet_of(before + units[row], number, key=keys[row]))))
        strict.append(clean.strict)
        assert not clean.failure
    begin = strict.index(False)
    mended = strict.index(True, begin)
    fed = [row for row in range(len(shown)) if keys[row % len(units)] or not keyframes_only]
    print(f"lenient after {begin} packets, strict again {mended - rounds * len(units)} after the mending; {counts}")
    assert sum(shown[:begin]) == 0
    assert 0 <= mended - rounds * len(units) <= 2 * keys.index(True, 1)
    after = [shown[row] for row in fed if row > begin + keys.index(True, 1)]
    assert sum(after) >= len(after) - 1
    assert all(strict[mended:])


def test_a_stream_that_never_decodes_or_has_no_keyframe_says_which(streams: dict[str, Stream]) -> None:
    for codec, stream in streams.items():
        units, keys = stream.units(), list(stream.keys)
        broken, keyless = decoder(codec, CaptureCounts()), decoder(codec, CaptureCounts())
        said = {"": 0, "nothing-decodes": 0, "no-keyframe": 0}
        for number in range(2000):
            row = number % len(units)
            if not broken.failure:
                noise = units[row][:5] + bytes(range(1, 200))
                assert not broken.decode(packet_of(noise, number, key=keys[row]))
                said[broken.failure] = number
            if not keys[row] and not keyless.failure:
                assert not keyless.decode(packet_of(units[row], number, key=False))
                said[keyless.failure] = number
        print(f"{codec}: {said}")
        assert broken.failure == "nothing-decodes"
        assert keyless.failure == "no-keyframe"


def _memory_mib() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(fields["Private_Dirty"].split()[0]) / 1024


if __name__ == "__main__":
    torture_index, torture_codec = sys.argv[1:]
    torture_units, UNITS = UNITS, 40
    torture(torture_index, torture_codec)  # warm
    before_mib, UNITS = _memory_mib(), torture_units
    found: dict[str, object] = {**torture(torture_index, torture_codec)}
    print(json.dumps({**found, "growth_mib": _memory_mib() - before_mib}))
