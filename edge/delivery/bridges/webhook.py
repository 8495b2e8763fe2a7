"""Group robots of WeCom (企业微信群机器人) and DingTalk (钉钉群机器人): cases in Chinese, a line for each fact.

    alert --facts--> lines --wecom | dingtalk--> JSON --POST--> {"errcode": 0}

A robot's address is a secret and stands in no log. It may speak 20 times a minute: what is more is told in one message,
counted. An `errcode` in an answer of 200 is an error. The mapping is pure; `Robot` adds the connection and the clock.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote_plus

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.delivery.bridges.follower import PauseError
from edge.delivery.bridges.http import Answer, BusyError, HttpClient, RefusedError
from edge.errors import DeliveryError

Alert = Mapping[str, Any]
Kind = Literal["wecom", "dingtalk"]

PICTURE_MAX_BYTES = 2 * 1024 * 1024  # WeCom's, before base64
WECOM_MAX_BYTES = 4096  # of a markdown message
DINGTALK_MAX_BYTES = 20_000
MERGED_SHOWN = 10  # cases named in one message; of more only the number is told
_MINUTE_NS = 60 * NS_PER_S
# What is wrong with us and not with this message, so that it is worth another try.
_WECOM_BUSY = {-1, 45009, 45033}  # overloaded; more often than allowed
_WECOM_OURS = {93000, 93004, 93008}  # no such robot, removed, not in this group
_DINGTALK_BUSY = {-1, 130101, 130103, 410100, 660026}
_DINGTALK_OURS = {300001, 300005, 310000, 400102}  # no such token; keyword, signature or address not allowed; stopped

_HAPPENED = {"opened": "立案", "updated": "更新", "cleared": "已清除", "withdrawn": "已撤销"}
_SEVERITIES = {"low": "轻微", "normal": "一般", "high": "较急", "urgent": "紧急"}
_THINGS = {  # the words of the report's page
    "person": "人",
    "bicycle": "自行车",
    "car": "小汽车",
    "motorcycle": "摩托车",
    "bus": "公交车",
    "truck": "货车",
    "static-object": "静止物",
}
_REASONS = {
    "seen-empty": "现场已清空",
    "left": "已离开",
    "replaced": "已由他物占据",
    "merged": "已并入相邻案件",
    "hours": "非监管时段",
    "dismissed": "人工排除",
    "verified": "已复核",
    "clip": "录像已就绪",
    "not-watched": "区域不再监测",
    "camera-removed": "摄像机已移除",
    "street-changed": "画面已变更",
}
_MARKDOWN = str.maketrans({"<": "＜", ">": "＞", "*": "＊", "[": "［", "]": "］", "`": "｀", "#": "＃"})


def happened(alert: Alert) -> str:
    """opened, updated, cleared or withdrawn: an update's state is still opened."""
    return str(alert["type"]).split(".")[2]


def facts(alert: Alert) -> tuple[str, list[tuple[str, str]]]:
    """A title, and name and value of each fact."""
    data = alert["data"]
    camera, thing = data["camera"], data["object"]
    count = f" × {thing['count']}" if "count" in thing else ""
    place = "，".join(part for part in (camera["road"], f"网格 {camera['grid']}" if camera["grid"] else "") if part)
    code = data["category"]["code"]
    lines = [
        ("类别", f"{data['category']['name']}（{code}）" if code else data["category"]["name"]),
        ("地点", f"{camera['name']}（{place}）" if place else camera["name"]),
        ("区域", data["zone"]["id"]),
        ("对象", f"{_THINGS.get(thing['label'], thing['label'])}{count}"),
        ("开始", _moment(data["started_at"])),
        ("持续", _duration(data["dwell_s"])),
        ("等级", _SEVERITIES.get(data["severity"], data["severity"])),
    ]
    if "cleared_at" in data:
        lines.append(("清除", _moment(data["cleared_at"])))
    if "reason" in data:
        lines.append(("原因", _REASONS.get(data["reason"], data["reason"])))
    lines.append(("编号", f"{data['gateway']} 第 {alert['sequence']} 号，案件 {data['case_id'][:8]}"))
    title = f"【{_HAPPENED.get(happened(alert), happened(alert))}】{data['category']['name']}"
    return _plain(title), [(name, _plain(str(value))) for name, value in lines]


def text_message(kind: Kind, alerts: Sequence[Alert], *, keyword: str = "") -> dict[str, object]:
    """One message of one alert, or of several in short. `keyword`: DingTalk robots may ask for one in each message."""
    title, lines = facts(alerts[0]) if len(alerts) == 1 else _in_short(alerts)
    title = f"{_plain(keyword)} {title}" if keyword and keyword not in title else title
    body = [f"{name}：{value}" for name, value in lines]
    if kind == "wecom":
        content = _cut("\n".join([f"**{title}**", *(f"> {line}" for line in body)]), WECOM_MAX_BYTES)
        return {"msgtype": "markdown", "markdown": {"content": content}}
    text = _cut("\n".join([f"#### {title}", *(f"- {line}" for line in body)]), DINGTALK_MAX_BYTES)
    return {"msgtype": "markdown", "markdown": {"title": title, "text": text}}


def picture_message(picture: bytes) -> dict[str, object]:
    """WeCom only; DingTalk's robots show pictures by an address that its servers can reach."""
    return {
        "msgtype": "image",
        "image": {
            "base64": base64.b64encode(picture).decode(),
            "md5": hashlib.md5(picture, usedforsecurity=False).hexdigest(),
        },
    }


def signed(url: str, secret: str, *, wall_ms: int) -> str:
    """DingTalk's 加签: HMAC-SHA256 of the time and the secret, with the secret as the key."""
    digest = hmac.digest(secret.encode(), f"{wall_ms}\n{secret}".encode(), "sha256")
    return f"{url}&timestamp={wall_ms}&sign={quote_plus(base64.b64encode(digest))}"


def check_answer(kind: Kind, shown: str, answer: Answer) -> None:
    """Raises for an answer of 200 that is an error all the same."""
    try:
        said = json.loads(answer.body)
        code, words = int(said["errcode"]), str(said.get("errmsg", ""))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # whatever somebody on the way may say
        raise DeliveryError(f"{shown}: the answer is no robot's; check the address") from None
    if code == 0:
        return
    words = f"{shown}: the robot answered {code} ({words[:100]})"
    busy, ours = (_WECOM_BUSY, _WECOM_OURS) if kind == "wecom" else (_DINGTALK_BUSY, _DINGTALK_OURS)
    if code in busy:
        raise BusyError(words)
    if code in ours:
        raise DeliveryError(f"{words}; check its address, secret and keyword")
    raise RefusedError(words)


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """What site.yaml says of one robot."""

    kind: Kind
    url: str
    secret: str = ""
    keyword: str = ""
    states: tuple[str, ...] = ("opened", "cleared")
    pictures: bool = True
    per_minute: int = 20


class Robot:
    """A follower's bridge to one group."""

    def __init__(
        self,
        settings: RobotSettings,
        *,
        picture: Callable[[str], bytes | None] = lambda _path: None,
        clock: SystemClock | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """`picture` gives the bytes of an evidence file by its path in the alert, None where it cannot be had."""
        self._settings = settings
        self._picture = picture
        self._clock = clock or SystemClock()
        self._client = HttpClient(settings.url, timeout_s=timeout_s)
        self._spoken_ns: deque[int] = deque(maxlen=settings.per_minute)  # when each of the last messages went out

    def wants(self, alert: Alert) -> bool:
        return happened(alert) in self._settings.states

    def send(self, alerts: Sequence[Alert]) -> int:
        """One alert, or all of them in one message where there are more than may be told one by one."""
        left = self._left()
        if left == 0:
            raise PauseError((self._spoken_ns[0] + _MINUTE_NS - self._clock.mono_ns()) / NS_PER_S)
        told = alerts[:1] if len(alerts) <= left else alerts
        self._say(text_message(self._settings.kind, told, keyword=self._settings.keyword))
        if len(told) == 1 and self._left():
            self._show(told[0])
        return len(told)

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _show(self, alert: Alert) -> None:
        """The text has gone out, so a picture that fails is left out: it is not worth a second text."""
        if not self._settings.pictures or self._settings.kind != "wecom":
            return
        paths = [file["path"] for file in alert["data"]["evidence"] if file["role"] in ("overview", "after")]
        picture = self._picture(paths[0]) if paths else None
        if picture is None or len(picture) > PICTURE_MAX_BYTES:
            return
        try:
            self._say(picture_message(picture))
        except DeliveryError:
            return

    def _say(self, message: Mapping[str, object]) -> None:
        url = self._settings.url
        if self._settings.secret:
            url = signed(url, self._settings.secret, wall_ms=self._clock.wall_ns() // 1_000_000)
        self._spoken_ns.append(self._clock.mono_ns())
        body = json.dumps(message, ensure_ascii=False).encode()
        answer = self._client.post(url, body, {"Content-Type": "application/json; charset=utf-8"})
        self._client.check(answer)
        check_answer(self._settings.kind, self._client.shown, answer)

    def _left(self) -> int:
        """How many messages may go out now."""
        now_ns = self._clock.mono_ns()
        while self._spoken_ns and now_ns - self._spoken_ns[0] >= _MINUTE_NS:
            self._spoken_ns.popleft()
        return self._settings.per_minute - len(self._spoken_ns)


def _in_short(alerts: Sequence[Alert]) -> tuple[str, list[tuple[str, str]]]:
    """Many alerts: how many of what, then a line for each of the first."""
    counts: dict[str, int] = {}
    for alert in alerts:
        state = _HAPPENED.get(happened(alert), happened(alert))
        counts[state] = counts.get(state, 0) + 1
    summary = "，".join(f"{state} {count} 条" for state, count in counts.items())
    lines = [("合计", summary)]
    for alert in alerts[:MERGED_SHOWN]:
        title, told = facts(alert)
        named = dict(told)
        lines.append((title, f"{named['地点']}，{named['对象']}，{named['开始']}，{named['编号']}"))
    if len(alerts) > MERGED_SHOWN:
        lines.append(("另有", f"{len(alerts) - MERGED_SHOWN} 条未列出"))
    return f"【汇总】{len(alerts)} 条告警", lines


def _moment(text: str) -> str:
    """In the site's own time, as it stands in the alert."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} 小时"] if hours else []
    return " ".join([*parts, *([f"{minutes} 分"] if minutes else []), *([f"{rest_s} 秒"] if not hours else [])])


def _plain(words: str) -> str:
    """No name becomes a link, a mention or a heading."""
    return words.translate(_MARKDOWN)


def _cut(text: str, limit_bytes: int) -> str:
    """Whole lines, as many as fit; the limit counts bytes, of which a Chinese letter has three."""
    while len(text.encode()) > limit_bytes:
        text = text.rpartition("\n")[0] or text.encode()[:limit_bytes].decode(errors="ignore")
    return text
