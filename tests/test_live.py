"""The running gateway: real processes, a real RTSP server, a real broker; killed, hung, damaged and reconfigured.

The short form of the drills; `scripts/soak` runs the long one. Figures are printed. What hurts one camera and heals is
tried on one gateway, one after the other; each test first waits until all is well there, so any of them runs alone.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from edge.cli.main import run as edge
from edge.runtime.health import CameraStatus, GatewayStatus
from tests.bench.cameras import StreetCameras
from tests.bench.drills import (
    CASES_EACH,
    Street,
    check_accounts,
    check_nothing_left,
    damage_drill,
    kill_drill,
    memory_drill,
    quiet_run,
    street,
)
from tests.bench.gateway import PARKED, RunningGateway, camera_config, opened, site_config
from tests.bench.impostors import closed_port, ssh_port
from tests.bench.streams import BLACK, COVERED, MOVED, Stream, make_stream
from tests.brokers import free_port
from tests.commanding import Brain
from tests.documentation import Documentation, DocumentedSubscriber
from tests.platforms import Platform, json_reply

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[Street]:
    own = {"cam-03": {"frozen_after_s": 8}}
    with street(tmp_path_factory.mktemp("live") / "gateway", media, cameras=4, own=own) as place:
        yield place


@pytest.fixture
def place(running: Street) -> Street:
    """All cameras are streaming, with their cases."""
    if not running.gateway.running:
        running.gateway.start()
    running.gateway.wait_until(
        lambda status: (
            len(status.cameras) == len(running.names)
            and all(streams(name)(status) and has_cases(name)(status) for name in running.names)
        ),
        40,
        "all cameras and all cases",
    )
    return running


@pytest.fixture
def view(tmp_path: Path, media: Path) -> Callable[..., Stream]:
    """Streams of the parked cars: `view()`, or another size, codec or view of them."""

    def make(**changes: Any) -> Stream:
        recipe = replace(PARKED, source=media / PARKED.source, **changes)
        return make_stream(tmp_path.parent / "streams", recipe)

    return make


def of(status: GatewayStatus, name: str) -> CameraStatus:
    return next(camera for camera in status.cameras if camera.camera == name)


def blind(name: str, reason: str = "") -> Callable[[GatewayStatus], bool]:
    def holds(status: GatewayStatus) -> bool:
        report = of(status, name).report
        return report.state == "blind" and reason in ("", report.reason)

    return holds


def streams(name: str) -> Callable[[GatewayStatus], bool]:
    return lambda status: of(status, name).report.state == "streaming"


def has_cases(name: str, count: int = CASES_EACH) -> Callable[[GatewayStatus], bool]:
    return lambda status: of(status, name).report.cases_open == count


def has_looked(name: str, seconds: float) -> Callable[[GatewayStatus], bool]:
    """At two pictures a second. A worker that was killed goes on with the view that it had stored."""
    return lambda status: of(status, name).report.analysed >= 2 * seconds


def told(gateway: RunningGateway, name: str = "cam-00") -> list[tuple[str, str]]:
    """Kind and case of every alert of a camera, but for those that bring a case's clip some seconds later."""
    own = [alert for alert in gateway.alerts() if alert["data"]["camera"]["id"] == name]
    said = [alert for alert in own if alert["data"].get("reason") != "clip"]
    return [(alert["type"].split(".")[2], alert["data"]["case_id"]) for alert in said]


REASONS = {
    "wrong-password": "wrong password",
    "unknown-host": "unknown host",
    "refused": "refused port",
    "not-rtsp": "not an RTSP server",
    "wrong-path": "wrong path",
}


def test_four_cameras_find_every_case_lose_no_picture_and_all_that_asks_is_answered(
    tmp_path: Path, media: Path
) -> None:
    """`decode` is auto, as it comes: three cameras are content with keyframes, the fourth is asked for motion."""
    port = free_port()
    own: dict[str, dict[str, Any]] = {f"cam-{number:02d}": {"sampling": {"fps": 2}} for number in range(4)}
    flow = {"use": "people-flow", "line": [[0.1, 0.5], [0.9, 0.5]], "direction": "down"}
    own["cam-03"]["scenarios"] = [*camera_config("cam-03", "")["scenarios"], flow]
    with (
        Platform(lambda _request: json_reply({"errcode": 0})) as robot,
        street(
            tmp_path / "gateway",
            media,
            cameras=4,
            own=own,
            console={"listen": f"127.0.0.1:{port}"},
            bridges={
                "webhooks": [{"kind": "wecom", "url": f"{robot.url}/send", "pictures": False}],
                "onvif": {"prefix": "street"},
                "homeassistant": {},
            },
        ) as place,
        DocumentedSubscriber(place.documented.port, "street/#") as onvif,
        DocumentedSubscriber(place.documented.port, "homeassistant/#") as home,
    ):
        code, table = place.gateway.edge_status()
        print(table)
        assert code == 0
        assert re.search(r"^healthy$", table, re.MULTILINE)
        assert all(re.search(rf"^{name} +streaming ", table, re.MULTILINE) for name in place.names)
        health, metrics = asked(port, "/healthz"), asked(port, "/metrics")
        assert json.loads(health) == {
            "status": "ok",
            "problems": [],
            "cameras": {"streaming": 4, "blind": 0, "off": 0},
            "blind": [],
        }
        values = {sample.labels.get("camera", ""): sample.value for sample in samples(metrics, "edge_camera_state")}
        assert values == dict.fromkeys(place.names, 1)
        assert [sample.value for sample in samples(metrics, "edge_healthy")] == [1]
        place.gateway.wait_until(lambda status: of(status, "cam-00").report.undecoded > 0, 15, "packets not decoded")
        decoding = {
            one.camera: f"{one.report.decoding}: {one.report.decoding_words}" for one in place.gateway.status().cameras
        }
        print(decoding)
        assert decoding["cam-00"].startswith("keyframes: ")
        assert "people-flow" in decoding["cam-03"]
        print(quiet_run(place, 25))  # `scripts/soak` looks for as long as it is told
        code, said = place.gateway.edge_status()
        assert (code, "no gateway runs there" in said) == (1, True)
        cases = sum(alert["type"] == "cityeye.case.opened.v1" for alert in place.gateway.alerts())
        texts = [one.document["markdown"]["content"] for one in robot.requests]
        assert sum(int(m[1]) if (m := re.search(r"(\d+) 条告警", text)) else 1 for text in texts) == cases
        events = Counter(topic.split("/")[4] for topic, _ in onvif.heard)
        assert set(events) <= {"ObjectIsLoitering", "Counter"}
        assert events["ObjectIsLoitering"] == cases
        assert len({topic for topic, _ in home.heard}) == 2 * len(place.names) + 1, (
            "each camera, its scenario, the measure"
        )


def asked(port: int, path: str) -> str:
    """The body of an answer that must be 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, body
        return body
    finally:
        connection.close()


def samples(metrics: str, name: str) -> list[Sample]:
    """Of a metric; of one with states, those of streaming."""
    families = text_string_to_metric_families(metrics)
    own = [sample for family in families for sample in family.samples if sample.name == name]
    return [sample for sample in own if sample.labels.get("state", "streaming") == "streaming"]


def test_a_killed_process_is_back_soon_and_no_case_is_lost_or_told_twice(tmp_path: Path, media: Path) -> None:
    """At the subscriber, and against the truth: cars come and go all along, and what was killed may not matter."""
    result = kill_drill(tmp_path / "gateway", media, rounds=1, apart_s=8)
    print(f"{result.appearances} appearances, {result.alerts} alerts, {len(result.kills)} kills")


def test_each_way_of_not_reaching_a_camera_has_its_own_reason(tmp_path: Path, view: Callable[..., Stream]) -> None:
    with StreetCameras() as cameras, ssh_port() as ssh, closed_port() as closed:
        locked = cameras.add("/locked", view(), user="admin", password="heron-42")
        urls = {
            "wrong-password": locked.replace("heron-42", "swordfish"),
            "unknown-host": "rtsp://camera.invalid/stream1",
            "refused": f"rtsp://127.0.0.1:{closed}/stream1",
            "not-rtsp": f"rtsp://127.0.0.1:{ssh}/stream1",
            "wrong-path": cameras.url("/nowhere"),
        }
        configured = [camera_config(reason, url) for reason, url in urls.items()]
        configured.append(camera_config("good", locked))
        with RunningGateway(tmp_path / "gateway", site_config(configured)) as gateway:
            for reason, what in REASONS.items():
                gateway.wait_until(blind(reason, reason), 20, what)
            words = {reason: of(gateway.status(), reason).report.words for reason in REASONS}
            gateway.wait_until(streams("good"), 20, "the good camera is not held up")
            log = gateway.log_path.read_text(encoding="utf-8")
        for reason, said in words.items():
            print(f"{reason}: {said}")
        assert len(set(words.values())) == len(REASONS)
        assert "swordfish" not in log + "".join(words.values())
        assert "heron-42" not in log


def test_memory_and_descriptors_do_not_grow_with_reconnects(tmp_path: Path, media: Path) -> None:
    gated = {f"cam-{number:02d}": {"sampling": {"decode": "auto", "fps": 2}} for number in range(2)}  # as is default
    with street(tmp_path / "gateway", media, cameras=4, own=gated) as place:
        memory = memory_drill(place, warm_up_s=22, seconds=26, every_s=1.5)  # scripts/soak: half an hour
        print(memory)
        assert memory.own_growth < 0.02
        assert memory.descriptors[0] == memory.descriptors[1]


def test_damaged_streams_crash_nothing_and_make_no_case(tmp_path: Path, media: Path) -> None:
    damage = damage_drill(tmp_path / "gateway", media, mutated=3_000)  # scripts/soak: 10,000
    print(damage)
    assert damage.mutated >= 3_000


def test_a_hung_camera_is_blind_and_its_case_goes_on(place: Street) -> None:
    gateway = place.gateway
    before = told(gateway)
    place.cameras.pause("/cam-00")
    paused_s = gateway.wait_until(blind("cam-00"), 10, "blind after a pause")
    time.sleep(8)
    place.cameras.resume("/cam-00")
    resumed_s = gateway.wait_until(streams("cam-00"), 10, "streaming after the pause")
    place.cameras.hang("/cam-00")
    hung_s = gateway.wait_until(blind("cam-00"), 10, "blind while the server hangs")
    time.sleep(8)
    place.cameras.wake("/cam-00")
    woken_s = gateway.wait_until(streams("cam-00"), 10, "streaming after the hang")
    time.sleep(8)
    assert told(gateway) == before
    assert has_cases("cam-00")(gateway.status())
    print(f"blind after {paused_s:.1f} and {hung_s:.1f} s, streaming after {resumed_s:.1f} and {woken_s:.1f} s")


def test_another_resolution_and_codec_after_a_reconnect_are_the_same_cases(
    place: Street, view: Callable[..., Stream]
) -> None:
    gateway = place.gateway
    before = told(gateway, "cam-02")
    for changes in ({"width": 960, "height": 540}, {"codec": "h265"}, {}):
        wanted = view(**changes)
        place.cameras.switch("/cam-02", wanted)
        gateway.wait_until(
            lambda status, wanted=wanted: (  # type: ignore[misc]
                of(status, "cam-02").report.width_px == wanted.width
                and streams("cam-02")(status)
                and wanted.codec in of(status, "cam-02").report.codec.replace("hevc", "h265")
            ),
            15,
            f"streaming {changes}",
        )
        time.sleep(8)
        assert told(gateway, "cam-02") == before, changes


def test_a_frozen_camera_is_blind(place: Street) -> None:
    gateway = place.gateway
    before = told(gateway, "cam-03")
    place.cameras.freeze("/cam-03")
    took_s = gateway.wait_until(blind("cam-03", "frozen"), 20, "blind: frozen")
    time.sleep(6)
    place.cameras.thaw("/cam-03")
    back_s = gateway.wait_until(streams("cam-03"), 10, "streaming again")
    assert told(gateway, "cam-03") == before
    print(f"frozen: blind after {took_s:.1f} s (frozen_after_s 8), streaming {back_s:.1f} s after its return")


def test_a_camera_that_shows_nothing_true_is_blind_and_its_cases_wait(
    place: Street, view: Callable[..., Stream]
) -> None:
    gateway = place.gateway
    gateway.wait_until(has_looked("cam-00", 65), 80, "the view is learned in a minute")
    before = told(gateway)
    for reason, filters in (("black", BLACK), ("covered", COVERED), ("moved", MOVED)):
        place.cameras.switch("/cam-00", view(view=filters))
        took_s = gateway.wait_until(blind("cam-00", reason), 15, f"blind: {reason}")
        time.sleep(8)  # longer than it takes to clear a case
        assert told(gateway) == before
        place.cameras.switch("/cam-00", place.stream)
        back_s = gateway.wait_until(streams("cam-00"), 15, "streaming again")
        print(f"{reason}: blind after {took_s:.1f} s, streaming {back_s:.1f} s after its return")
    time.sleep(6)
    assert told(gateway) == before
    check_accounts(of(gateway.status(), "cam-00"))


def test_a_killed_supervisor_leaves_no_orphan_and_its_cases_go_on(place: Street) -> None:
    gateway = place.gateway
    before = told(gateway, "cam-01")
    gateway.kill()
    gone_s = check_nothing_left(gateway)
    gateway.start()
    back_s = gateway.wait_streaming(30)
    gateway.wait_until(has_cases("cam-01"), 10, "the same cases again")
    time.sleep(8)
    assert told(gateway, "cam-01") == before
    print(f"no process after {gone_s:.2f} s, streaming again {back_s:.1f} s after the start")
    place.check_delivery()


def test_a_worker_that_hangs_is_killed_and_started_again(place: Street) -> None:
    gateway = place.gateway
    before = gateway.status()
    pid = pid_of(before, "cam-00")
    os.kill(pid, signal.SIGSTOP)
    blind_s = gateway.wait_until(blind("cam-00"), 10, "blind by the judgement from outside")
    back_s = gateway.wait_until(
        lambda status: streams("cam-00")(status) and of(status, "cam-00").process.pid != pid, 25, "started again"
    )
    assert pid_of(gateway.status(), "cam-01") == pid_of(before, "cam-01")
    print(f"blind after {blind_s:.1f} s, streaming {blind_s + back_s:.1f} s after it was stopped")


def test_a_bad_configuration_is_refused_and_the_old_one_runs_on(place: Street) -> None:
    gateway = place.gateway
    before = gateway.status()
    broken = json.loads(json.dumps(gateway.site))
    broken["cameras"][0]["zones"] = []
    gateway.write_config(broken)
    os.kill(gateway.pid, signal.SIGHUP)
    gateway.wait_until(lambda status: status.supervisor.config_refused != "", 10, "the refusal is told")
    status = gateway.status()
    assert "site.yaml" in status.supervisor.config_refused
    assert "is no zone of this camera" in status.supervisor.config_refused
    assert status.supervisor.config_sha256 == before.supervisor.config_sha256
    assert pid_of(status, "cam-00") == pid_of(before, "cam-00")
    code, table = gateway.edge_status()
    assert (code, "configuration refused, the old one runs on" in table) == (1, True)
    gateway.write_config(gateway.site)
    gateway.wait_until(lambda status: status.supervisor.config_refused == "", 15, "the good one is taken again")
    assert pid_of(gateway.status(), "cam-00") == pid_of(before, "cam-00")


def test_a_reload_touches_only_the_cameras_that_changed(place: Street) -> None:
    gateway = place.gateway
    before = gateway.status()
    changed = json.loads(json.dumps(gateway.site))
    changed["cameras"][1]["name"] = "changed"
    del changed["cameras"][2]
    gateway.write_config(changed)
    gateway.wait_until(lambda status: len(status.cameras) == 3, 15, "the new configuration is in force")
    gateway.wait_until(
        lambda status: of(status, "cam-01").process.pid not in (0, pid_of(before, "cam-01")), 10, "cam-01 anew"
    )
    status = gateway.status()
    assert pid_of(status, "cam-00") == pid_of(before, "cam-00")
    assert status.supervisor.config_sha256 != before.supervisor.config_sha256
    withdrawn = [alert for alert in gateway.alerts() if alert["type"] == "cityeye.case.withdrawn.v1"]
    assert [alert["data"]["camera"]["id"] for alert in withdrawn] == ["cam-02"] * CASES_EACH
    gateway.wait_until(has_cases("cam-01"), 20, "the changed camera's cases go on")
    assert {name: len(ids) for name, ids in opened(gateway.alerts()).items()} == dict.fromkeys(place.names, CASES_EACH)
    place.check_delivery()
    gateway.write_config(gateway.site)


def open_cases(gateway: RunningGateway, name: str = "cam-00") -> list[str]:
    """By what was told: a case is counted as open just before its alert is stored."""
    alerts = told(gateway, name)
    ended = {case_id for kind, case_id in alerts if kind in ("cleared", "withdrawn")}
    return [case_id for kind, case_id in alerts if kind == "opened" and case_id not in ended]


def test_a_dismissed_case_is_withdrawn_by_its_camera_and_its_thing_is_left_alone(
    place: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, state = place.gateway, str(place.gateway.state)
    gateway.wait_until(lambda status: len(open_cases(gateway)) == CASES_EACH, 5, "the cases are told")
    before, case_id = told(gateway), open_cases(gateway)[0]
    assert edge(["dismiss", case_id[:8], "--reason", "allowed", "--by", "Li", "--state", state]) == 0
    assert "the case is withdrawn, and its thing is left alone" in capsys.readouterr().out
    assert told(gateway) == [*before, ("withdrawn", case_id)]
    gateway.wait_until(has_cases("cam-00", CASES_EACH - 1), 5, "one case less")
    analysed = of(gateway.status(), "cam-00").report.analysed
    gateway.wait_until(lambda status: of(status, "cam-00").report.analysed >= analysed + 20, 30, "ten seconds of looks")
    assert told(gateway) == [*before, ("withdrawn", case_id)]
    assert edge(["review", "list", "--state", state]) == 0
    assert "its thing is left alone while it stays" in capsys.readouterr().out
    assert edge(["dismiss", case_id, "--revoke", "--state", state]) == 0
    gateway.wait_until(lambda status: len(open_cases(gateway)) == CASES_EACH, 20, "the thing is found anew")
    assert [kind for kind, _ in told(gateway)[len(before) :]] == ["withdrawn", "opened"]


def test_the_street_brain_asks_and_the_running_gateway_answers(place: Street) -> None:
    """Over the broker, through the courier, to a worker or the supervisor, and back."""
    gateway, port = place.gateway, place.documented.port
    case_id = open_cases(gateway, "cam-02")[0]
    with Brain(port, site="bench", gateway="gw-01") as brain:
        seen = brain.ask("verify", {"case_id": case_id})
        assert (seen["outcome"], seen["result"]["place"]) == ("done", "seen")
        assert all((gateway.state / file["path"]).is_file() for file in seen["result"]["evidence"])
        picture = brain.ask("snapshot", {"camera": "cam-02"})["result"]
        content = (gateway.state / picture["file"]["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == picture["file"]["sha256"]
        files = brain.ask("retrieve", {"case_id": case_id})["result"]["files"]
        assert {file["sha256"] for file in seen["result"]["evidence"]} <= {file["sha256"] for file in files}
        assert brain.ask("mode", {"mode": "emergency"})["outcome"] == "done"
        gateway.wait_until(lambda status: status.courier.mode == "emergency", 5, "the mode in the status")
        assert brain.ask("mode", {"mode": "normal"})["result"]["before"] == "emergency"
        reload = brain.ask("reload", {})
        assert (reload["outcome"], reload["result"]) == (
            "done",
            {"config_sha256": gateway.status().supervisor.config_sha256},
        )
        gateway.config.write_text("version: 1\n")
        assert brain.ask("reload", {})["reason"] == "configuration"
        gateway.write_config(gateway.site)
        assert brain.ask("reload", {})["outcome"] == "done"
        resent = brain.ask("resend", {"from": 1, "to": 1})["result"]
        assert (resent["resent"], resent["gone"]) in ((1, []), (0, [[1, 1]]))
        assert brain.ask("snapshot", {"camera": "elsewhere"})["reason"] == "unknown-camera"
        print(f"seconds from the command to its reply: {brain.took_s()}")
    gateway.wait_until(lambda status: status.courier.commands["done"] >= 8, 5, "the counts in the status")
    print(place.documented.check(Documentation()))


def test_a_stop_is_orderly_while_a_camera_hangs(place: Street) -> None:
    os.kill(place.cameras.pid, signal.SIGSTOP)
    try:
        time.sleep(3)
        stop_s = place.gateway.stop()
    finally:
        os.kill(place.cameras.pid, signal.SIGCONT)
    check_nothing_left(place.gateway)
    print(f"stopped in {stop_s:.1f} s")
    assert stop_s < 10


def pid_of(status: GatewayStatus, name: str) -> int:
    return of(status, name).process.pid
