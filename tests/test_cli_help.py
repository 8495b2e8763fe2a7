"""Every command says in its help what it does, gives an example, and names its exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from edge.cli.main import app

GROUPS = {"edge", "edge bench", "edge evidence", "edge models", "edge place"}  # they do nothing by themselves


def commands(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """The name and the help of each, groups before their members."""
    yield name, command.help or ""
    for member, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {member}")


COMMANDS = {name: text for name, text in commands(typer.main.get_command(app), "edge") if name not in GROUPS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_has_one_line_an_example_and_its_exit_codes(name: str) -> None:
    text = COMMANDS[name]
    assert text.partition("\n")[0].endswith(".")
    (example,) = [line for line in text.splitlines() if line.startswith("Example: ")]
    assert f"{name} " in f"{example} "
    assert "Exit status: 0" in " ".join(text.split())
