"""Runs pip-audit and judges what it says: an answer that knows nothing is not taken for a clean one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIMIT_S = 60


def main(auditor: str, constraints: str, exceptions: str) -> int:
    excused = read_exceptions(Path(exceptions).read_text(encoding="utf-8"))
    command = [auditor, "-r", constraints, "--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        answer = json.loads(run.stdout)
    except subprocess.TimeoutExpired:
        print(f"not audited: no answer within {LIMIT_S} s")
        return 0
    except ValueError:
        print(f"not audited: {(run.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return 0
    status, words = verdict(answer, excused)
    print(words)
    return status


def read_exceptions(text: str) -> dict[str, str]:
    """Identifier -> why it does not touch us. Raises ValueError for one without a reason."""
    excused = {}
    for line in text.splitlines():
        name, _, reason = line.partition(" ")
        if line and not line.startswith("#"):
            if not reason.strip():
                raise ValueError(f"{name}: needs the reason why it does not touch us, in the same line")
            excused[name] = reason.strip()
    return excused


def verdict(answer: Mapping[str, Any], excused: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and words."""
    known = [package for package in answer["dependencies"] if "skip_reason" not in package]
    unknown = [package["name"] for package in answer["dependencies"] if "skip_reason" in package]
    if not known:
        return 0, f"not audited: the database answers, and knows none of {len(unknown)} packages"
    found, lines = 0, []
    for package in known:
        for fault in package["vulns"]:
            names = [fault["id"], *fault.get("aliases", [])]
            reason = next((excused[name] for name in names if name in excused), "")
            found += not reason
            mended = f", mended in {', '.join(fault['fix_versions'])}" if fault.get("fix_versions") else ""
            what = f"excused: {reason}" if reason else f"known vulnerability{mended}"
            lines.append(f"{package['name']} {package['version']}: {' '.join(names)}: {what}")
    missing = f"; not known there: {', '.join(unknown)}" if unknown else ""
    lines.append(f"{len(known)} packages audited, {found} vulnerabilities{missing}")
    return int(found > 0), "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
