"""The scenarios and categories that a site may use: one file each under configs/scenarios/, and categories.yaml.

A scenario's file names its kind and gives the defaults; a use in site.yaml may change any of them. `resolve` makes of
both a `ScenarioUse`, in which nothing is left open.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from edge.config.document import Document, Loc, read_document
from edge.config.fields import NOT_EMPTY, Ends, Id, Name, Severity, Strict, Text
from edge.config.kinds import KINDS, MEASURES, CaseParameters, CheckParameters, LineParameters, MeasureParameters
from edge.config.problems import Problem, problems_of, raise_first
from edge.config.schedule import ALWAYS, Schedule, parse_schedule
from edge.errors import ConfigError
from edge.resources import configs_dir


@dataclass(frozen=True, slots=True)
class Category:
    """A class of the code table, as alerts carry it."""

    code: str
    name: str
    standard: str
    extension: bool  # not in the standard's own list


@dataclass(frozen=True, slots=True)
class _Use:
    """What a camera uses of the catalogue, every parameter filled in."""

    use: str
    kind: str
    parameters: CaseParameters | MeasureParameters  # of its kind

    @property
    def name(self) -> str:
        """What it is called where a camera uses several of its sort: its own `id`, or that of the catalogue."""
        return getattr(self.parameters, "id", None) or self.use

    @property
    def places(self) -> tuple[str, ...]:
        """What its cases or measures are told apart by: its zones, or the name of its line."""
        return self.zones or tuple(self.lines)

    @property
    def zones(self) -> tuple[str, ...]:
        """() for a kind that looks at a line."""
        zones: tuple[str, ...] = getattr(self.parameters, "zones", ())
        return zones

    @property
    def lines(self) -> Mapping[str, Ends]:
        """Its line by name, {} for a kind that looks at zones."""
        return {self.name: self.parameters.line} if isinstance(self.parameters, LineParameters) else {}

    @property
    def labels(self) -> tuple[str, ...]:
        """() for a kind that looks for things of no known class."""
        labels: tuple[str, ...] = getattr(self.parameters, "labels", ())
        return labels

    @property
    def model(self) -> str | None:
        """The detector that judges this use, None for the camera's."""
        model: str | None = getattr(self.parameters, "model", None)
        return model

    @property
    def check(self) -> CheckParameters | None:
        check: CheckParameters | None = getattr(self.parameters, "check", None)
        return check

    def written(self) -> dict[str, object]:
        """As plain values, for the fingerprint of the configuration."""
        return {"use": self.use, "kind": self.kind, **self.parameters.model_dump()}


@dataclass(frozen=True, slots=True)
class ScenarioUse(_Use):
    """One scenario as one camera uses it."""

    parameters: CaseParameters
    category: Category
    active: Schedule | None  # None: always

    @property
    def after_s(self) -> float:
        """0 for a moment, which has no dwell."""
        return float(getattr(self.parameters, "after_s", 0.0))

    def written(self) -> dict[str, object]:
        return {**_Use.written(self), "category": dataclasses.asdict(self.category)}


@dataclass(frozen=True, slots=True)
class MeasureUse(_Use):
    """One measure as one camera uses it."""

    parameters: MeasureParameters


@dataclass(frozen=True, slots=True)
class Scenario:
    """A file of the catalogue, checked."""

    id: str
    kind: str
    title: str
    title_zh: str
    needs: str
    scenes: tuple[int, ...]  # which of the street scenes it serves, by their numbers in seeds/scenes.md
    requires: tuple[str, ...]  # parameters that a use must give
    defaults: Mapping[str, object]  # all but `zones`, and what the kind itself defaults
    reasons: Mapping[str, str]  # why a default is what it is, as the file says beside it

    @property
    def parameters(self) -> type[CaseParameters] | type[MeasureParameters]:
        return KINDS[self.kind] if self.kind in KINDS else MEASURES[self.kind]

    @property
    def is_measure(self) -> bool:
        return self.kind in MEASURES

    @property
    def labels(self) -> tuple[str, ...]:
        """What a model must have a word for; () where no label is needed."""
        labels = self.defaults.get("labels", ())
        return tuple(labels) if isinstance(labels, tuple | list) else ()

    @property
    def sees_regions(self) -> bool:
        """Whether it asks the static-object model."""
        from edge.core.scenarios import rule_class  # here, for whoever only reads a configuration needs no cv2

        return not self.is_measure and rule_class(self.kind).sees_regions

    @property
    def needed(self) -> tuple[str, ...]:
        """What a use must give beside `use`."""
        place = ("line", "direction") if issubclass(self.parameters, LineParameters) else ("zones",)
        return (*place, *self.requires)


@dataclass(frozen=True, slots=True)
class Catalogue:
    scenarios: Mapping[str, Scenario]
    categories: Mapping[str, Category]

    def resolve(self, value: object) -> ScenarioUse | MeasureUse:
        """One member of a camera's `scenarios:` with its defaults. Raises pydantic's ValidationError, located."""
        if not isinstance(value, dict):
            raise _fault((), PydanticCustomError("model_type", "must be a mapping"), value)
        if "use" not in value:
            raise _fault(("use",), "missing", value)
        use = value["use"]
        scenario = self.scenarios.get(use) if isinstance(use, str) else None
        if scenario is None:
            raise _fault(("use",), PydanticCustomError("unknown_scenario", "is no scenario"), use)
        given = {key: parameter for key, parameter in value.items() if key != "use"}
        parameters = scenario.parameters.model_validate({**scenario.defaults, **given})
        for name in scenario.requires:
            if getattr(parameters, name) is None:
                raise _fault((name,), "missing", value)
        if isinstance(parameters, MeasureParameters):
            return MeasureUse(scenario.id, scenario.kind, parameters)
        if parameters.category not in self.categories:
            unknown = PydanticCustomError("unknown_category", "is no category")
            raise _fault(("category",), unknown, parameters.category)
        return ScenarioUse(
            use=scenario.id,
            kind=scenario.kind,
            category=self.categories[parameters.category],
            active=_active(parameters, value),
            parameters=parameters,
        )


def _active(parameters: CaseParameters, value: object) -> Schedule | None:
    """The opening hours without those in which it is allowed."""
    active = parse_schedule(parameters.active) if parameters.active is not None else None
    if parameters.except_hours is None:
        return active
    left = (active or ALWAYS).without(parse_schedule(parameters.except_hours))
    if not left.spans:
        never = PydanticCustomError("never_active", "leaves no time in which it is active")
        raise _fault(("except_hours",), never, value)
    return left


def _fault(loc: Loc, fault: str | PydanticCustomError, value: object) -> ValidationError:
    return ValidationError.from_exception_data("scenario", [InitErrorDetails(type=fault, loc=loc, input=value)])


def _known_kind(kind: str) -> str:
    if kind not in KINDS and kind not in MEASURES:
        raise PydanticCustomError("unknown_kind", "must be {kinds}", {"kinds": ", ".join((*KINDS, *MEASURES))})
    return kind


_REASONED = re.compile(r"^  (\w+): .*?\s# *(.+)$", re.MULTILINE)  # a default with its reason beside it


class _ScenarioFile(Strict):
    id: Id
    kind: Annotated[str, AfterValidator(_known_kind)]
    title: Name
    title_zh: Name
    category: Name | None = None  # of a scenario; a measure has none
    severity: Severity | None = None
    needs: Text
    scenes: Annotated[tuple[Annotated[int, Field(ge=1, le=999)], ...], NOT_EMPTY] | None = None
    requires: tuple[Literal["active"], ...] = ()
    defaults: dict[str, object]


class _CategoryEntry(Strict):
    code: Id
    name: Name
    standard: Name
    edition: Name
    verified: bool
    extension: bool = False


class _CategoriesFile(Strict):
    categories: Annotated[tuple[_CategoryEntry, ...], NOT_EMPTY]


def load_catalogue(configs: Path) -> Catalogue:
    """Read `configs/categories.yaml` and every `configs/scenarios/*.yaml`. Raises ConfigError."""
    categories = _load_categories(configs / "categories.yaml")
    for path in sorted((configs / "scenarios").glob("*.yml")):
        raise ConfigError(f"{path}: would be passed over; name it {path.stem}.yaml")
    files = sorted((configs / "scenarios").glob("*.yaml"))
    if not files:
        raise ConfigError(f"{configs / 'scenarios'}: holds no scenario; is the installation complete?")
    scenarios = {path.stem: _load_scenario(path, categories) for path in files}
    return Catalogue(MappingProxyType(scenarios), MappingProxyType(categories))


@functools.cache
def stock_catalogue() -> Catalogue:
    """The catalogue that travels with the package."""
    return load_catalogue(configs_dir())


def _load_categories(path: Path) -> dict[str, Category]:
    document = read_document(path)
    try:
        entries = _CategoriesFile.model_validate(document.data).categories
    except ValidationError as error:
        raise_first(document, problems_of(error, document, model=_CategoriesFile))
    table: dict[str, Category] = {}
    for row, entry in enumerate(entries):
        if entry.code in table:
            loc = ("categories", row, "code")
            raise_first(document, [Problem(document.line(loc), f"categories[{row}]: code {entry.code} is repeated")])
        table[entry.code] = Category(entry.code, entry.name, entry.standard, entry.extension)
    return table


def _load_scenario(path: Path, categories: Mapping[str, Category]) -> Scenario:
    document = read_document(path)
    try:
        file = _ScenarioFile.model_validate(document.data)
    except ValidationError as error:
        raise_first(document, problems_of(error, document, model=_ScenarioFile))
    if file.id != path.stem:
        raise_first(document, [Problem(document.line(("id",)), f"id must be {path.stem}, as the file's name")])
    filed = {"category": file.category, "severity": file.severity}
    for key, value in filed.items():
        if key in file.defaults:
            line = document.line(("defaults", key))
            raise_first(document, [Problem(line, f"{key} belongs above `defaults:`, not into them")])
        if file.kind in MEASURES and value is not None:
            raise_first(document, [Problem(document.line((key,)), f"{key} does not belong to a measure")])
        if file.kind in KINDS and value is None:
            raise_first(document, [Problem(document.line(()), f"{key} is missing")])
    if file.category is not None and file.category not in categories:
        raise_first(document, [Problem(document.line(("category",)), "category is not in categories.yaml")])
    scenario = Scenario(
        id=file.id,
        kind=file.kind,
        title=file.title,
        title_zh=file.title_zh,
        needs=file.needs,
        scenes=file.scenes or (),
        requires=file.requires,
        defaults=MappingProxyType(file.defaults if file.kind in MEASURES else {**file.defaults, **filed}),
        reasons=MappingProxyType(dict(_REASONED.findall(path.read_text(encoding="utf-8")))),
    )
    _check_defaults(scenario, document)
    return scenario


def _somewhere(parameters: type[Strict]) -> dict[str, object]:
    """A place to look at, of the sort that the kind wants."""
    if issubclass(parameters, LineParameters):
        return {"line": ((0.0, 0.5), (1.0, 0.5)), "direction": "down"}
    return {"zones": ("zone",)}


def _check_defaults(scenario: Scenario, document: Document) -> None:
    """The defaults must be whole: with a place, and nothing else, they make a scenario."""
    try:
        scenario.parameters.model_validate({**scenario.defaults, **_somewhere(scenario.parameters)})
    except ValidationError as error:
        raise_first(document, problems_of(error, document, model=scenario.parameters, prefix=("defaults",)))
