"""`edge evaluate`: how right the alerts are, against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH.json", help="Clips, zones, scenarios and true events.")],
    media: Annotated[Path, typer.Option("--media", help="Folder of the clips.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for one replay a clip, and evaluation.json.")],
    only: Annotated[list[str] | None, typer.Option("--only", help="Only clips whose name holds this.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Clips that are replayed at once.")] = 1,
    evidence: Annotated[
        bool, typer.Option("--evidence/--no-evidence", help="Keep each replay's pictures and report.")
    ] = True,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Replay labelled footage and count what was found, missed, doubled and invented.

    Example: edge evaluate events.json --media footage --out evaluation

    Exit status: 0 measured, whatever the outcome, 1 a clip failed, 2 misused.
    """
    from edge.runtime.evaluation import as_markdown, as_text
    from edge.wiring.recorded import evaluate as run_evaluation

    evaluation = run_evaluation(truth, media=media, out=out, only=only or (), jobs=jobs, evidence=evidence)
    print(as_markdown(evaluation) if markdown else as_text(evaluation))
