"""What a camera has learned, in a file of the state folder: it belongs to the camera's zones and source.

Losing one costs some seconds or minutes of learning, so no error of the disk ends a worker.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

from edge.config.models import CameraConfig
from edge.core.types import NS_PER_S
from edge.errors import redact
from edge.evidence.store import write_atomically

log = logging.getLogger(__name__)

SAVE_NS = 300 * NS_PER_S  # how often what is learned is kept
_CHANNEL_LETTERS = 3
_Content = TypeVar("_Content")


class KeptFile:
    """`<kind>/<camera>-<fingerprint>.<kind's ending>` in the state folder. Whoever changes zones or source begins a
    new one."""

    def __init__(self, folder: Path, *, kind: str, ending: str, camera: CameraConfig, bytes_max: int) -> None:
        """`bytes_max`: a file that is larger is damaged, and is not read."""
        seen = [*_place(camera.source), [zone.model_dump() for zone in camera.zones]]
        fingerprint = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:12]
        self._folder = folder / kind
        self._camera = camera.id
        self._ending = ending
        self._bytes_max = bytes_max
        self.path = self._folder / f"{camera.id}-{fingerprint}{ending}"

    def load(self, read: Callable[[bytes], _Content], path: Path | None = None) -> _Content | None:
        """What `read` makes of the file; None where there is none, or `read` raises ValueError: it is damaged."""
        path = path or self.path
        try:
            with path.open("rb") as file:
                content = file.read(self._bytes_max + 1)
            if len(content) > self._bytes_max:
                raise ValueError("larger than such a file can be")
            return read(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s: not read, and learned anew: %s", path, error)
            return None

    def write(self, content: bytes) -> None:
        """In place of what was there, and of what is left from other zones or another source."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, content)
            for path in self.former_paths():
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: not saved: %s", self.path, error)

    def delete(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: not deleted: %s", self.path, error)

    def former_paths(self) -> list[Path]:
        """Files of this camera from before it was given other zones or another source."""
        return [path for path in kept_paths(self._folder, self._camera, self._ending) if path != self.path]


def kept_paths(folder: Path, camera: str, ending: str) -> list[Path]:
    """All files of one camera, whatever its zones and source were."""
    own = re.compile(re.escape(camera) + r"-[0-9a-f]{12}" + re.escape(ending))  # no glob: `gate` is no `gate-2`
    try:
        present = list(folder.iterdir())
    except OSError:
        return []
    return [path for path in present if own.fullmatch(path.name)]


def _place(source: str) -> list[object]:
    """What tells views apart, without a secret: a recorder's channels differ only in what they ask for. What is so
    short is no password."""
    query = source.partition("?")[2]
    return [redact(source), sorted(pair for pair in parse_qsl(query) if len(pair[1]) <= _CHANNEL_LETTERS)]
