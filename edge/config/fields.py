"""The kinds of value that every model here is made of.

Pydantic says where something is wrong, `problems.py` says it in words. A message here never repeats the value: it may
have come from the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from edge.config.outline import outline_fault


def located(title: str, found: Sequence[tuple[tuple[str | int, ...], PydanticCustomError]]) -> ValidationError:
    """What a model's own validator found, each with where it lies below the model."""
    details = [InitErrorDetails(type=fault, loc=loc, input=None) for loc, fault in found]
    return ValidationError.from_exception_data(title, details)


class Strict(BaseModel):
    """No unknown keys, no guessed types, no changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}\z"
# \z: pydantic's regular expressions are Rust's, where $ would do; JSON Schema's readers know only $.
Id = Annotated[str, Field(pattern=ID_PATTERN, json_schema_extra={"pattern": "^[A-Za-z0-9_-]{1,64}$"})]

TEXT_MAX = 200


def _printable(text: str) -> str:
    if not text.isprintable():
        raise PydanticCustomError("printable", "must be one line without control characters")
    return text


Text = Annotated[str, Field(max_length=TEXT_MAX), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=TEXT_MAX), AfterValidator(_printable)]
# A URL or a password: left out of repr() and of every message.
Secret = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_printable)]


def _some(members: tuple[Any, ...]) -> tuple[Any, ...]:
    if not members:
        raise PydanticCustomError("too_few", "needs at least one")
    return members


# Pydantic's own min_length counts only the members that are right, and so calls a list with one wrong member empty.
NOT_EMPTY = AfterValidator(_some)
ONE_OR_MORE: Any = {"minItems": 1}  # the same, for the JSON Schema


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise PydanticCustomError("distinct", "names the same one twice")
    return names


def _fraction(number: float) -> float:
    if not 0 <= number <= 1:
        raise PydanticCustomError("fraction", "must lie in 0..1, a fraction of the frame's width or height")
    return number


Fraction = Annotated[float, Field(json_schema_extra={"minimum": 0, "maximum": 1}), AfterValidator(_fraction)]


def _polygon(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    fault = outline_fault(points)
    if fault:
        raise PydanticCustomError("polygon", "{fault}", {"fault": fault})
    return points


Polygon = Annotated[
    tuple[tuple[Fraction, Fraction], ...], Field(json_schema_extra={"minItems": 3}), AfterValidator(_polygon)
]


Ends = tuple[tuple[float, float], ...]  # two
LINE_MIN = 0.02  # of the frame: a shorter line is a slip of the hand


def _line(points: tuple[tuple[float, float], ...]) -> Ends:
    if len(points) != 2:
        raise PydanticCustomError("line", "needs 2 points, has {count}", {"count": len(points)})
    (x1, y1), (x2, y2) = points
    if (x1, y1) == (x2, y2):
        raise PydanticCustomError("line", "has both its points at one place")
    if max(abs(x2 - x1), abs(y2 - y1)) < LINE_MIN:
        raise PydanticCustomError("line", "is too short: its points lie less than {least} apart", {"least": LINE_MIN})
    return points


LineEnds = Annotated[
    tuple[tuple[Fraction, Fraction], ...],
    Field(json_schema_extra={"minItems": 2, "maxItems": 2}),
    AfterValidator(_line),
]


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, such as Asia
        raise PydanticCustomError("timezone", "is no time zone; write one like Asia/Shanghai") from None
    return name


TimeZone = Annotated[str, Field(min_length=1, max_length=TEXT_MAX), AfterValidator(_timezone)]

Severity = Literal["low", "normal", "high", "urgent"]
Anchor = Literal["bottom", "center"]
