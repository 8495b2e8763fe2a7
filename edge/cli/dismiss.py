"""`edge dismiss` and `edge confirm`: a person's word on a case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_CASE = Annotated[str, typer.Argument(metavar="CASE_ID", help="As its alerts name it; its first 8 letters will do.")]
_NOTE = Annotated[str, typer.Option("--note", help="Free words, kept with it.")]
_BY = Annotated[str, typer.Option("--by", metavar="NAME", help="Who says so.")]
_CONFIG = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The gateway's site.yaml; read in full only where no gateway runs."),
]
_STATE = Annotated[Path | None, typer.Option("--state", help="The gateway's state folder.")]


def dismiss(
    case: _CASE,
    reason: Annotated[
        str, typer.Option("--reason", help="no-violation, not-there, wrong-thing, allowed, duplicate or other.")
    ] = "",
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the dismissal back.")] = False,
    note: _NOTE = "",
    by: _BY = "",
    config: _CONFIG = None,
    state: _STATE = None,
) -> int:
    """Say that a case is none: an open one is withdrawn, and its thing is left alone while it stays there.

    Example: edge dismiss 2f1c9a7e --reason allowed --note "delivery, has a permit" --by Li

    The word is kept with the case, and no threshold moves by it: see `edge review` and `edge tune`.
    Exit status: 0 done, 1 the state cannot be used, 2 misused, or no such case.
    """
    from edge.errors import UsageError
    from edge.state.judgements import DISMISSED, REASONS, REVOKED

    if revoke == bool(reason):
        raise UsageError(f"give --reason (one of {', '.join(REASONS)}), or --revoke")
    return _say(case, REVOKED if revoke else DISMISSED, reason, note, by, config, state)


def confirm(case: _CASE, note: _NOTE = "", by: _BY = "", config: _CONFIG = None, state: _STATE = None) -> int:
    """Say that a case was right: it counts in `edge review`, and `edge tune` keeps it.

    Example: edge confirm 2f1c9a7e --by Li

    Exit status: 0 done, 1 the state cannot be used, 2 misused, or no such case.
    """
    from edge.state.judgements import CONFIRMED

    return _say(case, CONFIRMED, "", note, by, config, state)


def _say(case_id: str, verdict: str, reason: str, note: str, by: str, config: Path | None, state: Path | None) -> int:
    import os

    from edge.config.loader import load_site
    from edge.wiring.judging import Word, judge
    from edge.wiring.review import opened_state

    with opened_state(state=state, config=config, environ=os.environ) as (_, database, running):
        site = None if running or config is None else load_site(config, environ=os.environ)
        _, words = judge(database, Word(case_id, verdict, reason, note, by), running=running, site=site)
    print(words)
    return 0
