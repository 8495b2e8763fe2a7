"""What pydantic found, in our words: `cameras.gate.zones[1]: polygon needs 3 points, has 2`, and on which line.

A value is quoted as it is written in the file, never as the environment filled it in, and not at all where it may hold
a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, get_args
from zoneinfo import available_timezones

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge.config.document import Document, Loc, is_number, short
from edge.config.fields import ID_PATTERN
from edge.errors import ConfigError

_SECRET_KEYS = {
    *("source", "evidence_source", "url", "username", "password", "secret", "mqtt"),
    *("token", "access_key", "secret_key"),
}
_NAMING_KEYS = ("id", "use")  # a member of a list is called by these
_NAME = re.compile(ID_PATTERN.replace(r"\z", r"\Z"))


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    line: int
    words: str


def raise_first(document: Document, problems: Iterable[Problem]) -> NoReturn:
    """Tell the one that stands first in the file, and how many there are beside it."""
    ordered = sorted(set(problems))
    more = f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else ""
    raise ConfigError(f"{document.name}:{ordered[0].line}: {ordered[0].words}{more}") from None


def problems_of(
    error: ValidationError,
    document: Document,
    *,
    model: type[BaseModel],
    prefix: Loc = (),
    known: Callable[[str, Loc], Collection[str]] = lambda _type, _loc: (),
) -> list[Problem]:
    """`known(type, loc)` names what would have been right, for errors that are about a name."""
    details = error.errors(include_url=False, include_context=True)
    return [_problem(detail, document, model, prefix, known) for detail in details]


def _problem(
    detail: ErrorDetails,
    document: Document,
    model: type[BaseModel],
    prefix: Loc,
    known: Callable[[str, Loc], Collection[str]],
) -> Problem:
    loc = (*prefix, *detail["loc"])
    kind = detail["type"]
    owner = owner_of(document, loc)
    if kind == "extra_forbidden":
        names = known(kind, loc) or keys_of(model, detail["loc"][:-1])
        words = f"unknown key {short(str(loc[-1]))}{_choice(str(loc[-1]), names, 'known keys')}"
        return Problem(document.key_lines.get(loc, document.line(loc)), _at(document, owner, words))
    key = _dotted((), loc[len(owner) :])
    if kind == "missing" and isinstance(loc[-1], int):
        members = "lengths" if loc[-2] == "scale" else "numbers"
        words = f"{_dotted((), loc[len(owner) : -1])} needs two {members}"
        return Problem(document.line(loc), _at(document, owner, words))
    words = _words(detail, document, loc, known)
    return Problem(document.line(loc), _at(document, owner, f"{key} {words}".strip()))


def _words(detail: ErrorDetails, document: Document, loc: Loc, known: Callable[[str, Loc], Collection[str]]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    written = document.written.get(loc, "")
    if document.at(loc) is None and kind != "missing":
        words = "is empty"
    elif kind in _NAMES:
        phrase, listed = _NAMES[kind]
        words = f"{_quoted(document, loc)} {phrase}{_choice(written, known(kind, loc), listed)}".strip()
    elif kind == "timezone":
        words = detail["msg"] + _has(document, loc) + _nearest(written, available_timezones())
    elif kind == "string_type":
        words = "must be text" + _unquoted_hint(document, loc)
    elif kind in _COMPLETE:
        words = detail["msg"]
    elif kind in _NUMERIC and isinstance(document.at(loc), str) and is_number(written):
        # YAML takes 1e9 for a text even without quotes.
        advice = "write it in plain digits" if "e" in written.lower() else "leave out the quotes"
        words = f'{_BUILT_IN[kind](context)}, has the text "{written}": {advice}'
    elif kind in _BUILT_IN:
        words = _BUILT_IN[kind](context) + _has(document, loc)
    else:
        words = detail["msg"][:1].lower() + detail["msg"][1:] + _has(document, loc)
    return words


_NUMERIC = frozenset({"literal_error", "int_type", "float_type"})
# Their messages say what was found, or must not.
_COMPLETE = frozenset(
    {
        "polygon",
        "scale",
        "line",
        "direction",
        "whole_day",
        "schedule",
        "never_active",
        "broker_url",
        "http_url",
        "robot_url",
        "prefix",
        "secret",
        "bridges",
        "source_url",
        "listen",
        "password",
        "tls",
        "distinct",
        "printable",
        "too_few",
    }
)

_LISTED_MAX = 20  # names in one line of an error; the catalogue has more. Keys stand nowhere else, and are all listed

_NAMES: Mapping[str, tuple[str, str]] = {
    "unknown_scenario": ("is no scenario", "known scenarios"),
    "unknown_zone": ("is no zone of this camera", "its zones"),
    "bay_is_zone": ("is among its zones too: nothing in it would ever be found", ""),
    "unknown_category": ("is no category", "known categories"),
    "repeated_id": ("is taken already: an id must be unique", ""),
    "repeated_use": ("is watched by this scenario already; give it once", ""),
    "repeated_line": ("is the name of another zone or line: give this one an `id` of its own", ""),
}

_BUILT_IN: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "string_pattern_mismatch": lambda _: "must be 1 to 64 of A-Z a-z 0-9 _ -",  # the one pattern there is: an id's
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "finite_number": lambda _: "must be a finite number",
    "tuple_type": lambda _: "must be a list",
    "model_type": lambda _: "must be a mapping (key: value)",
    "dict_type": lambda _: "must be a mapping (key: value)",
    "model_attributes_type": lambda _: "must be a mapping (key: value)",
    "literal_error": lambda context: f"must be {context['expected'].replace(chr(39), '')}",
    "greater_than": lambda context: f"must be more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be {context['ge']:g} or more",
    "less_than": lambda context: f"must be less than {context['lt']:g}",
    "less_than_equal": lambda context: f"must be {context['le']:g} or less",
    "multiple_of": lambda context: f"must be a multiple of {context['multiple_of']}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda context: f"must have {context['max_length']} characters or fewer",
    "too_long": lambda context: f"may have {context['max_length']} members or fewer",
}


def owner_of(document: Document, loc: Loc) -> Loc:
    """The innermost mapping round `loc`: what the message is about."""
    for length in range(len(loc) - 1, -1, -1):
        if isinstance(document.at(loc[:length]), dict):
            return loc[:length]
    return ()


def locate(document: Document, loc: Loc) -> tuple[str, str]:
    """The owner's path and the key within it, both as they are printed."""
    owner = owner_of(document, loc)
    return place(document, owner), _dotted((), loc[len(owner) :])


def _at(document: Document, owner: Loc, words: str) -> str:
    where = place(document, owner)
    return f"{where}: {words}" if where else words


def place(document: Document, loc: Loc) -> str:
    """`cameras.gate.zones[1]`: a member of a list goes by its id, where that is its alone."""
    named: list[str | int] = []
    for depth, step in enumerate(loc):
        named.append(_member_name(document, loc[:depth], step) if isinstance(step, int) else step)
    return _dotted((), tuple(named))


def _member_name(document: Document, owner: Loc, row: int) -> str | int:
    members = document.at(owner)
    if not isinstance(members, tuple):
        return row
    for key in _NAMING_KEYS:
        names = [member.get(key) if isinstance(member, dict) else None for member in members]
        name = names[row]
        if isinstance(name, str) and _NAME.match(name) and names.count(name) == 1:
            return name
    return row


def _dotted(start: Loc, loc: Loc) -> str:
    text = ""
    for step in (*start, *loc):
        text += f"[{step}]" if isinstance(step, int) else f".{short(step)}"
    return text.removeprefix(".")


def secret_at(loc: Loc) -> bool:
    return any(step in _SECRET_KEYS for step in loc)


def _quoted(document: Document, loc: Loc) -> str:
    text = document.written.get(loc)
    return "" if text is None or secret_at(loc) else short(text)


def _has(document: Document, loc: Loc) -> str:
    text = _quoted(document, loc)
    return f", has {text}" if text else ""


def _unquoted_hint(document: Document, loc: Loc) -> str:
    """`id: 12` and `name: no` look like text to everybody but YAML."""
    value = document.at(loc)
    if isinstance(value, dict | tuple):
        return f", has a {'list' if isinstance(value, tuple) else 'mapping'}"
    seen = str(value).lower() if isinstance(value, bool) else "a number"
    written = _quoted(document, loc)
    example = f': "{written}"' if written else ""
    return f"; YAML reads {written or 'this'} as {seen}: put it in quotes{example}"


def _choice(given: str, names: Collection[str], listed: str) -> str:
    if not names:
        return ""
    if len(names) > _LISTED_MAX and listed.startswith("known") and listed != "known keys":
        return f"{_nearest(given, names)}; `edge scenarios` shows the {len(names)} {listed}"
    return f"{_nearest(given, names)}; {listed}: {', '.join(sorted(names))}"


def _nearest(given: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(given[:100], sorted(names), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def keys_of(model: type[BaseModel], loc: Loc) -> Collection[str]:
    """The keys that the model at `loc` knows."""
    found: type[BaseModel] | None = model
    for step in loc:
        if isinstance(step, str) and found is not None:
            field = found.model_fields.get(step)
            found = _model_in(field.annotation) if field else None
    return tuple(found.model_fields) if found is not None else ()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
