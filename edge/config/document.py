"""YAML text to plain values, each with the line where it stands.

PyYAML's composer, not its constructor: the nodes know their lines, and nothing but text, numbers, true/false, empty,
lists and mappings gets through. Lists become tuples. What YAML allows but a configuration should not have is refused
here: repeated and merged keys, tags, numbers that YAML reads in another base, files without bounds.
No message repeats a value from the file: it may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from edge.errors import ConfigError

Loc = tuple[str | int, ...]

SIZE_MAX_BYTES = 1_000_000
DEPTH_MAX = 32
NODES_MAX = 50_000  # 64 cameras with all their zones need about 15,000

_TOO_DEEP = "too deeply nested"
_TOO_MANY = f"holds more than {NODES_MAX} values (aliases counted as often as they are used)"

_TAG = "tag:yaml.org,2002:"
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|\.[0-9]+")
_NUMBER_MAX = 30  # characters; Python refuses to read numbers of thousands of digits
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Document:
    """A file's values, and where and how each was written."""

    name: str  # as it is printed before the line
    data: object  # dict, tuple, str, int, float, bool, None
    lines: Mapping[Loc, int] = field(repr=False)
    key_lines: Mapping[Loc, int] = field(repr=False)
    written: Mapping[Loc, str] = field(repr=False)  # scalars as they stand in the file

    def line(self, loc: Loc) -> int:
        """Line of the value at `loc`, or of the nearest thing round it."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, 1)

    def at(self, loc: Loc) -> object:
        """The value at `loc`; None where there is none."""
        value: object = self.data
        for step in loc:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, tuple) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value


def read_document(path: Path) -> Document:
    """Read one YAML file. Raises ConfigError, one line that begins with the file and, where it has one, the line."""
    return parse_document(_read_text(path), str(path))


def parse_document(text: str, name: str) -> Document:
    root = _compose(text, name)
    if root is None:
        raise ConfigError(f"{name}: the file is empty; see `edge schema` for what belongs into it")
    reader = _Reader(name)
    data = reader.value(root, ())
    return Document(name, data, reader.lines, reader.key_lines, reader.written)


def _read_text(path: Path) -> str:
    try:
        if not path.exists():
            raise ConfigError(f"{path}: no such file")
        if not path.is_file():
            raise ConfigError(f"{path}: is not a file; name a YAML file")
        with path.open("rb") as file:
            content = file.read(SIZE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > SIZE_MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {SIZE_MAX_BYTES // 1000} kB; a configuration is not")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that stops at a depth, instead of at Python's recursion limit, and at a number of nodes."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > DEPTH_MAX:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.get_mark())
        if self.nodes > 2 * NODES_MAX:  # keys are nodes too
            raise yaml.MarkedYAMLError(problem=_TOO_MANY, problem_mark=self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, name: str) -> yaml.Node | None:
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: {_syntax_words(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{name}:{line}: holds a control character (code {error.character}); remove it") from None
    except (ValueError, OverflowError):  # an escape or a %YAML directive whose number has no end
        line = loader.get_mark().line + 1 if loader else 1
        raise ConfigError(f"{name}:{line}: not valid YAML: a number in an escape or directive is too large") from None


def _syntax_words(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's problem in our words, and never its context: that may name a password that begins with * or &."""
    problem = error.problem or error.context or "cannot be read"
    if problem in {_TOO_DEEP, _TOO_MANY}:
        return problem
    story = f"{problem} {error.context}"
    words = (plain for sign, plain in _SYNTAX.items() if sign in story)
    return next(words, f"not valid YAML: {problem.splitlines()[0]}")


_SYNTAX = {
    "'\\t'": "a tab cannot indent YAML; use spaces",
    "undefined alias": "a text that begins with * must stand in quotes",
    "duplicate anchor": "a text that begins with & must stand in quotes (or: one anchor is given twice)",
    "single document": "a second document (after ---) is not read; keep one document a file",
    " tag": "a text that begins with ! must stand in quotes",
}


class _Reader:
    """Walks the nodes of one file; aliases are followed, within the bound on nodes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Loc, int] = {}
        self.key_lines: dict[Loc, int] = {}
        self.written: dict[Loc, str] = {}

    def value(self, node: yaml.Node, loc: Loc) -> object:
        self.lines[loc] = _line(node)
        if len(self.lines) > NODES_MAX:
            raise self._error(node, _TOO_MANY)
        if len(loc) > DEPTH_MAX:
            raise self._error(node, f"{_TOO_DEEP} (does an alias hold itself?)")
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return {self._key(key, loc): self.value(child, (*loc, key.value)) for key, child in node.value}
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return tuple(self.value(child, (*loc, row)) for row, child in enumerate(node.value))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, loc)
        raise self._error(node, "a YAML tag (! or !!) is not understood here; remove it")

    def _key(self, node: yaml.Node, owner: Loc) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a plain word")
        if node.tag == f"{_TAG}merge":
            raise self._error(node, "merging keys with << is not understood here; write the keys out")
        loc = (*owner, node.value)
        if loc in self.key_lines:
            first = self.key_lines[loc]
            raise self._error(node, f"key {short(node.value)} is repeated; it stands in line {first} already")
        self._refuse_surrogates(node)
        self.key_lines[loc] = _line(node)
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> object:
        text: str = node.value
        self.written[loc] = text
        self._refuse_surrogates(node)
        match node.tag.removeprefix(_TAG):
            case "str" | "timestamp" | "value" | "merge":  # a date is text here, and so are = and <<
                return text
            case "null":
                return None
            case "bool" if text.lower() in _WORDS:
                return _WORDS[text.lower()]
            case "int" | "float":
                return self._number(node, text)
        raise self._error(node, "a YAML tag (! or !!) is not understood here; remove it")

    def _number(self, node: yaml.ScalarNode, text: str) -> int | float:
        if text.lower().lstrip("+-") in {".inf", ".nan"}:
            return float(text.replace(".", "", 1))
        if not is_number(text):
            raise self._error(
                node,
                "YAML reads this as a number in another notation (octal, hexadecimal, base 60 or with _): "
                "put quotes round a text, write a number in plain digits",
            )
        return int(text) if text.lstrip("+-").isdigit() else float(text)

    def _refuse_surrogates(self, node: yaml.ScalarNode) -> None:
        if _SURROGATE.search(node.value):
            raise self._error(node, "an escape stands for half a character (\\ud800 to \\udfff); remove it")

    def _error(self, node: yaml.Node, words: str) -> ConfigError:
        return ConfigError(f"{self.name}:{_line(node)}: {words}")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def is_number(text: str) -> bool:
    """Whether the text would be a number if it stood without quotes."""
    return len(text) <= _NUMBER_MAX and bool(_PLAIN_NUMBER.fullmatch(text))


def short(text: str) -> str:
    """A piece of the user's text, fit for the middle of a one-line message."""
    clean = text if text.isprintable() else ascii(text)[1:-1]
    return clean if len(clean) <= 60 else clean[:57] + "..."
