"""What each stage of the frame path costs on this machine, in microseconds a picture, on made-up streets.

Every second row of a street's things is parked, partly in the zone, the rows between drive. Every camera has parts of
its own, and the cameras take turns, as they do in a gateway: what grows with their number shows. Decoding, the
network, sight, still streets, static objects and evidence are left out: `edge bench replay` tells of those.

    letterbox into the slot -> slot: queue, batch, answer -> outputs -> suppression -> tracks -> zones -> rules -> cases
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np

from edge.clock import SystemClock, thread_cpu_s
from edge.core.boxes import BOTTOM
from edge.core.cases import CaseBook
from edge.core.memory import StreetMemory
from edge.core.scenarios import scenario_for
from edge.core.scenarios.stationary import StationaryRule
from edge.core.scene import Scene
from edge.core.tracker import Tracker
from edge.core.types import NS_PER_S, Detections, Findings, Float32, Frame, StaticRegions, Tracks, UInt8
from edge.core.zones import ZoneMap
from edge.detect.formats import Boxes, decode
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import BGR, TOP_LEFT, YOLOX, ModelManifest
from edge.detect.model_input import ModelInput
from edge.detect.nms import suppress
from edge.runtime.detector import BATCH_MAX, Desk, DetectorLink
from edge.runtime.slots import SizeClass

CAMERAS = (1, 16, 64)
OBJECTS = (1, 50, 300)
OBJECTS_MAX = 1680  # there is room for no more in the made-up picture
STAGES = ("letterbox", "slot", "outputs", "suppression", "tracks", "zones", "rules", "cases")
GROWTH_MAX = 0.2  # of what a picture costs, from one camera to the most
ROUNDS_MIN = 5

_FRAME_PX = (1920, 1080)
_SIZE = {"width": _FRAME_PX[0], "height": _FRAME_PX[1]}
_INPUT_SIDE_PX = 640
_LOOK_NS = NS_PER_S // 5
_WARM_LOOKS = 20  # until every parked thing is a case in the making
_LOOKS = 10  # different looks of a street, over and over
_BOXES_A_THING = 3  # that a network answers with
_ZONE = np.array([[0.3, 0.3], [0.55, 0.25], [0.62, 0.5], [0.58, 0.75], [0.3, 0.75]], np.float32)

_LABELS = ("car", *(f"other-{row}" for row in range(79)))
_MANIFEST = ModelManifest(
    folder=Path(),
    name="none",
    file="",
    sha256="",
    format=YOLOX,
    colour=BGR,
    padding=TOP_LEFT,
    input_multiple=32,
    longest_side=_INPUT_SIDE_PX,
    labels=_LABELS,
    score="",
    licence="",
    origin="",
    made="",
)
_GROUPS = _MANIFEST.label_groups()

Cost = dict[str, float]  # stage -> CPU microseconds a picture


def measure(cameras: Sequence[int] = CAMERAS, objects: Sequence[int] = OBJECTS, *, seconds: float) -> dict[str, object]:
    """The cost of every stage at each number of cameras and of things; takes about so many seconds.

    All are measured in turn, round by round, so that a busy moment of the machine meets all alike; the figures are the
    medians of the rounds. `growth`: what a picture costs with the most cameras, against the fewest; 1.0 is the same.
    """
    clock = SystemClock()
    with ExitStack() as stack:
        gateways = [stack.enter_context(closing(_Gateway(*size))) for size in product(cameras, objects)]
        for gateway in gateways:
            gateway.turn()  # the first pictures of a process cost more than all later ones
        rounds: list[list[Cost]] = [[] for _ in gateways]
        until_ns = clock.mono_ns() + round(seconds * NS_PER_S)
        while len(rounds[0]) < ROUNDS_MIN or clock.mono_ns() < until_ns:
            for gateway, costs in zip(gateways, rounds, strict=True):
                costs.append(gateway.turn())
    rows = [_row(gateway, costs) for gateway, costs in zip(gateways, rounds, strict=True)]
    return {"rounds": len(rounds[0]), "stages": list(STAGES), "rows": rows, "growth": _growth(gateways, rounds)}


def _row(gateway: _Gateway, costs: Sequence[Cost]) -> dict[str, object]:
    stages_us = {stage: round(median(cost[stage] for cost in costs), 1) for stage in STAGES}
    total_us = round(median(sum(cost.values()) for cost in costs), 1)
    size = {"cameras": gateway.cameras, "objects": gateway.objects, "cases": gateway.cases}
    return {**size, "total_us": total_us, "stages_us": stages_us}


def _growth(gateways: Sequence[_Gateway], rounds: Sequence[Sequence[Cost]]) -> dict[str, float]:
    """By number of things: medians of the ratios of rounds that were measured one after the other."""
    totals = {
        (gateway.cameras, gateway.objects): [sum(cost.values()) for cost in costs]
        for gateway, costs in zip(gateways, rounds, strict=True)
    }
    fewest, most = min(cameras for cameras, _ in totals), max(cameras for cameras, _ in totals)
    return {
        str(objects): round(
            median(many / few for few, many in zip(totals[fewest, objects], totals[most, objects], strict=True)), 3
        )
        for objects in sorted({objects for _, objects in totals})
    }


class _Gateway:
    """So many cameras with so many things each, and one detector without a network."""

    def __init__(self, cameras: int, objects: int) -> None:
        self.cameras, self.objects = cameras, objects
        looks = [_look(objects, nth) for nth in range(_LOOKS)]
        session = _NullSession(looks[0])
        self._picture = _picture()
        self._sequence = [0] * cameras
        self._letterbox = session.input.letterbox(width=_FRAME_PX[0], height=_FRAME_PX[1])
        self._link = DetectorLink()
        self._desk = Desk(session, self._link.connect(), batch_max=BATCH_MAX, batch_wait_ns=0, clock=SystemClock())
        self._slots = []
        for row in range(cameras):
            self._slots.append(self._link.add(f"camera-{row}", SizeClass(_INPUT_SIDE_PX)))
            self._desk.turn()
        self._outputs = _outputs(looks[0], self._letterbox, pictures=min(cameras, BATCH_MAX))
        world = _Camera(looks, self._picture)
        for _ in range(_WARM_LOOKS):
            world.look()
        self._worlds = [deepcopy(world, {id(self._picture): self._picture}) for _ in range(cameras)]

    def turn(self) -> Cost:
        """One picture of every camera, all stages."""
        spent = {
            "letterbox": self._each(self._submit),
            "slot": self._answer_all() + self._each(lambda row: self._slots[row].answer(self._sequence[row])),
        }
        pictures = len(self._outputs)
        batches, found = -(-self.cameras // pictures), self._decode()
        spent["outputs"] = _spent_us(lambda _: self._decode(), batches) / (batches * pictures)
        spent["suppression"] = _spent_us(lambda _: _suppress(found), batches) / (batches * pictures)
        worlds = self._worlds
        spent["tracks"] = self._each(lambda row: worlds[row].track())
        spent["zones"] = self._each(lambda row: worlds[row].locate())
        spent["rules"] = self._each(lambda row: worlds[row].find())
        spent["cases"] = self._each(lambda row: worlds[row].judge())
        return spent

    @property
    def cases(self) -> int:
        """Of one camera."""
        return self._worlds[0].cases

    def close(self) -> None:
        self._desk.close()
        self._link.close()

    def _each(self, step: Callable[[int], object]) -> float:
        """Microseconds of one camera's step, all of them after one another."""
        return _spent_us(step, self.cameras) / self.cameras

    def _submit(self, row: int) -> None:
        self._sequence[row] = self._slots[row].submit(self._picture, self._letterbox, submitted_ns=lambda: 0)

    def _answer_all(self) -> float:
        """What the detector process does for one picture beside its network."""
        answered = self._desk.counts().pictures + self.cameras
        begin_s = thread_cpu_s()
        while self._desk.counts().pictures < answered:
            self._desk.turn()
        return (thread_cpu_s() - begin_s) * 1e6 / self.cameras

    def _decode(self) -> Boxes:
        return decode(_MANIFEST, [self._outputs], input_px=self._letterbox.input_px, score_min=0.1)


class _Camera:
    """One worker's parts behind the detector."""

    def __init__(self, looks: Sequence[Detections], picture: UInt8) -> None:
        rule = StationaryRule(
            scenario="illegal-parking",
            zones=(0,),
            zone_names=("kerb",),
            labels=np.zeros(1, np.int16),
            label_names=_LABELS,
            score_min=0.3,
            after_ns=60 * NS_PER_S,
            clear_after_ns=15 * NS_PER_S,
            repeat_ns=0,
        )
        self._looks, self._picture = looks, picture
        self._tracker, self._zones = Tracker(), ZoneMap([_ZONE])
        self._scenario, self._book = scenario_for(rule, [_ZONE]), CaseBook(rule, camera="camera", gateway="bench")
        self._memory = StreetMemory()
        self._nth = 0
        # What one stage hands to the next: each is timed over all cameras before the next begins.
        self._tracks, self._findings = Tracks.empty(), Findings.empty()
        self._presence = self._zones.locate(self._tracks, mono_ns=0, **_SIZE)
        self._scene = Scene.unseen(self._frame(), self._memory)

    @property
    def cases(self) -> int:
        return len(self._book.live)

    def look(self) -> None:
        """All stages of one look."""
        self.track()
        self.locate()
        self.find()
        self.judge()

    def track(self) -> None:
        self._nth += 1
        self._tracks = self._tracker.update(self._looks[self._nth % len(self._looks)], self._nth * _LOOK_NS)

    def locate(self) -> None:
        self._presence = self._zones.locate(self._tracks, mono_ns=self._nth * _LOOK_NS, **_SIZE)

    def find(self) -> None:
        detections = self._looks[self._nth % len(self._looks)]
        presence = {BOTTOM: self._presence}
        self._scene = Scene(self._frame(), detections, self._tracks, presence, StaticRegions.empty(), self._memory)
        self._findings = self._scenario.find(self._scene)

    def judge(self) -> None:
        self._book.advance(self._findings, self._scene)

    def _frame(self) -> Frame:
        return Frame("camera", self._nth, self._nth * _LOOK_NS, self._nth * _LOOK_NS, self._picture)


class _NullSession:
    """A model that says the same of every picture at once."""

    def __init__(self, answer: Detections) -> None:
        self.input = ModelInput.of(_MANIFEST)
        self.batch_max = BATCH_MAX
        self.candidates_dropped = 0
        self._answer = answer

    def run_batch(self, slots: UInt8, letterboxes: Sequence[Letterbox]) -> list[Detections]:
        return [self._answer] * len(letterboxes)


def _picture() -> UInt8:
    """(H, W, 3) of one frame, with something in it everywhere."""
    return np.random.default_rng(0).integers(0, 256, (*_FRAME_PX[::-1], 3), np.uint8)


def _look(objects: int, nth: int) -> Detections:
    """The boxes of one look: rows of things, a little apart; every second row drives to and fro."""
    noise = np.random.default_rng(nth)
    thing = np.arange(objects)
    columns = int(np.ceil(np.sqrt(objects * 16 / 9)))
    pitch = np.array(_FRAME_PX) / (columns + 1)
    centre = np.stack([thing % columns + 1, thing // columns + 1], axis=1) * pitch
    centre[thing // columns % 2 == 1, 0] += pitch[0] * np.sin(2 * np.pi * nth / _LOOKS)
    half = np.minimum(pitch, 120) * 0.35
    xyxy = np.concatenate([centre - half, centre + half], axis=1) + noise.normal(0, 0.01 * half.mean(), (objects, 4))
    score = noise.uniform(0.5, 0.9, objects).astype(np.float32)
    return Detections(xyxy.astype(np.float32), score, np.zeros(objects, np.int16))


def _outputs(look: Detections, letterbox: Letterbox, *, pictures: int) -> Float32:
    """(B, M, 5 + C) as YOLOX answers, with some boxes for each thing, in cells of the finest grid."""
    width, height = letterbox.input_px
    cells = sum((width // stride) * (height // stride) for stride in (8, 16, 32))
    raw = np.zeros((pictures, cells, 5 + len(_LABELS)), np.float32)
    box = letterbox.to_input(look.xyxy)
    for nth in range(_BOXES_A_THING):
        cell = np.arange(len(box)) * _BOXES_A_THING + nth
        corner = np.stack([cell % (width // 8), cell // (width // 8)], axis=1)
        raw[:, cell, :2] = (box[:, :2] + box[:, 2:]) / 16 + 0.1 * nth - corner
        raw[:, cell, 2:4] = np.log((box[:, 2:] - box[:, :2]) / 8)
        raw[:, cell, 4] = look.score - 0.1 * nth
        raw[:, cell, 5] = 1.0
    return raw


def _suppress(found: Boxes) -> None:
    suppress(
        picture=found.picture,
        xyxy=found.xyxy,
        score=found.score,
        label=found.label,
        groups=_GROUPS,
        iou_max=_MANIFEST.overlap_max,
    )


def _spent_us(step: Callable[[int], object], times: int) -> float:
    begin_s = thread_cpu_s()
    for row in range(times):
        step(row)
    return (thread_cpu_s() - begin_s) * 1e6
