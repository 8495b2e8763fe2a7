"""Which rules are content with a camera's keyframes, and that they then find what five looks a second find."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config.catalogue import stock_catalogue
from edge.config.loader import load_site
from edge.core.types import NS_PER_S
from edge.wiring.camera_models import models_of
from edge.wiring.frame_path import names_that_need_motion

SITE = """
version: 1
site: {{id: s, timezone: UTC}}
gateway: {{id: g}}
cameras:
  - id: c
    source: clip.mp4
    zones: [{{id: kerb, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}}]
    scenarios:
{uses}
"""
LINE = "line: [[0.1, 0.5], [0.9, 0.5]], direction: up"


def needing_motion(folder: Path, *uses: str, look_s: float = 2) -> tuple[str, ...]:
    """Of a camera with these uses, looked at so many seconds apart."""
    (folder / "site.yaml").write_text(SITE.format(uses="\n".join(f"      - {{{use}}}" for use in uses)))
    site = load_site(folder / "site.yaml", environ={})
    camera = site.config.cameras[0]
    models = models_of(site, [camera])[camera.id]
    return names_that_need_motion(site, camera, models, look_ns=round(look_s * NS_PER_S))


# What is still, and lasts, is content; who walks, what passes a line and what is counted is not.
CONTENT = (
    "illegal-parking",
    "piled-goods",
    "out-of-store-trading",
    "mobile-vendor",
    "crowd-gathering",
    "post-unattended",
)
MOVING = ("loitering", "intrusion", "no-activity", "occupancy", "person-on-carriageway")


def test_scenarios_of_what_stays_are_content_with_keyframes_and_those_of_what_passes_are_not(tmp_path: Path) -> None:
    zones = [f"use: {name}, zones: [kerb]" for name in (*CONTENT, *MOVING)]
    lines = [f"use: wrong-way, {LINE}", f"use: people-flow, id: door, {LINE}"]
    assert needing_motion(tmp_path, *zones[: len(CONTENT)]) == ()
    assert set(needing_motion(tmp_path, *zones, *lines)) == {*MOVING, "wrong-way", "door"}


@pytest.mark.parametrize(("look_s", "needs"), [(1, ()), (2, ()), (2.5, ()), (4, ("illegal-parking",))])
def test_a_dwell_must_hold_three_looks(look_s: float, needs: tuple[str, ...], tmp_path: Path) -> None:
    use = "use: illegal-parking, zones: [kerb], after_s: 5"
    assert needing_motion(tmp_path, use, look_s=look_s) == needs
    assert needing_motion(tmp_path, "use: illegal-parking, zones: [kerb]", look_s=look_s) == ()


def test_keyframes_further_apart_than_four_seconds_are_too_few_for_anybody(tmp_path: Path) -> None:
    uses = [f"use: {name}, zones: [kerb]" for name in CONTENT]
    assert len(needing_motion(tmp_path, *uses, look_s=4.1)) == len(CONTENT)


def test_the_page_names_scenarios_that_are_in_the_catalogue() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "scenarios.md").read_text(encoding="utf-8")
    told = page[page.index("- **Keyframes.**") : page.index("- **Measures**")]
    for name in ("loitering", "intrusion", "no-activity"):
        assert f"`{name}`" in told
        assert name in stock_catalogue().scenarios
