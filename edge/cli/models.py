"""`edge models`: which models are there, whether each is the file that was checked and answers as it should, and one
more made from weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edge.errors import ModelError, UsageError
from edge.resources import models_dir

if TYPE_CHECKING:
    from edge.bench.models import Comparison, Cost
    from edge.core.types import UInt8
    from edge.detect.manifest import ModelManifest

_TABLE_COLUMNS = 120  # also in a pipe

app = typer.Typer(help="The models: list them, prove them, make one from weights.", rich_markup_mode=None)

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

    Exit status: 0 listed, 1 a manifest cannot be read, 2 misused.
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
def verify_models(
    names: list[str] = typer.Argument(None),
    folder: Path | None = _FOLDER,
    provider: list[str] = typer.Option(["cpu"], "--provider", help="What runs them, as in `detector: {providers:}`."),
) -> None:
    """Check hash, loading and outputs of the models named, or of all; a name may be a path.

    Example: edge models verify yolox-nano

    Exit status: 0 all are sound, 1 one is not, 2 misused.
    """
    from edge.detect.manifest import find_model, known_models

    folders = _folders(folder)
    chosen = [find_model(name, folders) for name in names] if names else known_models(folders)
    failed = [path.name for path in chosen if not _verify(path, provider)]
    if failed:
        raise ModelError(
            f"{len(failed)} of {len(chosen)} models cannot be used: {', '.join(failed)}: see the reasons above"
        )


@app.command("benchmark")
def benchmark(
    names: list[str] = typer.Argument(None, help="Detectors to compare; all if left out. A name may be a path."),
    folder: Path | None = _FOLDER,
    provider: list[str] = typer.Option([], "--provider", help="cpu, openvino, ...; all installed ones if left out."),
    input_px: list[int] = typer.Option(
        [], "--input", min=64, max=4096, help="Longest side, px; the model's and two smaller if left out."
    ),
    threads: list[int] = typer.Option([1, 2], "--threads", min=1, max=64, help="Threads of the network."),
    batch: list[int] = typer.Option([1, 4, 8], "--batch", min=1, max=16, help="Pictures at once."),
    rounds: int = typer.Option(7, "--rounds", min=5, max=1000, help="How often each is timed; the median counts."),
    coco: Path | None = typer.Option(None, "--coco", help="Pictures and labels/ in YOLO format: precision, too."),
    picture: Path | None = typer.Option(
        None, "--picture", help="They are timed on this; the demo's street if left out."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON document."),
) -> None:
    """Compare what the installed detectors cost on this machine, and recommend a way to run each.

    Example: edge models benchmark yolox-nano --input 416 --input 640 --coco pictures/

    Exit status: 0 compared, 1 a model cannot be used, 2 misused. Milliseconds are of one picture; a busy machine makes
    all of them longer.
    """
    from edge.bench.models import BenchmarkOrder, compare
    from edge.detect.average_precision import LabelledPictures
    from edge.detect.manifest import find_model, known_models, load_manifest

    folders = _folders(folder)
    paths = [find_model(name, folders) for name in names] if names else known_models(folders)
    manifests = tuple(load_manifest(path) for path in paths)
    detectors = tuple(manifest for manifest in manifests if manifest.finds_boxes)
    if not detectors:
        raise UsageError("there is no detector among these models: a classifier is not compared")
    order = BenchmarkOrder(
        models=detectors,
        providers=tuple(provider),
        inputs_px=tuple(input_px),
        threads=tuple(dict.fromkeys(threads)),
        batches=tuple(dict.fromkeys(batch)),
        rounds=rounds,
    )
    found = compare(order, _picture(picture), LabelledPictures.read(coco) if coco else None)
    default_px = {manifest.name: manifest.longest_side for manifest in detectors}
    if as_json:
        print(_as_json(found, default_px))
    else:
        _print_comparison(found, default_px)


@app.command("export")
def export(
    weights: Path = typer.Argument(
        help="A .pt of the ultralytics project; a .yaml of it gives random weights, to try."
    ),
    out: Path = typer.Option(..., "--out", help="The model's folder, which must not be there yet."),
    labels: str = typer.Option(
        "", "--labels", help="What an open-vocabulary model is to look for: cart,stall,gas bottle"
    ),
    input_px: int = typer.Option(640, "--input", help="Longest side of the input, a multiple of 32."),
    fixed: bool = typer.Option(
        False, "--fixed", help="A square input of this one size, for accelerators that need it."
    ),
    nms_free: bool = typer.Option(False, "--nms-free", help="The end-to-end head of YOLO26 and YOLOv10."),
    licence: str = typer.Option("", "--licence", help="Under which you hold the weights; AGPL-3.0 if left out."),
    picture: Path | None = typer.Option(
        None, "--picture", help="What both are tried on; the demo's street if left out."
    ),
) -> None:
    """Make a model folder from weights, and prove that it answers as ultralytics does.

    Needs ultralytics (AGPL-3.0), in a virtual environment of its own: docs/models.md.

    Example: edge models export yolo11n.pt --out models/yolo11n

    Exit status: 0 made, 1 it cannot be made or answers otherwise, 2 misused.
    """
    from edge.detect.exporting import LICENCE, ExportOrder, export_model

    order = ExportOrder(
        weights=weights,
        out=out,
        labels=tuple(label.strip() for label in labels.split(",") if label.strip()),
        longest_side=input_px,
        fixed=fixed,
        nms_free=nms_free,
        licence=licence or LICENCE,
    )
    manifest, comparison = export_model(order, _picture(picture))
    print(
        f"{out}: ok: {manifest.format}, {len(manifest.labels)} labels, {manifest.path.stat().st_size / 1e6:.1f} MB; "
        f"{comparison.numbers} numbers are ultralytics' to {comparison.off_max:.1g}, "
        f"{comparison.matched} of {comparison.boxes} boxes the same"
    )


def _as_json(found: Comparison, default_px: dict[str, int]) -> str:
    import json
    from dataclasses import asdict

    from edge.bench.models import RATES_FPS

    def row(cost: Cost) -> dict[str, object]:
        seen = (cost.way.model, cost.way.provider, cost.way.input_px)
        precision = found.precision.get(seen)
        return {
            **asdict(cost.way),
            "wall_ms": round(cost.wall_ms, 2),
            "cpu_ms": round(cost.cpu_ms, 2),
            "memory_mib": round(found.memory_mib[seen]),
            **({"ap": round(precision.ap, 4), "ap50": round(precision.ap50, 4)} if precision else {}),
            "cameras": {f"{fps:g} fps": found.cameras(cost, fps) for fps in RATES_FPS},
        }

    recommended = {name: found.recommended(name, side) for name, side in default_px.items()}
    document = {
        "cores": found.cores,
        "ways": [row(cost) for cost in found.costs],
        "recommended": {name: row(cost) for name, cost in recommended.items() if cost},
        "left_out": list(found.left_out),
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def _print_comparison(found: Comparison, default_px: dict[str, int]) -> None:
    from rich.console import Console
    from rich.table import Table

    from edge.bench.models import CORES_SHARE, RATES_FPS

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    precise = ["AP", "AP50"] if found.precision else []
    carried = [f"{fps:g} fps" for fps in RATES_FPS]
    for title in ["model", "provider", "px", "threads", "batch", "wall ms", "CPU ms", "MiB", *precise, *carried]:
        table.add_column(title, justify="left" if title in ("model", "provider") else "right", no_wrap=True)
    for cost in found.costs:
        way = cost.way
        seen = (way.model, way.provider, way.input_px)
        precision = found.precision.get(seen)
        table.add_row(
            way.model,
            way.provider,
            *map(str, (way.input_px, way.threads, way.batch)),
            f"{cost.wall_ms:.1f}",
            f"{cost.cpu_ms:.1f}",
            f"{found.memory_mib[seen]:.0f}",
            *((f"{precision.ap:.3f}", f"{precision.ap50:.3f}") if precision else ()),
            *(str(found.cameras(cost, fps)) for fps in RATES_FPS),
        )
    console = Console(width=_TABLE_COLUMNS)
    console.print(table)
    for words in found.left_out:
        console.print(f"left out: {words}", style="yellow", highlight=False)
    for name, side in default_px.items():
        best = found.recommended(name, side)
        if best is not None:
            way = best.way
            carries = " or ".join(f"{found.cameras(best, fps)} cameras at {fps:g} fps" for fps in RATES_FPS)
            console.print(
                f"{name}: {way.provider}, input {way.input_px} px, {way.threads} threads, batch {way.batch}: "
                f"{carries} on {CORES_SHARE:.0%} of {found.cores} cores; the other cores decode",
                highlight=False,
                soft_wrap=True,
            )


def _picture(path: Path | None) -> UInt8:
    import cv2
    import numpy as np

    from edge.capture.packets import PacketCapture
    from edge.capture.timeline import FrameOrigin
    from edge.resources import configs_dir

    if path is None:
        clip = configs_dir() / "demo" / "plaza.mp4"
        capture = PacketCapture(str(clip), camera="export", fps=1, origin=FrameOrigin(mono_ns=0, wall_ns=0, index=0))
        return next(iter(capture)).bgr
    picture = cv2.imread(str(path)) if path.is_file() else None  # of a file that is not there OpenCV warns itself
    if picture is None:
        raise UsageError(f"{path}: is no picture that can be read")
    return np.asarray(picture, np.uint8)


def _verify(path: Path, providers: list[str]) -> bool:
    """Print the verdict on one model; True when it can be used."""
    from edge.detect.manifest import load_manifest
    from edge.detect.models import open_model

    try:
        manifest = load_manifest(path)
        open_model(manifest, threads=1, providers=providers)
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
    if extra is not None and not extra.is_dir():
        raise UsageError(f"{extra}: is no folder; name one that holds a folder for each model")
    return [models_dir()] if extra is None else [extra, models_dir()]
