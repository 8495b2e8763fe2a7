"""`edge evidence`: whether what lies in a folder or a zip is as it was sealed, and a case to pass on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.evidence.verify import Verdict

app = typer.Typer(help="Evidence: prove it, pass it on.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def evidence(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command("verify")
def verify_evidence(
    path: Annotated[Path, typer.Argument(help="A case, replay or state folder, or an exported zip.")],
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="PUB", help="The gateway's public key, got from itself; may be given twice."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head", metavar="SHA256", help="Of a manifest that the gateway told as its newest; not of an export."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found, for programs.")] = False,
) -> int:
    """Prove that evidence is as it was sealed: every file, every signature, every link of the chain.

    Example: edge evidence verify /var/lib/city-eye-edge --key gw-01.pub

    Without --key the key that lies there is used: that proves that nothing was changed since it was signed, not who
    signed it. Removal of the newest cases is found; a whole folder put back to an older day only with --head.
    Exit status: 0 sound, 1 something does not hold (the first is named), 2 misused, or no evidence there.
    """
    from edge.errors import EvidenceError, UsageError
    from edge.evidence.keys import read_public_key
    from edge.evidence.verify import verify

    if head is not None and not (len(head) == 64 and set(head) <= set("0123456789abcdef")):
        raise UsageError(f"--head {head}: is no SHA-256 in hex; the status notice tells it as evidence.head")
    verdict = verify(path, keys=[read_public_key(each) for each in key or ()], head=head)
    if as_json:
        print(json.dumps(verdict_document(verdict), ensure_ascii=False, indent=2))
        return 0 if verdict.sound else 1
    print(verdict_words(verdict))
    if not verdict.sound:
        more = f" (and {verdict.problem_count - 1} more)" if verdict.problem_count > 1 else ""
        raise EvidenceError(f"{verdict.problems[0]}{more}")
    return 0


@app.command("export")
def export_cases(
    cases: Annotated[list[str], typer.Argument(metavar="CASE_ID...", help="As its alerts name it; 8 letters will do.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="ZIP", help="A new file.")],
    state: Annotated[Path | None, typer.Option("--state", help="The gateway's state folder.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The gateway's site.yaml.")] = None,
    replay: Annotated[Path | None, typer.Option("--from", metavar="DIR", help="Instead, a replay's folder.")] = None,
) -> int:
    """Pack cases into one zip that verifies anywhere with the gateway's public key, with a sheet to read or print.

    Example: edge evidence export 2f1c9a7e -o case.zip

    It is verified before it is handed out. It holds the untouched originals, in which nothing is blurred.
    Exit status: 0 done, 1 the evidence does not hold or cannot be written, 2 misused, or no such case.
    """

    from edge.config.state_folder import running_state_folder
    from edge.errors import UsageError
    from edge.evidence.bundle import export

    if replay is not None and (state is not None or config is not None):
        raise UsageError("give --from, or --state and --config")
    root = replay or running_state_folder(named=state, config=config, environ=os.environ)
    bundle = export(root, cases, output)
    print(f"{bundle.path}: {len(bundle.cases)} cases, {bundle.path.stat().st_size / 1e6:.1f} MB")
    print(verdict_words(bundle.verdict))
    return 0


@app.command("prune")
def prune(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The gateway's site.yaml; its `evidence:` says what goes.")
    ],
    state: Annotated[Path | None, typer.Option("--state", help="The gateway's state folder.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> int:
    """Delete pictures and clips whose time is over, as the service does every hour; a signed record of them stays.

    Example: edge evidence prune --config site.yaml --dry-run

    Never those of an open case; of one that somebody still waits for only where the disk would fill.
    Exit status: 0 done, 1 something could not be deleted, 2 misused.
    """
    from edge.clock import SystemClock
    from edge.config.loader import load_site
    from edge.config.state_folder import state_folder
    from edge.wiring.upkeep import prune_evidence

    folder = state_folder(named=state, config=config, environ=os.environ)
    site = load_site(config, environ=os.environ)
    done = prune_evidence(site, folder, now_wall_ns=SystemClock().wall_ns(), dry_run=dry_run)
    gone = f"{done.removed_files} files of {done.removed_cases} cases, {done.removed_bytes / 1e6:.1f} MB"
    left = f"{done.cases - done.removed_cases} cases with {done.bytes / 1e6:.1f} MB"
    print(f"{'would delete' if dry_run else 'deleted'} {gone}; {left} stay")
    return 1 if done.failures else 0


def verdict_document(verdict: Verdict) -> dict[str, object]:
    return {
        "sound": verdict.sound,
        "kind": verdict.kind,
        "checked": {
            "cases": verdict.cases,
            "manifests": verdict.manifests,
            "signatures": verdict.signatures,
            "files": verdict.files,
            "bytes": verdict.bytes,
            "removed_on_record": verdict.removed,
            "unfinished": verdict.unfinished,
        },
        "first_at": verdict.first_at or None,
        "last_at": verdict.last_at or None,
        "keys": dict(verdict.keys),
        "keys_named": verdict.keys_named,
        "chain": {"count": verdict.count, "head": verdict.head},
        "problems": list(verdict.problems),
        "problem_count": verdict.problem_count,
        "notes": list(verdict.notes),
    }


def verdict_words(verdict: Verdict) -> str:
    """What was checked, line by line; what does not hold is told by the caller."""
    lines = [
        f"{'sound' if verdict.sound else 'NOT SOUND'}: {verdict.kind}: {verdict.cases} cases, {verdict.manifests} "
        f"manifests, {verdict.files} files, {verdict.bytes / 1e6:.1f} MB, {verdict.signatures} signatures hold"
    ]
    if verdict.first_at:
        lines.append(f"from {verdict.first_at} to {verdict.last_at}")
    for key_id in verdict.keys:
        origin = "the key named" if verdict.keys_named else "found with it: proves integrity, not origin (see --key)"
        lines.append(f"key {key_id}: {origin}")
    if verdict.head is not None:
        lines.append(f"chain of {verdict.count}, head {verdict.head}")
    if verdict.removed:
        lines.append(f"{verdict.removed} files were removed on record, when their time was over")
    if verdict.unfinished:
        lines.append(f"{verdict.unfinished} files of alerts that are being written, or were when a process ended")
    return "\n".join([*lines, *verdict.notes])
