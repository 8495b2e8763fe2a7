from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from edge.core.types import Detections, UInt8
from edge.detect.manifest import find_model, parse_manifest
from edge.detect.model_input import ModelInput
from edge.errors import ModelError
from edge.resources import models_dir
from edge.runtime.headroom import SharedMemoryError, check_memory
from edge.runtime.slots import AnswerTimes, Request, SizeClass, Slot

CLASS = SizeClass(side_px=64, rows_max=10)
TIMES = AnswerTimes(waited_ns=3, ran_ns=5, batch=2)
RULE = ModelInput(longest_side=64, multiple=32, centred=False, swap_colours=False)


def _picture(level: int) -> UInt8:
    return np.full((96, 128, 3), level, np.uint8)


def _submit(slot: Slot, level: int) -> int:
    picture = _picture(level)
    letterbox = RULE.letterbox(width=picture.shape[1], height=picture.shape[0])
    return slot.submit(picture, letterbox, submitted_ns=lambda: 7)


def _boxes(count: int) -> Detections:
    x1 = np.arange(count, dtype=np.float32)
    xyxy = np.stack([x1, x1, x1 + 9, x1 + 9], axis=1)
    return Detections(xyxy, np.linspace(0.9, 0.1, count, dtype=np.float32), np.arange(count, dtype=np.int16))


def _read(slot: Slot) -> tuple[Request, UInt8] | None:
    """What a detector would run on."""
    request = slot.request()
    if request is None:
        return None
    width, height = request.letterbox.input_px
    out = np.empty((height, width, 3), np.uint8)
    return (request, out) if slot.copy_picture(request, out) else None


@pytest.fixture
def slot() -> Slot:
    return Slot.create(CLASS)


def _other_side(slot: Slot) -> Slot:
    """The same slot as another process would have it."""
    memory, ready, answered = (os.dup(fd) for fd in slot.fds)
    return Slot((memory, ready, answered))


def test_a_picture_and_its_answer_cross_a_slot_unchanged(slot: Slot) -> None:
    detector = _other_side(slot)
    sequence = _submit(slot, 90)
    read = _read(detector)
    assert read is not None
    request, picture = read
    assert (request.sequence, request.submitted_ns, request.letterbox.source_px) == (sequence, 7, (128, 96))
    assert picture.shape == (64, 64, 3)
    assert (picture[:48] == 90).all()
    assert (picture[48:] == 114).all()
    assert slot.answer(sequence) is None
    assert detector.write_answer(sequence, _boxes(4), TIMES) == 0
    answer = slot.answer(sequence)
    assert answer is not None
    for name in ("xyxy", "score", "label"):
        assert np.array_equal(getattr(answer.detections, name), getattr(_boxes(4), name))
    assert answer.times == TIMES
    assert detector.request() is None  # answered once, waits no more


def test_more_boxes_than_rows_lose_the_worst_and_are_counted(slot: Slot) -> None:
    sequence = _submit(slot, 1)
    assert slot.write_answer(sequence, _boxes(13), TIMES) == 3
    answer = slot.answer(sequence)
    assert answer is not None
    assert np.array_equal(answer.detections.score, _boxes(13).score[:10])


def test_a_torn_request_is_never_read(slot: Slot) -> None:
    """The worker is killed inside the letterbox: here it raises."""
    broken = RULE.letterbox(width=0x7FFF_FFFF, height=96)
    with pytest.raises(Exception, match=r".+"):
        slot.submit(np.zeros((0, 0, 3), np.uint8), broken, submitted_ns=lambda: 7)
    assert slot.torn
    assert slot.request() is None
    assert _read(slot) is None


def test_the_next_worker_repairs_a_torn_slot_and_goes_on_counting(slot: Slot) -> None:
    first = _submit(slot, 10)
    slot.write_answer(first, _boxes(1), TIMES)
    with pytest.raises(Exception, match=r".+"):
        slot.submit(np.zeros((0, 0, 3), np.uint8), RULE.letterbox(width=8, height=8), submitted_ns=lambda: 7)
    second = _submit(_other_side(slot), 20)
    assert second > first
    assert second % 2 == 0
    assert slot.answer(second) is None  # the answer that lies there is not its own
    read = _read(slot)
    assert read is not None
    assert read[0].sequence == second
    assert read[1][0, 0, 0] == 20


def test_a_picture_that_changes_under_the_copy_is_refused(slot: Slot) -> None:
    _submit(slot, 10)
    request = slot.request()
    assert request is not None
    _submit(_other_side(slot), 20)
    assert not slot.copy_picture(request, np.empty((64, 64, 3), np.uint8))


def test_an_answer_to_a_dead_workers_request_is_ignored(slot: Slot) -> None:
    old = _submit(slot, 10)
    new = _submit(_other_side(slot), 20)
    slot.write_answer(old, _boxes(2), TIMES)
    assert slot.answer(new) is None
    assert slot.request() is not None
    slot.write_answer(new, _boxes(3), TIMES)
    answer = slot.answer(new)
    assert answer is not None
    assert len(answer.detections) == 3


def test_a_senseless_header_is_no_request(slot: Slot) -> None:
    for place in range(9, 18):
        for value in (0, -1, 2**62):
            _submit(slot, 10)
            os.pwrite(slot.fds[0], np.array([value], np.int64).tobytes(), place * 8)
            request = slot.request()
            if request is not None:  # a field that bounds nothing
                width, height = request.letterbox.input_px
                assert slot.copy_picture(request, np.empty((height, width, 3), np.uint8))
            slot.write_answer(_submit(slot, 10), _boxes(1), TIMES)


def test_a_slots_memory_is_whole_from_the_start_and_cannot_shrink(slot: Slot) -> None:
    state = os.fstat(slot.fds[0])
    assert state.st_size == CLASS.slot_bytes
    assert state.st_blocks * 512 >= CLASS.slot_bytes
    with pytest.raises(PermissionError):
        os.ftruncate(slot.fds[0], 4096)


def test_memory_that_is_no_slot_is_refused() -> None:
    for content, says in [(b"", "no slot"), (b"x" * 8192, "another version")]:
        memory = os.memfd_create("foreign", os.MFD_CLOEXEC)
        os.write(memory, content)
        with pytest.raises(ModelError, match=says):
            Slot((memory, os.eventfd(0), os.eventfd(0)))


def test_a_slot_closed_gives_back_all_it_held() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        slot = Slot.create(CLASS)
        _submit(slot, 5)
        slot.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert "edge-slot" not in Path("/proc/self/maps").read_text(encoding="utf-8")


def _answer_in_a_new_process(slot: Slot) -> None:
    read = _read(slot)
    assert read is not None
    slot.write_answer(read[0].sequence, _boxes(int(read[1][0, 0, 0])), TIMES)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_slot_travels_to_a_new_process_as_an_argument(slot: Slot, method: str) -> None:
    sequence = _submit(slot, 6)
    process = get_context(method).Process(target=_answer_in_a_new_process, args=(slot,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    answer = slot.answer(sequence)
    assert answer is not None
    assert len(answer.detections) == 6


def test_a_worker_never_loads_a_network() -> None:
    """Its way to the detector, and the detector's loop itself, which is given its session."""
    code = (
        "import edge.runtime.remote, edge.runtime.detector, edge.runtime.worker, sys; "
        "print([name for name in sys.modules if 'onnx' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_sizes_of_the_committed_model_are_those_of_its_manifest() -> None:
    manifest = parse_manifest(find_model("yolox-nano", [models_dir()]))
    wanted = SizeClass.for_model(manifest)
    assert wanted.side_px == 640
    assert SizeClass.for_model(manifest, longest_side=960).side_px == 960
    print(f"one slot of {manifest.name}: {wanted.slot_bytes / 2**20:.2f} MiB, 64 cameras: {64 * wanted.slot_bytes} B")
    # Every picture's input fits.
    rule = ModelInput.of(manifest)
    for width, height in [(1920, 1080), (640, 640), (10, 4000), (704, 288), (1, 1)]:
        for pixel_aspect in (0.5, 1.0, 1.46):
            sides = rule.letterbox(width=width, height=height, pixel_aspect=pixel_aspect).input_px
            assert sides[0] * sides[1] * 3 <= wanted.picture_bytes
            assert rule.accepts(sides)


def _machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


MEMINFO = "MemTotal:       8000000 kB\nMemAvailable:    102400 kB\n"
MIB = 2**20


@pytest.mark.parametrize(
    ("files", "wanted_mib", "says"),
    [
        ({"proc/meminfo": MEMINFO}, 101, r"slots of 64 cameras: 101 MiB of memory needed, 100 MiB available \(MemAv"),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/system.slice/edge.service\n",
                "sys/fs/cgroup/system.slice/edge.service/memory.max": "max\n",
                "sys/fs/cgroup/system.slice/memory.max": f"{60 * MIB}\n",
                "sys/fs/cgroup/system.slice/memory.current": f"{50 * MIB}\n",
                "sys/fs/cgroup/system.slice/memory.stat": f"anon 7\ninactive_file {30 * MIB}\n",
            },
            41,
            r"41 MiB of memory needed, 40 MiB available \(memory.max of .*system.slice\)",
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "4:cpu,memory:/docker/0815\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{64 * MIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{54 * MIB}\n",
            },
            11,
            r"11 MiB of memory needed, 10 MiB available \(memory.limit_in_bytes of ",
        ),
    ],
    ids=["machine", "a service's slice", "a container, cgroup v1"],
)
def test_too_little_memory_is_told_before_it_is_reserved(
    tmp_path: Path, files: dict[str, str], wanted_mib: int, says: str
) -> None:
    root = _machine(tmp_path, files)
    check_memory((wanted_mib - 1) * MIB, purpose="slots of 64 cameras", root=root)
    with pytest.raises(SharedMemoryError, match=says) as raised:
        check_memory(wanted_mib * MIB, purpose="slots of 64 cameras", root=root)
    assert "\n" not in str(raised.value)


def test_where_the_kernel_tells_nothing_nothing_is_refused(tmp_path: Path) -> None:
    check_memory(2**50, purpose="slots", root=tmp_path)


def test_this_machine_can_hold_one_slot() -> None:
    check_memory(CLASS.slot_bytes, purpose="one slot")
