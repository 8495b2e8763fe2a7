"""The outbox with a million alerts in it against an empty one, and its drain against plain paho; prints JSON.

    .venv/bin/python scripts/measure_outbox.py --rows 1000000

What is measured, and how, stands in tests/bench/backlog.py. A million alerts take 2.3 GB of disk, and some minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the tests are not installed

from edge.state.database import CASES_OVER_MAX  # noqa: E402
from tests.bench.backlog import measure  # noqa: E402
from tests.brokers import Mosquitto  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=20_000, help="alerts published for each rate")
    parser.add_argument("--folder", type=Path, help="where the databases are made; else the temporary folder")
    order = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=order.folder) as folder:
        broker = Mosquitto(Path(folder))
        broker.start()
        try:
            print(
                json.dumps(
                    measure(Path(folder), broker, rows=order.rows, messages=order.messages, over=CASES_OVER_MAX),
                    indent=1,
                )
            )
        finally:
            broker.kill()


if __name__ == "__main__":
    main()
