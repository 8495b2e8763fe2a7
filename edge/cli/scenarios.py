"""`edge scenarios`: what the catalogue holds, what sees each of them, and why its defaults are what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from edge.config.catalogue import Catalogue, Scenario

STOCK_MODEL = "yolox-nano"


def scenarios(
    names: list[str] = typer.Argument(None, metavar="[SCENARIO]...", help="Those to show in full; all in brief."),
    markdown: bool = typer.Option(False, "--markdown", help="Print all in full, as docs/scenarios.md holds them."),
) -> None:
    """List the scenarios and what each needs; of those named, every default and the reason for it.

    Example: edge scenarios illegal-parking

    Exit status: 0, 2 there is no such scenario.
    """
    from edge.config.catalogue import stock_catalogue

    catalogue = stock_catalogue()
    if markdown:
        typer.echo(page(catalogue))
        return
    for name in names or ():
        typer.echo("\n".join(_in_full(_named(catalogue, name), catalogue)))
    if not names:
        _print_table(catalogue)


def page(catalogue: Catalogue) -> str:
    """All scenarios as Markdown: one table, then each with its defaults and their reasons."""
    lines = ["| scenario | scene | seen by | category |", "|---|---|---|---|"]
    for scenario in catalogue.scenarios.values():
        title = f"{scenario.title} {scenario.title_zh}"
        lines.append(
            f"| [`{scenario.id}`](#{scenario.id}) | {title} | {seen_by(scenario)} | {_category(scenario, catalogue)} |"
        )
    for scenario in catalogue.scenarios.values():
        lines += ["", *_in_full(scenario, catalogue)]
    return "\n".join(lines)


def seen_by(scenario: Scenario) -> str:
    """The parts that must be there: the stock model, a custom one with certain labels, the static-object model."""
    parts: list[str] = []
    labels = scenario.labels
    unknown = [label for label in labels if label not in _stock_labels()]
    if labels and len(unknown) < len(labels):
        parts.append("stock model")
    if unknown:
        parts.append(f"custom model ({', '.join(unknown)})")
    if scenario.sees_regions:
        parts.append("static-object model")
    return " + ".join(parts)


def _stock_labels() -> tuple[str, ...]:
    from edge.detect.manifest import parse_manifest
    from edge.resources import models_dir

    return parse_manifest(models_dir() / STOCK_MODEL).labels


def _in_full(scenario: Scenario, catalogue: Catalogue) -> list[str]:
    lines = [
        f"## {scenario.id}",
        "",
        f"{scenario.title} {scenario.title_zh}. Seen by: {seen_by(scenario)}. Kind: `{scenario.kind}`. "
        f"Category: {_category(scenario, catalogue)}.",
        "",
        " ".join(scenario.needs.split()),
        *(f"A use must give `{name}`." for name in scenario.needed if name != "zones"),
        "",
        "| parameter | default | because |",
        "|---|---|---|",
    ]
    for name, value in scenario.defaults.items():
        if name in ("category", "severity"):
            continue
        lines.append(f"| `{name}` | {_plain(value)} | {scenario.reasons.get(name, '')} |")
    return lines


def _category(scenario: Scenario, catalogue: Catalogue) -> str:
    code = scenario.defaults.get("category")
    if code is None:
        return "none: a measure"
    category = catalogue.categories[str(code)]
    return f"{category.code} {category.name}{' (extension)' if category.extension else ''}"


def _plain(value: object) -> str:
    return ", ".join(str(member) for member in value) if isinstance(value, tuple | list) else str(value)


def _named(catalogue: Catalogue, name: str) -> Scenario:
    import difflib

    from edge.errors import UsageError

    known = catalogue.scenarios
    if name not in known:
        close = difflib.get_close_matches(name[:100], sorted(known), n=1)
        raise UsageError(f"{name}: is no scenario{f'; did you mean {close[0]}?' if close else ''}; see edge scenarios")
    return known[name]


def _print_table(catalogue: Catalogue) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("scenario", "scene", "seen by", "category")
    for scenario in catalogue.scenarios.values():
        title = f"{scenario.title} {scenario.title_zh}"
        table.add_row(scenario.id, title, seen_by(scenario), _category(scenario, catalogue))
    Console().print(table)
