"""Which packets are decoded where `decode: auto` chooses: on streams made of plain numbers, and on coded clips."""

from __future__ import annotations

import functools
import gc
import io
import subprocess
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.capture.activity import LOOK_PX, PacketSizes, Pictures, payload_bytes
from edge.capture.connection import Gating, PacketConnection
from edge.capture.gate import Coded, Decoder, Gate, Pace, _Alone
from edge.capture.gating import Greys
from edge.capture.live import LiveCapture
from edge.capture.packets import PacketCapture
from edge.capture.timeline import FrameOrigin
from edge.clock import SystemClock
from edge.config.loader import load_site
from edge.core.types import NS_PER_S, Bool, UInt8
from edge.ports import CaptureCounts, Decoding
from edge.wiring.camera_models import models_of
from edge.wiring.motion import pace_of
from tests.clips import write_clip
from tests.conftest import need_program

ORIGIN = FrameOrigin(mono_ns=0, wall_ns=0, index=0)
RATE = 10
STEP_NS = NS_PER_S // RATE
FLOW = Pace(motion_for=("people-flow",))


@dataclass(frozen=True)
class Unit:
    """A packet of a made stream, and what its picture shows."""

    row: int
    key: bool
    shown_ns: int
    moving: bool
    size: int


@dataclass
class PlainDecoder:
    """Gives a picture back `delay` packets later in the order of showing; refuses what does not begin at a keyframe."""

    delay: int = 0
    waiting: list[Unit] = field(default_factory=list)
    fed: list[Unit] = field(default_factory=list)
    begun: bool = False

    def alone(self, unit: Unit) -> Sequence[Unit]:
        assert unit.key
        self.begun, self.waiting = False, []
        return [unit]

    def follow(self, unit: Unit) -> Sequence[Unit]:
        assert unit.key or self.begun, "a group is decoded from its keyframe on"
        self.begun = True
        self.fed.append(unit)
        self.waiting.append(unit)
        self.waiting.sort(key=lambda one: one.shown_ns)
        due = max(len(self.waiting) - self.delay, 0)
        ready, self.waiting = self.waiting[:due], self.waiting[due:]
        return ready

    def leave(self) -> Sequence[Unit]:
        ready, self.waiting, self.begun = self.waiting, [], False
        return ready

    def grey(self, unit: Unit) -> UInt8:
        """A square that stands in one place, or in another with every picture."""
        grey = np.full((180, 320), 90, np.uint8)
        left = 20 + 40 * (unit.row % 7) if unit.moving else 20
        grey[80:110, left : left + 20] = 200
        return grey


def gate_of(pace: Pace, *, delay: int = 0) -> tuple[Gate[Unit, Unit], CaptureCounts, PlainDecoder]:
    decoder, counts = PlainDecoder(delay), CaptureCounts()
    offered = Decoder(
        alone=decoder.alone,
        follow=decoder.follow,
        leave=decoder.leave,
        stamp_ns=lambda unit: unit.shown_ns,
        grey=decoder.grey,
    )
    return Gate(offered, counts, fps=RATE, pace=pace), counts, decoder


def stream_of(
    moving: Sequence[bool], *, group: int, b_frames: bool = False, telling: bool = True, begin: int = 0
) -> list[Unit]:
    """A packet each tenth of a second in the order of sending. `telling`: what moves makes packets bigger."""
    shown = list(range(len(moving)))
    if b_frames:  # I P B P B: each B is sent after the P behind it
        for row in range(1, len(shown) - 1, 2):
            if (row % group) and (row + 1) % group:
                shown[row], shown[row + 1] = shown[row + 1], shown[row]
    dice = np.random.default_rng(5)
    return [
        Unit(
            row=begin + row,
            key=row % group == 0,
            shown_ns=(begin + shown[row]) * STEP_NS,
            moving=moving[shown[row]],
            size=round((3000 if moving[shown[row]] and telling else 900) * dice.uniform(0.85, 1.15)),
        )
        for row in range(len(moving))
    ]


def offer(gate: Gate[Unit, Unit], units: Sequence[Unit], *, begin: int = 0) -> Iterator[Unit]:
    for row, unit in enumerate(units):
        coded = Coded(unit, unit.key, (begin + row) * STEP_NS, unit.shown_ns, unit.size)
        yield from gate.offer(coded)


def still(seconds: float) -> list[bool]:
    return [False] * round(seconds * RATE)


def moving(seconds: float) -> list[bool]:
    return [True] * round(seconds * RATE)


def test_a_camera_that_nobody_asks_for_motion_costs_its_keyframes() -> None:
    gate, counts, decoder = gate_of(Pace())
    shown = [*offer(gate, stream_of([*still(10), *moving(10)], group=20)), *gate.finish()]
    assert [unit.row for unit in shown] == list(range(0, 200, 20))
    assert decoder.fed == []
    assert (counts.keyframes, counts.undecoded, counts.groups) == (10, 190, 0)
    assert (gate.decoding.mode, gate.decoding.words) == ("keyframes", "every 2.0 s")


@pytest.mark.parametrize(("b_frames", "delay"), [(False, 0), (False, 2), (True, 1), (True, 3)])
def test_motion_is_decoded_from_the_keyframe_of_its_group_on(b_frames: bool, delay: int) -> None:
    gate, counts, _ = gate_of(FLOW, delay=delay)
    units = stream_of([*still(30.5), *moving(4), *still(25.5)], group=20, b_frames=b_frames)
    shown = [unit.shown_ns // STEP_NS for unit in [*offer(gate, units), *gate.finish()]]
    assert shown == sorted(set(shown))
    assert set(range(300, 400)) <= set(shown), "the group in which it began, and five quiet seconds behind it"
    quiet = [row for row in shown if 150 <= row < 300 or 430 <= row < 580]
    print(f"{len(shown)} of {len(units)} pictures, {len(quiet)} of 300 in quiet stretches")
    assert [row for row in quiet if row % 20] == [], "nothing but keyframes while nothing moves"
    assert counts.groups == 1


def test_packets_that_tell_nothing_leave_it_to_the_next_keyframe() -> None:
    """A constant bit rate: the group before the keyframe that shows a change is decoded after all."""
    gate, counts, _ = gate_of(FLOW)
    units = stream_of([*still(30.5), *moving(4), *still(5.5)], group=20, telling=False)
    shown = [unit.row for unit in [*offer(gate, units), *gate.finish()]]
    assert set(range(300, 345)) <= set(shown)
    assert shown == sorted(set(shown))
    assert counts.groups == 1


def test_packets_that_hid_motion_are_not_relied_on_until_they_tell_again() -> None:
    gate, _, _ = gate_of(FLOW)
    parts = [(still(30.5), False), (moving(4), False), (still(26), False), (moving(1), False), (still(18.5), False)]
    parts += [(moving(4), True), (still(36.5), True), (moving(1), True), (still(10), True)]
    units, begin = [], 0
    for moves, telling in parts:  # sizes by row, so that groups go on through the parts
        units += stream_of([False] * begin + moves, group=20, telling=telling)[begin:]
        begin += len(moves)
    shown, words = [], []
    for row, unit in enumerate(units):
        shown += [one.row for one in offer(gate, [unit], begin=row)]
        words.append(gate.decoding.words)
    assert words[290] == "every 2.0 s, until something moves"
    assert words[590] == "packet sizes tell nothing here: they hid what moved, and people-flow asks for motion"
    assert set(range(300, 840)) <= set(shown), "everything, and so an event between two keyframes"
    quiet = [row for row in shown if 920 <= row < 1200 and row % 20]
    assert quiet == [], "and once they have told, keyframes will do again"
    assert set(range(1205, 1215)) <= set(shown)


@pytest.mark.parametrize("extra", [301, 303, 305])
def test_a_second_keyframe_right_behind_the_regular_one_shuts_nobody_out(extra: int) -> None:
    """A scene cut, or a picture that somebody asked the camera for."""
    gate, _, _ = gate_of(FLOW)
    units = stream_of([*still(30.1), *moving(1.7), *still(8.2)], group=20)
    units = [replace(unit, key=True) if unit.row == extra else unit for unit in units]
    shown = {unit.row for unit in [*offer(gate, units), *gate.finish()]}
    assert set(range(301, 318)) <= shown


def test_a_street_that_is_never_still_is_always_decoded() -> None:
    gate, _, _ = gate_of(FLOW)
    units = stream_of(moving(60), group=20)
    assert [unit.row for unit in [*offer(gate, units), *gate.finish()]] == list(range(600))
    assert (gate.decoding.mode, gate.decoding.words) == (
        "all",
        "the street has not been still yet, and people-flow asks for motion",
    )


@pytest.mark.parametrize("pace", [Pace(), FLOW])
def test_a_stream_with_rare_keyframes_is_decoded_as_a_whole_and_that_is_said(pace: Pace) -> None:
    gate, _, _ = gate_of(pace)
    units = stream_of(still(36), group=120)
    assert [unit.row for unit in [*offer(gate, units), *gate.finish()]] == list(range(360))
    assert (gate.decoding.mode, gate.decoding.words) == ("all", "keyframes come every 12 s")


@pytest.mark.parametrize("pace", [Pace(), FLOW])
def test_a_stream_without_a_second_keyframe_loses_nothing_and_is_held_no_longer_than_four_seconds(pace: Pace) -> None:
    gate, _, _ = gate_of(pace)
    units = stream_of(still(30), group=10_000)
    held, shown = 0, []
    for row, unit in enumerate(units):
        shown += list(offer(gate, [unit], begin=row))
        held = max(held, gate.held)
    assert [unit.row for unit in shown] == list(range(300))
    assert held <= 44
    assert gate.decoding.mode == "all"
    assert gate.decoding.words.startswith("no keyframe in 4 s")


def test_a_change_of_the_keyframe_interval_is_followed_both_ways() -> None:
    gate, _, _ = gate_of(Pace())
    parts = [(20, 0), (120, 200), (20, 560)]  # every 2 s, every 12 s, every 2 s
    modes, shown = [], []
    for group, begin in parts:
        seconds = 36 if group == 120 else 20
        units = stream_of(still(seconds), group=group, begin=begin)
        shown += [unit.row for unit in offer(gate, units, begin=begin)]
        modes.append(gate.decoding.mode)
    assert modes == ["keyframes", "all", "keyframes"]
    assert set(range(200, 560)) <= set(shown)
    assert [row for row in shown if row >= 640] == list(range(640, 760, 20))


def test_keyframes_that_come_more_often_than_looks_are_due_are_not_all_decoded() -> None:
    every = stream_of(still(20), group=2)  # every 0.2 s
    gate, counts, _ = gate_of(Pace())
    assert len([*offer(gate, every), *gate.finish()]) == 20, "one a second is enough for what takes minutes"
    assert counts.keyframes == 20
    gate, _, decoder = gate_of(Pace(motion_for=("wrong-way",)))
    all_keys = stream_of(moving(20), group=1)  # as MJPEG
    assert len([*offer(gate, all_keys), *gate.finish()]) == 200
    assert len(decoder.fed) <= 4, "each picture stands alone: there is nothing to gate"


def test_a_damaged_keyframe_opens_the_gate_until_the_next() -> None:
    gate, _, decoder = gate_of(Pace())
    whole = decoder.alone
    units = stream_of(still(10), group=20)
    refused = Decoder(
        alone=lambda unit: [] if unit.row == 40 else whole(unit),
        follow=lambda unit: [],
        leave=lambda: [],
        stamp_ns=lambda unit: unit.shown_ns,
        grey=decoder.grey,
    )
    gate = Gate(refused, CaptureCounts(), fps=RATE, pace=Pace())
    assert [unit.row for unit in offer(gate, units)] == [0, 20, 60, 80]


def test_what_is_held_is_bounded_by_bytes() -> None:
    gate, _, _ = gate_of(Pace())
    most, shown = 0, []
    for row in range(400):
        unit = Unit(row, row % 30 == 0, row * STEP_NS, False, 2_000_000)
        shown += list(offer(gate, [unit], begin=row))
        most = max(most, gate.held_bytes)
    print(f"at most {most / 1e6:.0f} MB held")
    assert most <= 20_000_000
    assert [unit.row for unit in shown] == list(range(400))
    assert "so many bytes" in gate.decoding.words


@settings(max_examples=15, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.integers(0, 80)), min_size=1, max_size=6),
    pace=st.sampled_from([Pace(), FLOW]),
    b_frames=st.booleans(),
    telling=st.booleans(),
    delay=st.integers(0, 3),
)
def test_whatever_the_packets_pictures_come_in_order_and_none_twice(
    parts: list[tuple[int, bool, int]], pace: Pace, b_frames: bool, telling: bool, delay: int
) -> None:
    """And once something was seen to move, exactly those that `all` gives, until the gate closes again."""
    gate, counts, _ = gate_of(pace, delay=max(delay, b_frames))  # a B picture waits for the one behind it
    shown: list[Unit] = []
    begin = 0
    for group, moves, more in parts:
        units = stream_of([moves] * (group + more), group=group, b_frames=b_frames, telling=telling, begin=begin)
        shown += offer(gate, units, begin=begin)
        begin += len(units)
        assert gate.held <= 45
    shown += gate.finish()
    times = [unit.shown_ns for unit in shown]
    assert times == sorted(set(times))
    assert len(shown) + counts.undecoded <= begin
    if pace.motion_for:
        runs = np.flatnonzero(np.diff(np.array(times) // STEP_NS) != 1)
        for row in runs:  # where pictures are missing the next one is a keyframe that was decoded alone
            assert shown[row + 1].key


def test_scene_wide_noise_and_light_are_no_motion_and_a_small_walker_is() -> None:
    dice = np.random.default_rng(3)
    street = dice.integers(40, 200, (180, 320)).astype(np.float32)

    def seen(sigma: float, light: float = 0.0, walker: int | None = None) -> UInt8:
        picture = street + light + dice.normal(0, sigma, street.shape)
        if walker is not None:
            picture[60:70, walker : walker + 4] = 25
        return np.clip(picture, 0, 255).astype(np.uint8)

    pictures = Pictures()
    pictures.moved(seen(2))
    assert not any(pictures.moved(seen(2)) for _ in range(50)), "a sensor's noise"
    assert not pictures.moved(seen(2, light=12)), "the sun comes out"
    pictures = Pictures()
    pictures.moved(seen(6))
    assert not any(pictures.moved(seen(6)) for _ in range(50)), "night"
    pictures.moved(seen(2, walker=100))
    assert pictures.moved(seen(2, walker=106))


def test_at_night_eight_grey_levels_are_somebody_and_a_coder_at_its_limit_is_not(tmp_path: Path) -> None:
    """A person of 16x36 px of 640x360, before ground that is nearly as dark; and noise that a coder has to drop."""
    dice = np.random.default_rng(6)

    def seen(left: int | None) -> UInt8:
        picture = 35 + dice.normal(0, 1.5, (360, 640))
        if left is not None:
            picture[180:216, left : left + 16] += 8
        small = cv2.resize(np.clip(picture, 0, 255).astype(np.uint8), LOOK_PX, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)

    pictures = Pictures()
    pictures.moved(seen(None))
    assert not any(pictures.moved(seen(None)) for _ in range(50))
    assert all(pictures.moved(seen(left)) for left in range(20, 600, 40))
    starved = [*X264, "-b:v", "150k", "-maxrate", "150k", "-bufsize", "150k"]
    pictures, greys, moved = Pictures(), Greys(), []
    with av.open(str(walk(tmp_path / "a.mp4", starved, seconds=12, walks=()))) as container:
        for row, picture in enumerate(container.decode(video=0)):
            grey = greys.of(picture) if row % 5 == 0 else None
            moved += [] if grey is None else [pictures.moved(grey)]
    print(f"{sum(moved[1:])} of {len(moved) - 1} pictures half a second apart")
    assert not any(moved[1:])


def test_only_what_is_watched_moves() -> None:
    watched = np.zeros((180, 320), np.bool_)
    watched[:, :100] = True
    pictures, grey = Pictures(watched), np.full((180, 320), 80, np.uint8)
    pictures.moved(grey)
    elsewhere, there = grey.copy(), grey.copy()
    elsewhere[50:90, 200:240] = 180
    there[50:90, 50:90] = 180
    assert not pictures.moved(elsewhere)
    assert pictures.moved(there)


SITE = """
version: 1
site: {id: s, timezone: UTC}
gateway: {id: g}
cameras:
  - id: c
    source: clip.mp4
    zones: [{id: kerb, polygon: [[0.3, 0.6], [0.7, 0.6], [0.7, 0.8], [0.3, 0.8]]}]
    masks: {ignore: [[[0.6, 0.5], [1.0, 0.5], [1.0, 1.0], [0.6, 1.0]]]}
    scenarios: [{use: loitering, zones: [kerb]}, {use: people-flow, line: [[0.2, 0.9], [0.3, 0.9]], direction: up}]
"""


def test_a_burnt_in_clock_and_what_is_not_analysed_keep_no_gate_open_and_who_comes_near_does(tmp_path: Path) -> None:
    """1080p, a font of 32 px and seconds, as cameras come from the shop."""
    (tmp_path / "site.yaml").write_text(SITE)
    site = load_site(tmp_path / "site.yaml", environ={})
    camera = site.config.cameras[0]
    pace = pace_of(site, camera, models_of(site, [camera])["c"])

    def seen(second: int, walker: tuple[int, int] | None = None) -> UInt8:
        picture = np.full((1080, 1920), 120, np.uint8)
        words, scale = f"2026-11-26 12:00:{second:02d}", cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, 32, 3)
        for level, thickness in ((0, 9), (255, 3)):
            cv2.putText(picture, words, (30, 80), cv2.FONT_HERSHEY_SIMPLEX, scale, level, thickness)
        if walker is not None:
            x, y = walker
            picture[y : y + 90, x : x + 36] = 30
        return np.asarray(cv2.resize(picture, LOOK_PX, interpolation=cv2.INTER_AREA), np.uint8)

    def moves(watched: Bool | None, *walker: tuple[int, int] | None) -> list[bool]:
        pictures = Pictures(watched)
        return [pictures.moved(seen(second, at)) for second, at in enumerate(walker, start=10)][1:]

    assert all(moves(None, *[None] * 12)), "the clock is what would keep it open"
    assert not any(moves(pace.watched, *[None] * 12))
    for place, counts in {(900, 750): True, (330, 700): True, (1500, 750): False, (60, 420): False}.items():
        assert moves(pace.watched, None, place, None) == [counts, counts], f"who walks at {place}"


def test_sizes_follow_another_bit_rate_and_one_big_packet_is_no_motion() -> None:
    dice = np.random.default_rng(4)
    sizes = PacketSizes()

    def stirs(mean: float, packets: int) -> int:
        found = 0
        for row in range(packets):
            found += sizes.stir(round(mean * dice.lognormal(0, 0.12)), between=False)
            if row % 12 == 11:
                sizes.judge(moved=False)
        return found

    stirs(1000, 250)
    assert sizes.ready
    assert not sizes.stir(20_000, between=False), "the burnt-in clock, a lamp"
    assert stirs(1000, 500) == 0
    assert stirs(2500, 25) > 0, "and so it is judged by the pictures"
    stirs(2500, 600)
    assert stirs(2500, 500) == 0, "which say that nothing moves: it is the new bit rate"


def test_filling_does_not_count() -> None:
    filled = b"\0\0\0\1\x41" + bytes(range(1, 100)) + b"\0\0\0\1\x0c" + b"\xff" * 5000 + b"\x80"
    assert payload_bytes(filled) == 5 + 99 + 5
    assert payload_bytes(b"\0\0\0\1\x41" + bytes(range(100))) == 105


# Coded clips


def walk(path: Path, coder: Sequence[str], *, seconds: float = 44, walks: Sequence[tuple[float, float]]) -> Path:
    """A noisy street of 320x180 at 10 pictures a second; now and then a dark figure walks through it."""
    command = [need_program("ffmpeg"), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "320x180"]
    command += ["-r", "10", "-i", "-", "-pix_fmt", "yuv420p", *coder, str(path)]
    subprocess.run(command, input=_street(seconds, tuple(walks)), timeout=60, check=True)
    return path


@functools.cache
def _street(seconds: float, walks: tuple[tuple[float, float], ...]) -> bytes:
    dice = np.random.default_rng(8)
    street = np.repeat(np.repeat(dice.integers(70, 150, (18, 32)), 10, 0), 10, 1).astype(np.int16)
    raw = io.BytesIO()
    for row in range(round(seconds * 10)):
        picture = street + dice.integers(-2, 3, street.shape)
        for begin_s, end_s in walks:
            if begin_s <= row / 10 < end_s:
                left = round((row / 10 - begin_s) / (end_s - begin_s) * 300)
                picture[80:116, left : left + 14] = 20
        raw.write(picture.astype(np.uint8).tobytes())
    return raw.getvalue()


def times_s(path: Path, *, decode: str, pace: Pace) -> tuple[list[float], PacketCapture]:
    capture = PacketCapture(str(path), camera="c", fps=10, decode=decode, origin=ORIGIN, pace=pace)
    times = [frame.mono_ns / NS_PER_S for frame in capture]
    capture.close()
    return times, capture


X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-keyint_min", "20", "-sc_threshold", "0"]
CODERS = {
    "constant quality": [*X264, "-crf", "26"],
    "B pictures": [*X264, "-crf", "26", "-bf", "2"],
    "variable bit rate": [*X264, "-b:v", "300k", "-maxrate", "400k", "-bufsize", "400k"],
    "constant bit rate": [*X264, "-b:v", "300k", "-maxrate", "300k", "-bufsize", "150k", "-nal-hrd", "cbr"],
    "H.265": [
        *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params"),
        "keyint=20:min-keyint=20:scenecut=0:log-level=error:pools=none:frame-threads=1",
    ],
}
WALKS = ((20.3, 23.0), (36.2, 37.4))  # over a keyframe, and between two


@pytest.mark.parametrize("coder", CODERS)
def test_a_walker_is_decoded_whole_however_the_street_is_coded(coder: str, tmp_path: Path) -> None:
    path = walk(tmp_path / "a.mp4", CODERS[coder], walks=WALKS)
    every, _ = times_s(path, decode="all", pace=FLOW)
    seen, capture = times_s(path, decode="auto", pace=FLOW)
    counts = capture.counts
    print(f"{coder}: {len(seen)} of {len(every)} pictures, {counts.groups} groups, {capture.decoding}")
    assert set(seen) <= set(every)
    for begin_s, end_s in WALKS:
        missed = [at for at in every if begin_s <= at < end_s and at not in seen]
        assert missed == [], f"{coder}: of the walk at {begin_s} s"
    assert len(seen) < 0.8 * len(every), "and quiet stretches are not decoded"
    if coder == "B pictures":
        again, _ = times_s(path, decode="auto", pace=FLOW)
        assert again == seen, "replay is the same each time"


def test_the_end_of_a_clip_that_was_gated_is_where_the_clip_ends(tmp_path: Path) -> None:
    path = walk(tmp_path / "a.mp4", CODERS["constant quality"], seconds=9, walks=())
    seen, capture = times_s(path, decode="auto", pace=Pace())
    assert seen == [0, 2, 4, 6, 8]
    assert not capture.counts.incomplete
    assert capture.following.mono_ns == pytest.approx(9 * NS_PER_S, abs=NS_PER_S // 10)


def test_a_motion_jpeg_is_sampled_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for row in range(100):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), row, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    seen, capture = times_s(path, decode="auto", pace=Pace())
    assert seen == [0, 1, 2, 3]
    assert capture.counts.decoded == 4


def test_an_avi_is_decoded_whole_for_its_marks_of_keyframes_may_be_wrong(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", [row / 25 for row in range(100)], codec="mpeg4", b_frames=0)
    seen, capture = times_s(path, decode="auto", pace=Pace())
    assert seen == times_s(path, decode="all", pace=Pace())[0]
    assert capture.decoding == Decoding("all", "an AVI marks pictures as keyframes that are none")


def test_a_live_camera_says_what_is_decoded_and_why_and_its_log_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file stands in for the camera; its clock is moved."""
    rare = [*X264, "-crf", "26"]
    rare[rare.index("-g") + 1] = rare[rare.index("-keyint_min") + 1] = "120"
    told: dict[str, list[str]] = {}
    for name, coder in (("often", CODERS["B pictures"]), ("rarely", rare)):
        path = walk(tmp_path / f"{name}.mp4", coder, seconds=30, walks=())
        clock, stop = HandClock(), threading.Event()
        capture = LiveCapture(
            str(path), camera=name, fps=10, decode="auto", stop=stop, clock=clock, pause=clock.pause, pace=Pace()
        )
        times: list[float] = []
        for frame in capture:
            assert not frame.resumed or not times
            times.append(frame.mono_ns / NS_PER_S)
            if len(times) == {"often": 14, "rarely": 250}[name]:
                stop.set()
        told[name] = [capture.decoding.mode, capture.decoding.words]
        steps = np.diff(times)
        print(f"{name}: {len(times)} pictures, {steps.min():.2f} to {steps.max():.2f} s apart, {capture.counts}")
        assert steps.max() == pytest.approx({"often": 2.0, "rarely": 0.1}[name], abs=0.02)
    assert told == {"often": ["keyframes", "every 2.0 s"], "rarely": ["all", "keyframes come every 12 s"]}
    said = [record.getMessage() for record in caplog.records if "every picture is decoded" in record.getMessage()]
    assert len(said) == 1
    assert "camera rarely" in said[0]


class HandClock:
    """Moves when somebody waits."""

    def __init__(self) -> None:
        self.now_ns = 10 * NS_PER_S

    def mono_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def pause(self, seconds: float) -> bool:
        self.now_ns += round(seconds * NS_PER_S)
        return False


def test_what_a_closed_clip_decoded_is_gone_at_once_and_not_when_garbage_is_collected(tmp_path: Path) -> None:
    path = walk(tmp_path / "a.mp4", CODERS["constant quality"], seconds=9, walks=())
    capture = PacketCapture(str(path), camera="c", fps=5, decode="auto", origin=ORIGIN, pace=Pace())
    connection = PacketConnection(
        str(path),
        transport="",
        keyframes_only=False,
        counts=CaptureCounts(),
        mono_ns=SystemClock().mono_ns,
        gating=Gating(fps=5, pace=Pace()),
    )
    assert sum(1 for _ in capture) == sum(picture is not None for picture in connection.steps()) == 5
    gone = [weakref.ref(capture), weakref.ref(connection)]
    gc.disable()  # else a collection that happens to come says what it should
    try:
        capture.close()
        connection.close()
        del capture, connection
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()


def test_a_stream_that_is_refreshed_piece_by_piece_is_decoded_whole_and_says_so(tmp_path: Path) -> None:
    coder = [*X264, "-crf", "26", "-bf", "0", "-x264-params", "intra-refresh=1:keyint=20:scenecut=0"]
    path = walk(tmp_path / "a.mp4", coder, seconds=16, walks=())
    every, _ = times_s(path, decode="all", pace=Pace())
    seen, capture = times_s(path, decode="auto", pace=Pace())
    late = [at for at in every if at not in seen]
    print(f"{len(seen)} of {len(every)} pictures, none before {max(late, default=0)} s")
    assert [at for at in late if at >= 7] == [], "two groups to learn that they give none, one to come whole"
    assert capture.decoding == Decoding(
        "all", "its keyframes give no picture by themselves: turn intra refresh off", True
    )


def test_keyframes_are_tried_by_themselves_again_but_ever_more_rarely() -> None:
    alone, trials = _Alone(), []
    for group in range(200):
        alone.keyframe()
        if not alone.fault:
            trials.append(group)
            alone.tried(gave=False)
    assert trials == [0, 1, 33, 97], "one may be damage"
    print(f"tried {len(trials)} times in 200 groups")


@pytest.mark.parametrize("decode", ["auto", "keyframes"])
def test_a_raw_stream_is_decoded_whole_for_it_has_no_times(tmp_path: Path, decode: str) -> None:
    coded = walk(tmp_path / "a.mp4", CODERS["constant quality"], seconds=6, walks=())
    raw = tmp_path / "a.h264"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(coded), "-c", "copy", "-f", "h264", str(raw)], check=True)
    seen, capture = times_s(raw, decode=decode, pace=Pace())
    assert seen == times_s(raw, decode="all", pace=Pace())[0]
    assert capture.decoding == Decoding("all", "a raw stream has no times, so every picture counts")


def test_keyframes_that_were_damaged_on_the_way_say_nothing_of_the_camera() -> None:
    _, _, decoder = gate_of(Pace())
    counts = CaptureCounts()

    def alone(unit: Unit) -> Sequence[Unit]:
        if unit.row not in (40, 60, 80):
            return decoder.alone(unit)
        counts.corrupt += 1
        return []

    damaged = Decoder(
        alone=alone,
        follow=lambda unit: [],
        leave=lambda: [],
        stamp_ns=lambda unit: unit.shown_ns,
        grey=decoder.grey,
    )
    gate = Gate(damaged, counts, fps=RATE, pace=Pace())
    assert [unit.row for unit in offer(gate, stream_of(still(14), group=20))] == [0, 20, 100, 120]
    assert not gate.decoding.faulty
