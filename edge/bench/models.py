"""What the models that are installed here cost on this machine, and what they find: for `edge models benchmark`.

Timed is what the detector process does with letterboxed pictures: network, boxes, suppression. The ways take turns,
round by round, so that what else the machine does meets all of them alike; of the rounds the median counts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np

from edge.clock import cpu_s, elapsed_s
from edge.core.types import UInt8
from edge.detect.average_precision import SCORE_MIN, LabelledPictures, Precision, measure_precision
from edge.detect.manifest import ModelManifest
from edge.detect.onnx_runtime import installed_providers
from edge.detect.session import OnnxDetector
from edge.errors import ModelError, UsageError

ROUNDS_MIN = 5
RATES_FPS = (5.0, 0.5)
CORES_SHARE = 0.5  # of the machine: the other half decodes, as `automatic_threads` has it
AP_LOSS_MAX = 0.01  # what a cheaper way may lose and still be recommended


@dataclass(frozen=True, slots=True)
class Way:
    """One manner of running one model."""

    model: str
    provider: str
    input_px: int  # longest side
    threads: int
    batch: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over the rounds, of one picture."""

    way: Way
    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """`memory_mib`: private memory of a process that runs the largest batch; by (model, provider, input_px)."""

    costs: tuple[Cost, ...]
    memory_mib: dict[tuple[str, str, int], float]
    precision: dict[tuple[str, str, int], Precision]
    cores: int
    left_out: tuple[str, ...] = ()  # what is installed and could not run, and why

    def cameras(self, cost: Cost, fps: float) -> int:
        """That half of this machine's cores carry, if each is looked at `fps` times a second."""
        return int(self.cores * CORES_SHARE * 1000 / (cost.cpu_ms * fps))

    def recommended(self, model: str, default_px: int) -> Cost | None:
        """The cheapest in CPU; of input sizes only those that find as much, and without labels the model's own."""
        own = [cost for cost in self.costs if cost.way.model == model]
        if self.precision:
            aps = {cost.way: self.precision[_seen_by(cost.way)].ap for cost in own}
            best = max(aps.values(), default=0.0)
            own = [cost for cost in own if aps[cost.way] >= best - AP_LOSS_MAX]
        elif any(cost.way.input_px == default_px for cost in own):
            own = [cost for cost in own if cost.way.input_px == default_px]
        return min(own, key=lambda cost: cost.cpu_ms, default=None)


@dataclass(frozen=True, slots=True)
class BenchmarkOrder:
    """What to compare; an empty tuple is all that is sensible here."""

    models: tuple[ModelManifest, ...]
    providers: tuple[str, ...] = ()
    inputs_px: tuple[int, ...] = ()
    threads: tuple[int, ...] = (1, 2)
    batches: tuple[int, ...] = (1, 4, 8)
    rounds: int = 7


def compare(order: BenchmarkOrder, picture: UInt8, labelled: LabelledPictures | None) -> Comparison:
    """`picture` (H, W, 3) BGR is what all are timed on. Raises ModelError and UsageError."""
    detectors, left_out = _load(order)
    if not detectors:
        reasons = "; ".join(left_out) or "no detector here takes these input sizes (multiples of 32 px, or its own)"
        raise UsageError(f"there is nothing to compare: {reasons}")
    costs = _timed(detectors, order, picture)
    seen = dict.fromkeys((manifest.name, provider, input_px) for manifest, provider, input_px, _ in detectors)
    by_name = {manifest.name: manifest for manifest in order.models}
    return Comparison(
        costs=costs,
        memory_mib={key: _memory_mib(by_name[key[0]], key[1], key[2], max(order.batches), picture) for key in seen},
        precision={key: _precision(by_name[key[0]], key[1], key[2], labelled) for key in seen} if labelled else {},
        cores=len(os.sched_getaffinity(0)),
        left_out=left_out,
    )


_Loaded = dict[tuple[ModelManifest, str, int, int], OnnxDetector]


def _load(order: BenchmarkOrder) -> tuple[_Loaded, tuple[str, ...]]:
    """The detectors, and why there are none of some: a provider that nobody named may lack its device."""
    loaded: _Loaded = {}
    left_out: dict[str, None] = {}
    providers = order.providers or installed_providers()
    for manifest, provider, threads in product(order.models, providers, order.threads):
        for input_px in _inputs_px(manifest, order.inputs_px):
            try:
                detector = OnnxDetector(manifest, longest_side=input_px, threads=threads, providers=[provider])
            except ModelError as error:
                if order.providers:
                    raise
                left_out[f"{provider}: {error}"] = None
            else:
                loaded[manifest, provider, input_px, threads] = detector
    return loaded, tuple(left_out)


def _inputs_px(manifest: ModelManifest, asked: Sequence[int]) -> list[int]:
    """Of those asked for, what this model takes; without any, its own and two smaller ones."""
    if asked:
        return [side for side in dict.fromkeys(asked) if not manifest.misfit_of(side)]
    own = manifest.longest_side
    if manifest.fixed_px:
        return [own]
    step = manifest.input_multiple
    return sorted({max(round(own * share / step), 1) * step for share in (0.65, 0.8, 1.0)})


def _timed(detectors: _Loaded, order: BenchmarkOrder, picture: UInt8) -> tuple[Cost, ...]:
    ways = {
        Way(manifest.name, provider, input_px, threads, batch): detector
        for (manifest, provider, input_px, threads), detector in detectors.items()
        for batch in order.batches
        if batch <= detector.batch_max
    }
    slots = {way: _Slots(detector, picture, way.batch) for way, detector in ways.items()}
    for way in ways:
        slots[way].run()  # the first run of a size makes its buffers
    spent: dict[Way, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(max(order.rounds, ROUNDS_MIN)):
        for way in ways:
            wall, cpu = elapsed_s(), cpu_s()
            slots[way].run()
            spent[way].append((elapsed_s() - wall, cpu_s() - cpu))
    return tuple(
        Cost(
            way,
            wall_ms=1000 * median(wall for wall, _ in rounds) / way.batch,
            cpu_ms=1000 * median(cpu for _, cpu in rounds) / way.batch,
        )
        for way, rounds in spent.items()
    )


class _Slots:
    """A batch of one picture, letterboxed."""

    def __init__(self, detector: OnnxDetector, picture: UInt8, batch: int) -> None:
        letterbox = detector.letterbox(width=picture.shape[1], height=picture.shape[0])
        width, height = letterbox.input_px
        slot = np.empty((height, width, 3), np.uint8)
        letterbox.apply(picture, slot)
        self._detector = detector
        self._pictures = np.repeat(slot[None], batch, axis=0)
        self._letterboxes = [letterbox] * batch

    def run(self) -> None:
        self._detector.run_batch(self._pictures, self._letterboxes)


def _precision(manifest: ModelManifest, provider: str, input_px: int, pictures: LabelledPictures) -> Precision:
    detector = OnnxDetector(manifest, longest_side=input_px, threads=0, score_min=SCORE_MIN, providers=[provider])
    return measure_precision(detector, pictures)


def _seen_by(way: Way) -> tuple[str, str, int]:
    return way.model, way.provider, way.input_px


def _memory_mib(manifest: ModelManifest, provider: str, input_px: int, batch: int, picture: UInt8) -> float:
    """In a process of its own, as a gateway's detector is."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_private_mib, (manifest, provider, input_px, batch, picture))


def _private_mib(manifest: ModelManifest, provider: str, input_px: int, batch: int, picture: UInt8) -> float:
    detector = OnnxDetector(manifest, longest_side=input_px, threads=0, providers=[provider])
    slots = _Slots(detector, picture, min(batch, detector.batch_max))
    for _ in range(3):
        slots.run()
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
