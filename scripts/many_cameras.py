"""Many live cameras on this machine: cases found, alert delay, CPU and memory of each kind of process, as JSON.

What is measured, and how, stands in tests/bench/many_cameras.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the tests are not installed

from tests.bench.many_cameras import Plan, many_cameras  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--decode", default="keyframes", choices=("auto", "all", "keyframes"))
    parser.add_argument("--fps", type=float, default=5, help="pictures analysed a second, at most")
    parser.add_argument("--delay-s", type=float, default=5, help="what the p99 of the alert delay must stay under")
    parser.add_argument("--streams", type=Path, help="keeps what was encoded for the next run")
    parser.add_argument("--keep", type=Path, help="the gateway's folder; else a temporary one")
    parser.add_argument("--media", type=Path, help="the shared clips, else EDGE_MEDIA, else beside the repository")
    asked = parser.parse_args()
    if asked.cameras < 1 or not 0 < asked.minutes < 1440:
        parser.error(f"--cameras {asked.cameras} --minutes {asked.minutes:g}: one camera and some minutes at least")
    media = asked.media or Path(os.environ.get("EDGE_MEDIA") or ROOT.parent / "shared" / "media")
    if not (media / "events.json").is_file():
        parser.error(f"no shared clips in {media}; name their folder with --media")
    plan = Plan(cameras=asked.cameras, seconds=asked.minutes * 60, decode=asked.decode, fps=asked.fps)
    with tempfile.TemporaryDirectory(prefix="edge-many-cameras-") as folder:
        measured = many_cameras((asked.keep or Path(folder)) / "gateway", media, plan, streams=asked.streams)
    print(json.dumps(dataclasses.asdict(measured), indent=1))
    for failure in (failures := measured.failures(delay_s=asked.delay_s)):
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
