"""GA/T 1400: cases reach a view library that checks Digest, with stable ids, in order, whatever it does meanwhile."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import parse_http_list, parse_keqv_list

import pytest

from edge.config.loader import load_site
from edge.core.types import NS_PER_S
from edge.delivery.bridges.digest import authorization, parse_challenge
from edge.delivery.bridges.follower import REFUSED_MAX, Follower
from edge.delivery.bridges.gat1400 import (
    CONTENT_TYPE,
    KEEPALIVE,
    NOTIFY,
    REGISTER,
    UNREGISTER,
    Gat1400Settings,
    Notifier,
    ViewLibrary,
    check_answer,
    event_sort,
    jpeg_size,
)
from edge.delivery.bridges.http import Answer, BusyError, RefusedError
from edge.delivery.bridges.rules import Rule, Rules
from edge.errors import DeliveryError
from edge.resources import configs_dir
from edge.state.database import Database
from edge.state.relays import Relays
from edge.wiring.bridges import rules_of
from tests.brokers import WAIT_S
from tests.golden import check_golden
from tests.platforms import FOLLOWER, Platform, Reply, Request, json_reply, store, told

pytestmark = pytest.mark.delivery

DEVICE, CAMERA = "31000000005030000001", "31000000001310000007"
SUBSCRIPTION = "310000000000" + "03" + "20260501000000" + "00001"
JPEG = bytes.fromhex("ffd8ffe000040000ffc00011080168028003012200021101031101ffd9")  # a header that says 640x360
RULES = Rules(
    {
        ("qiaonong-03", "illegal-parking"): Rule("stationary"),
        ("qiaonong-03", "non-motor-parking"): Rule("stationary"),
        ("qiaonong-03", "out-of-store-trading"): Rule("occupation"),
        ("qiaonong-03", "crowd-gathering"): Rule("gathering"),
    }
)


def settings_of(url: str = "http://library", **changes: Any) -> Gat1400Settings:
    fixed = {"device_id": DEVICE, "cameras": {"qiaonong-03": CAMERA}, "subscribe_id": SUBSCRIPTION}
    return Gat1400Settings(url=url, username="gw", password="geheim", **{**fixed, **changes})


def picture(path: str) -> bytes | None:
    return JPEG if path.endswith(".jpg") else None


# --- the mapping -----------------------------------------------------------------------------------------------


def test_every_kind_of_alert_is_an_object_of_its_class() -> None:
    notifier = Notifier(settings_of(), RULES)
    check_golden("gat1400", {name: notifier.notification(alert, picture) for name, alert in told().items()})


def only(document: Any) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The notification, its list's name and the object in it."""
    (notification,) = document["SubscribeNotificationListObject"]["SubscribeNotificationObject"]
    (name,) = (key for key in notification if key.endswith("ObjectList"))
    (thing,) = notification[name][name.removesuffix("List")]
    return notification, name, thing


def test_ids_have_the_standards_lengths_and_a_case_keeps_its_own() -> None:
    notifier, alerts = Notifier(settings_of(), RULES), told()
    made = {name: only(notifier.notification(alert, picture)) for name, alert in alerts.items()}
    for notification, _, thing in made.values():
        assert re.fullmatch(r"\d{33}", notification["NotificationID"])
        assert re.fullmatch(r"\d{14}", notification["TriggerTime"])
        assert re.fullmatch(r"\d{48}", notification["InfoIDs"])
        assert notification["InfoIDs"] in thing.values()
        assert re.fullmatch(rf"{CAMERA}02\d{{19}}", thing["SourceID"])
        assert all(re.fullmatch(r"\d{41}", one["ImageID"]) for one in thing["SubImageList"]["SubImageInfoObject"])
    parking = [made[f"parking-{state}"][0] for state in ("opened", "updated", "cleared")]
    assert len({one["InfoIDs"] for one in parking}) == 1
    assert [one["ExecuteOperation"] for one in parking] == [1, 2, 2]
    assert len({notification["NotificationID"] for notification, _, _ in made.values()}) == len(alerts)
    assert notifier.notification(alerts["parking-opened"], picture) == notifier.notification(
        alerts["parking-opened"], picture
    ), "a repeat is recognised"


def test_vehicles_are_vehicles_and_no_person_is_described() -> None:
    notifier = Notifier(settings_of(), RULES)
    names = {name: only(notifier.notification(alert, picture))[1] for name, alert in told().items()}
    assert names["parking-opened"] == "MotorVehicleObjectList"
    assert names["bicycle-opened"] == "NonMotorVehicleObjectList"
    assert names["trading-opened"] == "ThingObjectList"
    assert names["crowd-opened"] == "SceneObjectList"


def test_pictures_are_the_scene_and_the_thing_with_their_own_sizes() -> None:
    _, _, vehicle = only(Notifier(settings_of(), RULES).notification(told()["parking-opened"], picture))
    images = vehicle["SubImageList"]["SubImageInfoObject"]
    assert [(one["Type"], one["Width"], one["Height"], one["EventSort"]) for one in images] == [
        ("14", 640, 360, 10),
        ("09", 640, 360, 10),
    ]
    assert {base64.b64decode(one["Data"]) for one in images} == {JPEG}
    for without in (
        Notifier(settings_of(pictures=False), RULES).notification(told()["parking-opened"], picture),
        Notifier(settings_of(), RULES).notification(told()["parking-opened"], lambda _path: None),
        Notifier(settings_of(), RULES).notification(told()["parking-opened"], lambda _path: b"no picture"),
    ):
        assert only(without)[2]["SubImageList"]["SubImageInfoObject"] == []


def test_events_have_the_codes_of_the_standard_where_it_has_one() -> None:
    assert event_sort(Rule("stationary"), "truck") == 10
    assert event_sort(Rule("stationary"), "person") is None
    assert event_sort(Rule("crossing"), "car") == 7
    assert (event_sort(Rule("loitering"), "person"), event_sort(Rule("loitering", moment=True), "person")) == (8, 6)
    assert event_sort(Rule("repeated_gathering"), "person") == 11
    assert event_sort(None, "car") is None


def test_the_rules_are_those_of_the_configuration_and_else_of_the_catalogue() -> None:
    rules = rules_of(load_site(configs_dir() / "demo" / "site.yaml", environ={}))
    assert rules.of("plaza-01", "illegal-parking") == Rule("stationary")
    assert rules.of("gone", "intrusion") == Rule("loitering", moment=True)
    assert rules.of("gone", "wrong-way") == Rule("crossing", moment=True)
    assert rules.of("gone", "people-flow") is None


def test_the_size_of_a_real_picture_is_read_from_its_header() -> None:
    import cv2
    import numpy as np

    for height, width in ((48, 64), (1080, 1920)):
        encoded, content = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))
        assert encoded
        assert jpeg_size(content.tobytes()) == (width, height)
    assert jpeg_size(b"\x89PNG") is None
    assert jpeg_size(b"\xff\xd8\xff") is None


# --- digest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_answer_to_a_challenge_is_that_of_rfc_7616(algorithm: str, response: str) -> None:
    challenge = parse_challenge(
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    header = authorization(
        challenge,
        method="GET",
        uri="/dir/index.html",
        username="Mufasa",
        password="Circle of Life",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert parse_keqv_list(parse_http_list(header.removeprefix("Digest ")))["response"] == response


@pytest.mark.parametrize("challenge", ["Digest realm=", "Digest x"])
def test_a_challenge_that_cannot_be_read_is_an_error_of_the_platform(challenge: str) -> None:
    with pytest.raises(DeliveryError, match="cannot be read") as caught:
        parse_challenge(challenge)
    assert type(caught.value) is DeliveryError, "it is no word on the message"


@pytest.mark.parametrize("challenge", ['Basic realm="x"', "", "Bearer"])
def test_a_password_is_given_to_no_other_scheme(challenge: str) -> None:
    with pytest.raises(DeliveryError, match="not for Digest"):
        parse_challenge(challenge)
    with pytest.raises(DeliveryError, match="MD5 and SHA-256"):
        authorization({"algorithm": "MD4"}, method="POST", uri="/", username="gw", password="geheim")


# --- a library that checks -------------------------------------------------------------------------------------


@dataclass
class Library:
    """Registers whoever knows the password, and takes notifications of whom it has registered."""

    password: str = "geheim"
    faults: Iterator[Reply] = field(default_factory=lambda: iter(()))  # answers to notifications, before the good ones
    registered: bool = False
    nonces: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        assert request.headers["User-Identify"] == DEVICE
        assert request.headers["Content-Type"] == CONTENT_TYPE
        if request.path in (REGISTER, UNREGISTER):
            if not self._knows(request):
                self.nonces += 1
                challenge = f'Digest realm="viid", qop="auth", nonce="n{self.nonces}", opaque="o", algorithm=MD5'
                return 401, {"WWW-Authenticate": challenge}, b""
            self.registered = request.path == REGISTER
            return self._fine(request.path)
        if not self.registered:
            return json_reply({"ResponseStatusObject": {"StatusCode": 4, "StatusString": "not registered"}})
        if request.path == NOTIFY:
            if fault := next(self.faults, None):
                return fault
            self.taken.append(only(request.document)[0])
        return self._fine(request.path)

    def _knows(self, request: Request) -> bool:
        """By RFC 7616, written anew: nothing of the program's own is asked."""
        given = request.headers.get("Authorization", "")
        if not given.startswith("Digest "):
            return False
        parts = parse_keqv_list(parse_http_list(given.removeprefix("Digest ")))
        secret = hashlib.md5(f"gw:viid:{self.password}".encode()).hexdigest()
        asked = hashlib.md5(f"POST:{request.path}".encode()).hexdigest()
        middle = f"{parts['nonce']}:{parts['nc']}:{parts['cnonce']}:{parts['qop']}"
        wanted = hashlib.md5(f"{secret}:{middle}:{asked}".encode()).hexdigest()
        fresh = parts["nonce"] == f"n{self.nonces}" and parts["opaque"] == "o" and parts["uri"] == request.path
        return fresh and parts["response"] == wanted

    def _fine(self, path: str) -> Reply:
        status = {"RequestURL": path, "StatusCode": "0", "StatusString": "OK"}
        if path == NOTIFY:
            return json_reply({"ResponseStatusListObject": {"ResponseStatusObject": [status]}})
        return json_reply({"ResponseStatusObject": status})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "edge.db") as opened:
        yield opened


Follow = Callable[[Platform], Follower]


@pytest.fixture
def follow(database: Database) -> Iterator[Follow]:
    made: list[Follower] = []

    def start(platform: Platform) -> Follower:
        library = ViewLibrary(Notifier(settings_of(platform.url), RULES), picture=picture, timeout_s=WAIT_S)
        made.append(Follower(FOLLOWER, Relays(database), library, poll_s=0.01, retry_s=0.01, retry_max_s=0.02))
        made[-1].start()
        return made[-1]

    yield start
    for follower in made:
        follower.close()


def numbers(library: Library) -> list[int]:
    return [int(one["NotificationID"][-5:]) for one in library.taken]


def test_cases_arrive_in_order_over_a_registered_connection_that_says_goodbye(
    database: Database, follow: Follow
) -> None:
    library = Library()
    store(database, 5)
    with Platform(library) as platform:
        follower = follow(platform)
        assert platform.wait_for(lambda _requests: len(library.taken) == 5)
        follower.close()
        paths = [request.path for request in platform.requests]
    assert paths == [REGISTER, REGISTER, *[NOTIFY] * 5, UNREGISTER, UNREGISTER], "each challenge is answered once"
    assert numbers(library) == [1, 2, 3, 4, 5]
    assert not library.registered
    assert (follower.state().sent, follower.state().waiting) == (5, 0)


def test_a_library_that_forgets_us_is_registered_with_anew_and_nothing_is_lost(
    database: Database, follow: Follow
) -> None:
    library = Library()
    store(database, 2)
    with Platform(library) as platform:
        follower = follow(platform)
        assert platform.wait_for(lambda _requests: len(library.taken) == 2)
        library.registered = False  # it was restarted
        store(database, 2, first=3)
        assert platform.wait_for(lambda _requests: len(library.taken) == 4)
        follower.close()
    assert numbers(library) == [1, 2, 3, 4]


def test_an_overloaded_library_is_left_alone_for_a_while_and_one_poisoned_message_is_given_up(
    database: Database, follow: Follow
) -> None:
    busy = json_reply({"ResponseStatusObject": {"StatusCode": 2, "StatusString": "busy"}})
    never = json_reply({"ResponseStatusObject": {"StatusCode": "8", "StatusString": "invalid"}})
    library = Library(faults=iter([(503, {}, b""), busy, *[never] * REFUSED_MAX]))
    store(database, 3)
    with Platform(library) as platform:
        follower = follow(platform)
        assert platform.wait_for(lambda _requests: len(library.taken) == 2)
        follower.close()
    assert numbers(library) == [2, 3]
    assert (follower.state().sent, follower.state().refused) == (2, 1)


def test_a_wrong_password_is_told_without_it(database: Database, follow: Follow) -> None:
    library = Library(password="another")
    store(database, 1)
    with Platform(library) as platform:
        follower = follow(platform)
        assert platform.wait_for(lambda requests: len(requests) >= 4)
        follower.close()
    assert library.taken == []
    state = follower.state()
    assert (state.waiting, state.sent) == (1, 0)
    assert "check user, password and rights" in state.reason
    assert "geheim" not in state.reason


class Clock:
    mono = 1000 * NS_PER_S

    def mono_ns(self) -> int:
        return self.mono

    def wall_ns(self) -> int:
        return 0


def test_a_sign_of_life_is_sent_when_nothing_else_was() -> None:
    library, clock = Library(), Clock()
    with Platform(library) as platform:
        bridge = ViewLibrary(Notifier(settings_of(platform.url, keepalive_s=60.0)), clock=clock)  # type: ignore[arg-type]
        bridge.idle()
        for seconds in (30, 30, 30, 30):
            clock.mono += seconds * NS_PER_S
            bridge.idle()
        paths = [request.path for request in platform.requests]
        assert platform.requests[-1].document == {"KeepaliveObject": {"DeviceID": DEVICE}}
    assert paths == [REGISTER, REGISTER, KEEPALIVE, KEEPALIVE]


@pytest.mark.parametrize(
    ("code", "error"), [(1, DeliveryError), (2, BusyError), ("7", RefusedError), ("99", DeliveryError)]
)
def test_a_status_that_is_not_ok_is_an_error_also_in_a_list(code: object, error: type[DeliveryError]) -> None:
    fine = {"StatusCode": 0}
    for document in (
        {"ResponseStatusObject": {"StatusCode": code}},
        {"ResponseStatusListObject": {"ResponseStatusObject": [fine, {"StatusCode": code}]}},
    ):
        with pytest.raises(DeliveryError) as caught:
            check_answer("http://library", Answer(200, {}, json.dumps(document).encode()))
        assert type(caught.value) is error
    check_answer("http://library", Answer(201, {}, b""))
    for nonsense in (b"<html>", b"{}", b"[]", b"3", b'{"ResponseStatusObject": 3}', b"[" * 60_000):
        with pytest.raises(DeliveryError, match="no view library's"):
            check_answer("http://library", Answer(200, {}, nonsense))


def test_a_camera_without_a_code_is_not_told_of() -> None:
    bridge = ViewLibrary(Notifier(settings_of(cameras={"other": CAMERA}, states=("opened",))))
    assert not any(bridge.wants(alert) for alert in told().values())
    bridge = ViewLibrary(Notifier(settings_of(states=("opened",))))
    assert sum(bridge.wants(alert) for alert in told().values()) == 4
