"""The scripts on a machine that lacks something: one line, what to do, exit status 1, nothing left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "env", "dirname", "readlink", "basename", "sha256sum", "cut", "cat", "id")

TOO_OLD = """#!/bin/bash
[ "$1" = --version ] && echo "Python 3.9.2"
[ "$1" = --version ]
"""
NO_VENV = f"""#!/bin/bash
case "$2" in *ensurepip*) exit 1 ;; esac
exec {sys.executable} "$@"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The scripts in a repository of their own, in a folder with a space in its name."""
    repository = tmp_path / "city eye"
    shutil.copytree(REPOSITORY / "scripts", repository / "scripts")
    return repository


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """All that is in the PATH: a few tools, and the python3 that a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        path = shutil.which(name)
        assert path is not None
        (folder / name).symlink_to(path)
    return folder


def demo(clone: Path, tools: Path, python: str | None) -> str:
    """Runs scripts/demo from elsewhere with an empty HOME; returns its one line."""
    if python is not None:
        (tools / "python3").write_text(python)
        (tools / "python3").chmod(0o755)
    home = clone.parent / "home"
    home.mkdir()
    done = subprocess.run(
        [str(clone / "scripts" / "demo")],
        env={"PATH": str(tools), "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert list(home.iterdir()) == []
    assert not (clone / ".venv").exists()
    return done.stderr


def test_without_python_the_demo_says_which_one_it_needs(clone: Path, tools: Path) -> None:
    assert "needs Python 3.11 or later, found no python3" in demo(clone, tools, None)


def test_an_old_python_is_named(clone: Path, tools: Path) -> None:
    assert "needs Python 3.11 or later, found Python 3.9.2" in demo(clone, tools, TOO_OLD)


def test_where_venv_is_missing_the_demo_prints_the_line_that_installs_it(clone: Path, tools: Path) -> None:
    major, minor = sys.version_info[:2]
    assert f"sudo apt-get install python{major}.{minor}-venv" in demo(clone, tools, NO_VENV)


def test_constraints_pin_exact_versions_and_name_no_registry() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert len(lines) > 20
    for line in lines:
        name, _, version = line.partition("==")
        assert name, line
        assert version, line
        assert "/" not in line, line
        assert "@" not in line, line
