"""What an operator asks of a camera's worker and the answer, by way of the database: a second or two there and back.

    a command -> ask() -> table `requests` -> RequestDesk.serve() in the worker -> answer -> the command

A request lives only as long as somebody waits for it: nothing asked of a camera that was away happens hours later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge.clock import SystemClock, elapsed_s
from edge.core.types import NS_PER_S, Frame, seconds_to_ns
from edge.errors import StateError
from edge.state.database import Answer, Database, Request

log = logging.getLogger(__name__)

SERVE_NS = NS_PER_S
ANSWER_S = 10.0
_LOOK_S = 0.1  # between two looks for the answer

Take = Callable[[Mapping[str, Any], Frame], Answer]  # what was asked, and the newest picture -> what became of it


class Requests(Protocol):
    """The database as a worker sees it, of what operators ask."""

    def open_requests(self, camera: str, *, now_wall_ns: int) -> list[Request]: ...

    def answer_request(self, number: int, answer: Answer) -> None: ...


class RequestDesk:
    """Takes what is asked of one camera. `takes`: by kind; each may be called again where its answer got lost."""

    def __init__(self, camera: str, requests: Requests, takes: Mapping[str, Take], *, clock: SystemClock) -> None:
        self._camera = camera
        self._requests = requests
        self._takes = takes
        self._clock = clock
        self._served_ns = 0

    def serve(self, frame: Frame) -> None:
        """Answer what is waiting, at most once a second. `frame` is the newest picture."""
        now_ns = self._clock.mono_ns()
        if now_ns - self._served_ns < SERVE_NS:
            return
        self._served_ns = now_ns
        try:
            for request in self._requests.open_requests(self._camera, now_wall_ns=self._clock.wall_ns()):
                answer = self._taken(request, frame)
                log.info("camera %s was asked for %s: %s", self._camera, request.kind, answer.words)
                self._requests.answer_request(request.id, answer)
        except StateError as error:
            log.warning("requests wait for the database: %s", error)

    def _taken(self, request: Request, frame: Frame) -> Answer:
        take = self._takes.get(request.kind)
        if take is None:
            return Answer(done=False, words=f"this gateway does not know {request.kind!r}; it is of another version")
        return take(request.body, frame)


def ask(
    database: Database,
    camera: str,
    kind: str,
    body: Mapping[str, object] | None = None,
    *,
    limit_s: float = ANSWER_S,
    clock: SystemClock | None = None,
) -> Answer | None:
    """Ask a camera's worker and wait for its answer; None where there is none in time, and then none will come."""
    now_ns = (clock or SystemClock()).wall_ns()
    number = database.put_request(
        camera, kind, body or {}, now_wall_ns=now_ns, until_wall_ns=now_ns + seconds_to_ns(limit_s)
    )
    try:
        end_s = elapsed_s() + limit_s
        while True:
            answer = database.answer_to(number)
            if answer is not None or elapsed_s() >= end_s:
                return answer
            time.sleep(_LOOK_S)
    finally:
        database.delete_request(number)
