"""Another platform's HTTP server on the loopback, and alerts to tell it of."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from edge.config.loader import Site, load_site
from edge.core.types import CLEARED, NS_PER_S, WITHDRAWN
from edge.delivery import message
from edge.state.database import Database
from edge.state.relays import Relays
from tests.alerts import EVIDENCE, ORIGIN, START_WALL_NS, TAG, a_change, alert_of, topic_of
from tests.brokers import WAIT_S

FOLLOWER = "platform"
SITE = """\
version: 1
site: {{id: xiaohe, name: 小河街道, timezone: Asia/Shanghai}}
gateway: {{id: gw-01}}
mqtt: {{url: "mqtt://127.0.0.1:1883"}}
bridges: {bridges}
cameras:
  - id: qiaonong-03
    name: 桥弄街 3 号
    source: rtsp://10.0.0.8/stream1
    road: 桥弄街
    grid: G-17
    zones:
      - {{id: kerb, polygon: [[0.41, 0.22], [0.52, 0.22], [0.58, 0.66], [0.38, 0.66]]}}
      - {{id: pavement, polygon: [[0, 0], [1, 0], [1, 1]]}}
    scenarios:
      - {{use: illegal-parking, zones: [kerb]}}
      - {{use: non-motor-parking, zones: [kerb]}}
      - {{use: out-of-store-trading, zones: [pavement]}}
      - {{use: crowd-gathering, zones: [pavement]}}
      - {{use: people-flow, id: door, line: [[0.2, 0.7], [0.8, 0.7]], direction: up}}
      - {{use: occupancy, zones: [kerb, pavement]}}
"""


def site_with(bridges: Mapping[str, object], folder: Path, old: str = "", new: str = "") -> Site:
    """A site of one camera with these bridges, and with one piece of its text changed."""
    text = SITE.format(bridges=json.dumps(bridges, ensure_ascii=False))
    assert old in text
    path = folder / "site.yaml"
    path.write_text(text.replace(old, new) if old else text, encoding="utf-8")
    return load_site(path, environ={})


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Reply = tuple[int, dict[str, str], bytes]


def json_reply(document: object, status: int = 200) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


@dataclass
class Platform:
    """Answers by `answer`, one request at a time; remembers all of them. A context."""

    answer: Callable[[Request], Reply]
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        platform, self._changed = self, threading.Condition()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                request = Request(self.path, dict(self.headers.items()), self.rfile.read(length))
                with platform._changed:
                    status, headers, body = platform.answer(request)
                    platform.requests.append(request)
                    platform._changed.notify_all()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def wait_for(self, condition: Callable[[list[Request]], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.requests), timeout=WAIT_S)

    def __enter__(self) -> Platform:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def store(database: Database, count: int, *, first: int = 1) -> None:
    """So many opened cases, told to the follower."""
    Relays(database).set_followers([FOLLOWER])
    for number in range(first, first + count):
        change = a_change(number)
        database.commit(change, alert_of(change), topic_of(change))


CROP = replace(EVIDENCE, role="crop", path="evidence/one/crop.jpg", sha256="f" * 64)
AFTER = replace(EVIDENCE, role="after", path="evidence/one/after.jpg", sha256="d" * 64)
ORIGINAL = replace(EVIDENCE, role="original", path="evidence/one/original.jpg", sha256="e" * 64)
_TRADING = replace(TAG, category_code="0504", category_name="店外经营", severity="high")
_CROWD = replace(TAG, category_code="X002", category_name="人群聚集", category_extension=True, severity="urgent")
_END_NS = 200 * NS_PER_S


def told() -> dict[str, dict[str, Any]]:
    """Alerts of every kind, as an outbox would number them."""
    place = {"origin": replace(ORIGIN, zones={**ORIGIN.zones, "pavement": ((0, 0), (1, 0), (1, 1))})}
    end = {"state": CLEARED, "cleared_ns": _END_NS, "last_seen_ns": 190 * NS_PER_S}
    trading = {"scenario": "out-of-store-trading", "zone": "pavement", "label": ""}
    crowd = {"scenario": "crowd-gathering", "zone": "pavement", "label": "person", "count": 7}
    made = {
        "parking-opened": alert_of(a_change(), evidence=[EVIDENCE, ORIGINAL, CROP]),
        "parking-updated": alert_of(a_change(kind="updated", alerts=2, last_seen_ns=150 * NS_PER_S)),
        "parking-cleared": alert_of(
            a_change(kind="cleared", reason="seen-empty", alerts=3, **end),
            now_wall_ns=START_WALL_NS + 196 * NS_PER_S,
            evidence=[AFTER],
        ),
        "bicycle-opened": alert_of(
            a_change(2, scenario="non-motor-parking", label="bicycle"),
            tag=replace(TAG, category_code="0506", category_name="非机动车乱停放"),
        ),
        "trading-opened": alert_of(a_change(3, **trading), tag=_TRADING, **place),
        "crowd-opened": alert_of(a_change(4, **crowd), tag=_CROWD, **place),
        "crowd-withdrawn": alert_of(
            a_change(4, kind="withdrawn", reason="dismissed", state=WITHDRAWN, alerts=2, **crowd), tag=_CROWD, **place
        ),
    }
    return {
        name: json.loads(message.dumps({**alert, "sequence": number}))
        for number, (name, alert) in enumerate(made.items(), 1)
    }
