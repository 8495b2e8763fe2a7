"""The JSON Schema of site.yaml, for editors: what may stand where, with each scenario's own parameters and defaults."""

from __future__ import annotations

from typing import Any

from edge.config.catalogue import Catalogue, Scenario, stock_catalogue
from edge.config.models import SiteConfig


def json_schema(catalogue: Catalogue | None = None) -> dict[str, Any]:
    """Draft 2020-12. Without `catalogue`, the one of the package."""
    catalogue = catalogue or stock_catalogue()
    schema = SiteConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "City Eye Edge site configuration"
    definitions = schema["$defs"]
    uses = []
    for scenario in catalogue.scenarios.values():
        use = _use_schema(scenario, catalogue)
        definitions.update(use.pop("$defs", {}))
        definitions[f"scenario-{scenario.id}"] = use
        uses.append({"$ref": f"#/$defs/scenario-{scenario.id}"})
    definitions["CameraConfig"]["properties"]["scenarios"]["items"] = {"oneOf": uses}
    broker = schema["properties"]["mqtt"]
    broker["anyOf"] = [*broker["anyOf"], {"enum": ["embedded", "none"]}]
    for name in ("commands", "console"):
        section = schema["properties"][name]
        section["anyOf"] = [*section["anyOf"], {"const": "none"}]
    return schema


def _use_schema(scenario: Scenario, catalogue: Catalogue) -> dict[str, Any]:
    schema = scenario.parameters.model_json_schema()
    properties: dict[str, Any] = schema["properties"]
    for name, value in scenario.defaults.items():
        properties[name]["default"] = list(value) if isinstance(value, tuple) else value
    if not scenario.is_measure:
        properties["category"]["enum"] = list(catalogue.categories)
    schema["title"] = f"{scenario.title} {scenario.title_zh}"
    schema["description"] = scenario.needs
    schema["properties"] = {"use": {"const": scenario.id}, **properties}
    schema["required"] = ["use", *scenario.needed]
    return schema
