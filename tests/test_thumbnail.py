"""A small picture inside of an alert: as large as the alert's limit lets it be, and never a reason to hold one back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from edge.config.loader import load_site
from edge.core.types import CaseChange
from edge.delivery.message import dumps, room_for_thumbnail, with_thumbnail
from edge.evidence.chain import Chain
from edge.evidence.thumbnail import thumbnail_of
from edge.evidence.verify import verify
from edge.runtime.telling import Telling
from edge.state.database import Database
from edge.state.relays import Relays
from edge.wiring.camera_models import Eyes
from edge.wiring.frame_path import check_models, recorder_for, telling_for
from tests.alerts import a_change as street_change
from tests.alerts import alert_of, closed_schema, topic_of
from tests.test_evidence import a_change, a_frame

pytestmark = pytest.mark.delivery


def a_picture(width: int = 1280, height: int = 720) -> bytes:
    """As hard to compress as a street."""
    rng = np.random.default_rng(1)
    rough = rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    bgr = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", bgr)[1].tobytes())


@pytest.mark.parametrize("kilobytes", [4, 8, 16, 32, 64])
def test_an_alert_with_its_thumbnail_stays_under_the_limit(kilobytes: int) -> None:
    body = alert_of(street_change(1))
    room = room_for_thumbnail(body, bytes_max=kilobytes * 1000)
    thumbnail = thumbnail_of(a_picture(), letters_max=room)
    assert thumbnail is not None
    whole = {**with_thumbnail(body, thumbnail), "sequence": 10**12}
    size = len(dumps(whole).encode())
    print(f"{kilobytes} kB: {thumbnail.width_px}x{thumbnail.height_px} px, {size} bytes in all")
    assert size <= kilobytes * 1000
    jsonschema.validate(whole, closed_schema())
    content = cv2.imdecode(np.frombuffer(base64.b64decode(thumbnail.base64), np.uint8), cv2.IMREAD_COLOR)
    assert content is not None
    assert content.shape[:2] == (thumbnail.height_px, thumbnail.width_px)
    assert thumbnail.height_px / thumbnail.width_px == pytest.approx(720 / 1280, rel=0.02)


def test_more_room_gives_a_larger_picture_and_none_is_enlarged() -> None:
    widths = [
        found.width_px
        for room in (3000, 6000, 12_000, 24_000)
        if (found := thumbnail_of(a_picture(), letters_max=room))
    ]
    assert widths == sorted(widths)
    assert len(set(widths)) >= 3
    small = thumbnail_of(a_picture(160, 120), letters_max=100_000)
    assert small is not None
    assert small.width_px == 160


@pytest.mark.parametrize(
    ("content", "room"), [(b"", 9000), (b"no picture", 9000), (a_picture(), 200), (a_picture(), -5)]
)
def test_where_there_is_no_picture_or_no_room_there_is_none(content: bytes, room: int) -> None:
    assert thumbnail_of(content, letters_max=room) is None


class Sent:
    """An outbox that remembers."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        self.alerts.append(json.loads(dumps(alert)))
        return len(self.alerts)


SITE = """\
version: 1
site: {id: xiaohe, timezone: Asia/Shanghai}
gateway: {id: gw-01}
evidence: {thumbnail_kb: 24}
cameras:
  - id: qiaonong-03
    source: street.mp4
    zones: [{id: kerb, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}]
    scenarios: [{use: illegal-parking, zones: [kerb]}]
"""


def a_telling(root: Path, sent: Sent) -> Telling:
    (root / "site.yaml").write_text(SITE, encoding="utf-8")
    site = load_site(root / "site.yaml", environ={})
    camera = site.config.cameras[0]
    models = check_models(site)[camera.id]
    eyes = Eyes(models, None, (None,) * len(camera.scenarios))  # type: ignore[arg-type]
    return telling_for(
        site, camera, eyes, recorder=recorder_for(site, camera, models, root=root, chain=Chain()), outbox=sent
    )


def test_the_alerts_that_show_a_place_bring_it_along_and_the_manifest_does_not_know(tmp_path: Path) -> None:
    sent = Sent()
    telling = a_telling(tmp_path, sent)
    for number, change in enumerate(
        (a_change("opened", 60, alerts=1), a_change("cleared", 240, alerts=2, reason="seen-empty")), start=1
    ):
        telling.publish([change], a_frame(60 * number), blind="")
    assert [len(dumps(alert).encode()) <= 24_000 for alert in sent.alerts] == [True, True]
    for alert in sent.alerts:
        thumbnail = alert["data"]["thumbnail"]
        print(thumbnail["width"], thumbnail["height"], len(thumbnail["data"]))
        assert thumbnail["width"] >= 256
    for manifest in tmp_path.rglob("manifest-*.json"):
        assert "thumbnail" not in manifest.read_text(encoding="utf-8")
    assert verify(tmp_path).problems == []


def test_a_blind_camera_and_evidence_that_failed_bring_none(tmp_path: Path) -> None:
    sent = Sent()
    telling = a_telling(tmp_path, sent)
    telling.publish([a_change("opened", 60, alerts=1)], a_frame(60), blind="dark")
    (tmp_path / "evidence").write_text("a file where a folder should be")
    telling.publish([a_change("opened", 60, alerts=1)], a_frame(60), blind="")
    assert len(sent.alerts) == 2
    assert all("thumbnail" not in alert["data"] for alert in sent.alerts)


def test_followers_get_the_alert_without_it(tmp_path: Path) -> None:
    thumbnail = thumbnail_of(a_picture(), letters_max=8000)
    assert thumbnail is not None
    with Database.open(tmp_path / "edge.db") as database:
        relays = Relays(database)
        relays.set_followers(["upload"])
        change = street_change(1)
        plain = alert_of(change)
        database.commit(change, with_thumbnail(plain, thumbnail), topic_of(change))
        [relay], [row] = relays.waiting("upload"), database.next_unsent(0, 10)
    assert json.loads(row.body)["data"]["thumbnail"]["width"] == thumbnail.width_px
    assert relay.body == dumps({**plain, "sequence": 1})
