"""`edge evidence` and `edge replay --state`, as somebody types them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from edge.cli.main import run
from tests import clips
from tests.test_bad_input import LABELS, PARKED_CAR, good_site
from tests.tiny_models import constant_model, write_model

pytestmark = pytest.mark.delivery


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of a parked car, replayed twice with one gateway's key, and once without."""
    folder = tmp_path_factory.mktemp("evidence-cli")
    write_model(folder / "model", constant_model([PARKED_CAR]), format="yolo-e2e", labels=LABELS)
    (folder / "site.yaml").write_text(yaml.safe_dump(good_site(), sort_keys=False), encoding="utf-8")
    clips.write_clip(folder / "good.mp4", clips.regular_times(frames=100, fps=25))
    asked = ["replay", folder / "good.mp4", "-c", folder / "site.yaml", "--start", "2026-05-04T09:30:00+08:00"]
    for out, state in (("one", ["--state", folder / "state"]), ("two", ["--state", folder / "state"]), ("plain", [])):
        assert edge(*asked, "-o", folder / out, *state) == 0
    return folder


def edge(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in inside}


def test_a_replay_signed_with_one_key_has_the_same_bytes_each_time_and_never_the_key_itself(workshop: Path) -> None:
    one, two = contents(workshop / "one"), contents(workshop / "two")
    timed = {"summary.json", "report.html"}  # they tell how long it took
    assert {name for name in one if one[name] != two.get(name)} <= timed
    assert one.keys() == two.keys()
    assert "keys/gateway.pub" in one
    assert not any(b"PRIVATE" in content for content in one.values())
    key_id = json.loads(one["summary.json"])["evidence"]["key_id"]
    assert f"signed with the key <code>{key_id}</code>" in one["report.html"].decode()
    alert = json.loads(one["alerts.jsonl"].splitlines()[0])
    assert [file["role"] for file in alert["data"]["evidence"]][-2:] == ["signature", "manifest"]


def test_a_replay_without_a_key_says_so(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not signed" in (workshop / "plain" / "report.html").read_text(encoding="utf-8")
    assert edge("evidence", "verify", workshop / "plain") == 0
    assert "nothing here is signed" in capsys.readouterr().out
    assert edge("evidence", "verify", workshop / "plain", "--key", workshop / "state" / "keys" / "gateway.pub") == 1
    assert "is not signed" in capsys.readouterr().err


def test_what_holds_is_told_with_what_was_checked_and_whose_key(
    workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = workshop / "state" / "keys" / "gateway.pub"
    assert edge("evidence", "verify", workshop / "one") == 0
    words = capsys.readouterr().out
    assert re.match(r"sound: replay folder: 1 cases, \d manifests, \d+ files, [\d.]+ MB, \d signatures hold\n", words)
    assert "from 2026-05-04T09:30:0" in words
    assert "proves integrity, not origin" in words
    assert edge("evidence", "verify", workshop / "one", "--key", public) == 0
    assert "the key named" in capsys.readouterr().out
    head = json.loads((workshop / "one" / "chain.json").read_bytes())["head"]
    assert edge("evidence", "verify", workshop / "one", "--head", head, "--json") == 0
    assert json.loads(capsys.readouterr().out)["chain"]["head"] == head


def test_the_first_thing_that_does_not_hold_is_named_and_the_others_counted(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(workshop / "one", tmp_path / "copy"))
    for path in copy.glob("evidence/*/o*-1.jpg"):
        path.write_bytes(path.read_bytes() + b"x")
    assert edge("evidence", "verify", copy) == 1
    said = capsys.readouterr()
    assert said.out.startswith("NOT SOUND: ")
    assert re.search(r"overview-1\.jpg: is not the file that .*: its content has changed \(and 1 more\)\n$", said.err)
    assert edge("evidence", "verify", copy, "--json") == 1
    assert json.loads(capsys.readouterr().out)["problem_count"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "is not there"),
        (["."], "holds no evidence"),
        (["site.yaml"], "is neither a folder nor a zip"),
        (["one", "--key", "site.yaml"], "is no Ed25519 public key"),
        (["one", "--head", "12"], "is no SHA-256"),
    ],
)
def test_what_cannot_be_asked_is_misuse(
    workshop: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workshop)
    assert edge("evidence", "verify", *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_case_is_exported_and_the_zip_verifies(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [case] = (path.name for path in (workshop / "one" / "evidence").iterdir())
    assert edge("evidence", "export", case[:8], "--from", workshop / "one", "-o", tmp_path / "case.zip") == 0
    assert edge("evidence", "verify", tmp_path / "case.zip", "--key", workshop / "one" / "keys" / "gateway.pub") == 0
    assert "sound: export: 1 cases" in capsys.readouterr().out
    with (tmp_path / "case.zip").open("ab") as file:
        file.write(b"x")
    assert edge("evidence", "verify", tmp_path / "case.zip") == 1
    assert edge("evidence", "export", case, "--from", workshop / "one", "-o", tmp_path / "case.zip") == 2
    asked = ["evidence", "export", case, "--from", workshop / "one", "--state", tmp_path, "-o", tmp_path / "b.zip"]
    assert edge(*asked) == 2
