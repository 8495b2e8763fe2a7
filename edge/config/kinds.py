"""The parameters of each kind of scenario. A parameter that does not belong to a kind is an unknown key.

What has no default here must be given by the scenario's file, with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from edge.config.fields import NOT_EMPTY, ONE_OR_MORE, Anchor, Id, Name, Severity, Strict, distinct
from edge.config.schedule import parse_schedule
from edge.errors import ConfigError


def _hours(text: str) -> str:
    try:
        parse_schedule(text)
    except ConfigError as error:
        raise PydanticCustomError("schedule", "{fault}", {"fault": str(error)}) from None
    return text


Seconds = Annotated[float, Field(ge=0, le=7 * 86_400)]
ZoneIds = Annotated[
    tuple[Id, ...], Field(max_length=64, json_schema_extra=ONE_OR_MORE), NOT_EMPTY, AfterValidator(distinct)
]
Labels = Annotated[
    tuple[Name, ...], Field(max_length=100, json_schema_extra=ONE_OR_MORE), NOT_EMPTY, AfterValidator(distinct)
]


class Parameters(Strict):
    """What every scenario has."""

    zones: ZoneIds = Field(description="Zones of this camera that it looks at")
    after_s: Seconds = Field(description="The condition must hold this long, while visible, before a case opens")
    clear_after_s: Seconds = Field(description="The place must be seen empty this long before the case is cleared")
    score_min: Annotated[float, Field(ge=0, le=1)] = Field(description="What has a lower score does not count")
    repeat_s: Seconds = Field(description="An update for as long as the case is open, this often; 0 for none")
    active: Annotated[str, AfterValidator(_hours)] | None = Field(
        default=None, description="Opening hours, such as Mon-Sun 07:00-22:00; always if left out"
    )
    severity: Severity
    category: Name = Field(description="Code of configs/categories.yaml")


class DetectedParameters(Parameters):
    """What every scenario has that looks for the detector's things."""

    labels: Labels = Field(description="The model's labels that count")
    anchor: Anchor = Field(
        default="bottom", description="The point of a box that must be in the zone: middle of its lower edge, or centre"
    )


class StationaryParameters(DetectedParameters):
    size_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0015, description="Smallest box, as a fraction of the frame's area"
    )


class LeftObjectParameters(Parameters):
    """A thing of no known class: no label, and it is where its centre is. Its score is the share of it in view that
    differs from the empty place."""

    size_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0005, description="Smallest thing, as a fraction of the zone's area"
    )


class LoiteringParameters(DetectedParameters):
    pass


class GatheringParameters(DetectedParameters):
    people_min: Annotated[int, Field(ge=2, le=1000)] = Field(default=4, description="So many people are a gathering")
    spacing: Annotated[float, Field(gt=0, le=20)] = Field(
        default=1.5, description="People stand together when no further apart than this many person-box heights"
    )


KINDS: Mapping[str, type[Parameters]] = MappingProxyType(
    {
        "stationary": StationaryParameters,
        "left_object": LeftObjectParameters,
        "loitering": LoiteringParameters,
        "gathering": GatheringParameters,
    }
)
