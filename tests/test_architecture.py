"""The layers of docs/architecture.md, read from the imports: they point down only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edge"
ADAPTERS = {"capture", "detect", "evidence", "delivery", "state"}
GROUND = {"errors", "clock", "logs", "resources", "ports"}
# Layer -> the layers that it may import besides itself; `__init__` is the version.
ALLOWED = {
    "__init__": set(),
    "__main__": {"cli"},
    "core": set(),
    "errors": set(),
    "clock": {"core"},
    "logs": {"core", "clock", "errors"},
    "resources": set(),
    "ports": {"core"},
    "config": {"core", "errors", "resources"},
    **{adapter: {"core", *GROUND} for adapter in ADAPTERS},
    "runtime": {"core", "__init__", *GROUND, *ADAPTERS},
    "console": {"core", "runtime", "__init__", *GROUND, *ADAPTERS},
    "wiring": {"core", "config", "runtime", "console", "__init__", *GROUND, *ADAPTERS},
    "bench": {"core", "config", "runtime", "wiring", "__init__", *GROUND, *ADAPTERS},
    "cli": {"core", "config", "runtime", "console", "wiring", "bench", "__init__", *GROUND, *ADAPTERS},
}
CORE_OUTSIDE = {"numpy", "cv2"}
STANDARD_IN_CORE = {"__future__", "collections", "dataclasses", "typing", "uuid", "math", "functools", "itertools"}
CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every module imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ("edge." if node.level else "") + (node.module or "")
            for alias in node.names:
                deeper = ROOT.joinpath(*module.split("."), alias.name)
                is_module = deeper.with_suffix(".py").exists() or deeper.is_dir()
                yield node.lineno, f"{module}.{alias.name}" if is_module else module


def breaches(layer: str, text: str) -> list[str]:
    """Imports that do not point down, and in core those that are not pure."""
    found = []
    for line, name in imports(ast.parse(text)):
        root = name.split(".")[0]
        if root == "edge":
            if layer_of(name) != layer and layer_of(name) not in ALLOWED[layer]:
                found.append(f"line {line}: {layer} imports {name}")
        elif layer == "core" and root not in CORE_OUTSIDE | STANDARD_IN_CORE:
            found.append(f"line {line}: core imports {name}")
    return found


def clock_readings(text: str) -> list[str]:
    """Every mention of a function that reads the time, under whatever name it or its module was imported."""
    found = []
    tree = ast.parse(text)
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    true_names = {alias.asname: alias.name for node in imported for alias in node.names if alias.asname}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            owner = true_names.get(owner, owner)
            if node.attr in CLOCKS.get(owner, set()):
                found.append(f"line {node.lineno}: {owner}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            taken = {alias.name for alias in node.names} & {*CLOCKS["time"], "*"}
            found += [f"line {node.lineno}: from time import {name}" for name in sorted(taken)]
    return found


def broad_handlers(text: str) -> list[str]:
    """Handlers that catch everything and do not end with a bare `raise`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
            broad = node.type is None or names & {"Exception", "BaseException"}
            last = node.body[-1]
            if broad and not (isinstance(last, ast.Raise) and last.exc is None):
                found.append(f"line {node.lineno}")
    return found


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_point_down_only(path: Path) -> None:
    name = module_name(path)
    assert breaches(layer_of(name), path.read_text(encoding="utf-8")) == []


def test_every_layer_is_known() -> None:
    present = {layer_of(module_name(path)) for path in sources()}
    assert present == set(ALLOWED), f"layers and rules differ: {present ^ set(ALLOWED)}"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("ports", "from edge.runtime.worker import Worker"),
        ("clock", "import edge.wiring"),
        ("core", "from edge import errors"),
        ("core", "from edge.ports import Frame"),
        ("core", "import logging"),
        ("errors", "import edge.core.types"),
        ("resources", "from edge.config import loader"),
        ("__main__", "from edge.wiring import replay"),
        ("capture", "from edge.detect import session"),
        ("config", "from edge.evidence.store import EvidenceStore"),
        ("runtime", "def late():\n    from edge.cli import main"),
    ],
)
def test_a_breach_is_found(layer: str, text: str) -> None:
    assert len(breaches(layer, text)) == 1


def test_a_hidden_clock_and_a_wide_net_are_found() -> None:
    assert clock_readings("from time import time") == ["line 1: from time import time"]
    assert clock_readings("import datetime\nx = datetime.now()") == ["line 2: datetime.now"]
    assert clock_readings("import time as t\nx = t.time_ns()") == ["line 2: time.time_ns"]
    assert clock_readings("from datetime import datetime as moment\nx = moment.now()") == ["line 2: datetime.now"]
    assert clock_readings("import datetime\nx = datetime.datetime.now()") == ["line 2: datetime.now"]
    assert clock_readings("import time\nx = time.sleep(1)") == []
    assert broad_handlers("try:\n    x\nexcept (Exception, OSError):\n    pass") == ["line 3"]
    assert broad_handlers("try:\n    x\nexcept:\n    pass") == ["line 3"]
    assert broad_handlers("try:\n    x\nexcept Exception:\n    if y:\n        raise\n    z = 1") == ["line 3"]
    assert broad_handlers("try:\n    x\nexcept BaseException:\n    undo()\n    raise") == []
    assert broad_handlers("try:\n    x\nexcept OSError:\n    pass") == []


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_only_the_clock_reads_the_time(path: Path) -> None:
    if path.name != "clock.py":
        assert clock_readings(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_files_are_named_for_what_they_hold(path: Path) -> None:
    assert path.stem not in {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_broad_excepts_only_clean_up_and_raise_again(path: Path) -> None:
    """But for the one process boundary."""
    boundary = path == PACKAGE / "runtime" / "process.py"
    assert len(broad_handlers(path.read_text(encoding="utf-8"))) == boundary


def test_the_frame_path_fits_on_a_page() -> None:
    lines = (PACKAGE / "runtime" / "worker.py").read_text(encoding="utf-8").splitlines()
    tree = ast.parse("\n".join(lines))
    worker = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Worker")
    assert worker.end_lineno is not None
    length = worker.end_lineno - worker.lineno
    print(f"Worker: {length} lines")
    assert length < 110
