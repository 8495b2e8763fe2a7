"""The parameters of each kind of scenario. A parameter that does not belong to a kind is an unknown key.

What has no default here must be given by the scenario's file, with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from edge.config.fields import NOT_EMPTY, ONE_OR_MORE, Anchor, Id, LineEnds, Name, Severity, Strict, distinct, located
from edge.config.schedule import parse_schedule
from edge.errors import ConfigError


def _hours(text: str) -> str:
    try:
        parse_schedule(text)
    except ConfigError as error:
        raise PydanticCustomError("schedule", "{fault}", {"fault": str(error)}) from None
    return text


# How far a direction must lead across its line, as a share of how far it leads along it: within 76 degrees of upright.
DIRECTION_MIN = 0.25

Centimetres = Annotated[float, Field(ge=0, le=10_000)]  # 0: not asked for; else the zones need a scale
Seconds = Annotated[float, Field(ge=0, le=7 * 86_400)]
DAY_S = 86_400


def _whole_day(every_s: int) -> int:
    if DAY_S % every_s:
        raise PydanticCustomError("whole_day", "must divide a day without a rest, such as 60, 300, 900 or 3600")
    return every_s


ZoneIds = Annotated[
    tuple[Id, ...], Field(max_length=64, json_schema_extra=ONE_OR_MORE), NOT_EMPTY, AfterValidator(distinct)
]
Labels = Annotated[
    tuple[Name, ...], Field(max_length=100, json_schema_extra=ONE_OR_MORE), NOT_EMPTY, AfterValidator(distinct)
]


class CheckParameters(Strict):
    """A classifier that judges a crop of each thing that is found: only what it agrees to counts."""

    model: Name = Field(description="A classifier: a folder under models/, or a path")
    labels: Labels = Field(description="The classifier's labels that count: the most probable one must be among them")
    score_min: Annotated[float, Field(ge=0, le=1)] = Field(default=0.5, description="How probable it must be")


class CaseParameters(Strict):
    """What every scenario has, whether it looks at zones or at a line."""

    clear_after_s: Seconds = Field(description="The place must be seen empty this long before the case is cleared")
    score_min: Annotated[float, Field(ge=0, le=1)] = Field(description="What has a lower score does not count")
    active: Annotated[str, AfterValidator(_hours)] | None = Field(
        default=None, description="Opening hours, such as Mon-Sun 07:00-22:00; always if left out"
    )
    except_hours: Annotated[str, AfterValidator(_hours)] | None = Field(
        default=None, description="Hours in which it is allowed, such as Mon-Fri 06:00-09:00 for loading"
    )
    severity: Severity
    category: Name = Field(description="Code of configs/categories.yaml")


class Parameters(CaseParameters):
    """What every scenario has that looks at zones."""

    zones: ZoneIds = Field(description="Zones of this camera that it looks at")
    after_s: Seconds = Field(description="The condition must hold this long, while visible, before a case opens")
    repeat_s: Seconds = Field(description="An update for as long as the case is open, this often; 0 for none")


class CheckedParameters(Strict):
    """What every scenario has whose findings are things that a picture shows."""

    check: CheckParameters | None = Field(default=None, description="A second model that must agree")


class DetectedParameters(Parameters):
    """What every scenario has that looks for the detector's things."""

    model: Name | None = Field(default=None, description="Instead of the camera's model")
    labels: Labels = Field(description="The model's labels that count")
    anchor: Anchor = Field(
        default="bottom", description="The point of a box that must be in the zone: middle of its lower edge, or centre"
    )


class StationaryParameters(DetectedParameters, CheckedParameters):
    size_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0015, description="Smallest box, as a fraction of the frame's area"
    )
    size_cm_min: Centimetres = Field(default=0.0, description="And its longer side in cm, in zones with a scale")
    bays: ZoneIds = Field(default=(), description="Zones of this camera in which they may stand, such as racks")
    queue_max_s: Seconds = Field(
        default=0,
        description="What halts with others that came the same way is not counted while it may be waiting in a queue, "
        "at most this long in one place; 0: everything that stands counts",
    )


class LeftObjectParameters(Parameters, CheckedParameters):
    """A thing of no known class: no label, and it is where its centre is. Its score is the share of it in view that
    differs from the empty place."""

    size_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0005, description="Smallest thing, as a fraction of the zone's area"
    )
    size_cm_min: Centimetres = Field(default=0.0, description="And its longer side in cm, in zones with a scale")


class HeapParameters(DetectedParameters):
    count_min: Annotated[int, Field(ge=2, le=1000)] = Field(description="So many things are a heap")
    spacing: Annotated[float, Field(gt=0, le=20)] = Field(
        default=1.5, description="Things stand together when no further apart than this many box heights"
    )
    size_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0005, description="Smallest box, as a fraction of the frame's area"
    )
    bays: ZoneIds = Field(default=(), description="Zones of this camera in which they may stand, such as racks")


class LoiteringParameters(DetectedParameters, CheckedParameters):
    sum_visits_within_s: Annotated[float, Field(ge=0, le=600)] = Field(
        default=0,
        description="Visits no further apart than this count as one, if the person was followed between; 0: never",
    )


class GatheringParameters(DetectedParameters, CheckedParameters):
    people_min: Annotated[int, Field(ge=2, le=1000)] = Field(default=4, description="So many people are a gathering")
    spacing: Annotated[float, Field(gt=0, le=20)] = Field(
        default=1.5, description="People stand together when no further apart than this many person-box heights"
    )
    stay_s: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=10, description="Who has kept within a small circle for this long stays; anybody else is passing"
    )
    density_min: Annotated[float, Field(ge=0, le=10)] = Field(
        default=0,
        description="People a square metre of the ground that they take up; 0 for any, 1 is a queue, 3 is a crush",
    )


class RepeatedGatheringParameters(GatheringParameters):
    times_min: Annotated[int, Field(ge=2, le=31)] = Field(
        description="So many days with such a gathering in the zone, today included, before a case opens"
    )
    within_days: Annotated[int, Field(ge=2, le=31)] = Field(description="Among the last so many days")

    @model_validator(mode="after")
    def _can_come_so_often(self) -> Self:
        if self.times_min > self.within_days:
            fault = PydanticCustomError(
                "times", "is more than within_days, {days}: it counts once a day", {"days": self.within_days}
            )
            raise located("times", [(("times_min",), fault)])
        return self


class AbsenceParameters(DetectedParameters):
    stay_s: Annotated[float, Field(ge=0, le=60)] = Field(
        description="Somebody is there when seen in the zone this long; a shorter look may be a false one"
    )
    moving: bool = Field(description="Only who has moved counts: a coat on a hook that looks like a person does not")


class LineParameters(Strict):
    """What every scenario and measure has that looks at a line."""

    id: Id | None = Field(default=None, description="The line's name in alerts and topics; that of the use if left out")
    line: LineEnds = Field(description="Two points [x, y] in fractions 0..1 of the frame, on the ground")
    direction: Literal["up", "down", "left", "right"] = Field(description="A way over the line, as seen in the picture")
    labels: Labels = Field(description="The model's labels that count")
    anchor: Anchor = Field(
        default="bottom", description="The point of a box that must cross: middle of its lower edge, or centre"
    )

    @model_validator(mode="after")
    def _direction_crosses(self) -> Self:
        (x1, y1), (x2, y2) = self.line
        level, upright = abs(x2 - x1), abs(y2 - y1)
        across, along = (level, upright) if self.direction in ("up", "down") else (upright, level)
        if across < DIRECTION_MIN * along:
            other = "left or right" if self.direction in ("up", "down") else "up or down"
            fault = PydanticCustomError("direction", "runs along the line; here it is {other}", {"other": other})
            raise located("line", [(("direction",), fault)])
        return self


class CrossingParameters(LineParameters, CaseParameters, CheckedParameters):
    """A moment: it has no dwell to ask for, and nothing to tell again. `direction` is the way that is allowed."""

    model: Name | None = Field(default=None, description="Instead of the camera's model")


class OccupationParameters(Parameters, CheckedParameters):
    """Things put out on the ground, with a label or without, and the people who stay beside them."""

    model: Name | None = Field(default=None, description="Instead of the camera's model")
    evidence: Annotated[
        tuple[Literal["labels", "regions", "people"], ...],
        Field(max_length=3, json_schema_extra=ONE_OR_MORE),
        NOT_EMPTY,
        AfterValidator(distinct),
    ] = Field(
        default=("labels", "regions", "people"),
        description="What counts: things that the model has a label for, things of no known class that have come and "
        "stayed, and, as support only, people who stay",
    )
    labels: Annotated[tuple[Name, ...], Field(max_length=100), AfterValidator(distinct)] = Field(
        default=(), validate_default=True, description="The model's labels that count as things"
    )
    anchor: Anchor = Field(
        default="bottom", description="The point of a box that must be in the zone: middle of its lower edge, or centre"
    )
    things_min: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="So many things that stand together make a case"
    )
    large_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="One thing so large, as a fraction of the zone's area, makes a case by itself; 0: none does",
    )
    large_cm_min: Centimetres = Field(
        default=0.0, description="Instead of large_min, in zones with a scale: the thing's longer side in cm"
    )
    size_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0005, description="Smallest thing, as a fraction of the zone's area"
    )
    size_cm_min: Centimetres = Field(default=0.0, description="And its longer side in cm, in zones with a scale")
    tolerance: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="What stands this near to the zone's front does not count, as a fraction of the zone's depth",
    )
    tolerance_cm: Centimetres = Field(
        default=0.0, description="Instead of tolerance, in zones with a scale: how far out goods may stand, in cm"
    )
    spacing: Annotated[float, Field(gt=0, le=20)] = Field(
        default=2.0,
        description="Things stand together when no further apart than this many times the longer side of the smaller",
    )
    region_score_min: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="As score_min, for a thing of no known class: the share of it that differs"
    )
    needs_person: bool = Field(default=False, description="Only while somebody stays beside it")
    stay_s: Seconds = Field(default=10.0, description="Whoever is in the zone for so long, and is slow, stays")
    must_arrive: bool = Field(default=False, description="Only what has come while the camera watched counts")
    carried: Annotated[tuple[Name, ...], Field(max_length=100), AfterValidator(distinct)] = Field(
        default=(), description="Labels of what people have with them: no things of a shop while somebody holds them"
    )

    @field_validator("evidence")
    @classmethod
    def _some_things(cls, evidence: tuple[str, ...]) -> tuple[str, ...]:
        if evidence == ("people",):
            raise PydanticCustomError("too_few", "needs labels or regions: people are support only, and no case alone")
        return evidence

    @field_validator("labels")
    @classmethod
    def _some_where_they_count(cls, labels: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not labels and "labels" in info.data.get("evidence", ()):
            raise PydanticCustomError("too_few", "needs at least one, or take labels out of evidence")
        return labels

    @field_validator("needs_person")
    @classmethod
    def _people_count(cls, needed: bool, info: ValidationInfo) -> bool:
        if needed and "people" not in info.data.get("evidence", ("people",)):
            raise PydanticCustomError("too_few", "asks for people, who must then be in evidence")
        return needed


class MeasureParameters(Strict):
    """What every measure has. A measure opens no case, so it has neither dwell nor severity nor category."""

    id: Id | None = Field(default=None, description="The measure's name in its topic; that of the use if left out")
    labels: Labels = Field(description="The model's labels that count")
    anchor: Anchor = Field(
        default="bottom", description="The point of a box that says where it is: middle of its lower edge, or centre"
    )
    score_min: Annotated[float, Field(ge=0, le=1)] = Field(description="What has a lower score does not count")
    every_s: Annotated[int, Field(ge=10, le=DAY_S), AfterValidator(_whole_day)] = Field(
        description="One measure for each interval of this length, counted from local midnight"
    )


class FlowParameters(LineParameters, MeasureParameters):
    """`direction` is the way that counts as in."""


class OccupancyParameters(MeasureParameters):
    zones: ZoneIds = Field(description="Zones of this camera that it looks at")
    count_min: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="`share` is that of the seen time with so many or more"
    )
    speed_max: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None, description="Box heights a second: who is faster does not count; without it everybody does"
    )


KINDS: Mapping[str, type[CaseParameters]] = MappingProxyType(
    {
        "stationary": StationaryParameters,
        "left_object": LeftObjectParameters,
        "loitering": LoiteringParameters,
        "gathering": GatheringParameters,
        "heap": HeapParameters,
        "repeated_gathering": RepeatedGatheringParameters,
        "crossing": CrossingParameters,
        "absence": AbsenceParameters,
        "occupation": OccupationParameters,
    }
)

MEASURES: Mapping[str, type[MeasureParameters]] = MappingProxyType(
    {
        "flow": FlowParameters,
        "occupancy": OccupancyParameters,
    }
)
