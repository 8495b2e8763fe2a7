"""A gateway reports to nobody but its street brain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_loading_the_detector_leaves_nothing_in_home(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    command = (
        "from edge.detect.manifest import load_manifest; from edge.detect.session import OnnxDetector; "
        "from edge.resources import models_dir; OnnxDetector(load_manifest(models_dir() / 'yolox-nano'))"
    )
    subprocess.run([sys.executable, "-c", command], env={**environment, "HOME": str(tmp_path)}, check=True, timeout=60)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
