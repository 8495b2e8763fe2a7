"""`edge bench`: the figures of performance on this machine, in a line or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="What this machine can do: costs, delays, memory, cameras.", rich_markup_mode=None)

_Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here; - prints them.")]
_DEMO = "the demo's clip over and over, if left out"
_Decode = Annotated[str, typer.Option(help="auto, all or keyframes.")]
_DECODES = ("auto", "all", "keyframes")


@app.callback(invoke_without_command=True)
def bench(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command("replay")
def replay(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="Footage of one camera.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration, usually site.yaml.")],
    camera: Annotated[str | None, typer.Option(help="Which camera of the configuration recorded the clip.")] = None,
    rounds: Annotated[int, typer.Option(help="How often; the figures are medians.")] = 3,
    seconds: Annotated[float, typer.Option(help="Only the first so many of the clip; 0 is all.")] = 0.0,
    json: _Json = None,
) -> None:
    """Measure what a camera-minute of footage costs in CPU seconds, start-up left out, stage by stage.

    Example: edge bench replay monday.mp4 --config site.yaml

    Exit status: 0 measured, 1 the clip or the model cannot be used, 2 misused.
    """
    import os

    from edge.bench.replay import measure
    from edge.config.loader import load_site

    found = measure(
        load_site(config, environ=os.environ),
        clip,
        camera=camera,
        seconds=_within(seconds, "--seconds", 0),
        rounds=rounds,
    )
    lines = [
        f"{found['cpu_s_per_minute']:.2f} CPU s per camera-minute, {found['times_real_time']:.1f} times real time, "
        f"{found['rest_share']:.1%} of the CPU outside decoder and network"
    ]
    lines += [
        f"  {name:10}{stage['wall_ms']:9.2f} ms{stage['cpu_ms']:9.2f} ms of the thread's CPU{stage['count']:8} times"
        for name, stage in found["stages"].items()
    ]
    _tell("replay", found, lines, json)


@app.command("hotpath")
def hotpath(
    cameras: Annotated[str, typer.Option(help="Numbers of cameras.")] = "1,16,64",
    objects: Annotated[str, typer.Option(help="Numbers of things in each picture.")] = "1,50,300",
    seconds: Annotated[float, typer.Option(help="About how long; five rounds at least.")] = 20.0,
    json: _Json = None,
) -> int:
    """Measure each stage of the frame path in microseconds a picture; a cost that grows with the cameras is a fault.

    Example: edge bench hotpath --seconds 5

    Exit status: 0 measured, 1 a picture costs over 20 % more with the most cameras than with the fewest, 2 misused.
    """
    from edge.bench.hotpath import GROWTH_MAX, OBJECTS_MAX, measure

    things = _numbers(objects, "--objects")
    _within(max(things), "--objects", 1, OBJECTS_MAX)
    found: Any = measure(_numbers(cameras, "--cameras"), things, seconds=_within(seconds, "--seconds", 0))
    stages = found["stages"]
    lines = [f"{'us a picture':24}" + "".join(f"{stage:>13}" for stage in (*stages, "total"))]
    for row in found["rows"]:
        costs = [*(row["stages_us"][stage] for stage in stages), row["total_us"]]
        name = f"{row['cameras']} cameras, {row['objects']} things"
        lines.append(f"{name:24}" + "".join(f"{cost:13.1f}" for cost in costs))
    grown = {things: ratio for things, ratio in found["growth"].items() if ratio > 1 + GROWTH_MAX}
    lines += [
        f"{things} things: {ratio - 1:+.1%} from the fewest to the most cameras"
        f"{f' (FAILED: may be {GROWTH_MAX:+.0%})' if things in grown else ''}"
        for things, ratio in found["growth"].items()
    ]
    _tell("hotpath", found, lines, json)
    return 1 if grown else 0


@app.command("memory")
def memory(
    source: Annotated[str, typer.Option(help=f"rtsp://host/camera{{n}}, or a file; {_DEMO}.")] = "",
    cameras: Annotated[int, typer.Option(help="How many, against one.")] = 5,
    seconds: Annotated[float, typer.Option(help="How long each gateway runs before it is measured.")] = 30.0,
    use: Annotated[
        list[str] | None,
        typer.Option(help="A scenario of each camera; may be given again. illegal-parking if none is."),
    ] = None,
    decode: _Decode = "auto",
    json: _Json = None,
) -> int:
    """Measure the private memory (USS) that one more camera takes, and the detector's, with the service's processes.

    Example: edge bench memory --source "rtsp://10.0.0.8/camera{n}" --cameras 9

    Exit status: 0 measured, 1 over 45 MiB for a camera or 300 MiB for the detector, or it does not run, 2 misused.
    """
    from edge.bench.memory import CAMERA_MIB_MAX, DETECTOR_MIB_MAX, measure
    from edge.bench.streets import demo_clip

    found = measure(
        source or demo_clip(),
        uses=use or ["illegal-parking"],
        cameras=cameras,
        seconds=_within(seconds, "--seconds", 0),
        decode=_known(decode),
    )
    over = found["extra_camera_mib"] >= CAMERA_MIB_MAX or found["detector_mib"] >= DETECTOR_MIB_MAX
    line = (
        f"{found['extra_camera_mib']:.1f} MiB for each more camera (its worker {found['camera_worker_mib']:.1f}), "
        f"detector {found['detector_mib']:.0f} MiB, gateway of {cameras} cameras {found['gateway_mib']:.0f} MiB"
        f"{f' (FAILED: may be {CAMERA_MIB_MAX:g} and {DETECTOR_MIB_MAX:g})' if over else ''}"
    )
    _tell("memory", found, [line], json)
    return 1 if over else 0


@app.command("latency")
def latency(
    source: Annotated[str, typer.Option(help=f"A camera with people in it, or a file; {_DEMO}.")] = "",
    seconds: Annotated[float, typer.Option(help="How long; each needs some alerts.")] = 60.0,
    broker: Annotated[str, typer.Option(metavar="URL", help="A broker to go through, else one of our own.")] = "",
    json: _Json = None,
) -> None:
    """Measure how long after its condition was met an alert has gone through the broker.

    Example: edge bench latency --broker mqtt://127.0.0.1:1883

    Exit status: 0 measured, 1 too few alerts or no broker, 2 misused.
    """
    from edge.bench.latency import measure
    from edge.bench.streets import demo_clip

    found = measure(source or demo_clip(), seconds=_within(seconds, "--seconds", 1), broker_url=broker or None)
    p99 = "" if found["p99_s"] is None else f"p99 {found['p99_s']:.3f} s, "
    line = f"{found['alerts']} alerts: p50 {found['p50_s']:.3f} s, {p99}most {found['max_s']:.3f} s"
    _tell("latency", found, [line], json)


@app.command("live")
def live(
    source: Annotated[str, typer.Option(help="Where the cameras are: rtsp://host/camera{n}, n from 0.")],
    delay: Annotated[float, typer.Option("--delay-s", help="What the p99 of the delay must stay under.")] = 5.0,
    seconds: Annotated[float, typer.Option(help="How long each trial lasts, 20 at least.")] = 60.0,
    decode: _Decode = "auto",
    fps: Annotated[float, typer.Option(help="Pictures analysed a second, at most.")] = 5.0,
    most: Annotated[int, typer.Option("--cameras-max", help="Search no further.")] = 256,
    limit: Annotated[float, typer.Option("--limit-s", help="Begin no trial after so long.")] = 1800.0,
    json: _Json = None,
) -> int:
    """Find how many live cameras this machine sustains: double, then halve the gap.

    Every camera counts people too, which asks for motion: with `auto` it decodes everything while somebody moves. For
    cameras that wait for parked cars and goods alone choose `--decode keyframes`. Each trial says what was decoded.

    Example: edge bench live --source "rtsp://10.0.0.8/camera{n}" --decode keyframes

    Exit status: 0 found, 1 not even one camera holds, 2 misused.
    """
    from edge.bench.live import Trial, measure

    def told(trial: Trial) -> None:
        verdict = "held" if trial.held else f"did not hold: {trial.reason}"
        if json != _STDOUT:
            print(
                f"{trial.cameras} cameras {verdict} (p50 {trial.delay_p50_s:.2f} s, p99 {trial.delay_p99_s:.2f} s, "
                f"{trial.cores:.2f} cores, {trial.left_out_share:.1%} left out; decoding {trial.decoding})",
                flush=True,
            )

    found = measure(
        source,
        delay_s=_within(delay, "--delay-s", 0.1),
        seconds=seconds,
        decode=_known(decode),
        fps=_within(fps, "--fps", 0.1, 60),
        cameras_max=most,
        limit_s=_within(limit, "--limit-s", 1),
        on_trial=told,
    )
    _tell("live", found, [f"{found['cameras']} cameras ({found['found']})"], json)
    return 0 if found["cameras"] else 1


_STDOUT = Path("-")


def _tell(kind: str, found: dict[str, Any], lines: list[str], path: Path | None) -> None:
    from json import dumps

    from edge.bench.history import machine

    document = dumps({"bench": kind, "machine": machine(), **found}, indent=1)
    if path == _STDOUT:
        print(document)
        return
    print("\n".join(lines))
    if path is not None:
        path.write_text(document + "\n", encoding="utf-8")


def _numbers(text: str, option: str) -> list[int]:
    from edge.errors import UsageError

    numbers = [int(word) for word in text.split(",") if word.strip().isdecimal()]
    if not numbers or len(numbers) != text.count(",") + 1 or min(numbers) < 1:
        raise UsageError(f"{option} {text}: write numbers from 1 on, like 1,16,64")
    return numbers


def _within(value: float, option: str, least: float, most: float = 86_400.0) -> float:
    from edge.errors import UsageError

    if not least <= value <= most:  # nor is what is no number
        raise UsageError(f"{option} {value:g}: choose {least:g} to {most:g}")
    return value


def _known(decode: str) -> str:
    from edge.errors import UsageError

    if decode not in _DECODES:
        raise UsageError(f"--decode {decode}: choose one of {', '.join(_DECODES)}")
    return decode
