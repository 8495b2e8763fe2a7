"""What an operator does with the picture of a camera's empty place: look at it, forget it, give another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.core.types import Frame
from edge.errors import StateError, UsageError
from edge.runtime.requests import ANSWER_S, Take, ask
from edge.runtime.status_socket import fetch_status
from edge.runtime.worker import Worker
from edge.state.database import Answer, Database
from edge.wiring.process_order import DATABASE

PLACE_RESET = "place-reset"


def reset_place(folder: Path, camera: str) -> str:
    """What stands before the camera now is its empty place from now on; returns what was done, in words.

    Raises NotRunningError without a gateway in `folder`, UsageError for a camera that it does not have, StateError
    where the camera's worker does not answer or refuses.
    """
    known = [seen.camera for seen in fetch_status(folder).cameras]
    if camera not in known:
        raise UsageError(f"{camera}: the gateway has no such camera; it has {', '.join(known) or 'none'}")
    with Database.open(folder / DATABASE) as database:
        answer = ask(database, camera, PLACE_RESET)
    if answer is None:
        raise StateError(
            f"{camera}: its worker has not answered within {ANSWER_S:g} s, so nothing was done; "
            "see with `edge status` whether it has a picture, and try again"
        )
    if not answer.done:
        raise StateError(f"{camera}: {answer.words}")
    return answer.words


def reset_by_worker(worker: Worker) -> Take:
    """What a worker does when it is asked."""

    def reset(body: Mapping[str, Any], frame: Frame) -> Answer:
        if worker.background is None:
            return Answer(done=False, words="no scenario of this camera looks for things of no known class")
        worker.background.forget(frame.mono_ns)
        return Answer(done=True, words="what stands there now is the empty place from now on")

    return reset
