"""Model manifests: what a folder under `models/` says of its ONNX file, and the proof that the file is that one.

Strict: a manifest is read once at start, and a mistake found then is cheaper than wrong boxes for a week.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge.core.types import Int16
from edge.errors import ModelError

MANIFEST = "manifest.yaml"

YOLOX = "yolox"
YOLO = "yolo"
YOLO_E2E = "yolo-e2e"
DETR = "detr"
CLASSES = "classes"  # no boxes: says what the whole picture shows
FORMATS = (YOLOX, YOLO, YOLO_E2E, DETR, CLASSES)

BGR = "bgr"
RGB = "rgb"
TOP_LEFT = "top-left"
CENTRED = "centred"
SIGMOID = "sigmoid"
SOFTMAX = "softmax"
GIVEN = "given"  # the network has done it itself

_CHOICES = {
    "format": FORMATS,
    "colour": (BGR, RGB),
    "padding": (TOP_LEFT, CENTRED),
    "activation": (SIGMOID, SOFTMAX, GIVEN),
}
_OPTIONAL = {"activation", "fixed_px", "groups", "iou_max"}
_DERIVED = {"folder"}
# On 128 COCO pictures 0.5 has the AP of 0.6 with a third of the near-repeats, each of which could start a track.
# Formats that suppress inside the network leave only one thing under two labels to be joined.
_IOU_MAX = {YOLOX: 0.5, YOLO: 0.5, YOLO_E2E: 0.8, DETR: 0.8}
_HASH_DIGITS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """One model: the file, how its pictures and answers look, where it comes from."""

    folder: Path
    name: str
    file: str  # inside the folder
    sha256: str
    format: str  # one of FORMATS
    colour: str  # BGR | RGB
    padding: str  # TOP_LEFT | CENTRED
    input_multiple: int  # px
    longest_side: int  # px, default size of the input
    labels: tuple[str, ...]
    score: str  # what a score means, in words
    licence: str
    origin: str
    made: str
    activation: str = SIGMOID  # of `detr` logits, where SOFTMAX has a last column for "no object", and of `classes`
    fixed_px: tuple[int, int] | None = None  # (width, height) of the only input that the network takes
    iou_max: float = 0.0  # 0: the default of the format
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def path(self) -> Path:
        return self.folder / self.file

    @property
    def finds_boxes(self) -> bool:
        """A detector does; a classifier judges a whole picture."""
        return self.format != CLASSES

    def misfit_of(self, longest_side: int) -> str:
        """ "" when the input may have this longest side (px), else why it may not."""
        if self.fixed_px and longest_side != max(self.fixed_px):
            return f"takes pictures of {self.fixed_px[0]}x{self.fixed_px[1]} alone, not of {longest_side} px"
        if longest_side % self.input_multiple:
            return f"takes pictures whose sides are multiples of {self.input_multiple} px, not {longest_side}"
        return ""

    @property
    def overlap_max(self) -> float:
        """IoU above which two boxes of one group are one thing."""
        return self.iou_max or _IOU_MAX[self.format]

    def label_groups(self) -> Int16:
        """(C,) the group of each label; a label in no group is alone in its own."""
        group = np.arange(len(self.labels), dtype=np.int16)
        for _, members in self.groups:
            rows = [self.labels.index(member) for member in members]
            group[rows] = min(rows)
        return group


def load_manifest(folder: Path) -> ModelManifest:
    """The manifest of the model in `folder`, its file present and of the right hash, or ModelError."""
    manifest = parse_manifest(folder)
    read_model(manifest)
    return manifest


def parse_manifest(folder: Path) -> ModelManifest:
    """The manifest alone; the model file is not looked at."""
    path = folder / MANIFEST
    values = _read_mapping(path)
    known = {field.name for field in fields(ModelManifest)} - _DERIVED
    for key in sorted(values.keys() - known):
        raise ModelError(f"{path}: unknown key {key!r}: known are {', '.join(sorted(known))}")
    for key in sorted(known - _OPTIONAL - values.keys()):
        raise ModelError(f"{path}: {key} is missing: add it")
    for key, choices in _CHOICES.items():
        if key in values and values[key] not in choices:
            raise ModelError(f"{path}: {key} is {values[key]!r}: expected one of {', '.join(choices)}")
    labels = _names(path, "labels", values["labels"])
    _check_activation(path, values)
    fixed_px = _fixed(path, values)
    return ModelManifest(
        folder=folder,
        name=_text(path, values, "name"),
        file=_file_name(path, values),
        sha256=_digest(path, values),
        format=values["format"],
        colour=values["colour"],
        padding=values["padding"],
        input_multiple=_pixels(path, values, "input_multiple"),
        longest_side=_pixels(path, values, "longest_side"),
        labels=labels,
        score=_text(path, values, "score"),
        licence=_text(path, values, "licence"),
        origin=_text(path, values, "origin"),
        made=_text(path, values, "made"),
        activation=values.get("activation", SIGMOID),
        fixed_px=fixed_px,
        iou_max=_fraction(path, values, "iou_max"),
        groups=_groups(path, values.get("groups", {}), labels),
    )


def read_model(manifest: ModelManifest) -> bytes:
    """The model file's bytes, hashed: what is checked is what will run."""
    try:
        content = manifest.path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{manifest.path}: {error.strerror}: {MANIFEST} beside it names it; fetch it or correct the manifest"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise ModelError(
            f"{manifest.path}: sha256 is {found[:_HASH_DIGITS_SHOWN]}.., manifest says "
            f"{manifest.sha256[:_HASH_DIGITS_SHOWN]}..: the file is not the one that was checked; "
            "fetch it again or correct the manifest"
        )
    return content


def find_model(name: str, folders: Sequence[Path]) -> Path:
    """The folder of the model called `name` in the first of `folders` that has it; `name` may also be a path."""
    if not name:
        raise ModelError("the model's name is empty: name a folder under models/, or a path")
    for candidate in (*(folder / name for folder in folders), Path(name)):
        if (candidate / MANIFEST).is_file():
            return candidate
    known = ", ".join(path.name for path in known_models(folders)) or "none"
    raise ModelError(f"model {name!r}: no such model and no folder with a {MANIFEST}: known models are {known}")


def known_models(folders: Sequence[Path]) -> list[Path]:
    """The model folders in `folders`, by name; of two with one name the first, as in `find_model`."""
    found: dict[str, Path] = {}
    for folder in folders:
        for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return [found[name] for name in sorted(found)]


class _StrictLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys in silence; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"repeated key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}: a model is a folder with a {MANIFEST}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not a text file: a manifest is YAML in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ModelError(f"{path}:{line}: {error.problem}: correct the YAML") from None
    except yaml.YAMLError as error:
        raise ModelError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected keys and values, found {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _text(path: Path, values: dict[str, Any], key: str) -> str:
    value = values[key]
    if not isinstance(value, str) or not value.strip():
        raise ModelError(f"{path}: {key} is {value!r}: expected text")
    return value


def _file_name(path: Path, values: dict[str, Any]) -> str:
    value = _text(path, values, "file")
    if Path(value).name != value:
        raise ModelError(f"{path}: file is {value!r}: expected the name of a file in the same folder")
    return value


def _digest(path: Path, values: dict[str, Any]) -> str:
    value = _text(path, values, "sha256")
    if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ModelError(f"{path}: sha256 is {value!r}: expected 64 hexadecimal digits in lower case")
    return value


def _pixels(path: Path, values: dict[str, Any], key: str) -> int:
    value = values[key]
    if type(value) is not int or not 1 <= value <= 8192:
        raise ModelError(f"{path}: {key} is {value!r}: expected a whole number of pixels from 1 to 8192")
    return value


def _check_activation(path: Path, values: dict[str, Any]) -> None:
    """What a classifier's numbers mean cannot be guessed: 0.4 may be a probability or a logit."""
    finds_boxes = values["format"] != CLASSES
    if finds_boxes and values.get("activation") == GIVEN:
        raise ModelError(f"{path}: activation is {GIVEN!r}: that is for format {CLASSES}; take it out")
    if not finds_boxes and "activation" not in values:
        raise ModelError(
            f"{path}: activation is missing: {SOFTMAX} or {SIGMOID} of logits, {GIVEN} where the network has done it"
        )
    for key in ("groups", "iou_max"):
        if not finds_boxes and key in values:
            raise ModelError(f"{path}: {key} is for detectors, format {CLASSES} has no boxes: take it out")


def _fixed(path: Path, values: dict[str, Any]) -> tuple[int, int] | None:
    if "fixed_px" not in values:
        return None
    sides = values["fixed_px"]
    if not isinstance(sides, list) or len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise ModelError(f"{path}: fixed_px is {sides!r}: expected [width, height] in whole pixels")
    width, height = sides
    if values["longest_side"] != max(width, height):
        raise ModelError(f"{path}: longest_side is {values['longest_side']!r}, but fixed_px has {max(width, height)}")
    return width, height


def _fraction(path: Path, values: dict[str, Any], key: str) -> float:
    if key not in values:
        return 0.0
    value = values[key]
    if type(value) not in (int, float) or not 0 < value <= 1:
        raise ModelError(f"{path}: {key} is {value!r}: expected a number above 0 and up to 1")
    return float(value)


def _names(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise ModelError(f"{path}: {key}: expected a list of names")
    repeated = sorted({name for name in value if value.count(name) > 1})
    if repeated:
        raise ModelError(f"{path}: {key}: {repeated[0]!r} stands there twice")
    return tuple(value)


def _groups(path: Path, value: object, labels: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, dict):
        raise ModelError(f"{path}: groups: expected names with lists of labels")
    groups = tuple((str(name), _names(path, f"groups.{name}", members)) for name, members in value.items())
    taken: set[str] = set()
    for name, members in groups:
        for member in members:
            if member not in labels:
                raise ModelError(f"{path}: groups.{name}: {member!r} is not among the labels")
            if member in taken:
                raise ModelError(f"{path}: groups.{name}: {member!r} is in another group already")
            taken.add(member)
    return groups
