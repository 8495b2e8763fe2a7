from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from edge.cli.models import app
from edge.errors import ModelError, UsageError
from tests.tiny_models import brightness_model, constant_model, write_model


def test_the_list_shows_each_model_with_its_licence_and_the_state_of_its_file(tmp_path: Path) -> None:
    write_model(tmp_path / "sound", brightness_model(), format="yolo-e2e")
    (write_model(tmp_path / "spoilt", b"weights") / "model.onnx").write_bytes(b"other")
    (write_model(tmp_path / "gone", b"weights") / "model.onnx").unlink()
    answer = CliRunner().invoke(app, ["list", "--folder", str(tmp_path)])
    assert answer.exit_code == 0
    lines = {line.split()[1]: line for line in answer.stdout.splitlines() if len(line.split()) > 2}
    assert "ok" in lines["sound"]
    assert "WRONG HASH" in lines["spoilt"]
    assert "MISSING" in lines["gone"]
    assert "Apache-2.0" in lines["yolox-nano"]


def test_verify_passes_the_committed_model() -> None:
    answer = CliRunner().invoke(app, ["verify", "yolox-nano"])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("yolox-nano: ok: sha256 ")


def test_verify_judges_every_model_and_fails_for_one_that_answers_wrongly(tmp_path: Path) -> None:
    write_model(tmp_path / "sound", brightness_model(), format="yolo-e2e")
    write_model(tmp_path / "wrong", constant_model([np.zeros((10, 6), np.float32)]), format="yolox")
    answer = CliRunner().invoke(app, ["verify", "--folder", str(tmp_path)])
    assert isinstance(answer.exception, ModelError)
    assert str(answer.exception).startswith("1 of 3 models cannot be used: wrong")
    assert "sound: ok" in answer.stdout
    assert "wrong: FAILED" in answer.stdout
    assert "yolox-nano: ok" in answer.stdout


def test_an_unknown_model_is_an_error() -> None:
    answer = CliRunner().invoke(app, ["verify", "nothing"])
    assert isinstance(answer.exception, ModelError)


def test_a_folder_that_is_none_is_told_and_not_passed_over(tmp_path: Path) -> None:
    for command in ("list", "verify"):
        result = CliRunner().invoke(app, [command, "--folder", str(tmp_path / "nowhere")])
        assert isinstance(result.exception, UsageError)
        assert "is no folder" in str(result.exception)


def test_help_loads_no_heavy_package() -> None:
    """Each of them alone takes longer than all the rest of `edge --help`."""
    heavy = "numpy cv2 av onnxruntime pydantic yaml jinja2 rich"
    script = (
        "import sys; from edge.cli.main import run; run(['--help']); "
        f"print([name for name in '{heavy}'.split() if name in sys.modules], file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stderr.strip() == "[]"
