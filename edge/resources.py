"""Where the files that travel with the package are: the scenario catalogue, the models, the demo."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def configs_dir() -> Path:
    """`configs/`: scenarios/<id>.yaml, categories.yaml, demo/."""
    return Path(str(files("edge") / "_configs")) if _installed("_configs") else _checkout("configs")


def models_dir() -> Path:
    """`models/`: one folder a model, each with a manifest."""
    return Path(str(files("edge") / "_models")) if _installed("_models") else _checkout("models")


def _installed(name: str) -> bool:
    return (Path(str(files("edge"))) / name).is_dir()


def _checkout(name: str) -> Path:
    return Path(__file__).resolve().parent.parent / name
