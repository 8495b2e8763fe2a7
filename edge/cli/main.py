"""The command `edge`: gathers the commands, and turns every error into one line and an exit status.

Exit statuses: 0 done, 1 failed, 2 misused.
"""

from __future__ import annotations

import signal
import sys

import typer

from edge import __version__
from edge.cli import check, demo, evaluate, models, replay, snapshot
from edge.errors import EdgeError

app = typer.Typer(
    name="edge",
    help="City Eye Edge: street cameras to signed, tagged, actionable cases.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("replay")(replay.replay)
app.command("check")(check.check)
app.command("schema")(check.schema)
app.command("snapshot")(snapshot.snapshot)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(models.app, name="models")


@app.callback(invoke_without_command=True)
def edge(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and leave.")
) -> None:
    if version:
        print(f"edge {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status and never lets a traceback through for what we expect."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopping by either signal takes the same way out
    try:
        status = app(arguments, standalone_mode=False, prog_name="edge")
    except typer.TyperException as error:
        print(f"edge: {error.format_message()} See edge --help.", file=sys.stderr)
        return 2
    except EdgeError as error:
        print(f"edge: {error}", file=sys.stderr)
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        print("edge: interrupted; nothing was left half-written", file=sys.stderr)
        return 1
    return status if isinstance(status, int) else 0
