"""site.yaml as frozen, strict models. They hold what the file says, with defaults; `loader.py` reads them from it.

Validation needs the catalogue: `SiteConfig.model_validate(data, context={"catalogue": catalogue})`. Sequences are
tuples. URLs and passwords stay out of `repr()`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from edge.config.catalogue import MeasureUse, ScenarioUse, stock_catalogue
from edge.config.delivery import (
    BridgesConfig,
    CommandsConfig,
    MqttConfig,
    OutboxConfig,
    UploadConfig,
    commands_shorthand,
    mqtt_shorthand,
)
from edge.config.document import Loc
from edge.config.evidence import EvidenceConfig
from edge.config.fields import (
    NOT_EMPTY,
    ONE_OR_MORE,
    Ends,
    Id,
    LineEnds,
    Polygon,
    Secret,
    Strict,
    Text,
    TimeZone,
    distinct,
    located,
)
from edge.core.ground import Scale

CAMERAS_MAX = 256
# Of a zone's scale, in fractions of the frame. Nearer to one another than this, two rows leave the slope to the clicks
# of whoever measured; and a line steeper than this is foreshortened.
ROWS_APART_MIN = 0.05
ACROSS_SLOPE_MAX = 0.5
SHRINKS_MAX = 1.2  # a camera that looks straight down sees all of one size, give or take how it was measured
CENTIMETRES = ("size_cm_min", "large_cm_min", "tolerance_cm")


def _name_from_id(value: Any) -> Any:
    """A thing without a name is called by its id."""
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("id"), str):
        return {**value, "name": value["id"]}
    return value


class SiteIdentity(Strict):
    id: Id
    name: Text = Field(default="", description="Shown to people; the id if left out")
    timezone: TimeZone = Field(description="IANA name, such as Asia/Shanghai")

    _name = model_validator(mode="before")(_name_from_id)


class GatewayConfig(Strict):
    id: Id


_PROVIDERS = ("cpu", "openvino", "cuda", "tensorrt")  # of ONNX Runtime


def _known_providers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Also one of a package beside edge: docs/models.md, "Another runtime"."""
    known = (*_PROVIDERS, *sorted(entry_points(group="edge.runtimes").names))
    for name in names:
        if name not in known:
            words = {"name": name, "known": ", ".join(known)}
            raise PydanticCustomError("provider", "{name} is not known; known are {known}", words)
    return distinct(names)


class DetectorConfig(Strict):
    """How the detector process of each model works."""

    batch_max: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0, description="Pictures in one call of the model; 0: 2 on the CPU, where more gain nothing, else 8"
    )
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="How long the first picture of a batch waits for others; without it 0 on the CPU, else 10",
    )
    threads: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0, description="0: half of the cores, so that decoding has room"
    )
    providers: Annotated[tuple[Id, ...], AfterValidator(_known_providers)] = Field(
        default=("cpu",),
        min_length=1,
        max_length=4,
        description="What runs the models: cpu, openvino, cuda, tensorrt in order of preference, or one runtime that a "
        "package brings",
    )


def _listen_address(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise PydanticCustomError("listen", "must be host:port, such as 127.0.0.1:9480")
    return address


def _console_shorthand(value: Any) -> Any:
    """`console: none` stands for no console."""
    return None if value == "none" else value


class ConsoleConfig(Strict):
    listen: Annotated[Text, AfterValidator(_listen_address)] = Field(
        default="127.0.0.1:9480", description="host:port of /metrics, /healthz and /status; others may read them there"
    )


class ReviewConfig(Strict):
    """What is kept of opened cases for `edge tune`."""

    kept_mb: Annotated[float, Field(ge=0, le=100_000)] = Field(
        default=64.0, description="Disk space of each camera's kept cases; the oldest that nobody judged go first"
    )


class SamplingConfig(Strict):
    decode: Literal["auto", "all", "keyframes"] = Field(
        default="auto",
        description="Which pictures are decoded. auto: keyframes, and everything while something moves where a "
        "scenario asks for motion or keyframes come too rarely; all; keyframes: whatever the scenarios ask for",
    )
    hwaccel: Literal["none", "auto", "cuda", "vaapi", "v4l2m2m"] = Field(
        default="none", description="Device that decodes; where it cannot, the software does, and health says so"
    )
    fps: Annotated[float, Field(gt=0, le=60)] = Field(default=5.0, description="Frames analysed a second, at most")
    still_s: Annotated[float, Field(ge=0, le=60)] = Field(
        default=10.0,
        description="Where nothing changes round zones and lines, the models are asked only so often; 0: at every look",
    )
    input_px: Annotated[int, Field(ge=64, le=4096, multiple_of=32)] | None = Field(
        default=None,
        description="Longest side of the detectors' input, instead of the models' own: more for far things",
    )
    closer: Annotated[tuple[Id, ...], Field(max_length=8), AfterValidator(distinct)] = Field(
        default=(), description="Zones that are also looked at on a crop round them: each costs one more look"
    )


class MasksConfig(Strict):
    ignore: tuple[Polygon, ...] = Field(default=(), max_length=64, description="Not analysed")
    privacy: tuple[Polygon, ...] = Field(default=(), max_length=64, description="Blurred in published pictures")


class StretchConfig(Strict):
    """A length on the ground that somebody has measured, across the view."""

    line: LineEnds = Field(
        description="Its two ends [x, y] in fractions of the frame, from left to right of the picture"
    )
    cm: Annotated[float, Field(gt=0, le=10_000)]

    @property
    def row(self) -> float:
        return (self.line[0][1] + self.line[1][1]) / 2

    @property
    def widths_per_cm(self) -> float:
        return abs(self.line[1][0] - self.line[0][0]) / self.cm

    @field_validator("line")
    @classmethod
    def _runs_across(cls, line: Ends) -> Ends:
        (x1, y1), (x2, y2) = line
        if abs(y2 - y1) > ACROSS_SLOPE_MAX * abs(x2 - x1):
            raise PydanticCustomError("scale", "runs away from the camera; measure across the view, left to right")
        return line


class ZoneConfig(Strict):
    id: Id
    polygon: Polygon = Field(description="Points [x, y] in fractions 0..1 of the frame, in order round the zone")
    scale: tuple[StretchConfig, StretchConfig] | None = Field(
        default=None, description="Two lengths known on the ground, one near the camera and one far: gives sizes in cm"
    )
    front: LineEnds | None = Field(
        default=None, description="The line along which the shops stand, for how far out goods may stand"
    )

    @property
    def ground_scale(self) -> Scale | None:
        if self.scale is None:
            return None
        one, other = self.scale
        return Scale.through((one.row, one.widths_per_cm), (other.row, other.widths_per_cm))

    @model_validator(mode="after")
    def _ground_holds(self) -> ZoneConfig:
        fault = self._scale_fault()
        if fault:
            raise located("zone", [(("scale",), PydanticCustomError("scale", "{fault}", {"fault": fault}))])
        return self

    def _scale_fault(self) -> str | None:
        """Why the two lengths cannot be right, as the end of a sentence."""
        if self.scale is None:
            return None
        one, other = self.scale
        if abs(one.row - other.row) < ROWS_APART_MIN:
            return "has both its lines at the same depth; measure one near the camera and one far from it"
        scale = self.ground_scale
        assert scale is not None
        rows = [y for _, y in self.polygon]
        far, near = scale.at(min(rows)), scale.at(max(rows))
        if near <= 0 or far > SHRINKS_MAX * near:
            return "says that things are drawn smaller the nearer they are: are the two lengths swapped?"
        if far <= 0:
            return "puts the horizon inside the zone: check the two lengths, or draw the zone lower"
        return None


def _resolve(value: object, info: ValidationInfo) -> ScenarioUse | MeasureUse:
    if isinstance(value, ScenarioUse | MeasureUse):
        return value
    catalogue = (info.context or {}).get("catalogue") or stock_catalogue()
    resolved: ScenarioUse | MeasureUse = catalogue.resolve(value)
    return resolved


def _unresolve(use: ScenarioUse | MeasureUse) -> dict[str, object]:
    return use.written()


Use = Annotated[
    ScenarioUse | MeasureUse,
    PlainValidator(_resolve),
    PlainSerializer(_unresolve, return_type=dict[str, Any]),
]


def _source_url(source: str) -> str:
    """A password that was typed into the address as it is may end it too soon: what follows would be asked of a name
    server."""
    _, is_url, rest = source.partition("://")
    authority, _, path = rest.partition("/")
    no_port = ":" in authority and not authority.rpartition(":")[2].isdecimal()
    cut_short = "@" in path and ("@" in authority or no_port)
    if is_url and (cut_short or authority.count("@") > 1 or set("?#") & set(authority)):
        raise PydanticCustomError(
            "source_url",
            "holds a letter that an address cannot: write @ / ? # % of a password as %40 %2F %3F %23 %25, "
            "or put the password into a variable, ${CAM_PASSWORD}",
        )
    return source


Source = Annotated[Secret, AfterValidator(_source_url)]


class CameraConfig(Strict):
    id: Id
    name: Text = Field(default="", description="Shown to people; the id if left out")
    source: Source = Field(repr=False, description="rtsp or http URL, a file, or a device such as /dev/video0")
    evidence_source: Source | None = Field(
        default=None, repr=False, description="Main stream for evidence where `source` is the sub stream"
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="How RTSP brings its pictures")
    frozen_after_s: Annotated[float, Field(ge=5, le=3600)] = Field(
        default=30.0, description="A picture that has not changed at all for so long is frozen: the camera is blind"
    )
    road: Text = ""
    grid: Text = Field(default="", description="Grid cell of the city's grid management")
    model: Text | None = Field(default=None, min_length=1, description="Instead of the site's model")
    sampling: SamplingConfig = SamplingConfig()
    masks: MasksConfig = MasksConfig()
    zones: tuple[ZoneConfig, ...] = Field(default=(), max_length=64)
    scenarios: tuple[Use, ...] = Field(default=(), max_length=64)

    _name = model_validator(mode="before")(_name_from_id)

    @model_validator(mode="after")
    def _names_fit(self) -> CameraConfig:
        faults = _repeated("zones", [zone.id for zone in self.zones], key="id")
        known = {zone.id for zone in self.zones}
        unknown_zone = PydanticCustomError("unknown_zone", "is no zone of this camera")
        faults += [
            (("sampling", "closer", row), unknown_zone)
            for row, zone in enumerate(self.sampling.closer)
            if zone not in known
        ]
        used: set[tuple[str, str]] = set()
        named = known.copy()
        for row, scenario in enumerate(self.scenarios):
            for name in scenario.lines:
                if name in named:
                    key = "use" if getattr(scenario.parameters, "id", None) is None else "id"
                    fault = PydanticCustomError("repeated_line", "is the name of another zone or line")
                    faults.append((("scenarios", row, key), fault))
                named.add(name)
            bays: tuple[str, ...] = getattr(scenario.parameters, "bays", ())
            faults += [
                (("scenarios", row, "bays", place), unknown_zone) for place, bay in enumerate(bays) if bay not in known
            ]
            bay_is_zone = PydanticCustomError("bay_is_zone", "is among its zones too")
            faults += [
                (("scenarios", row, "bays", place), bay_is_zone)
                for place, bay in enumerate(bays)
                if bay in known and bay in scenario.zones
            ]
            for place, zone in enumerate(scenario.zones):
                loc = ("scenarios", row, "zones", place)
                if zone not in known:
                    faults.append((loc, unknown_zone))
                elif (scenario.name, zone) in used:
                    faults.append((loc, PydanticCustomError("repeated_use", "has this scenario already")))
                used.add((scenario.name, zone))
            faults += _without_ground(scenario, [zone for zone in self.zones if zone.id in scenario.zones], row)
        if faults:
            raise located("camera", faults)
        return self


class SiteConfig(Strict):
    version: Literal[1]
    site: SiteIdentity
    gateway: GatewayConfig
    model: Text = Field(
        default="yolox-nano", min_length=1, description="A folder under the state's or the package's models/, or a path"
    )
    state_dir: Text | None = Field(
        default=None, min_length=1, description="Database, evidence, keys; --state goes first"
    )
    mqtt: Annotated[MqttConfig | None, BeforeValidator(mqtt_shorthand)] = None
    bridges: BridgesConfig = BridgesConfig()
    upload: UploadConfig | None = Field(default=None, description="Where evidence is brought to, after its alert")
    commands: Annotated[CommandsConfig | None, BeforeValidator(commands_shorthand)] = CommandsConfig()
    outbox: OutboxConfig = OutboxConfig()
    detector: DetectorConfig = DetectorConfig()
    console: Annotated[ConsoleConfig | None, BeforeValidator(_console_shorthand)] = ConsoleConfig()
    review: ReviewConfig = ReviewConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    cameras: Annotated[tuple[CameraConfig, ...], NOT_EMPTY] = Field(
        max_length=CAMERAS_MAX, json_schema_extra=ONE_OR_MORE
    )

    @model_validator(mode="after")
    def _cameras_differ(self) -> SiteConfig:
        faults = _repeated("cameras", [camera.id for camera in self.cameras], key="id")
        if self.mqtt is None and self.bridges != BridgesConfig():
            needs = PydanticCustomError("bridges", "need `mqtt:` beside them: the courier is who tells them")
            faults.append((("bridges",), needs))
        known = {camera.id for camera in self.cameras}
        told = self.bridges.gat1400.cameras if self.bridges.gat1400 is not None else {}
        unknown = PydanticCustomError("unknown_camera", "is no camera of this gateway")
        faults += [(("bridges", "gat1400", "cameras", name), unknown) for name in told if name not in known]
        if self.upload is not None and self.mqtt is None:
            faults.append((("upload",), PydanticCustomError("no_broker", "needs `mqtt:`: evidence follows its alert")))
        if faults:
            raise located("site", faults)
        return self


def _without_ground(
    scenario: ScenarioUse | MeasureUse, zones: list[ZoneConfig], row: int
) -> list[tuple[Loc, PydanticCustomError]]:
    """What a use asks of its zones' ground that they do not tell."""
    faults: list[tuple[Loc, PydanticCustomError]] = []
    for name in (*CENTIMETRES, "tolerance"):
        if getattr(scenario.parameters, name, 0) <= 0:
            continue
        without = [zone.id for zone in zones if name in CENTIMETRES and zone.scale is None]
        words = "asks for centimetres, and zone {zone} has no scale"
        if name.startswith("tolerance") and not without:
            without = [zone.id for zone in zones if zone.front is None]
            words = "is measured from the shops, and zone {zone} has no front"
        if without:
            faults.append((("scenarios", row, name), PydanticCustomError("scale", words, {"zone": without[0]})))
    return faults


def _repeated(owner: str, names: list[str], *, key: str) -> list[tuple[Loc, PydanticCustomError]]:
    return [
        ((owner, row, key), PydanticCustomError("repeated_id", "is taken by another one"))
        for row, name in enumerate(names)
        if name in names[:row]
    ]
