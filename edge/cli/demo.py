"""`edge demo`: the whole way on real footage, with nothing else installed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for alerts, evidence and report.")] = Path(
        "demo-out"
    ),
    annotate: Annotated[bool, typer.Option(help="Also write annotated.mp4.")] = True,
) -> None:
    """Real footage, a real model, a broker inside: prints each alert as a subscriber receives it.

    Example: edge demo --out demo-out

    Exit status: 0 done, 1 failed, 2 misused.
    """
    from edge.cli.replay import progress, told
    from edge.wiring.recorded import demo as run_demo

    print(
        "A plaza (PETS 2009), a YOLOX-Nano on the CPU, an MQTT broker on loopback. Alerts as a subscriber gets them:\n"
    )
    with progress() as on_frame:
        result = run_demo(out, annotate=annotate, on_alert=_print_alert, on_frame=on_frame)
    print(f"\n{told(result)}\n\nLook at:")
    for name, what in _FILES.items():
        if (out / name).exists():
            print(f"  {out / name:}  {what}")


_FILES = {
    "report.html": "the timeline, every case with its pictures, and what the run cost",
    "annotated.mp4": "the footage with tracks, zones, dwell clocks and cases",
    "alerts.jsonl": "the messages, one CloudEvent a line",
    "evidence": "pictures and manifests, one folder a case",
    "summary.json": "frames, seconds, and where the time went",
}


def _print_alert(topic: str, alert: dict[str, Any]) -> None:
    data = alert["data"]
    kind = alert["type"].split(".")[-2]  # an update's state is still opened
    count = f" x{data['object']['count']}" if "count" in data["object"] else ""
    reason = f" ({data['reason']})" if "reason" in data else ""
    words = (
        f"{data['media_time_s']:7.1f} s  {kind:9} {data['scenario']} {data['category']['name']}: "
        f"{data['object']['label']}{count} in zone {data['zone']['id']}, there for {data['dwell_s']:.0f} s{reason}"
    )
    with suppress(OSError):  # this is the subscriber's thread; the main one says that nobody reads any more
        print(f"{words}\n           {topic}", flush=True)
