"""The layers of docs/architecture.md, read from the imports: they point down only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edge"
FOUNDATION = {"edge", "edge.errors", "edge.clock", "edge.resources", "edge.ports"}
ADAPTERS = ("capture", "detect", "evidence", "delivery", "state")
# Layer -> the layers (folders) that it may import besides itself and the foundation.
ALLOWED = {
    "core": set(),
    "config": {"core"},
    **{adapter: {"core"} for adapter in ADAPTERS},
    "runtime": {"core", *ADAPTERS},
    "wiring": {"core", "config", "runtime", *ADAPTERS},
    "cli": {"core", "config", "runtime", "wiring", *ADAPTERS},
}
CORE_OUTSIDE = {"numpy", "cv2"}
STANDARD_IN_CORE = {"__future__", "collections", "dataclasses", "typing", "uuid", "math", "functools", "itertools"}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module imported anywhere in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            for alias in node.names:
                deeper = PACKAGE.parent.joinpath(*module.split("."), alias.name)
                is_module = deeper.with_suffix(".py").exists() or deeper.is_dir()
                yield node.lineno, f"{module}.{alias.name}" if is_module else module


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_point_down_only(path: Path) -> None:
    layer = layer_of(module_name(path))
    breaches = []
    for line, name in imports(path):
        if not name.startswith("edge") or name in FOUNDATION or layer_of(name) == layer:
            continue
        if name == "edge.core.types" or layer not in ALLOWED:
            if layer in {"errors", "resources"} or (layer == "__main__" and layer_of(name) != "cli"):
                breaches.append(f"{path}:{line}: {name}")
            continue
        if layer_of(name) not in ALLOWED[layer]:
            breaches.append(f"{path}:{line}: {layer} imports {name}")
    assert not breaches, "\n".join(breaches)


def test_every_layer_is_known() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= set(ALLOWED), f"a layer without rules: {folders - set(ALLOWED)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=module_name)
def test_core_is_pure(path: Path) -> None:
    for line, name in imports(path):
        root = name.split(".")[0]
        assert root == "edge" or root in CORE_OUTSIDE or root in STANDARD_IN_CORE, f"{path}:{line}: core imports {name}"
        assert name not in {"edge.clock", "edge.resources"}, f"{path}:{line}: core imports {name}"


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_only_the_clock_reads_the_time(path: Path) -> None:
    if path.name == "clock.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            assert called not in {"datetime.now", "datetime.utcnow", "time.time", "time.monotonic", "time.time_ns"}, (
                f"{path}:{node.lineno}: {called}"
            )


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_files_are_named_for_what_they_hold(path: Path) -> None:
    assert path.stem not in {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_broad_excepts_stand_only_at_the_process_boundary(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            names = {node.type.id} if isinstance(node.type, ast.Name) else set()
            broad = node.type is None or "Exception" in names
            assert not broad, f"{path}:{node.lineno}: catches everything"


def test_the_frame_path_fits_on_a_page() -> None:
    lines = (PACKAGE / "runtime" / "worker.py").read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    worker = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Worker")
    assert worker.end_lineno is not None
    length = worker.end_lineno - worker.lineno
    print(f"Worker: {length} lines")
    assert length < 110
