"""site.yaml to a `Site`: read, fill in `${NAME}` from the environment, check, resolve, fingerprint.

Every fault is a ConfigError of one line that begins with `file:line`. What came from the environment is in the models,
where it is used, and nowhere else: not in an error, not in the fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from edge.config.catalogue import Catalogue, MeasureUse, ScenarioUse, stock_catalogue
from edge.config.document import Document, Loc, read_document, short
from edge.config.kinds import CheckParameters
from edge.config.models import CameraConfig, SiteConfig
from edge.config.problems import Problem, locate, problems_of, raise_first
from edge.errors import ConfigError

_Kind = TypeVar("_Kind", ScenarioUse, MeasureUse)
_OPENING = re.compile(r"\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Site:
    """A configuration that can be run."""

    config: SiteConfig
    scenarios: Mapping[str, tuple[ScenarioUse, ...]]  # by camera id
    measures: Mapping[str, tuple[MeasureUse, ...]]  # by camera id
    config_sha256: str  # of the canonical JSON, defaults filled in, `${NAME}` not
    path: Path = field(compare=False)
    document: Document = field(compare=False, repr=False)
    secrets: tuple[str, ...] = field(default=(), compare=False, repr=False)  # what `${NAME}` stood for

    def fault(self, loc: Loc, words: str) -> ConfigError:
        """An error about what stands at `loc`, such as ("cameras", 0, "model"), for what only shows later on.

        `words` end the sentence that the key begins: `site.yaml:12: cameras.gate: model is not installed`.
        """
        return ConfigError(f"{self.document.name}:{self.document.line(loc)}: {_sentence(self.document, loc, words)}")


def load_site(path: Path, *, environ: Mapping[str, str], catalogue: Catalogue | None = None) -> Site:
    """Read and check a configuration. Raises ConfigError. Without `catalogue`, the one of the package."""
    catalogue = catalogue or stock_catalogue()
    document = read_document(path)
    filled = _Expansion(document, environ)
    data = filled.value(document.data, ())
    try:
        config = SiteConfig.model_validate(data, context={"catalogue": catalogue})
    except ValidationError as error:
        names = _Names(document, catalogue)
        raise_first(document, [*filled.missing, *_left_empty(document), *_own_words(error, document, filled, names)])
    if problems := [*filled.missing, *_left_empty(document)]:
        raise_first(document, problems)
    return Site(
        config=config,
        scenarios={camera.id: _of(ScenarioUse, camera) for camera in config.cameras},
        measures={camera.id: _of(MeasureUse, camera) for camera in config.cameras},
        config_sha256=_fingerprint(config, filled.written),
        path=path,
        document=document,
        secrets=tuple(sorted(filled.used)),
    )


def _of(kind: type[_Kind], camera: CameraConfig) -> tuple[_Kind, ...]:
    return tuple(use for use in camera.scenarios if isinstance(use, kind))


class _Expansion:
    """Fills `${NAME}` into texts, and remembers where: those values are told to nobody."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.document = document
        self.environ = environ
        self.missing: list[Problem] = []
        self.unset: set[Loc] = set()  # where a variable could not be filled in
        self.used: set[str] = set()
        self.written: dict[Loc, str] = {}  # texts that hold a variable, as they stand in the file

    def value(self, value: object, loc: Loc) -> object:
        if isinstance(value, dict):
            return {key: self.value(child, (*loc, key)) for key, child in value.items()}
        if isinstance(value, tuple):
            return tuple(self.value(child, (*loc, row)) for row, child in enumerate(value))
        if isinstance(value, str) and "${" in value:
            self.written[loc] = value
            login = _login(value)
            return _OPENING.sub(lambda match: self._variable(match, loc, quoted=match.start() in login), value)
        return value

    def _variable(self, match: re.Match[str], loc: Loc, *, quoted: bool) -> str:
        name, closing = match.groups()
        if not closing or not _VARIABLE.fullmatch(name):
            self._miss(loc, "holds ${ that is not ${NAME}; to have it as text, put the whole text into a variable")
        elif name not in self.environ:
            self._miss(loc, f"needs the environment variable {short(name)}, which is not set")
        value = self.environ.get(name, match.group())
        self.used.add(value)
        return quote(value, safe="") if quoted else value

    def origin(self, loc: Loc) -> str:
        names = ", ".join(f"${{{name}}}" for name, _ in _OPENING.findall(self.written[loc]))
        return f" (from {short(names)})"

    def _miss(self, loc: Loc, words: str) -> None:
        self.unset.add(loc)
        self.missing.append(Problem(self.document.line(loc), _sentence(self.document, loc, words)))


def _login(url: str) -> range:
    """Where a URL's user and password stand: what is filled in there may hold any letter, and is percent-encoded."""
    scheme, found, rest = url.partition("://")
    begin = len(scheme) + len(found)
    end = rest.partition("/")[0].rfind("@")
    return range(begin, begin + end) if found and end >= 0 else range(0)


@dataclass(frozen=True)
class _Names:
    """What would have been right where a name is wrong, as the file writes it."""

    document: Document
    catalogue: Catalogue

    def known(self, kind: str, loc: Loc) -> Collection[str]:
        if kind == "unknown_scenario":
            return tuple(self.catalogue.scenarios)
        if kind == "unknown_category":
            return tuple(self.catalogue.categories)
        if kind == "unknown_zone":
            zones = self.document.at((*loc[:2], "zones"))
            members = range(len(zones)) if isinstance(zones, tuple) else ()
            return [str(self.document.at((*loc[:2], "zones", row, "id"))) for row in members]
        if kind == "extra_forbidden" and loc[2:3] == ("scenarios",) and loc[4:5] == ("check",) and len(loc) > 5:
            return tuple(CheckParameters.model_fields)
        if kind == "extra_forbidden" and loc[2:3] == ("scenarios",):
            scenario = self.catalogue.scenarios.get(str(self.document.at((*loc[:4], "use"))))
            return ("use", *scenario.parameters.model_fields) if scenario else ()
        return ()


def _left_empty(document: Document) -> list[Problem]:
    """Keys with nothing after them; `password: &x9` is one, for YAML. Who means nothing writes null."""
    empty = [loc for loc, text in document.written.items() if text == "" and document.at(loc) is None]
    return [Problem(document.line(loc), _sentence(document, loc, "is empty")) for loc in empty if loc]


def _sentence(document: Document, loc: Loc, words: str) -> str:
    where, key = locate(document, loc)
    return f"{where}: {key} {words}".removeprefix(": ")


def _own_words(error: ValidationError, document: Document, filled: _Expansion, names: _Names) -> list[Problem]:
    """Each fault in words. Of a value that came from the environment they tell only the variable's name."""
    told: list[Problem] = []
    details = error.errors(include_url=False)
    problems = problems_of(error, document, model=SiteConfig, known=names.known)
    for detail, problem in zip(details, problems, strict=True):
        loc = detail["loc"]
        if loc in filled.unset:
            continue
        if loc not in filled.written:
            told.append(problem)
        elif detail["type"] == "schedule":  # its words repeat the part that is wrong
            words = f"is not like Mon-Sun 07:00-22:00{filled.origin(loc)}"
            told.append(Problem(problem.line, _sentence(document, loc, words)))
        else:
            told.append(Problem(problem.line, problem.words + filled.origin(loc)))
    return told


def _fingerprint(config: SiteConfig, written: Mapping[Loc, str]) -> str:
    plain = _plain(config.model_dump(), (), written)
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object, loc: Loc, written: Mapping[Loc, str]) -> object:
    """The models as plain JSON, with texts that held a variable as they were written."""
    if loc in written:
        return written[loc]
    if isinstance(value, dict):
        return {key: _plain(child, (*loc, key), written) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child, (*loc, row), written) for row, child in enumerate(value)]
    return value
