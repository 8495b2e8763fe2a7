"""`python -m edge`, and what the command `edge` runs. Kept light: every worker process imports it again."""

from __future__ import annotations

import sys


def main() -> None:
    from edge.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()
