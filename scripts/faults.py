"""The long form of tests/delivery: prints what each part found, ends with 1 where any was lost, doubled or unproven.

lines, syscalls    a gateway killed at every line that it runs, and before every system call that changes its disk
mosquitto, nats    campaigns of faults over real brokers, with a brain that stores before it acknowledges
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.delivery.campaign import table

REPOSITORY = Path(__file__).resolve().parent.parent
LIMIT_S = {"lines": 900, "syscalls": 1200, "courier": 2400, "mosquitto": 2400, "nats": 1800}
WALKS = ("lines", "syscalls")
MEMORY = Path("/dev/shm")


def run_part(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One part, in a process and a folder of its own; an empty result where it broke off."""
    walk = name in WALKS
    folder = Path(tempfile.mkdtemp(prefix="edge-faults-", dir=MEMORY if walk and MEMORY.is_dir() else arguments.folder))
    module = "tests.delivery.walk" if walk else "tests.delivery.campaign"
    what = {"courier": "mosquitto"}.get(name, name)
    command = [sys.executable, "-m", module, what, "--folder", str(folder), "--seed", str(arguments.seed)]
    if name == "courier":
        command += ["--faults", "0", "--every-line", "--json"]
    elif not walk:
        command += ["--faults", str(arguments.faults), "--alerts", str(arguments.alerts), "--json"]
    try:
        said = subprocess.run(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S[name], check=False
        )
        result: dict[str, Any] = json.loads(said.stdout or "{}")
    except subprocess.TimeoutExpired:
        print(f"{name}: not done within {LIMIT_S[name]} s", file=sys.stderr)
        result = {}
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return result


def words_of(name: str, result: dict[str, Any]) -> str:
    if not result:
        return f"{name}: broke off"
    if name not in WALKS:
        return table(result)
    missed = f", {len(result['missed'])} missed: {result['missed']}" if result["missed"] else ""
    return "\n".join(
        [
            f"{name}: {result['deaths']} deaths at {result['killed']} of {result['points']} points{missed}; "
            f"{result['alerts']} alerts, {result['checks']} checks, {len(result['problems'])} problems; "
            f"{result['seconds']:.0f} s",
            *result["problems"],
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"which: {', '.join(LIMIT_S)}; all without one")
    parser.add_argument("--faults", type=int, default=165, help="of each campaign")
    parser.add_argument("--alerts", type=int, default=5100, help="of each campaign")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where there is room on a disk; the system's own without")
    parser.add_argument("--keep", action="store_true", help="leave the folders there")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    arguments = parser.parse_args()
    parts = arguments.part or list(LIMIT_S)
    if unknown := [part for part in parts if part not in LIMIT_S]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(LIMIT_S)}")
    results = {}
    for name in parts:
        results[name] = run_part(name, arguments)
        print(words_of(name, results[name]), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    campaigns = [result for name, result in results.items() if result and name not in WALKS]
    if campaigns:
        print(
            f"campaigns: {sum(one['faults'] for one in campaigns)} faults over "
            f"{sum(one['alerts'] for one in campaigns)} alerts",
            file=sys.stderr if arguments.json else sys.stdout,
        )
    if arguments.json:
        print(json.dumps(results, indent=1))
    good = all(result and not result["problems"] and not result.get("missed") for result in results.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
