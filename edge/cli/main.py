"""The command `edge`: gathers the commands, and turns every error into one line and an exit status.

Exit statuses: 0 done, 1 failed, 2 misused.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import typer

from edge import __version__
from edge.cli import (
    bench,
    check,
    demo,
    dismiss,
    evaluate,
    evidence,
    models,
    place,
    replay,
    review,
    scenarios,
    snapshot,
    status,
)
from edge.cli import run as run_command
from edge.errors import EdgeError

# A command tells its outcome in one line; without this, warnings on the way there would come out between.
logging.getLogger("edge").addHandler(logging.NullHandler())

app = typer.Typer(
    name="edge",
    help="City Eye Edge: street cameras to signed, tagged, actionable cases.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run_command.run)
app.command("demo")(demo.demo)
app.command("replay")(replay.replay)
app.command("check")(check.check)
app.command("schema")(check.schema)
app.command("scenarios")(scenarios.scenarios)
app.command("snapshot")(snapshot.snapshot)
app.command("evaluate")(evaluate.evaluate)
app.command("status")(status.status)
app.command("dismiss")(dismiss.dismiss)
app.command("confirm")(dismiss.confirm)
app.command("tune")(review.tune)
app.add_typer(review.app, name="review")
app.add_typer(evidence.app, name="evidence")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")
app.add_typer(place.app, name="place")


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


class Stopped(BaseException):
    """Ctrl-C, a stop by the system, a closed terminal. Not KeyboardInterrupt: typer makes its own end of that."""


def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status and never lets a traceback through for what we expect."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot spell ends no replay
    stopped: list[int] = []
    try:
        with _stoppable(stopped):
            status = app(arguments, standalone_mode=False, prog_name="edge")
            print(end="", flush=True)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        return _failed(f"{error.format_message()} See {context.command_path if context else 'edge'} --help.", 2)
    except EdgeError as error:
        return _failed(str(error), error.exit_status)
    except (Stopped, typer.Abort):
        return _failed(_STOPPED, 1)
    except OSError as error:
        return _unwritten(error)
    except (ImportError, SystemError):  # what compiled code makes of Stopped in the middle of its work
        if not stopped:
            raise
        return _failed(_STOPPED, 1)
    return status if isinstance(status, int) else 0


_STOPPED = "stopped; nothing was left half-written"


def _failed(words: str, status: int) -> int:
    """One line, whatever a file's name or a library's word for it holds."""
    with suppress(OSError):
        print("edge:", " ".join(words.splitlines()), file=sys.stderr)
    return status


def _unwritten(error: OSError) -> int:
    """The way out where stdout, or a file of ours, takes no more."""
    try:
        print(end="", flush=True)
    except OSError:  # Python would complain of it once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # `edge schema | head`: the reader has what it wanted
        return 1
    where = f"{error.filename}: " if error.filename else ""
    return _failed(f"{where}{error.strerror or error}; check the disk, the rights, and where the output goes", 1)


@contextmanager
def _stoppable(stopped: list[int]) -> Iterator[None]:
    """All ways of stopping take the same way out. One that is ignored (nohup, a shell's background) stays so."""

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        raise Stopped

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heard = [number for number, handler in handlers.items() if handler is not signal.SIG_IGN]
    try:
        for number in heard:
            signal.signal(number, stop)
        yield
    finally:
        for number in heard:
            signal.signal(number, handlers[number])
