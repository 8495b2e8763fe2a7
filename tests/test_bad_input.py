"""Bad input gets one clear line and exit status 1 or 2, and nothing half-written is left looking complete.

Each case drives the real command in a process of its own. Most write into a folder that holds an earlier replay: it
must be as it was afterwards, to the byte.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edge.core.types import UInt8
from edge.runtime.output import OutputFolder
from tests import clips
from tests.conftest import missing, need_program
from tests.street import texture
from tests.tiny_models import constant_model, float_model, write_model

LABELS = ["person", "car", "truck", "bus"]
PARKED_CAR = np.array([[16, 24, 40, 44, 0.9, 1]], np.float32)  # in a 64x48 input: on every frame of every clip
NOTHING = np.zeros((1, 6), np.float32)

Change = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Outcome:
    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Workshop:
    """A folder with good and bad clips, models and one good configuration, and an earlier replay in `earlier`."""

    folder: Path

    def edge(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Outcome:
        done = subprocess.run(
            command(*arguments), cwd=self.folder, env=environment(env), capture_output=True, text=True, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command(*arguments), cwd=self.folder, env=environment(None), stdout=pipe, stderr=pipe, text=True
        )

    def configured(self, path: Path, change: Change) -> Path:
        """The good configuration, but for `change`, which gets it as plain values."""
        site = yaml.safe_load((self.folder / "site.yaml").read_text(encoding="utf-8"))
        change(site)
        path.write_text(yaml.safe_dump(site, sort_keys=False), encoding="utf-8")
        return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "edge", *map(str, arguments)]


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Without what would change Python's own ways of printing."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    repository = str(Path(__file__).resolve().parent.parent)
    return {**plain, "PYTHONPATH": repository, "OMP_NUM_THREADS": "1", **(more or {})}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    model = constant_model([PARKED_CAR])
    write_model(folder / "model", model, format="yolo-e2e", labels=LABELS)
    write_model(folder / "wrong-hash", model, format="yolo-e2e", labels=LABELS, sha256="0" * 64)
    write_model(folder / "wrong-outputs", model, format="yolox", labels=LABELS)
    write_model(folder / "wrong-input", float_model(), format="yolo-e2e", labels=LABELS)
    write_model(folder / "no-model", b"not ONNX", format="yolo-e2e", labels=LABELS)
    write_model(folder / "no-bus", model, format="yolo-e2e", labels=["person", "car", "truck"])
    write_model(folder / "blind", constant_model([NOTHING]), format="yolo-e2e", labels=LABELS)
    (folder / "site.yaml").write_text(yaml.safe_dump(good_site(), sort_keys=False), encoding="utf-8")
    make_clips(folder)
    made = Workshop(folder)
    assert made.edge("replay", "good.mp4", "-c", "site.yaml", "-o", "earlier").status == 0
    return made


def good_site() -> dict[str, Any]:
    return {
        "version": 1,
        "site": {"id": "test", "timezone": "Asia/Shanghai"},
        "gateway": {"id": "gw-01"},
        "model": "model",
        "cameras": [
            {
                "id": "gate",
                "source": "none.mp4",
                "sampling": {"decode": "all", "fps": 5},
                "zones": [{"id": "kerb", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.95], [0.1, 0.95]]}],
                "scenarios": [{"use": "illegal-parking", "zones": ["kerb"], "after_s": 1, "repeat_s": 1}],
            }
        ],
    }


def make_clips(folder: Path) -> None:
    times_s = clips.regular_times(frames=100, fps=25)
    good = clips.write_clip(folder / "good.mp4", times_s)
    clips.cut_end(good, folder / "cut.mp4", keep=0.5)
    clips.spoil(good, folder / "spoilt.mp4", begin=0.5, end=0.8)
    clips.spoil(good, folder / "hollow.mp4", begin=0.15, end=1.0)
    clips.rename_codec(good, folder / "codec.mp4")
    late_index = clips.write_clip(folder / "late-index.mp4", times_s, front_index=False)
    clips.cut_end(late_index, folder / "no-index.mp4", keep=0.7)
    clips.write_sound(folder / "sound.mp4")
    clips.write_clip(folder / "one.mp4", [0.0])
    clips.write_clip(folder / "16px.mp4", times_s[:50], width=16, height=16)
    clips.write_clip(folder / "1px.mkv", times_s[:10], width=1, height=1, codec="ffv1", pixel_format="bgr0")
    large = clips.write_clip(folder / "large.ts", times_s[:50])
    small = clips.write_clip(folder / "small.ts", times_s[:50], width=160, height=120)
    clips.join(folder / "changes.ts", large, small)
    shutil.copy(good, folder / "桥弄街 3 号.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("a shopping list\n" * 20, encoding="utf-8")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(7).bytes(20_000))
    (folder / "folder.mp4").mkdir()


@pytest.fixture
def out(workshop: Workshop, tmp_path: Path) -> Path:
    """A folder that holds an earlier replay."""
    return Path(shutil.copytree(workshop.folder / "earlier", tmp_path / "out"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_untouched(workshop: Workshop, out: Path) -> None:
    assert contents(out) == contents(workshop.folder / "earlier")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in (workshop.folder / "earlier").iterdir()
    )


def assert_refused(outcome: Outcome, status: int, *words: str) -> None:
    """One line on stderr that holds all of `words`, and no outcome on stdout."""
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    assert outcome.stderr.startswith("edge: "), outcome.stderr
    assert [word for word in words if word not in outcome.stderr] == [], outcome.stderr
    assert (outcome.status, outcome.stdout) == (status, "")


def summary(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return loaded


# Clips


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        ("missing.mp4", "no such file; check the path"),
        ("folder.mp4", "is a folder; name the clips in it"),
        ("empty.mp4", "is empty (0 bytes); copy it again"),
        ("text.mp4", "is a text file, not a video"),
        ("noise.mp4", "is not a video in a known format"),
        ("sound.mp4", "has no picture, only sound"),
        ("no-index.mp4", "has no index (moov)"),
        ("codec.mp4", "cannot be decoded here; export it as H.264"),
        ("hollow.mp4", "not one of its pictures could be decoded"),
        ("/dev/null", "is not a file; name a recorded clip"),
        ("two\nlines.mp4", "two lines.mp4: no such file"),
    ],
)
def test_a_clip_that_cannot_be_used_is_told(workshop: Workshop, out: Path, clip: str, words: str) -> None:
    outcome = workshop.edge("replay", "good.mp4", clip, "-c", "site.yaml", "-o", out)
    assert_refused(outcome, 1, clip.replace("\n", " "), words)
    assert_untouched(workshop, out)


def test_a_truncated_clip_is_replayed_as_far_as_it_goes(workshop: Workshop, tmp_path: Path) -> None:
    outcome = workshop.edge("replay", "cut.mp4", "good.mp4", "-c", "site.yaml", "-o", tmp_path / "out")
    assert (outcome.status, outcome.stderr) == (1, "edge: cut.mp4: cut short; what could be decoded was replayed\n")
    told = summary(tmp_path / "out")
    assert told["incomplete"] is True
    assert [clip["incomplete"] for clip in told["clips"]] == [True, False]
    assert told["frames"]["detected"] > 25


@pytest.mark.parametrize("clip", ["one.mp4", "16px.mp4", "1px.mkv", "changes.ts", "桥弄街 3 号.mp4", "spoilt.mp4"])
def test_an_odd_clip_is_replayed(workshop: Workshop, tmp_path: Path, clip: str) -> None:
    outcome = workshop.edge("replay", clip, "good.mp4", "-c", "site.yaml", "-o", tmp_path / "out", "--annotate")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert [told["path"] for told in summary(tmp_path / "out")["clips"]] == [clip, "good.mp4"]
    assert summary(tmp_path / "out")["alerts"]["opened"] >= 1


def piled_goods(site: dict[str, Any]) -> None:
    camera(site)["scenarios"] = [{"use": "piled-goods", "zones": ["kerb"], "after_s": 2}]


@pytest.mark.parametrize(("masked_to", "opened"), [(0.0, 1), (0.3, 1), (1.0, 0)])
def test_an_ignored_part_of_the_picture_opens_no_case(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masked_to: float, opened: int
) -> None:
    monkeypatch.setattr(clips, "picture", street_with_goods)
    clip = clips.write_clip(tmp_path / "goods.mp4", clips.regular_times(frames=80, fps=5), rate=5)

    def masked(site: dict[str, Any]) -> None:
        piled_goods(site)
        if masked_to:
            camera(site)["masks"] = {"ignore": [[[0, 0], [masked_to, 0], [masked_to, 1], [0, 1]]]}

    config = workshop.configured(tmp_path / "site.yaml", in_workshop(workshop, masked, model="blind"))
    outcome = workshop.edge("replay", clip, "-c", config, "-o", tmp_path / "out")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert summary(tmp_path / "out")["alerts"]["opened"] == opened


def street_with_goods(time_s: float, *, width: int, height: int) -> UInt8:
    """Patterned ground; from the fifth second on something stands in its middle."""
    bgr = texture(1, width, height, level=90)
    if time_s >= 5:
        bgr[100:140, 120:180] = texture(5, 60, 40, level=150)
    return bgr


def in_workshop(workshop: Workshop, change: Change, *, model: str = "model") -> Change:
    """`change`, for a configuration that lies somewhere else."""

    def changed(site: dict[str, Any]) -> None:
        change(site)
        site["model"] = str(workshop.folder / model)

    return changed


def test_a_clip_given_twice_is_two_recordings(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.edge("replay", "good.mp4", "good.mp4", "-c", "site.yaml", "-o", tmp_path / "out").status == 0
    assert summary(tmp_path / "out")["media_s"] == 8.0


def test_a_name_that_is_not_unicode_ends_no_replay(workshop: Workshop, tmp_path: Path) -> None:
    name = os.fsdecode(b"gate\xff.mp4")
    shutil.copy(workshop.folder / "good.mp4", tmp_path / name)
    outcome = workshop.edge("replay", tmp_path / name, "-c", "site.yaml", "-o", tmp_path / "out")
    assert (outcome.status, outcome.stderr) == (0, "")


def test_noise_of_libraries_stays_off_the_terminal(workshop: Workshop, tmp_path: Path) -> None:
    loud = {"PYTHONWARNINGS": "default", "PYTHONDEVMODE": "1", "OPENCV_LOG_LEVEL": "DEBUG", "AV_LOG_FORCE_COLOR": "1"}
    arguments = ("replay", "spoilt.mp4", "cut.mp4", "-c", "site.yaml", "-o", tmp_path / "out", "--annotate")
    outcome = workshop.edge(*arguments, env=loud)
    assert (outcome.status, outcome.stderr.count("\n")) == (1, 1), outcome.stderr
    assert workshop.edge("replay", "good.mp4", *arguments[3:], env=loud).stderr == ""


# Configurations


def camera(site: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = site["cameras"][0]
    return first


def zone(polygon: Sequence[Sequence[float]]) -> Change:
    return lambda site: camera(site)["zones"][0].update(polygon=[list(point) for point in polygon])


def scenario(**values: object) -> Change:
    return lambda site: camera(site)["scenarios"][0].update(values)


def another_camera(**values: object) -> Change:
    return lambda site: site["cameras"].append({**copy.deepcopy(camera(site)), **values})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (zone([(0.1, 0.1)] * 3), "cameras.gate.zones.kerb: polygon has no area"),
        (zone([(0.1, 0.1), (1.2, 0.1), (0.1, 0.9)]), "must lie in 0..1"),
        (zone([(0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)]), "polygon crosses itself"),
        (lambda site: site.update(modle="x"), "unknown key modle; did you mean model?"),
        (scenario(use="ilegal-parking"), "is no scenario; did you mean illegal-parking?"),
        (scenario(zones=["kreb"]), "is no zone of this camera; did you mean kerb?"),
        (another_camera(), "id gate is taken already"),
        (
            lambda site: camera(site).update(source="rtsp://u:${NO_SUCH_WORD}@h/1"),
            "variable NO_SUCH_WORD, which is not",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_faulty_configuration_is_told_with_its_line(
    workshop: Workshop, out: Path, tmp_path: Path, change: Change, words: str
) -> None:
    faulty = workshop.configured(tmp_path / "faulty.yaml", change)
    outcome = workshop.edge("replay", "good.mp4", "-c", faulty, "-o", out)
    assert_refused(outcome, 2, words)
    line = int(outcome.stderr.removeprefix(f"edge: {faulty}:").split(":")[0])
    assert 1 <= line <= len(faulty.read_text().splitlines())
    assert_untouched(workshop, out)


def test_a_repeated_key_is_told_with_its_line(workshop: Workshop, tmp_path: Path) -> None:
    text = (workshop.folder / "site.yaml").read_text(encoding="utf-8")
    (tmp_path / "twice.yaml").write_text(text + "model: other\n", encoding="utf-8")
    outcome = workshop.edge("replay", "good.mp4", "-c", tmp_path / "twice.yaml", "-o", tmp_path / "out")
    assert_refused(outcome, 2, f"twice.yaml:{text.count(chr(10)) + 1}: key model is repeated")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "the file is empty"), (b"\xff\xfe", ":1: is not UTF-8 text"), (b"a: [", "YAML")],
)
def test_check_tells_what_is_no_configuration(
    workshop: Workshop, tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "site.yaml").write_bytes(content)
    assert_refused(workshop.edge("check", tmp_path / "site.yaml"), 2, str(tmp_path / "site.yaml"), words)


def test_a_camera_without_scenarios_is_replayed_without_alerts(workshop: Workshop, tmp_path: Path) -> None:
    quiet = workshop.configured(tmp_path / "quiet.yaml", lambda site: camera(site).pop("scenarios"))
    assert workshop.edge("replay", "good.mp4", "-c", quiet, "-o", tmp_path / "out").status == 0
    assert (tmp_path / "out" / "alerts.jsonl").read_bytes() == b""
    assert set(summary(tmp_path / "out")["alerts"].values()) == {0}


# Models


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("wrong-hash", "model.onnx: sha256 is"),
        ("wrong-outputs", "model.onnx: expected outputs"),
        ("wrong-input", "model.onnx: expected one input tensor(uint8)"),
        ("no-model", "model.onnx: not a model that ONNX Runtime can load"),
        ("nowhere", "site.yaml:7: model nowhere is not installed; known models are"),
        ("no-bus", "labels holds 'bus', which the model no-bus does not know: its labels are person, car, truck"),
    ],
)
def test_a_model_that_does_not_fit_is_told(
    workshop: Workshop, out: Path, tmp_path: Path, model: str, words: str
) -> None:
    site = workshop.configured(tmp_path / "site.yaml", lambda site: site.update(model=model))
    assert_refused(workshop.edge("replay", "good.mp4", "-c", site, "-o", out), 1 if "model.onnx" in words else 2, words)
    assert_untouched(workshop, out)


def test_check_looks_at_the_models_too(workshop: Workshop, tmp_path: Path) -> None:
    for model, status, words in (
        ("wrong-hash", 1, "model.onnx: sha256 is"),
        ("nowhere", 2, "site.yaml:7: model nowhere is not installed"),
        ("no-bus", 2, "labels holds 'bus', which the model no-bus does not know"),
    ):
        chosen = str(workshop.folder / model) if model != "nowhere" else model
        site = workshop.configured(tmp_path / "site.yaml", lambda site, chosen=chosen: site.update(model=chosen))
        assert_refused(workshop.edge("check", site), status, words)


def test_a_model_is_also_looked_for_beside_the_configuration(workshop: Workshop, tmp_path: Path) -> None:
    shutil.copytree(workshop.folder / "model", tmp_path / "own-model")
    site = workshop.configured(tmp_path / "site.yaml", lambda site: site.update(model="own-model"))
    assert workshop.edge("check", site).status == 0


def test_a_label_that_the_model_does_not_have_is_told_with_its_line(workshop: Workshop, tmp_path: Path) -> None:
    site = workshop.configured(tmp_path / "site.yaml", scenario(labels=["car", "dragon"]))
    line = 1 + site.read_text().splitlines().index("    - car")
    outcome = workshop.edge("replay", "good.mp4", "-c", site, "-o", tmp_path / "out")
    assert_refused(outcome, 2, f"{site}:{line}: cameras.gate.scenarios.illegal-parking: labels holds 'dragon'")
    assert not (tmp_path / "out").exists()


# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "No such command 'frobnicate'. See edge --help."),
        (["--frob"], "No such option: --frob"),
        (["models", "frob"], "See edge models --help."),
        (["replay", "-c", "site.yaml", "-o", "x"], "Missing argument 'CLIP...'. See edge replay --help."),
        (["replay", "good.mp4", "-o", "x"], "Missing option '--config'"),
        (["replay", "good.mp4", "-c", "site.yaml"], "Missing option '--out'"),
    ],
)
def test_misuse_points_to_the_help(workshop: Workshop, arguments: list[str], words: str) -> None:
    assert_refused(workshop.edge(*arguments), 2, words)


@pytest.mark.parametrize("arguments", [[], ["models"]])
def test_no_command_is_answered_with_the_help(workshop: Workshop, arguments: list[str]) -> None:
    outcome = workshop.edge(*arguments)
    assert (outcome.status, outcome.stderr) == (2, "")
    assert "Commands:" in outcome.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frob"], "No such option: --frob"),
        (["--start", "yesterday"], "--start yesterday: not a time; write it like 2026-05-04T09:30:00+08:00"),
        (["--start", "9999-12-31"], "--start 9999-12-31: no year of a recording"),
        (["--camera", "yard"], "has no camera 'yard'; it has gate"),
        (["--against", "nowhere"], "nowhere/alerts.jsonl: cannot be read"),
        (["--mqtt", "brain.example"], "--mqtt brain.example: an MQTT address begins with mqtt://"),
        (["--mqtt", "mqtt://user:geheim@h:99999"], "--mqtt mqtt://***@h:99999: not a broker's address"),
    ],
)
def test_a_wrong_option_is_told_before_any_work(workshop: Workshop, out: Path, options: list[str], words: str) -> None:
    assert_refused(workshop.edge("replay", "hollow.mp4", "-c", "site.yaml", "-o", out, *options), 2, words)
    assert_untouched(workshop, out)


def test_several_cameras_want_to_be_chosen_from(workshop: Workshop, tmp_path: Path) -> None:
    site = workshop.configured(tmp_path / "two.yaml", another_camera(id="yard"))
    words = ("has 2 cameras (gate, yard): name one with --camera",)
    assert_refused(workshop.edge("replay", "good.mp4", "-c", site, "-o", tmp_path / "out"), 2, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", ["null\n", '{"type": "cityeye.case.opened.v1", "data": {"state": "opened"}}\n', "{"]
)
def test_what_cannot_be_compared_is_told_before_any_work(
    workshop: Workshop, out: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "alerts.jsonl").write_text(content, encoding="utf-8")
    outcome = workshop.edge("replay", "hollow.mp4", "-c", "site.yaml", "-o", out, "--against", tmp_path)
    assert_refused(outcome, 2, "alerts.jsonl: not the alerts of a replay")
    assert_untouched(workshop, out)


def test_a_replay_is_compared_with_the_one_that_it_replaces(workshop: Workshop, out: Path) -> None:
    outcome = workshop.edge("replay", "16px.mp4", "-c", "site.yaml", "-o", out, "--against", out)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert {line[0] for line in outcome.stdout.splitlines()[2:]} == {"-", "+"}
    assert summary(out)["clips"][0]["path"] == "16px.mp4"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_broker_that_is_not_there_is_told_before_any_work(workshop: Workshop, out: Path, host: str) -> None:
    with closing(socket.socket()) as nobody:  # holds the port, and listens not
        nobody.bind(("127.0.0.1", 0))
        url = f"mqtt://user:geheim@{host}:{nobody.getsockname()[1]}"
        outcome = workshop.edge("replay", "hollow.mp4", "-c", "site.yaml", "-o", out, "--mqtt", url)
    words = "nothing listens on that port" if host[0].isdigit() else "the host name is not known"
    assert_refused(outcome, 1, host, words)
    assert "geheim" not in outcome.stderr
    assert_untouched(workshop, out)


# Where the output goes


@pytest.mark.parametrize("place", ["/proc/replay", "good.mp4", "good.mp4/below", "x" * 300])
def test_an_output_folder_that_cannot_be_made_is_told(workshop: Workshop, place: str) -> None:
    outcome = workshop.edge("replay", "good.mp4", "-c", "site.yaml", "-o", place)
    assert_refused(outcome, 2, f"{place}: cannot write here", "name another folder")


def test_a_folder_without_the_right_to_write_is_told(workshop: Workshop, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the read-only mount stands in")
    tmp_path.chmod(0o555)
    outcome = workshop.edge("replay", "good.mp4", "-c", "site.yaml", "-o", tmp_path / "out")
    tmp_path.chmod(0o755)
    assert_refused(outcome, 2, "cannot write here (Permission denied)")


@pytest.mark.parametrize("name", ["notes.txt", "alerts.jsonl"])
def test_foreign_files_are_never_overwritten(workshop: Workshop, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    outcome = workshop.edge("replay", "good.mp4", "-c", "site.yaml", "-o", tmp_path)
    assert_refused(outcome, 2, f"{tmp_path}: holds '{name}'", "name another folder")
    assert contents(tmp_path) == {name: b"mine"}


def test_folders_made_for_nothing_are_taken_away(workshop: Workshop, tmp_path: Path) -> None:
    outcome = workshop.edge("replay", "hollow.mp4", "-c", "site.yaml", "-o", tmp_path / "a" / "b" / "c")
    assert outcome.status == 1
    assert list(tmp_path.iterdir()) == []


def test_a_reader_who_leaves_early_sees_no_traceback(workshop: Workshop, tmp_path: Path) -> None:
    replay = workshop.start("replay", "good.mp4", "-c", "site.yaml", "-o", tmp_path / "out")
    assert replay.stdout is not None
    replay.stdout.close()
    assert replay.stderr is not None
    assert replay.stderr.read() == ""
    assert replay.wait() == 1
    assert summary(tmp_path / "out")["incomplete"] is False


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_terminal_that_takes_no_more_is_told(workshop: Workshop, buffered: str) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            command("check", "site.yaml"),
            cwd=workshop.folder,
            env=environment({"PYTHONUNBUFFERED": buffered}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert_refused(Outcome(done.returncode, "", done.stderr), 1, "No space left on device")


def test_a_terminal_that_knows_no_chinese_ends_no_replay(workshop: Workshop, tmp_path: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    arguments = ("replay", "good.mp4", "-c", "site.yaml", "-o", tmp_path / "街")
    assert workshop.edge(*arguments, env=ascii_only).status == 0
    assert (tmp_path / "街" / "summary.json").is_file()


# A disk that is full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk; the argument is what `mount -o` says of it."""
    if os.geteuid() != 0:
        missing("only root may mount a small disk")
    mount, umount = need_program("mount"), need_program("umount")
    place = tmp_path / "disk"
    place.mkdir()
    mounted: list[Path] = []

    def make(options: str) -> Path:
        done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            missing(f"no disk can be mounted here: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield make
    for path in mounted:
        subprocess.run([umount, path], check=True)


@pytest.mark.parametrize(
    ("size", "options"), [("8k", ["--annotate"]), ("24k", []), ("48k", ["--annotate"]), ("100k", [])]
)
def test_a_disk_that_fills_up_keeps_nothing_of_the_replay(
    workshop: Workshop, disk: Callable[[str], Path], size: str, options: list[str]
) -> None:
    """In the first picture, in a later one, in the video, in the report."""
    place = disk(f"size={size}")
    outcome = workshop.edge("replay", "good.mp4", "-c", "site.yaml", "-o", place / "out", *options)
    assert_refused(outcome, 1, f"{place / 'out'}: ", "No space left on device", "nothing of this replay is kept")
    assert list(place.iterdir()) == []


def test_a_disk_that_is_full_at_the_start_is_told(workshop: Workshop, disk: Callable[[str], Path]) -> None:
    place = disk("nr_inodes=1")
    outcome = workshop.edge("replay", "good.mp4", "-c", "site.yaml", "-o", place / "out")
    assert_refused(outcome, 2, f"{place / 'out'}: cannot write here (No space left on device)")


def test_a_full_disk_leaves_the_earlier_replay_as_it_was(workshop: Workshop, disk: Callable[[str], Path]) -> None:
    place = disk("size=600k")
    shutil.copytree(workshop.folder / "earlier", place / "out")
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_bsize
    (place / "ballast").write_bytes(bytes(free - 32 * 1024))
    outcome = workshop.edge("replay", "good.mp4", "-c", "site.yaml", "-o", place / "out")
    assert_refused(outcome, 1, "No space left on device")
    assert_untouched(workshop, place / "out")


def test_a_read_only_disk_is_told_by_every_command(workshop: Workshop, disk: Callable[[str], Path]) -> None:
    place = disk("size=64k,ro")
    commands: list[list[str | Path]] = [
        ["replay", "good.mp4", "-c", "site.yaml", "-o", place / "out"],
        ["snapshot", "good.mp4", "-o", place / "x.jpg"],
        ["evaluate", write_truth(workshop.folder / "readonly.json"), "--media", ".", "-o", place / "out"],
    ]
    for arguments in commands:
        assert_refused(workshop.edge(*arguments), 2, str(place), "Read-only file system")


# Stopping, killing, crowding

ENDLESS = ["good.mp4"] * 200


def working(workshop: Workshop, out: Path, *options: str) -> subprocess.Popen[str]:
    """A replay that has begun to write evidence and will not be ready for a long time."""
    replay = workshop.start("replay", *ENDLESS, "-c", "site.yaml", "-o", out, *options)
    while replay.poll() is None and not list(out.glob(".replay-*/evidence/*/manifest-*.json")):
        with suppress(subprocess.TimeoutExpired):
            replay.wait(0.02)
    assert replay.poll() is None, replay.communicate()
    return replay


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGINT, ["--annotate"]), (signal.SIGTERM, []), (signal.SIGHUP, [])]
)
def test_a_replay_that_is_stopped_leaves_no_trace(
    workshop: Workshop, out: Path, number: signal.Signals, options: list[str]
) -> None:
    replay = working(workshop, out, *options)
    replay.send_signal(number)
    stdout, stderr = replay.communicate(timeout=20)
    assert_refused(Outcome(replay.returncode, stdout, stderr), 1, "stopped; nothing was left half-written")
    assert_untouched(workshop, out)


def test_a_stop_waits_until_the_new_files_are_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def stop_and_rename(self: Path, target: Path) -> Path:
        signal.raise_signal(signal.SIGINT)
        return rename(self, target)

    with suppress(KeyboardInterrupt), OutputFolder(tmp_path / "out") as output:
        for name in ("alerts.jsonl", "report.html", "summary.json"):
            (output.work / name).touch()
        monkeypatch.setattr(Path, "rename", stop_and_rename)
        output.publish()
        pytest.fail("the stop was forgotten")
    assert sorted(contents(tmp_path / "out")) == ["alerts.jsonl", "report.html", "summary.json"]


def test_a_killed_replay_does_not_hinder_the_next(workshop: Workshop, out: Path) -> None:
    replay = working(workshop, out)
    replay.kill()
    replay.communicate()
    (out / ".replay-1").mkdir()  # of a container in which numbers begin anew: that process lives, and is another
    outcome = workshop.edge("replay", "16px.mp4", "-c", "site.yaml", "-o", out)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    assert summary(out)["clips"][0]["path"] == "16px.mp4"


def test_of_two_replays_into_one_folder_the_second_is_refused(workshop: Workshop, out: Path) -> None:
    first = working(workshop, out)
    second = workshop.edge("replay", "good.mp4", "-c", "site.yaml", "-o", out)
    assert_refused(second, 2, f"{out}: another replay is writing here; wait for it")
    assert first.poll() is None
    first.terminate()
    first.communicate()
    assert_untouched(workshop, out)


# Snapshots


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing.mp4", "no such file"),
        ("folder.mp4", "is a folder"),
        ("text.mp4", "is a text file"),
        ("hollow.mp4", "not one of its pictures"),
        ("rtsp://user:geheim@127.0.0.1:1/stream", "cannot be opened"),
        ("frob://gate", "cannot be opened"),
    ],
)
def test_a_source_without_a_picture_gives_no_snapshot(
    workshop: Workshop, tmp_path: Path, source: str, words: str
) -> None:
    outcome = workshop.edge("snapshot", source, "-o", tmp_path / "x.jpg")
    assert_refused(outcome, 1, source.replace("user:geheim", "***"), words)
    assert "geheim" not in outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at_s", ["-1", "nan", "inf", "100"])
def test_a_moment_that_no_recording_has_gives_no_snapshot(workshop: Workshop, tmp_path: Path, at_s: str) -> None:
    assert_refused(workshop.edge("snapshot", "good.mp4", "-o", tmp_path / "x.jpg", "--at", at_s), 2, "--at")
    assert list(tmp_path.iterdir()) == []


# Evaluations


def truth(**changes: object) -> dict[str, Any]:
    """A good truth file; `changes` go into its one clip, or with `event_` before the name into its one event."""
    event: dict[str, Any] = {"scenario": "illegal-parking", "zone": "kerb", "start_s": 0, "end_s": None}
    event["box_px"] = [80, 120, 200, 220]
    clip: dict[str, Any] = {"clip": "good.mp4", "zones": {"kerb": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}}
    clip |= {"scenarios": [{"use": "illegal-parking", "zones": ["kerb"]}], "events": [event]}
    event |= {name.removeprefix("event_"): value for name, value in changes.items() if name.startswith("event_")}
    clip |= {name: value for name, value in changes.items() if not name.startswith("event_")}
    return {"clips": [clip]}


def write_truth(path: Path, document: object = None) -> Path:
    path.write_text(json.dumps(truth() if document is None else document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ([1], 2, "not a truth file"),
        ({"clips": ["x"]}, 2, "not a truth file"),
        (truth(clip="missing.mp4"), 1, "missing.mp4: no such file"),
        (truth(zones="x"), 2, "good.mp4: needs zones"),
        (truth(zones={"kerb": [[0, 0], [1, 1]]}), 2, "polygon needs 3 points, has 2"),
        (truth(events=[5]), 2, "events[0]: needs scenario"),
        (truth(event_zone="kreb"), 2, "events[0]: illegal-parking in zone kreb is not among"),
        (truth(event_box_px=[1, 2, 3]), 2, "events[0]: needs scenario"),
        (truth(event_start_s=float("nan")), 2, "events[0]: start_s must be 0 or more"),
        ({"clips": truth()["clips"] * 2}, 2, "two clips have this name"),
    ],
)
def test_a_faulty_truth_is_told_before_any_work(
    workshop: Workshop, tmp_path: Path, document: object, status: int, words: str
) -> None:
    path = write_truth(tmp_path / "truth.json", document)
    assert_refused(workshop.edge("evaluate", path, "--media", ".", "-o", tmp_path / "out"), status, words)
    assert not list(tmp_path.glob("out/*/")), "a clip was replayed"
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_a_truth_that_is_not_json_is_told_with_its_line(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text('{\n"clips": [,]}', encoding="utf-8")
    outcome = workshop.edge("evaluate", tmp_path / "truth.json", "--media", ".", "-o", tmp_path / "out")
    assert_refused(outcome, 2, "truth.json:2: not JSON")


def test_footage_that_is_cut_short_is_not_scored(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "evaluation.json").write_text('{"produced_by": "edge evaluate"}', encoding="utf-8")
    path = write_truth(tmp_path / "truth.json", truth(clip="cut.mp4"))
    outcome = workshop.edge("evaluate", path, "--media", ".", "-o", tmp_path / "out")
    assert_refused(outcome, 1, "cut.mp4: cut short, so it cannot be scored")
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_an_evaluation_overwrites_nobodys_files(workshop: Workshop, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.json")
    out = tmp_path / "out"
    assert workshop.edge("evaluate", truth, "--media", ".", "-o", out).status == 0
    assert workshop.edge("evaluate", truth, "--media", ".", "-o", out).status == 0
    for name in ("good.yaml", "evaluation.json"):
        kept = (out / name).read_bytes()
        (out / name).write_text("my own notes")
        assert_refused(
            workshop.edge("evaluate", truth, "--media", ".", "-o", out), 2, str(out / name), "another folder"
        )
        assert (out / name).read_text() == "my own notes"
        (out / name).write_bytes(kept)
