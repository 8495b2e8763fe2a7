"""What an operator does with the picture of a camera's empty place: look at it, begin it anew, give another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.core.background import BackgroundModel
from edge.core.place.carry import same_place
from edge.core.place.grid import levels
from edge.core.types import Frame, UInt8
from edge.errors import StateError, UsageError
from edge.runtime.process import sole_holder
from edge.runtime.requests import ANSWER_S, Take, ask
from edge.runtime.status_socket import NotRunningError, fetch_status
from edge.state.database import Answer, Database
from edge.wiring.kept_file import kept_paths
from edge.wiring.place_file import BYTES_MAX, ENDING, KIND, PlaceFile, unpacked
from edge.wiring.process_order import DATABASE, GATEWAY_LOCK

PLACE_RESET, PLACE_SET = "place-reset", "place-set"
_PICTURE_BYTES_MAX = 32 << 20
_NO_SCENARIO = Answer(done=False, words="no scenario of this camera looks for things of no known class")


def reset_place(folder: Path, camera: str) -> str:
    """What stands before the camera now is its empty place from now on; returns what was done, in words.

    Without a gateway in `folder` what is kept there is deleted, and the next start learns anew. Raises UsageError for
    a camera that the gateway does not have, StateError where the camera's worker does not answer or refuses.
    """
    try:
        return _asked(folder, camera, PLACE_RESET, {})
    except NotRunningError:
        if not folder.is_dir():
            raise
    with sole_holder(folder / GATEWAY_LOCK, what="this state folder"):  # nobody may start meanwhile
        kept = kept_paths(folder / KIND, camera, ENDING)
        for path in kept:
            path.unlink(missing_ok=True)
    if not kept:
        raise StateError(f"{camera}: no gateway runs in {folder}, and no place of such a camera is kept there")
    return "no gateway runs; what was kept is deleted, and the next start learns the empty place anew"


def set_place(folder: Path, camera: str, picture: Path) -> str:
    """A picture shows the camera's empty place: what stands there now and not in the picture has appeared."""
    if not picture.is_file():
        raise UsageError(f"{picture}: no such file; take one with `edge snapshot` while the place is empty")
    return _asked(folder, camera, PLACE_SET, {"picture": str(picture.absolute())})


def show_place(folder: Path, camera: str, output: Path) -> None:
    """Write the empty place as it is kept, at most five minutes old, in its own small size."""
    kept = kept_paths(folder / KIND, camera, ENDING)
    if not kept:
        raise StateError(f"{camera}: no place of such a camera is kept in {folder}; it is learned in some seconds")
    newest = max(kept, key=lambda path: path.stat().st_mtime_ns)
    try:
        with newest.open("rb") as file:
            place = unpacked(file.read(BYTES_MAX))
    except ValueError as error:
        raise StateError(f"{newest}: is damaged ({error}); delete it with `edge place reset {camera}`") from error
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg") or not cv2.imwrite(str(output), levels(place.empty)):
        raise UsageError(f"{output}: cannot be written; name a .png or .jpg in a folder of yours")


def _asked(folder: Path, camera: str, kind: str, body: Mapping[str, object]) -> str:
    known = [seen.camera for seen in fetch_status(folder).cameras]
    if camera not in known:
        raise UsageError(f"{camera}: the gateway has no such camera; it has {', '.join(known) or 'none'}")
    with Database.open(folder / DATABASE) as database:
        answer = ask(database, camera, kind, body)
    if answer is None:
        raise StateError(
            f"{camera}: its worker has not answered within {ANSWER_S:g} s, so nothing was done; "
            "see with `edge status` whether it has a picture, and try again"
        )
    if not answer.done:
        raise StateError(f"{camera}: {answer.words}")
    return answer.words


def place_takes(background: BackgroundModel | None, file: PlaceFile | None) -> dict[str, Take]:
    """What a worker does when it is asked."""

    def reset(body: Mapping[str, Any], frame: Frame) -> Answer:
        if background is None or file is None:
            return _NO_SCENARIO
        background.forget(frame.mono_ns)
        file.forget()
        return Answer(done=True, words="what stands there now is the empty place from now on")

    def set_to(body: Mapping[str, Any], frame: Frame) -> Answer:
        if background is None or file is None:
            return _NO_SCENARIO
        try:
            picture = _read(Path(str(body.get("picture"))), frame)
        except (OSError, ValueError) as error:
            return Answer(done=False, words=f"{error}")
        empty, now = background.place_shown_by(picture), background.place_shown_by(frame.pixels)
        if same_place(empty.empty, now.empty, np.ones_like(empty.known)) is False:
            return Answer(done=False, words="the picture does not show what the camera sees now")
        background.restore(empty)
        file.forget()
        return Answer(done=True, words="what stands there now and not in the picture has appeared now")

    return {PLACE_RESET: reset, PLACE_SET: set_to}


def _read(path: Path, frame: Frame) -> UInt8:
    """The picture in the size of the camera's own. Raises OSError or ValueError with the reason."""
    with path.open("rb") as file:
        content = file.read(_PICTURE_BYTES_MAX + 1)
    picture = None
    if 0 < len(content) <= _PICTURE_BYTES_MAX:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: is no picture that can be read; give a .jpg or .png")
    width, height = frame.size_px
    if abs(picture.shape[1] * height - picture.shape[0] * width) > max(width, height):
        raise ValueError(f"{path}: is {picture.shape[1]}x{picture.shape[0]} px, the camera's picture {width}x{height}")
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)
