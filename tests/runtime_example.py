"""The runtime of docs/runtime-example, put in as its package would be, and a model for it."""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from edge.detect import runtimes
from tests.tiny_models import write_model

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "runtime-example"


@contextmanager
def example_npu(*, times: int = 1) -> Iterator[str]:
    """Its name, as its pyproject.toml has it. `times`: so many packages that bring the name."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    [(name, value)] = project["project"]["entry-points"][runtimes.GROUP].items()
    points = EntryPoints([EntryPoint(name, value, runtimes.GROUP)] * times)

    def entry_points(**wanted: Any) -> EntryPoints:
        return points.select(**wanted)

    with (
        mock.patch.object(sys, "path", [*sys.path, str(FOLDER)]),
        mock.patch.object(runtimes, "entry_points", entry_points),
        mock.patch("edge.config.models.entry_points", entry_points),
    ):
        yield name


def write_npu_model(folder: Path, *, width: int, height: int) -> Path:
    """A "compiled" file of one size, with its manifest."""
    compiled = json.dumps({"width": width, "height": height}).encode()
    write_model(folder, compiled, format="yolo-e2e")
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
    changes = {"fixed_px": [width, height], "longest_side": max(width, height)}
    assert manifest["sha256"] == hashlib.sha256(compiled).hexdigest()
    (folder / "manifest.yaml").write_text(yaml.safe_dump({**manifest, **changes}), encoding="utf-8")
    return folder
