"""Files that hold what a mapping makes, to be read by people: looked at once against the standard, then held to."""

from __future__ import annotations

import json
import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "data" / "bridges"


def check_golden(name: str, made: object) -> None:
    """With EDGE_GOLDEN=write the file is written instead: review it as code."""
    path = FOLDER / f"{name}.json"
    text = json.dumps(made, ensure_ascii=False, indent=1) + "\n"
    if os.environ.get("EDGE_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")
    assert path.read_text(encoding="utf-8") == text, f"{path} is not what is made; after a look: EDGE_GOLDEN=write"
