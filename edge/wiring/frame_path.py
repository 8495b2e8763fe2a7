"""From a configuration to the parts of one camera's frame path: the same for the service and for replay.

Whoever calls puts in the detector, the recorder's root and the outbox; onnxruntime is never loaded from here, so that
a camera's worker does not carry it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from edge import __version__
from edge.clock import Stopwatch, interval_of, local_day, minute_of_week
from edge.config.catalogue import MeasureUse, ScenarioUse, stock_catalogue
from edge.config.loader import Site
from edge.config.models import CameraConfig, ZoneConfig
from edge.core import boxes
from edge.core.background import BackgroundModel
from edge.core.cases import CaseBook
from edge.core.ground import Ground
from edge.core.measures import MeasureRule, gauge_for, measure_class
from edge.core.scenarios import Rule, rule_class, scenario_for
from edge.core.sight import Sight, SightSettings
from edge.core.stillness import Stillness, StillnessSettings
from edge.core.tracker import Tracker
from edge.core.types import NS_PER_S, OPENED, Bool, Case, CaseChange, Float32, Frame, Int16, Measure, seconds_to_ns
from edge.core.zones import ZoneMap
from edge.delivery.message import (
    Origin,
    Tag,
    Topics,
    alert,
    category_entry,
    measure,
    room_for_thumbnail,
    with_thumbnail,
)
from edge.errors import EvidenceError
from edge.evidence.chain import ManifestChain
from edge.evidence.filming import Filming, MainFirst
from edge.evidence.hiding import HiddenPart, Hiding, heads_of, plates_of_cars, plates_of_two_wheelers, whole
from edge.evidence.recorder import CaseRecorder, EvidenceOrigin
from edge.evidence.store import EvidenceStore
from edge.evidence.thumbnail import thumbnail_of
from edge.ports import ANALYSED, EvidenceFile, Film, MainStream, MeasureBox, Outbox, WordedMeasure
from edge.runtime.looking import Looking
from edge.runtime.measuring import Measuring
from edge.runtime.telling import Telling, Told
from edge.runtime.watch import Watch
from edge.runtime.worker import Worker
from edge.wiring.camera_models import CameraModels, Eyes, listed, models_of

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from edge.capture.reel import Reel

# Things that stand or walk about by themselves: what they cover is explained, not left behind.
EXPLAINING_LABELS = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "train", "dog", "horse")
# The stock model calls bags and sacks that, without being sure of it; of a dog that stands there it is.
DOUBTFUL_LABELS = ("dog", "horse")
# Whose faces and plates are hidden where that is asked for, by the names that models give them: COCO's and VisDrone's.
PEOPLE_LABELS = ("person", "people", "pedestrian", "rider")
HEAD_LABELS = ("face", "head")
CAR_LABELS = ("car", "van", "bus", "truck", "train")  # a bus may pass for a train
TWO_WHEELER_LABELS = ("motorcycle", "motor", "bicycle", "tricycle", "awning-tricycle")
PLATE_LABELS = ("license plate", "plate")

KEYFRAMES_APART_NS = 2 * NS_PER_S  # as most cameras send them

_MB = 1_000_000


def worker_for(
    site: Site,
    camera: CameraConfig,
    eyes: Eyes,
    *,
    sight: Sight,
    telling: Telling,
    measuring: Measuring,
    stopwatch: Stopwatch,
) -> Worker:
    """One camera's frame path."""
    zones = polygons_of(camera)
    models, detector = eyes.models, eyes.detector
    uses = scenarios_of(camera)
    rules = {row: rule_for(site, camera, row, models) for row in uses}
    anchors = {rule.anchor for rule in rules.values()} | {use.parameters.anchor for use in site.measures[camera.id]}
    timezone = ZoneInfo(site.config.site.timezone)
    return Worker(
        sight=sight,
        looking=Looking(detector, _stillness(site, camera), stopwatch),
        tracker=Tracker(groups=detector.groups),
        zones={anchor: ZoneMap(zones, anchor=anchor) for anchor in sorted(anchors)},
        background=_background(list(rules.values()), zones, models.labels, ignored=arrays(camera.masks.ignore)),
        watches=[
            Watch(
                scenario=scenario_for(rules[row], zones),
                cases=CaseBook(
                    rules[row],
                    camera=camera.id,
                    gateway=f"{site.config.site.id}/{site.config.gateway.id}",
                    day_of=lambda wall_ns: local_day(wall_ns, timezone),
                ),
                active=_hours(use, timezone),
                own_labels=_own_labels(models, models.judges[row]),
                second_look=eyes.second_looks[row],
            )
            for row, use in uses.items()
        ],
        ignored=arrays(camera.masks.ignore),
        telling=telling,
        measuring=measuring,
        stopwatch=stopwatch,
    )


def sight_for(camera: CameraConfig) -> Sight:
    return Sight(SightSettings(frozen_after_ns=seconds_to_ns(camera.frozen_after_s)))


def telling_for(
    site: Site,
    camera: CameraConfig,
    eyes: Eyes,
    *,
    recorder: CaseRecorder,
    outbox: Outbox,
    config_sha256: Callable[[], str] | None = None,
    clock_offset_s: Callable[[], float | None] = lambda: None,
) -> Telling:
    """What tells of a camera's cases. `config_sha256`: of the configuration in force, which may change meanwhile;
    `clock_offset_s`: the camera's clock minus ours."""
    word = _word(site, camera, eyes, config_sha256 or (lambda: site.config_sha256), clock_offset_s)
    bytes_max = round(site.config.evidence.thumbnail_kb * 1000)

    def pictured(change: CaseChange, frame: Frame, evidence: Sequence[EvidenceFile], failure: str) -> Told:
        told = word(change, frame, evidence, failure)
        return replace(told, alert=_with_thumbnail(told.alert, evidence, recorder, bytes_max=bytes_max))

    return Telling(recorder=recorder, word=pictured if bytes_max else word, outbox=outbox)


def measuring_for(
    site: Site,
    camera: CameraConfig,
    models: CameraModels,
    *,
    box: MeasureBox,
    config_sha256: Callable[[], str] | None = None,
) -> Measuring:
    """What reads a camera's measures and tells them."""
    zones, timezone = polygons_of(camera), ZoneInfo(site.config.site.timezone)
    uses = {(use.name, place): use for use in site.measures[camera.id] for place in use.places}
    origin = origin_of(site, camera, model_name="", model_sha256="")
    topics = Topics(origin.site, origin.gateway)

    def word(told: Measure, now_wall_ns: int) -> WordedMeasure:
        use = uses[told.name, told.place]
        body = measure(
            told,
            use=use.use,
            line=origin.zones[told.place] if use.lines else None,
            origin=replace(origin, config_sha256=(config_sha256 or (lambda: site.config_sha256))()),
            now_wall_ns=now_wall_ns,
        )
        return WordedMeasure(topics.measure(camera.id, told.name), body)

    gauges = [
        gauge_for(
            measure_rule_for(site, camera, use, models),
            zones,
            partial(interval_of, every_s=use.parameters.every_s, zone=timezone),
        )
        for use in site.measures[camera.id]
    ]
    return Measuring(gauges, word=word, box=box)


def recorder_for(
    site: Site,
    camera: CameraConfig,
    models: CameraModels,
    *,
    root: Path,
    chain: ManifestChain,
    config_sha256: Callable[[], str] | None = None,
    filming: Filming | None = None,
    clock_offset_s: Callable[[], float | None] = lambda: None,
    main: MainStream | None = None,
) -> CaseRecorder:
    """One camera's recorder; evidence goes below `root`. `chain`: the gateway's or the replay's."""
    tags = {(use.use, zone): _tag(use) for use in site.scenarios[camera.id] for zone in use.places}
    return CaseRecorder(
        EvidenceStore(root),
        origin=EvidenceOrigin(
            camera=camera.id,
            zones=places_of(camera),
            timezone=ZoneInfo(site.config.site.timezone),
            model_of=judges_of(site, camera, models),
            config_sha256=config_sha256 or (lambda: site.config_sha256),
            software=__version__,
            place={
                "site": site.config.site.name or site.config.site.id,
                "gateway": site.config.gateway.id,
                "camera_name": camera.name,
                "road": camera.road,
                "grid": camera.grid,
            },
            category_of=lambda scenario, zone: category_entry(tags.get((scenario, zone)) or stock_tag(scenario)),
            clock_offset_s=clock_offset_s,
        ),
        hiding=hiding_for(site, camera, models.labels),
        chain=chain,
        filming=filming,
        main=main,
    )


def reel_for(site: Site, camera: CameraConfig, *, source: str = ANALYSED) -> Reel | None:
    """What keeps the last seconds of a camera's stream, as long as a clip of them may be asked for.

    None where there are no clips, but for the main stream, whose pictures are asked for as well.
    """
    from edge.capture.reel import Reel  # the supervisor loads this module too, and must not carry a decoder

    evidence = site.config.evidence
    if not evidence.has_clips and source == ANALYSED:
        return None
    keep_ns = seconds_to_ns(evidence.pre_roll_s + evidence.post_roll_s)
    return Reel(camera.id, keep_ns=keep_ns, bytes_max=round(evidence.clip_mb * _MB), source=source)


def filming_for(site: Site, film: Film | None, *, main: Film | None = None) -> Filming | None:
    """`main`: of the camera's main stream, which goes first."""
    evidence = site.config.evidence
    if film is None:
        return None
    if main is not None:
        film = MainFirst(main, film)
    pre_roll_ns, post_roll_ns = seconds_to_ns(evidence.pre_roll_s), seconds_to_ns(evidence.post_roll_s)
    return Filming(film, pre_roll_ns=pre_roll_ns, post_roll_ns=post_roll_ns)


def evidence_limits(recorder: CaseRecorder, filming: Filming | None) -> dict[str, int]:
    """What the bounds of a camera's evidence cost so far."""
    return {
        "stills_thinned": recorder.counts.stills_thinned,
        "stills_refused": recorder.counts.stills_refused,
        "clips_lost": 0 if filming is None else filming.lost,
        "clips_cut_short": 0 if filming is None else filming.cut_short,
    }


def hiding_for(site: Site, camera: CameraConfig, labels: tuple[str, ...]) -> Hiding:
    """What the camera's published pictures do not show. Raises ConfigError where its models do not know of that."""
    asked: dict[str, list[tuple[tuple[str, ...], Callable[[Float32], Float32]]]] = {
        "faces": [(PEOPLE_LABELS, heads_of), (HEAD_LABELS, whole)],
        "plates": [(CAR_LABELS, plates_of_cars), (TWO_WHEELER_LABELS, plates_of_two_wheelers), (PLATE_LABELS, whole)],
    }
    parts: list[HiddenPart] = []
    for row, name in enumerate(site.config.evidence.blur):
        known = [
            HiddenPart(label_rows(there, labels), part_of, spares_own=name == "plates")
            for names, part_of in asked[name]
            if (there := [one for one in names if one in labels])
        ]
        if not known:
            words = f"cannot be hidden at {camera.id}: its models know nobody who has any, only {listed(labels)}"
            raise site.fault(("evidence", "blur", row), words)
        parts += known
    return Hiding(arrays(camera.masks.privacy), parts, own_labels=(*CAR_LABELS, *TWO_WHEELER_LABELS))


def check_models(site: Site) -> dict[str, CameraModels]:
    """The models of all cameras, by camera id, checked, and every rule made once: each knows the labels asked for.

    Raises ConfigError or ModelError.
    """
    models = models_of(site, site.config.cameras)
    for camera in site.config.cameras:
        hiding_for(site, camera, models[camera.id].labels)
        for row in scenarios_of(camera):
            rule_for(site, camera, row, models[camera.id])
        for use in site.measures[camera.id]:
            measure_rule_for(site, camera, use, models[camera.id])
    return models


# The parts of a worker


def scenarios_of(camera: CameraConfig) -> dict[int, ScenarioUse]:
    """Those of the camera's uses that are scenarios and no measures, by their row."""
    return {row: use for row, use in enumerate(camera.scenarios) if isinstance(use, ScenarioUse)}


def rule_for(site: Site, camera: CameraConfig, row: int, models: CameraModels) -> Rule:
    """The rule of the camera's scenario `row`; its labels are rows of those of all the camera's models."""
    use, own = scenarios_of(camera)[row], _own_rows(site, camera, row, models)
    names = tuple(use.lines) or tuple(zone.id for zone in camera.zones)
    kind = rule_class(use.kind)
    return kind(
        scenario=use.use,
        zones=tuple(names.index(place) for place in use.places),
        zone_names=names,
        label_names=models.labels,
        grounds=() if use.lines else tuple(_ground_of(zone) for zone in camera.zones),
        **{
            field.name: _as_rule_has_it(field.name, use, models.labels[own], own.start)
            for field in fields(kind)
            if field.name not in ("scenario", "zones", "zone_names", "label_names", "grounds")
            and not _is_fixed_by_kind(field, use)
        },
    )


def names_that_need_motion(
    site: Site, camera: CameraConfig, models: CameraModels, *, look_ns: int = KEYFRAMES_APART_NS
) -> tuple[str, ...]:
    """Those of the camera's scenarios and measures that need every analysed frame, once each; () where looks `look_ns`
    apart show the same. Which those are is each rule's to say."""
    rules: list[tuple[str, Rule | MeasureRule]] = [
        (use.name, rule_for(site, camera, row, models)) for row, use in scenarios_of(camera).items()
    ]
    rules += [(use.name, measure_rule_for(site, camera, use, models)) for use in site.measures[camera.id]]
    return tuple(dict.fromkeys(name for name, rule in rules if rule.look_max_ns < look_ns))


def measure_rule_for(site: Site, camera: CameraConfig, use: MeasureUse, models: CameraModels) -> MeasureRule:
    own = _own_rows(site, camera, camera.scenarios.index(use), models)
    kind = measure_class(use.kind)
    names = [zone.id for zone in camera.zones]
    given: dict[str, Any] = {
        "name": use.name,
        "places": use.places,
        "labels": label_rows(use.labels, models.labels[own]) + np.int16(own.start),
        "zones": tuple(names.index(zone) for zone in use.zones),
    }
    return kind(
        **{
            field.name: given[field.name] if field.name in given else getattr(use.parameters, field.name)
            for field in fields(kind)
        }
    )


def _own_rows(site: Site, camera: CameraConfig, row: int, models: CameraModels) -> slice:
    """Which of all labels are those of the model that judges the camera's use `row`; it must know those asked for."""
    judge = models.judge_of(row)
    unknown = [label for label in camera.scenarios[row].labels if label not in judge.labels]
    if unknown:
        raise site.fault(
            ("cameras", site.config.cameras.index(camera), "scenarios", row, "labels"),
            f"holds {unknown[0]!r}, which the model {judge.name} does not know: its labels are {listed(judge.labels)}",
        )
    return models.rows_of(models.judges[row])


def _is_fixed_by_kind(field: Field[Any], use: ScenarioUse) -> bool:
    """A duration that the kind gives itself, since nobody may set it: a moment has no dwell."""
    fixed = field.name.endswith("_ns") and field.default is not MISSING
    return fixed and not hasattr(use.parameters, f"{field.name.removesuffix('_ns')}_s")


def _ground_of(zone: ZoneConfig) -> Ground:
    return Ground(scale=zone.ground_scale, front=zone.front)


def _as_rule_has_it(name: str, use: ScenarioUse, labels: tuple[str, ...], first_row: int) -> Any:
    """A parameter of a use by the name that its rule's field has: `after_ns` is `after_s`, labels are rows, counted
    from its own model's first."""
    if name.endswith("_ns"):
        return seconds_to_ns(getattr(use.parameters, f"{name.removesuffix('_ns')}_s"))
    value = getattr(use.parameters, name, ())
    if name.endswith("labels"):
        return label_rows(value, labels) + np.int16(first_row)
    if name == "anchor":
        return value or boxes.CENTER
    return value


def _background(
    rules: Sequence[Rule], zones: list[Float32], labels: tuple[str, ...], *, ignored: list[Float32]
) -> BackgroundModel | None:
    """The static-object model over the zones that need it, or none where no rule does."""
    rows = sorted({zone for rule in rules if rule.sees_regions for zone in rule.zones})
    if not rows:
        return None
    return BackgroundModel(
        [zones[row] for row in rows],
        explaining_labels=label_rows([name for name in EXPLAINING_LABELS if name in labels], labels),
        doubtful_labels=label_rows([name for name in DOUBTFUL_LABELS if name in labels], labels),
        ignored=ignored,
    )


def _stillness(site: Site, camera: CameraConfig) -> Stillness:
    """Where people are hidden in pictures, nobody may be passed over wherever he is."""
    return Stillness(
        zones=polygons_of(camera),
        lines=arrays(ends for use in camera.scenarios for ends in use.lines.values()),
        whole=bool(site.config.evidence.blur),
        settings=StillnessSettings(forced_ns=seconds_to_ns(camera.sampling.still_s)),
    )


def _hours(use: ScenarioUse, timezone: ZoneInfo) -> Callable[[int, int], bool]:
    schedule = use.active
    if schedule is None:
        return lambda known_wall_ns, wall_ns: True
    return lambda known_wall_ns, wall_ns: schedule.holds_since(
        known_wall_ns, wall_ns, lambda moment_ns: minute_of_week(moment_ns, timezone)
    )


def _own_labels(models: CameraModels, judge: int) -> Bool | None:
    if len(models.detectors) == 1:
        return None
    mask = np.zeros(len(models.labels), np.bool_)
    mask[models.rows_of(judge)] = True
    return mask


def judges_of(site: Site, camera: CameraConfig, models: CameraModels) -> Callable[[str, str], tuple[str, str]]:
    """Scenario and zone -> name and sha256 of the model that judges there; for what is not configured any more the
    camera's first."""
    first = models.detectors[0].manifest
    known = {
        (use.use, zone): (models.judge_of(row).name, models.judge_of(row).sha256)
        for row, use in scenarios_of(camera).items()
        for zone in use.places
    }
    return lambda scenario, zone: known.get((scenario, zone), (first.name, first.sha256))


def _word(
    site: Site,
    camera: CameraConfig,
    eyes: Eyes,
    config_sha256: Callable[[], str],
    clock_offset_s: Callable[[], float | None],
) -> Callable[[CaseChange, Frame, Sequence[EvidenceFile], str], Told]:
    """What puts a case's change into an alert."""
    origin = origin_of(site, camera, model_name="", model_sha256="")
    judge_of = judges_of(site, camera, eyes.models)
    checks = {
        (use.use, zone): eyes.second_looks[row] for row, use in scenarios_of(camera).items() for zone in use.places
    }
    tags = {(use.use, zone): _tag(use) for use in site.scenarios[camera.id] for zone in use.places}
    topics = Topics(origin.site, origin.gateway)

    def tell(change: CaseChange, frame: Frame, evidence: Sequence[EvidenceFile], failure: str) -> Told:
        case = change.case
        name, sha256 = judge_of(case.scenario, case.zone)
        present = replace(origin, config_sha256=config_sha256(), model_name=name, model_sha256=sha256)
        check = checks.get((case.scenario, case.zone)) if case.state == OPENED else None
        body = alert(
            change,
            origin=present if case.zone in origin.zones else with_last_place(present, case, frame.size_px),
            tag=tags.get((case.scenario, case.zone)) or stock_tag(case.scenario),
            frame_px=frame.size_px,
            now_wall_ns=frame.wall_ns,
            mono_to_wall=frame.wall_ns - frame.mono_ns,
            media_time_s=frame.media_ns / NS_PER_S if frame.media_ns >= 0 else None,
            evidence=evidence,
            evidence_error=failure,
            check=check.verdict_at(case.footprint) if check else None,
            clock_offset_s=clock_offset_s(),
        )
        return Told(body, topics.alert(camera.id, case.scenario))

    return tell


def _with_thumbnail(
    body: dict[str, object], evidence: Sequence[EvidenceFile], recorder: CaseRecorder, *, bytes_max: int
) -> dict[str, object]:
    """Of the picture that shows the case; an alert is told without one where there is none, or no room for it."""
    drawn = next((file for file in evidence if file.role in ("overview", "after")), None)
    if drawn is None:
        return body
    try:
        picture = recorder.content_of(drawn)
    except EvidenceError as error:
        _log.warning("an alert goes out without its thumbnail: %s", error)
        return body
    thumbnail = thumbnail_of(picture, letters_max=room_for_thumbnail(body, bytes_max=bytes_max))
    return body if thumbnail is None else with_thumbnail(body, thumbnail)


def origin_of(site: Site, camera: CameraConfig, *, model_name: str, model_sha256: str) -> Origin:
    """Where the alerts of a camera come from."""
    return Origin(
        site=site.config.site.id,
        gateway=site.config.gateway.id,
        camera_id=camera.id,
        camera_name=camera.name,
        road=camera.road,
        grid=camera.grid,
        zones={name: tuple((float(x), float(y)) for x, y in points) for name, points in _points_of(camera).items()},
        timezone=ZoneInfo(site.config.site.timezone),
        model_name=model_name,
        model_sha256=model_sha256,
        config_sha256=site.config_sha256,
        software=__version__,
    )


def with_last_place(origin: Origin, case: Case, frame_px: tuple[int, int]) -> Origin:
    """For a case whose zone is not configured any more: the box of its thing stands for the zone."""
    width, height = frame_px
    x1, y1, x2, y2 = case.footprint
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    place = tuple((round(min(max(x / width, 0), 1), 4), round(min(max(y / height, 0), 1), 4)) for x, y in corners)
    return replace(origin, zones={case.zone: place})


def tag_of(site: Site, case: Case) -> Tag:
    """How a case is filed: as its camera's scenario is now, or by the catalogue where it is not in use any more."""
    uses = (use for use in site.scenarios[case.camera] if use.use == case.scenario and case.zone in use.places)
    use = next(uses, None)
    return stock_tag(case.scenario) if use is None else _tag(use)


def stock_tag(scenario: str) -> Tag:
    """How a case of a scenario that is not in use any more is filed: as the catalogue says."""
    known = stock_catalogue().scenarios.get(scenario)
    if known is None or known.is_measure:
        return Tag("", scenario, "", True, "normal")
    category = stock_catalogue().categories[str(known.defaults["category"])]
    return Tag(category.code, category.name, category.standard, category.extension, str(known.defaults["severity"]))


def _tag(use: ScenarioUse) -> Tag:
    category = use.category
    return Tag(category.code, category.name, category.standard, category.extension, use.parameters.severity)


def label_rows(names: Iterable[str], labels: tuple[str, ...]) -> Int16:
    return np.array([labels.index(name) for name in names], np.int16)


def places_of(camera: CameraConfig) -> dict[str, Float32]:
    """By name: the zones, and the lines, which have two points."""
    return {name: np.array(points, np.float32) for name, points in _points_of(camera).items()}


def _points_of(camera: CameraConfig) -> dict[str, Sequence[tuple[float, float]]]:
    zones = {zone.id: zone.polygon for zone in camera.zones}
    return {**zones, **{name: ends for use in camera.scenarios for name, ends in use.lines.items()}}


def polygons_of(camera: CameraConfig) -> list[Float32]:
    return arrays(zone.polygon for zone in camera.zones)


def arrays(polygons: Iterable[Sequence[Sequence[float]]]) -> list[Float32]:
    return [np.array(polygon, np.float32) for polygon in polygons]
