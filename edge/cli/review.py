"""`edge review` and `edge tune`: what was said of cases, and what it says of the thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.errors import UsageError

DAYS_MAX = 36_500  # a century
LIMIT_MAX = 1_000_000  # more than are kept

app = typer.Typer(rich_markup_mode=None)

_CONFIG = Annotated[
    Path | None, typer.Option("--config", "-c", help="The gateway's site.yaml; only its `state_dir:` is read.")
]
_STATE = Annotated[Path | None, typer.Option("--state", help="The gateway's state folder.")]


def _spelled(name: str | None) -> str | None:
    """What the terminal sent in another encoding names nothing, and no database takes it."""
    if name is not None and not name.isprintable():
        raise UsageError(f"{name!r}: is no name in UTF-8; set the terminal to UTF-8")
    return name


_CAMERA = Annotated[str | None, typer.Option("--camera", help="Only of this camera.", callback=_spelled)]
_SCENARIO = Annotated[str | None, typer.Option("--scenario", help="Only of this scenario.", callback=_spelled)]
_JSON = Annotated[bool, typer.Option("--json", help="One JSON document.")]
_DAYS = Annotated[
    float | None, typer.Option("--days", min=0, max=DAYS_MAX, help="Only cases opened in so many days until now.")
]


@app.callback(invoke_without_command=True)
def review(
    context: typer.Context, days: _DAYS = None, as_json: _JSON = False, config: _CONFIG = None, state: _STATE = None
) -> None:
    """Show the measured precision of each scenario at each camera, with its 95 % interval (Wilson).

    Example: edge review --days 30

    Only judged cases count: see `edge dismiss` and `edge confirm`. Exit status: 0 done, 1 no state there, 2 misused.
    """
    if context.invoked_subcommand is not None:
        if as_json or any(given is not None for given in (days, config, state)):
            name = context.invoked_subcommand
            raise UsageError(f"options of `edge review {name}` stand behind its name: edge review {name} --help")
        return
    import json
    import os

    from edge.clock import SystemClock
    from edge.core.types import seconds_to_ns
    from edge.state.judgements import Judgements
    from edge.wiring.review import opened_state, precision_document, precision_text

    since_ns = 0 if days is None else SystemClock().wall_ns() - seconds_to_ns(days * 86_400)
    with opened_state(state=state, config=config, environ=os.environ) as (_, database, _running):
        tallies = Judgements(database).tallies(since_wall_ns=since_ns)
    print(json.dumps(precision_document(tallies), indent=2) if as_json else precision_text(tallies))


@app.command("list")
def listed(
    camera: _CAMERA = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=LIMIT_MAX, help="So many at most.")] = 50,
    as_json: _JSON = False,
    config: _CONFIG = None,
    state: _STATE = None,
) -> None:
    """List what was said of cases, the newest first, and which dismissed things are still left alone.

    Example: edge review list --camera qiaonong-03

    Exit status: 0 done, 1 no state there, 2 misused.
    """
    import json
    import os

    from edge.state.judgements import Judgements
    from edge.wiring.review import opened_state, words_document, words_text

    with opened_state(state=state, config=config, environ=os.environ) as (_, database, _running):
        words = Judgements(database).listed(camera=camera, limit=limit)
    print(json.dumps(words_document(words), indent=2, ensure_ascii=False) if as_json else words_text(words))


def tune(
    camera: _CAMERA = None,
    scenario: _SCENARIO = None,
    as_json: _JSON = False,
    config: _CONFIG = None,
    state: _STATE = None,
) -> int:
    """Propose stricter thresholds: the judged cases that were kept are run once more with others. Changes nothing.

    Example: edge tune --camera qiaonong-03

    Each proposal loses no confirmed case, and held when days or cases were left out. Exit status: 0 done, 1 no state
    there, 2 misused.
    """
    import json
    import os

    from edge.state.judgements import Judgements
    from edge.wiring.review import opened_state
    from edge.wiring.tuning import advice_document, advice_text
    from edge.wiring.tuning import tune as run_tune

    with opened_state(state=state, config=config, environ=os.environ) as (folder, database, _running):
        judged = Judgements(database).judged(camera=camera, scenario=scenario)
    advice = run_tune(folder, judged, camera=camera, scenario=scenario)
    print(json.dumps(advice_document(advice), indent=2, ensure_ascii=False) if as_json else advice_text(advice))
    return 0
