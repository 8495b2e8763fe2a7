"""`edge models`: which models are there, and whether each is the file that was checked and answers as it should."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edge.errors import ModelError
from edge.resources import models_dir

if TYPE_CHECKING:
    from edge.detect.manifest import ModelManifest

app = typer.Typer(help="The detection models: list them, prove them.", rich_markup_mode=None)

_FOLDER = typer.Option(None, "--folder", help="Look for models here too, before those of the package.")


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command("list")
def list_models(folder: Path | None = _FOLDER) -> None:
    """List the models with their licence, and whether the file is the one that was checked.

    Example: edge models list

    Exit status: 0 listed, 1 a manifest cannot be read.
    """
    from rich.console import Console
    from rich.table import Table

    from edge.detect.manifest import known_models, parse_manifest

    table = Table("name", "format", "labels", "input px", "licence", "file")
    for path in known_models(_folders(folder)):
        manifest = parse_manifest(path)
        table.add_row(
            path.name,
            manifest.format,
            str(len(manifest.labels)),
            str(manifest.longest_side),
            manifest.licence,
            _file_state(manifest),
        )
    Console().print(table)


@app.command("verify")
def verify_models(names: list[str] = typer.Argument(None), folder: Path | None = _FOLDER) -> None:
    """Check hash, loading and outputs of the models named, or of all; a name may be a path.

    Example: edge models verify yolox-nano

    Exit status: 0 all are sound, 1 one is not.
    """
    from edge.detect.manifest import find_model, known_models

    folders = _folders(folder)
    chosen = [find_model(name, folders) for name in names] if names else known_models(folders)
    failed = [path.name for path in chosen if not _verify(path)]
    if failed:
        raise ModelError(
            f"{len(failed)} of {len(chosen)} models cannot be used: {', '.join(failed)}: see the reasons above"
        )


def _verify(path: Path) -> bool:
    """Print the verdict on one model; True when it can be used."""
    from edge.detect.manifest import load_manifest
    from edge.detect.session import OnnxDetector

    try:
        manifest = load_manifest(path)
        OnnxDetector(manifest, threads=1)
    except ModelError as error:
        print(f"{path.name}: FAILED: {error}")
        return False
    print(f"{manifest.name}: ok: sha256 {manifest.sha256}, {manifest.format}, {len(manifest.labels)} labels")
    return True


def _file_state(manifest: ModelManifest) -> str:
    from edge.detect.manifest import read_model

    try:
        read_model(manifest)
    except ModelError:
        return "WRONG HASH" if manifest.path.is_file() else "MISSING"
    return "ok"


def _folders(extra: Path | None) -> list[Path]:
    return [models_dir()] if extra is None else [extra, models_dir()]
