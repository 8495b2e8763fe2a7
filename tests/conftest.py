"""Fixtures and helpers of all tests: the shared clips, programs of the system, and the order of running.

Where CI=true a missing component is a failure; elsewhere the tests that need it are skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

# A busy machine makes single examples slow; what is too slow altogether, the time limit of a test finds.
settings.register_profile("edge", deadline=None)
settings.load_profile("edge")

_REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, so that a mistake shows within seconds; then those with real clips, then the slow ones."""
    for item in items:
        if "media" in getattr(item, "fixturenames", ()):
            item.add_marker("media")
    items.sort(key=_slowness)


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of recorded clips with their ground truth: EDGE_MEDIA, else `shared/media` beside the repository."""
    folder = Path(os.environ.get("EDGE_MEDIA") or _REPOSITORY.parent / "shared" / "media")
    if not (folder / "events.json").is_file():
        missing(f"no shared clips in {folder}; set EDGE_MEDIA")
    return folder


def need_program(name: str) -> str:
    """The path of a program of the system, such as ffmpeg or mosquitto."""
    # Debian keeps daemons in /usr/sbin, which is not in everybody's path.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        missing(f"{name} is not installed; scripts/test installs it as root")
    return path


def missing(what: str) -> NoReturn:
    """A component that this test needs is not there."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def _slowness(item: pytest.Item) -> tuple[bool, bool]:
    return item.get_closest_marker("slow") is not None, item.get_closest_marker("media") is not None
