"""The output folder of a replay: the earlier one stays whole until the new one is in its place."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edge.errors import OutputError
from edge.runtime.output import PRODUCED_BY, OutputFolder

SUMMARY = json.dumps({"produced_by": PRODUCED_BY})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that holds an earlier replay."""
    folder = tmp_path / "out"
    (folder / "evidence" / "case").mkdir(parents=True)
    (folder / "evidence" / "case" / "crop.jpg").write_text("old", encoding="utf-8")
    for name in ("alerts.jsonl", "report.html"):
        (folder / name).write_text("old", encoding="utf-8")
    (folder / "summary.json").write_text(SUMMARY, encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def fill(work: Path) -> None:
    (work / "evidence").mkdir()
    (work / "evidence" / "still.jpg").write_text("new", encoding="utf-8")
    for name in ("alerts.jsonl", "annotated.mp4"):
        (work / name).write_text("new", encoding="utf-8")
    (work / "summary.json").write_text(SUMMARY, encoding="utf-8")


NEW = {"evidence/still.jpg": "new", "alerts.jsonl": "new", "annotated.mp4": "new", "summary.json": SUMMARY}


def test_a_replay_takes_the_place_of_the_earlier_one(out: Path) -> None:
    with OutputFolder(out) as output:
        fill(output.work)
        output.publish()
    assert contents(out) == NEW
    assert {path.name.split("/")[0] for path in out.iterdir()} == {name.split("/")[0] for name in NEW}


@pytest.mark.parametrize("name", ["evidence", "alerts.jsonl", "summary.json", ".replay-7"])
def test_a_link_in_the_folder_is_refused_and_led_nowhere(out: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    if (out / name).exists():
        (out / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (out / name).symlink_to(elsewhere)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=f"{name}: is a link, .*; move away") as told, OutputFolder(out):
        pass
    assert "\n" not in str(told.value)
    assert contents(tmp_path) == before
    assert (out / name).is_symlink()


@pytest.mark.parametrize("step", range(1, 9))
def test_a_disk_that_fails_at_any_step_leaves_the_earlier_replay(
    out: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename, steps = contents(out), Path.rename, []

    def rename_or_fail(self: Path, target: Path) -> Path:
        steps.append(self)
        if len(steps) == step:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_or_fail)
    with OutputFolder(out) as output:
        fill(output.work)
        with pytest.raises(OSError, match="Input/output error"):
            output.publish()
    assert contents(out) == before
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def broken_off(out: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that is killed at one step of putting its files in place: nothing of it is tidied up."""
    rename, steps = Path.rename, []

    class Killed(BaseException):
        pass

    def rename_or_die(self: Path, target: Path) -> Path:
        steps.append(self)
        if len(steps) == step:
            raise Killed
        return rename(self, target)

    output = OutputFolder(out).__enter__()
    fill(output.work)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_die)
        with pytest.raises(Killed):
            output.publish()
    os.close(output._lock)  # as the end of a process does


@pytest.mark.parametrize("step", range(1, 9))
def test_what_a_killed_replay_had_set_aside_comes_back(out: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(out)
    broken_off(out, step, monkeypatch)
    with OutputFolder(out):
        pass
    have = contents(out)
    assert {name: have.get(name) for name in before} == before
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_an_error_without_a_reason_of_the_system_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError("this file system is odd")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="this file system is odd"), OutputFolder(tmp_path / "out"):
        pass
