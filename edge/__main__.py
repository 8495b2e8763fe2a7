"""`python -m edge`, and what the command `edge` runs. Kept light: every worker process imports it again."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from edge.cli.main import run
    except KeyboardInterrupt:
        sys.exit("edge: stopped; nothing was left half-written")

    sys.exit(run())


if __name__ == "__main__":
    main()
