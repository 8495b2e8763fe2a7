"""GA/T 1400 (公安视频图像信息应用系统): cases as subscribe-notifications to a view library (视图库) over HTTP.

    Register (Digest) -> SubscribeNotifications... , Keepalive while nothing is told -> UnRegister

Motor vehicles, non-motor vehicles and things are told as such objects, people and what they do as scenes: no person is
described. The mapping is pure, and an alert that is sent again has the same ids. What of it stands in a source and
what is from memory: docs/bridges.md.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.clock import SystemClock
from edge.core.types import seconds_to_ns
from edge.delivery.bridges.digest import authorization, parse_challenge
from edge.delivery.bridges.http import Answer, BusyError, HttpClient, RefusedError
from edge.delivery.bridges.rules import Rule, Rules
from edge.delivery.bridges.webhook import happened
from edge.errors import DeliveryError

Alert = Mapping[str, Any]
Pictures = Callable[[str], bytes | None]

REGISTER = "/VIID/System/Register"
UNREGISTER = "/VIID/System/UnRegister"
KEEPALIVE = "/VIID/System/Keepalive"
NOTIFY = "/VIID/SubscribeNotifications"
CONTENT_TYPE = "application/VIID+JSON;charset=UTF-8"

_UNAUTHORIZED = 401
_AUTOMATIC = 1  # InfoKind: 自动采集
_OTHER = "99"  # 其他, of plates' classes and of colours
_NOT_SURE = "2"  # 不确定: nobody has looked for a plate
_ADDED, _CHANGED = 1, 2  # ExecuteOperation
_IMAGE, _NOTIFICATION = "02", "04"  # in ids
_BUSY = {"2", "3", "9"}  # DeviceBusy, DeviceError, Reboot
_NEVER = {"5", "6", "7", "8"}  # invalid format or content

_MOTOR = {"car", "truck", "bus"}
_NON_MOTOR = {"bicycle", "motorcycle"}  # a motorcycle of the street is an electric bicycle; the detector cannot tell


@dataclass(frozen=True, slots=True)
class _Form:
    """How one class of object is written."""

    name: str  # of the object; its list adds List
    id_key: str
    type_code: str  # in its id
    crop_type: str  # of its close picture


_FORMS = {
    "motor": _Form("MotorVehicleObject", "MotorVehicleID", "02", "09"),
    "non-motor": _Form("NonMotorVehicleObject", "NonMotorVehicleID", "03", "12"),
    "thing": _Form("ThingObject", "ThingID", "04", "13"),
    "scene": _Form("SceneObject", "SceneID", "05", "14"),
}
_SCENE_PICTURE = "14"
# GA/T 2000.254-2019
_INTRUSION, _WRONG_WAY, _LOITERING, _TRAFFIC, _GATHERING = 6, 7, 8, 10, 11


@dataclass(frozen=True, slots=True)
class Gat1400Settings:
    """What site.yaml says of the view library."""

    url: str
    username: str
    password: str
    device_id: str  # 20 digits, ours
    cameras: Mapping[str, str]  # camera -> its 20 digits; one that is not here is not told of
    subscribe_id: str  # 33 digits, agreed upon with the library
    title: str = "City Eye"
    states: tuple[str, ...] = ("opened", "updated", "cleared", "withdrawn")
    pictures: bool = True
    keepalive_s: float = 60.0
    ca_file: Path | None = None


@dataclass(slots=True)
class Notifier:
    """The pure part: an alert in the library's words."""

    settings: Gat1400Settings
    rules: Rules = field(default_factory=Rules)

    def notification(self, alert: Alert, pictures: Pictures) -> dict[str, object]:
        data = alert["data"]
        device = self.settings.cameras[data["camera"]["id"]]
        form = _FORMS[_class_of(data["object"]["label"])]
        source_id = f"{device}{_IMAGE}{_stamp(data['started_at'])}{_serial(data['case_id'])}"
        object_id = f"{source_id}{form.type_code}{_serial(data['zone']['id'])}"
        common = {
            form.id_key: object_id,
            "InfoKind": _AUTOMATIC,
            "SourceID": source_id,
            "DeviceID": device,
            **_box(data["object"]["box_px"]),
            **_described(form, alert),
            "SubImageList": {"SubImageInfoObject": self._images(alert, device, form, pictures)},
        }
        opened = happened(alert) == "opened"
        told = {
            "NotificationID": f"{self.settings.subscribe_id[:12]}{_NOTIFICATION}{_stamp(alert['time'])}"
            f"{alert['sequence'] % 100_000:05d}",
            "SubscribeID": self.settings.subscribe_id,
            "Title": self.settings.title,
            "TriggerTime": _stamp(alert["time"]),
            "InfoIDs": object_id,
            "ExecuteOperation": _ADDED if opened else _CHANGED,
            f"{form.name}List": {form.name: [common]},
        }
        return {"SubscribeNotificationListObject": {"SubscribeNotificationObject": [told]}}

    def _images(self, alert: Alert, device: str, form: _Form, pictures: Pictures) -> list[dict[str, object]]:
        """The whole scene and the thing, as far as the alert has them and they are still there."""
        wanted = {"overview": _SCENE_PICTURE, "after": _SCENE_PICTURE, "crop": form.crop_type}
        data, made = alert["data"], []
        sort = event_sort(self.rules.of(data["camera"]["id"], data["scenario"]), data["object"]["label"])
        for number, file in enumerate(file for file in data["evidence"] if file["role"] in wanted):
            content = pictures(file["path"]) if self.settings.pictures else None
            size = jpeg_size(content) if content else None
            if content is None or size is None:
                continue
            serial = _serial(f"{alert['id']} {number}")
            made.append(
                {
                    "ImageID": f"{device}{_IMAGE}{_stamp(file['taken_at'])}{serial}",
                    **({} if sort is None else {"EventSort": sort}),
                    "DeviceID": device,
                    "Type": wanted[file["role"]],
                    "FileFormat": "Jpeg",
                    "ShotTime": _stamp(file["taken_at"]),
                    "Width": size[0],
                    "Height": size[1],
                    "Data": base64.b64encode(content).decode(),
                }
            )
        return made


class ViewLibrary:
    """A follower's bridge to one view library."""

    def __init__(
        self,
        notifier: Notifier,
        *,
        picture: Pictures = lambda _path: None,
        clock: SystemClock | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._notifier = notifier
        self._settings = notifier.settings
        self._picture = picture
        self._clock = clock or SystemClock()
        self._client = HttpClient(self._settings.url, timeout_s=timeout_s, ca_file=self._settings.ca_file)
        self._registered = False
        self._heard_ns = 0  # when it last took anything of us

    def wants(self, alert: Alert) -> bool:
        return happened(alert) in self._settings.states and alert["data"]["camera"]["id"] in self._settings.cameras

    def send(self, alerts: Sequence[Alert]) -> int:
        self._register()
        self._ask(NOTIFY, self._notifier.notification(alerts[0], self._picture))
        return 1

    def idle(self) -> None:
        """Registered from the beginning, and kept so."""
        self._register()
        if self._clock.mono_ns() - self._heard_ns >= seconds_to_ns(self._settings.keepalive_s):
            self._ask(KEEPALIVE, {"KeepaliveObject": {"DeviceID": self._settings.device_id}})

    def close(self) -> None:
        if not self._registered:
            return
        try:
            self._ask(UNREGISTER, {"UnRegisterObject": {"DeviceID": self._settings.device_id}})
        except DeliveryError:
            return  # it will miss our keepalives

    def _register(self) -> None:
        if not self._registered:
            self._ask(REGISTER, {"RegisterObject": {"DeviceID": self._settings.device_id}})
            self._registered = True

    def _ask(self, path: str, document: Mapping[str, object]) -> None:
        """Raises for anything but success; then, unless it is about the message, we register anew before the next."""
        body = json.dumps(document, ensure_ascii=False).encode()
        try:
            answer = self._post(path, body)
            self._client.check(answer)
            check_answer(self._client.shown, answer)
        except RefusedError:
            raise
        except DeliveryError:
            self._registered = False
            raise
        self._heard_ns = self._clock.mono_ns()

    def _post(self, path: str, body: bytes) -> Answer:
        headers = {"Content-Type": CONTENT_TYPE, "User-Identify": self._settings.device_id}
        url = self._settings.url.rstrip("/") + path
        answer = self._client.post(url, body, headers)
        if answer.status != _UNAUTHORIZED:
            return answer
        headers["Authorization"] = authorization(
            parse_challenge(answer.headers.get("www-authenticate", "")),
            method="POST",
            uri=path,
            username=self._settings.username,
            password=self._settings.password,
        )
        return self._client.post(url, body, headers)


def check_answer(shown: str, answer: Answer) -> None:
    """A ResponseStatus, or a list of them, must say 0. An empty body is success by the status alone."""
    if not answer.body.strip():
        return
    try:
        said = json.loads(answer.body)
        statuses = said.get("ResponseStatusListObject", said)["ResponseStatusObject"]
        all_of_them = statuses if isinstance(statuses, list) else [statuses]
        codes = [(str(one["StatusCode"]), str(one.get("StatusString", ""))) for one in all_of_them]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # whatever somebody on the way may say
        raise DeliveryError(f"{shown}: the answer is no view library's; check the address") from None
    for code, words in codes:
        if code == "0":
            continue
        fault = f"{shown}: the view library answered {code} ({words[:100]})"
        if code in _NEVER:
            raise RefusedError(fault)
        raise BusyError(fault) if code in _BUSY else DeliveryError(fault)


def event_sort(rule: Rule | None, label: str) -> int | None:
    """The kind of event in the words of GA/T 2000.254; None where none of its words fits."""
    kind = "" if rule is None else rule.kind
    if kind == "stationary" and label in _MOTOR | _NON_MOTOR:
        return _TRAFFIC
    if kind == "loitering":
        return _INTRUSION if rule is not None and rule.moment else _LOITERING
    return {"crossing": _WRONG_WAY, "gathering": _GATHERING, "repeated_gathering": _GATHERING}.get(kind)


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height by the frame header; None for what is no JPEG."""
    if content[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 < len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(content[place + 7 : place + 9]), int.from_bytes(content[place + 5 : place + 7])
        place += 2 + length
    return None


def _class_of(label: str) -> str:
    if label in _MOTOR:
        return "motor"
    if label in _NON_MOTOR:
        return "non-motor"
    return "scene" if label == "person" else "thing"


def _described(form: _Form, alert: Alert) -> dict[str, object]:
    """What an object's class asks for, beside what all have."""
    data = alert["data"]
    begun = _stamp(data["started_at"])
    over = {"DisappearTime": _stamp(data["cleared_at"])} if "cleared_at" in data else {}
    words = f"{data['category']['name']} {data['camera']['name']} {data['zone']['id']}"[:256]
    if form.name == "SceneObject":
        count = data["object"].get("count")
        return {"BeginTime": begun, "SceneDescribe": f"{words} {count} 人" if count else words}
    if form.name == "ThingObject":
        return {"AppearTime": begun, **over, "Name": data["category"]["name"], "Characteristic": words}
    plates = {"HasPlate": _NOT_SURE, "PlateClass": _OTHER, "PlateColor": _OTHER, "VehicleColor": _OTHER}
    return {"AppearTime": begun, **over, "PassTime": begun, "NameOfPassedRoad": data["camera"]["road"], **plates}


def _box(box_px: Sequence[int]) -> dict[str, int]:
    return dict(zip(("LeftTopX", "LeftTopY", "RightBtmX", "RightBtmY"), box_px, strict=True))


def _stamp(text: str) -> str:
    """YYYYMMDDhhmmss, in the site's own time."""
    return f"{datetime.fromisoformat(text):%Y%m%d%H%M%S}"


def _serial(words: str) -> str:
    """Five digits that are always the same for the same thing. Two things of one second may share them, rarely."""
    return f"{zlib.crc32(words.encode()) % 100_000:05d}"
