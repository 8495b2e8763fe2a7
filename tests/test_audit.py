"""The audit of the packages: what is known is told, what is excused has a reason, and no answer is no clean bill."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edge_audit", SCRIPTS / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name: str, *ids: str) -> dict[str, Any]:
    vulns = [{"id": one, "aliases": [f"CVE-{one}"], "fix_versions": ["9.9"]} for one in ids]
    return {"name": name, "version": "1.0", "vulns": vulns}


UNKNOWN = {"name": "heron", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "excused", "status", "words"),
    [
        ([package("a"), package("b")], {}, 0, "2 packages audited, 0 vulnerabilities"),
        ([package("a", "G-1")], {}, 1, "a 1.0: G-1 CVE-G-1: known vulnerability, mended in 9.9"),
        ([package("a", "G-1")], {"CVE-G-1": "we never call it"}, 0, "excused: we never call it"),
        ([package("a", "G-1", "G-2")], {"G-1": "no"}, 1, "1 packages audited, 1 vulnerabilities"),
        ([package("a"), UNKNOWN], {}, 0, "not known there: heron"),
        ([UNKNOWN], {}, 0, "not audited: the database answers, and knows none of 1 packages"),
    ],
)
def test_what_is_known_and_not_excused_fails(
    audit: ModuleType, packages: list[Any], excused: dict[str, str], status: int, words: str
) -> None:
    found, said = audit.verdict({"dependencies": packages}, excused)
    assert found == status
    assert words in said


def test_an_exception_needs_its_reason_and_those_that_we_have_are_right(audit: ModuleType) -> None:
    assert audit.read_exceptions("# why\n\nG-1 we never call it\n") == {"G-1": "we never call it"}
    with pytest.raises(ValueError, match="G-1: needs the reason"):
        audit.read_exceptions("G-1\n")
    audit.read_exceptions((SCRIPTS / "audit-exceptions.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (json.dumps({"dependencies": [package("a", "G-1")]}), (1, "known vulnerability")),
        ("", (0, "not audited: no route to host")),
    ],
)
def test_an_auditor_that_cannot_ask_is_told_and_fails_nothing(
    audit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str, expected: tuple[int, str]
) -> None:
    status, words = expected
    (tmp_path / "answer.json").write_text(answer)
    auditor = tmp_path / "pip-audit"
    auditor.write_text(f"#!/bin/sh\ncat {tmp_path}/answer.json\necho no route to host >&2\nexit 1\n")
    auditor.chmod(0o755)
    exceptions = SCRIPTS / "audit-exceptions.txt"
    assert audit.main(str(auditor), "constraints.txt", str(exceptions)) == status
    assert words in capsys.readouterr().out
