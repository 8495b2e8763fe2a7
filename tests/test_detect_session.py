from __future__ import annotations

import os
import random
import time
from pathlib import Path

import av
import numpy as np
import pytest

from edge.core.boxes import iou
from edge.core.types import UInt8
from edge.detect import onnx_runtime
from edge.detect.manifest import find_model, load_manifest
from edge.detect.onnx_runtime import automatic_threads
from edge.detect.session import OnnxDetector
from edge.errors import ModelError
from edge.resources import configs_dir, models_dir
from tests.conftest import missing
from tests.tiny_models import LABELS, brightness_model, constant_model, float_model, write_model

VAN = np.array([[651, 44, 725, 102]], np.float32)
PLAZA = configs_dir() / "demo" / "plaza.mp4"
VTEST = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")

GREY = np.full((48, 64, 3), 128, np.uint8)


def _one_box(shape: tuple[int, ...], at: tuple[int, ...], values: list[float]) -> np.ndarray:
    output = np.zeros(shape, np.float32)
    output[at] = values
    return output


def _tiny(folder: Path, content: bytes, **changes: object) -> OnnxDetector:
    return OnnxDetector(load_manifest(write_model(folder, content, **changes)), threads=1)


# The same car at [16, 8, 48, 40] in a 64x64 input, in the words of each format.
ONE_CAR = {
    "yolo (v5)": ("yolo", [_one_box((9, 8), (3,), [32, 24, 32, 32, 1, 0, 0.8, 0])]),
    "yolo (v8)": ("yolo", [_one_box((7, 9), (slice(None), 3), [32, 24, 32, 32, 0, 0.8, 0])]),
    "yolo-e2e": ("yolo-e2e", [_one_box((5, 6), (2,), [16, 8, 48, 40, 0.8, 1])]),
    "detr": (
        "detr",
        [
            np.log(_one_box((5, 3), (2,), [0, 4, 0]) + 1e-6).astype(np.float32),
            _one_box((5, 4), (2,), [0.5, 0.375, 0.5, 0.5]),
        ],
    ),
}


@pytest.mark.parametrize("words", ONE_CAR)
def test_each_format_finds_the_same_car_in_every_picture(tmp_path: Path, words: str) -> None:
    format_name, outputs = ONE_CAR[words]
    detector = _tiny(
        tmp_path / "tiny", constant_model(outputs, height=64, width=64), format=format_name, fixed_px=[64, 64]
    )
    # 128x128 is twice the input: boxes come back in pixels of the source.
    for answer in detector.detect([np.zeros((128, 128, 3), np.uint8)] * 3):
        assert [LABELS[label] for label in answer.label] == ["car"]
        assert answer.score[0] == pytest.approx(0.8, abs=1e-4)
        assert answer.xyxy[0].tolist() == pytest.approx([32, 16, 96, 80], abs=1e-3)


def test_a_yolox_model_of_a_fixed_size_is_fed_that_size(tmp_path: Path) -> None:
    raw = _one_box((84, 8), (1 * 8 + 2,), [0, 0, np.log(4), np.log(4), 1, 0, 0.8, 0])
    detector = _tiny(tmp_path / "tiny", constant_model([raw], height=64, width=64), fixed_px=[64, 64])
    answer = detector.detect([np.zeros((32, 64, 3), np.uint8)])[0]
    assert answer.xyxy[0].tolist() == pytest.approx([0, 0, 32, 24], abs=1e-3)


def test_pictures_of_different_sizes_are_told_apart(tmp_path: Path) -> None:
    detector = _tiny(tmp_path / "tiny", brightness_model(), format="yolo-e2e")
    pictures: list[UInt8] = [
        np.full((size, 64, 3), bright, np.uint8) for size, bright in [(64, 200), (32, 100), (64, 50), (32, 250)]
    ]
    scores = [float(answer.score[0]) for answer in detector.detect(pictures)]
    assert scores == pytest.approx([200 / 255, 100 / 255, 50 / 255, 250 / 255], abs=1e-4)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_model_of_a_fixed_batch_serves_any_number_of_pictures(tmp_path: Path, batch: int) -> None:
    detector = _tiny(tmp_path / "tiny", brightness_model(batch=batch), format="yolo-e2e")
    brightness = [60, 120, 180, 90, 150, 210]
    answers = detector.detect([np.full((64, 64, 3), bright, np.uint8) for bright in brightness])
    assert [float(answer.score[0]) for answer in answers] == pytest.approx([b / 255 for b in brightness], abs=1e-4)


def test_scores_below_the_limit_are_left_out(tmp_path: Path) -> None:
    detector = _tiny(tmp_path / "tiny", brightness_model(), format="yolo-e2e")
    dark, bright = detector.detect([np.full((64, 64, 3), value, np.uint8) for value in (20, 30)])
    assert (len(dark), len(bright)) == (0, 1)
    assert dark.xyxy.shape == (0, 4)


def test_a_thing_under_two_labels_of_a_group_is_one_detection(tmp_path: Path) -> None:
    rows = np.array([[0, 0, 32, 32, 0.5, 1], [0, 0, 32, 33, 0.7, 2], [0, 0, 32, 32, 0.6, 0]], np.float32)
    content = constant_model([rows])
    apart = _tiny(tmp_path / "apart", content, format="yolo-e2e")
    joined = _tiny(tmp_path / "joined", content, format="yolo-e2e", groups={"vehicle": ["car", "truck"]})
    assert [LABELS[label] for label in apart.detect([GREY])[0].label] == ["truck", "person", "car"]
    assert [LABELS[label] for label in joined.detect([GREY])[0].label] == ["truck", "person"]


def test_answers_that_are_no_numbers_are_dropped(tmp_path: Path) -> None:
    rows = np.array([[0, 0, 32, 32, np.nan, 1], [np.nan, 0, 32, 32, 0.9, 1], [1, 1, 9, 9, 0.8, np.nan]], np.float32)
    assert len(_tiny(tmp_path / "tiny", constant_model([rows]), format="yolo-e2e").detect([GREY])[0]) == 0


def test_more_candidates_than_the_bound_are_counted(tmp_path: Path) -> None:
    rows = np.tile(np.array([0, 0, 32, 32, 0.5, 1], np.float32), (1200, 1))
    detector = _tiny(tmp_path / "tiny", constant_model([rows]), format="yolo-e2e")
    assert len(detector.detect([GREY])[0]) == 1
    assert detector.candidates_dropped == 200


@pytest.mark.parametrize(
    ("content", "changes", "says"),
    [
        (b"not a model", {}, "not a model that ONNX Runtime can load"),
        (b"", {}, "not a model that ONNX Runtime can load"),
        (
            float_model(),
            {},
            r"expected one input tensor\(uint8\) \(B, H, W, 3\), got images tensor\(float\) "
            r"\['batch', 3, 'height', 'width'\]: put a Transpose and a Cast in front",
        ),
        (
            constant_model([np.zeros((10, 85), np.float32)]),
            {},
            r"expected outputs \(2, 1680, 8\), got \(2, 10, 85\) for format yolox with 3 labels: correct the format",
        ),
        (
            constant_model([np.zeros((300, 6), np.float32)]),
            {"format": "detr"},
            r"expected outputs \(2, \*, 3\) \+ \(2, \*, 4\) or \(2, \*, 4\) \+ \(2, \*, 3\), got \(2, 300, 6\)",
        ),
    ],
    ids=["text", "empty", "float input", "wrong yolox", "wrong detr"],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, content: bytes, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ModelError, match=says) as raised:
        _tiny(tmp_path / "tiny", content, **changes)
    assert "\n" not in str(raised.value)
    assert "model.onnx" in str(raised.value)


@pytest.mark.parametrize(
    ("providers", "says"),
    [
        (["npu"], r"^provider npu is not known: known are cpu, openvino, cuda, tensorrt; another runtime is a package"),
        (["npu", "cpu"], r"^provider npu is a runtime of its own and cannot be mixed with others"),
        ([], r"^provider \(none\) is not known"),
        (
            ["cuda", "cpu"],
            r"^provider cuda is not in this ONNX Runtime, which has cpu: install onnxruntime-gpu in place of",
        ),
        (["openvino"], r"^provider openvino is not in .*: install onnxruntime-openvino in place of onnxruntime"),
        (["tensorrt"], r"^provider tensorrt is not in .*: install onnxruntime-gpu in place of onnxruntime"),
    ],
)
def test_a_provider_that_is_not_there_is_refused(tmp_path: Path, providers: list[str], says: str) -> None:
    """Also where `cpu` stands behind it: the CPU takes single nodes, never the whole work in silence."""
    if {"CUDAExecutionProvider", "OpenVINOExecutionProvider"} & set(onnx_runtime.onnxruntime.get_available_providers()):
        missing("a plain onnxruntime; this one has further providers")
    manifest = load_manifest(write_model(tmp_path / "tiny", brightness_model(), format="yolo-e2e"))
    with pytest.raises(ModelError, match=says) as raised:
        OnnxDetector(manifest, providers=providers)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider' is not in available provider names")
def test_a_provider_that_onnx_runtime_left_out_in_silence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU build without its CUDA libraries behaves: the provider is listed, and does not start."""
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx_runtime.onnxruntime, "get_available_providers", lambda: listed)
    manifest = load_manifest(find_model("yolox-nano", [models_dir()]))
    with pytest.raises(ModelError, match=r"^provider cuda is installed but could not start: its driver or libraries"):
        OnnxDetector(manifest, providers=["cuda", "cpu"])


def _own_mib() -> float:
    """This process's share of all memory (PSS)."""
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))) / 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_shapes_of_batches() -> None:
    """Cameras of many sizes, batches of one to eight: after the largest nothing more is taken."""
    detector = OnnxDetector(load_manifest(find_model("yolox-nano", [models_dir()])), threads=1)
    # Twice each: what ONNX Runtime plans in the first run of a shape it takes in the second.
    shapes = [(96 * side, batch) for side in (3, 5, 7) for batch in (2, 4, 6, 8)] * 2
    random.Random(4).shuffle(shapes)

    def run(side: int, batch: int) -> float:
        letterbox = detector.letterbox(width=640, height=min(side, 640))
        width, height = letterbox.input_px
        detector.run_batch(np.zeros((batch, height, width, 3), np.uint8), [letterbox] * batch)
        return _own_mib()

    largest = run(640, 8)
    after = [run(*shape) for shape in shapes]
    print(f"after the largest batch {largest:.0f} MiB, after {len(shapes)} smaller ones {max(after):.0f} MiB")
    assert max(after) < largest * 1.2


def test_threads_leave_room_for_decoding() -> None:
    cores = os.sched_getaffinity(0)
    print(f"{len(cores)} cores: {automatic_threads()} threads")
    assert automatic_threads() == max(len(cores) // 2, 1)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert automatic_threads() == 1
    finally:
        os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def yolox() -> OnnxDetector:
    return OnnxDetector(load_manifest(find_model("yolox-nano", [models_dir()])), threads=1)


@pytest.fixture(scope="module")
def plaza() -> list[UInt8]:
    """The first frames of the demo's clip, half a second apart."""
    clip = PLAZA if PLAZA.is_file() else VTEST
    if not clip.is_file():
        missing(f"neither {PLAZA} nor {VTEST} (package opencv-doc) is there")
    with av.open(str(clip)) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(16), strict=False)]
    return [frame.to_ndarray(format="bgr24") for frame in frames[::5]]


def test_the_committed_model_finds_the_van_of_the_plaza_once(yolox: OnnxDetector, plaza: list[UInt8]) -> None:
    answer = yolox.detect(plaza[:1])[0]
    vehicles = np.isin(answer.label, [yolox.labels.index(name) for name in ("car", "bus", "truck")])
    overlap = iou(answer.xyxy[vehicles], VAN)[:, 0]
    best = int(overlap.argmax())
    print(f"van: IoU {overlap[best]:.2f}, score {answer.score[vehicles][best]:.2f}")
    assert overlap[best] >= 0.6
    assert (overlap >= 0.4).sum() == 1


def test_four_frames_at_once_answer_like_one_by_one(yolox: OnnxDetector, plaza: list[UInt8]) -> None:
    together = yolox.detect(plaza)
    for picture, batched in zip(plaza, together, strict=True):
        alone = yolox.detect([picture])[0]
        assert np.array_equal(alone.label, batched.label)
        np.testing.assert_allclose(alone.xyxy, batched.xyxy, atol=0.01)
        np.testing.assert_allclose(alone.score, batched.score, atol=1e-4)


def test_slots_filled_elsewhere_give_the_same_answer(yolox: OnnxDetector, plaza: list[UInt8]) -> None:
    height, width = plaza[0].shape[:2]
    letterbox = yolox.letterbox(width=width, height=height)
    slots = np.zeros((2, letterbox.input_px[1], letterbox.input_px[0], 3), np.uint8)
    for picture, slot in zip(plaza[:2], slots, strict=True):
        letterbox.apply(picture, slot)
    for own, given in zip(yolox.run_batch(slots, [letterbox] * 2), yolox.detect(plaza[:2]), strict=True):
        assert np.array_equal(own.xyxy, given.xyxy)


def test_the_cost_of_a_frame_is_told(yolox: OnnxDetector) -> None:
    picture = np.random.default_rng(3).integers(0, 255, (1080, 1920, 3)).astype(np.uint8)
    spent_s = []
    for _ in range(7):
        begin = time.perf_counter()
        yolox.detect([picture])
        spent_s.append(time.perf_counter() - begin)
    print(f"1080p at 640x384, one thread, all steps: {np.median(spent_s) * 1e3:.1f} ms")
    assert min(spent_s) < 1
