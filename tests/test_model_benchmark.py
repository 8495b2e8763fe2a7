"""`edge models benchmark`: what it measures is right where the answer is known, and its advice follows from that."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.bench.models import Comparison, Cost, Way
from edge.cli.models import app
from edge.core.types import Detections, Int16, UInt8
from edge.detect.average_precision import LabelledPictures, Precision, measure_precision
from edge.errors import ModelError, UsageError
from tests.tiny_models import brightness_model, write_model

SIZE = (200, 100)  # width, height
TRUTH = np.array([[20, 20, 60, 60], [100, 30, 180, 80]], np.float32)  # px, classes 0 and 1


class Finds:
    """A detector that finds the same in every picture."""

    name, sha256, labels = "fake", "0" * 64, ("person", "car", "truck")
    groups: Int16 = np.arange(3, dtype=np.int16)

    def __init__(self, xyxy: np.ndarray, label: Sequence[int] = (0, 1)) -> None:  # type: ignore[type-arg]
        self._answer = Detections(xyxy.astype(np.float32), np.full(len(xyxy), 0.9, np.float32), np.int16(label))

    def detect(self, pictures: Sequence[UInt8]) -> list[Detections]:
        return [self._answer] * len(pictures)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Nine pictures, one more than are looked at together; in the first there is nothing."""
    (tmp_path / "labels").mkdir()
    width, height = SIZE
    centre, size = (TRUTH[:, :2] + TRUTH[:, 2:]) / 2 / SIZE, (TRUTH[:, 2:] - TRUTH[:, :2]) / SIZE
    rows = np.column_stack([[0, 1], centre, size])
    for number in range(9):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.full((height, width, 3), 90, np.uint8))
        if number > 0:
            np.savetxt(tmp_path / "labels" / f"{number}.txt", rows)
    return tmp_path


def found_by(xyxy: np.ndarray, folder: Path, label: Sequence[int] = (0, 1)) -> Precision:  # type: ignore[type-arg]
    return measure_precision(Finds(xyxy, label), LabelledPictures.read(folder))


def test_precision_is_one_where_all_is_found_and_nothing_where_all_is_called_otherwise(pictures: Path) -> None:
    (pictures / "0.jpg").unlink()
    right, wrong = found_by(TRUTH, pictures), found_by(TRUTH, pictures, label=(2, 2))
    assert (right.ap, right.ap50, right.pictures, right.boxes) == (1.0, 1.0, 8, 16)
    assert (wrong.ap, wrong.ap50) == (0.0, 0.0)
    assert found_by(TRUTH[:0], pictures, label=()).ap == 0.0


def test_boxes_that_are_too_small_count_up_to_their_overlap(pictures: Path) -> None:
    """62 % of the true box are right at 0.50, 0.55 and 0.60, and wrong at the other seven of the ten thresholds."""
    (pictures / "0.jpg").unlink()
    small = TRUTH.copy()
    small[:, 2] -= 0.38 * (TRUTH[:, 2] - TRUTH[:, 0])
    seen = found_by(small, pictures)
    assert (seen.ap, seen.ap50) == pytest.approx((0.3, 1.0))


def test_what_is_found_where_nothing_is_costs_precision(pictures: Path) -> None:
    assert 0.8 < found_by(TRUTH, pictures).ap < 1.0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: [path.unlink() for path in folder.glob("*.jpg")], "holds no pictures"),
        (lambda folder: [path.unlink() for path in folder.glob("labels/*")], "no box in"),
        (lambda folder: (folder / "labels" / "3.txt").write_text("0 0.5 0.5 0.1\n"), "4 numbers in a line"),
        (lambda folder: (folder / "labels" / "3.txt").write_text("car 0.5 0.5 0.1 0.1\n"), "3.txt: "),
        (lambda folder: (folder / "labels" / "3.txt").write_text("7 0.5 0.5 0.1 0.1\n"), "has class 7, fake has 3"),
        (lambda folder: (folder / "3.jpg").write_bytes(b"no"), "3.jpg: is no picture"),
    ],
)
def test_a_folder_that_cannot_be_measured_is_told(spoil: object, words: str, pictures: Path) -> None:
    spoil(pictures)  # type: ignore[operator]
    with pytest.raises(UsageError, match=words):
        found_by(TRUTH, pictures)


def test_without_the_evaluator_the_word_says_what_to_install(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(UsageError, match=r"pip install 'cityeye-edge\[precision\]'"):
        found_by(TRUTH, pictures)


def way(input_px: int, cpu_ms: float, provider: str = "cpu") -> Cost:
    return Cost(Way("nano", provider, input_px, threads=1, batch=4), wall_ms=cpu_ms, cpu_ms=cpu_ms)


def precision(ap: float) -> Precision:
    return Precision(ap=ap, ap50=ap, pictures=8, boxes=16)


def test_the_cheapest_way_that_finds_as_much_is_recommended() -> None:
    costs = (way(416, 8.0), way(512, 12.0), way(640, 20.0), way(640, 15.0, "openvino"))
    keys = [(cost.way.model, cost.way.provider, cost.way.input_px) for cost in costs]
    aps = dict(zip(keys, map(precision, (0.30, 0.325, 0.33, 0.33)), strict=True))
    known = Comparison(costs, dict.fromkeys(keys, 50.0), aps, cores=2)
    blind = Comparison(costs, dict.fromkeys(keys, 50.0), {}, cores=2)
    assert known.recommended("nano", 640) == costs[1]
    assert blind.recommended("nano", 640) == costs[3], "without labels nothing is known of other sizes"
    assert known.cameras(costs[2], 5) == 10  # half of two cores, 20 ms five times a second
    assert known.cameras(costs[2], 0.5) == 100


def test_the_command_times_each_way_and_tells_of_all_in_one_document(tmp_path: Path, pictures: Path) -> None:
    write_model(tmp_path / "models" / "tiny", brightness_model(), format="yolo-e2e")
    arguments = ["benchmark", str(tmp_path / "models" / "tiny"), "--input", "64", "--input", "128", "--threads", "1"]
    arguments += ["--batch", "1", "--batch", "4", "--rounds", "5", "--coco", str(pictures), "--json"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    ways = document["ways"]
    print(json.dumps(ways[0]))
    assert [(row["input_px"], row["batch"]) for row in ways] == [(64, 1), (64, 4), (128, 1), (128, 4)]
    assert all(row["cpu_ms"] > 0 and row["memory_mib"] > 20 and 0 <= row["ap"] <= 1 for row in ways)
    assert document["recommended"]["tiny"] in ways


def test_the_table_names_the_recommended_way(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny", brightness_model(), format="yolo-e2e")
    arguments = ["benchmark", str(tmp_path / "tiny"), "--input", "64", "--threads", "1", "--batch", "1"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "CPU ms" in answer.stdout
    assert "tiny: cpu, input 64 px, 1 threads, batch 1: " in answer.stdout


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    tiny = str(write_model(tmp_path / "tiny", brightness_model(), format="yolo-e2e"))
    none = CliRunner().invoke(app, ["benchmark", tiny, "--input", "100"])
    assert isinstance(none.exception, UsageError)
    assert "nothing to compare" in str(none.exception)
    absent = CliRunner().invoke(app, ["benchmark", tiny, "--provider", "cuda"])
    assert isinstance(absent.exception, ModelError)
    assert "onnxruntime-gpu" in str(absent.exception)
