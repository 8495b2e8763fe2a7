"""The running gateway: real processes, a real RTSP server, a real broker; killed, hung, damaged and reconfigured.

The short form of the drills; `scripts/soak` runs the long one. Figures are printed.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.runtime.health import CameraStatus, GatewayStatus
from tests.bench.cameras import StreetCameras
from tests.bench.drills import (
    CASES_EACH,
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

pytestmark = [pytest.mark.live, pytest.mark.slow]


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


def told(gateway: RunningGateway, name: str = "cam-00") -> list[tuple[str, str]]:
    """Kind and case of every alert of a camera."""
    own = [alert for alert in gateway.alerts() if alert["data"]["camera"]["id"] == name]
    return [(alert["type"].split(".")[2], alert["data"]["case_id"]) for alert in own]


def test_four_cameras_for_a_minute(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=4) as place:
        print(quiet_run(place, 60))


def test_a_killed_process_is_back_soon_and_no_alert_is_lost(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=4, use={"repeat_s": 3}) as place:
        place.gateway.wait_until(has_cases(place.names[-1]), 30, "the last camera's cases")
        kill_drill(place, rounds=2, apart_s=10)
        for camera in place.gateway.status().cameras:
            check_accounts(camera)
        print(f"{place.check_delivery()} alerts, each arrived")


def test_a_hung_camera_is_blind_and_its_case_goes_on(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=2) as place:
        gateway = place.gateway
        gateway.wait_until(has_cases("cam-00"), 30, "the parked cars' cases")
        before = told(gateway)
        place.cameras.pause("/cam-00")
        paused_s = gateway.wait_until(blind("cam-00"), 10, "blind after a pause")
        time.sleep(12)
        place.cameras.resume("/cam-00")
        resumed_s = gateway.wait_until(streams("cam-00"), 10, "streaming after the pause")
        place.cameras.hang("/cam-00")
        hung_s = gateway.wait_until(blind("cam-00"), 10, "blind while the server hangs")
        time.sleep(12)
        place.cameras.wake("/cam-00")
        woken_s = gateway.wait_until(streams("cam-00"), 10, "streaming after the hang")
        time.sleep(8)
        assert told(gateway) == before
        assert has_cases("cam-00")(gateway.status())
        print(f"blind after {paused_s:.1f} and {hung_s:.1f} s, streaming after {resumed_s:.1f} and {woken_s:.1f} s")


def test_a_killed_supervisor_leaves_no_orphan_and_its_cases_go_on(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=2) as place:
        gateway = place.gateway
        gateway.wait_until(has_cases("cam-01"), 30, "the parked cars' cases")
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


def test_a_worker_that_hangs_is_killed_and_started_again(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=2) as place:
        gateway = place.gateway
        pid = gateway.entry("camera", "cam-00").pid
        os.kill(pid, signal.SIGSTOP)
        blind_s = gateway.wait_until(blind("cam-00"), 10, "blind by the judgement from outside")
        back_s = gateway.wait_until(
            lambda status: streams("cam-00")(status) and of(status, "cam-00").process.pid != pid, 25, "started again"
        )
        assert of(gateway.status(), "cam-01").process.restarts == 0
        print(f"blind after {blind_s:.1f} s, streaming {blind_s + back_s:.1f} s after it was stopped")


def test_a_reload_touches_only_the_cameras_that_changed(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=3) as place:
        gateway = place.gateway
        gateway.wait_until(lambda status: all(has_cases(name)(status) for name in place.names), 30, "all cases")
        before = gateway.status()
        changed = json.loads(json.dumps(gateway.site))
        changed["cameras"][1]["name"] = "changed"
        del changed["cameras"][2]
        gateway.write_config(changed)
        gateway.wait_until(lambda status: len(status.cameras) == 2, 15, "the new configuration is in force")
        gateway.wait_until(
            lambda status: of(status, "cam-01").process.pid not in (0, pid_of(before, "cam-01")), 10, "cam-01 anew"
        )
        status = gateway.status()
        assert pid_of(status, "cam-00") == pid_of(before, "cam-00")
        assert status.supervisor.config_sha256 != before.supervisor.config_sha256
        withdrawn = [alert for alert in gateway.alerts() if alert["type"] == "cityeye.case.withdrawn.v1"]
        assert [alert["data"]["camera"]["id"] for alert in withdrawn] == ["cam-02"] * CASES_EACH
        gateway.wait_until(has_cases("cam-01"), 20, "the changed camera's cases go on")
        assert {name: len(ids) for name, ids in opened(gateway.alerts()).items()} == dict.fromkeys(
            place.names, CASES_EACH
        )
        place.check_delivery()


def test_a_bad_configuration_is_refused_and_the_old_one_runs_on(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=1) as place:
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
        gateway.write_config(gateway.site)
        gateway.wait_until(lambda status: status.supervisor.config_refused == "", 15, "the good one is taken again")
        assert pid_of(gateway.status(), "cam-00") == pid_of(before, "cam-00")


def test_a_stop_is_orderly_while_a_camera_hangs(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=2) as place:
        os.kill(place.cameras.pid, signal.SIGSTOP)
        try:
            time.sleep(3)
            stop_s = place.gateway.stop()
        finally:
            os.kill(place.cameras.pid, signal.SIGCONT)
        check_nothing_left(place.gateway)
        print(f"stopped in {stop_s:.1f} s")
        assert stop_s < 10


def test_a_camera_that_shows_nothing_true_is_blind_and_its_cases_wait(
    tmp_path: Path, media: Path, view: Callable[..., Stream]
) -> None:
    with street(tmp_path / "gateway", media, cameras=1) as place:
        gateway = place.gateway
        gateway.wait_until(has_cases("cam-00"), 30, "the parked cars' cases")
        time.sleep(65)  # what the camera normally looks at is learned in a minute
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


def test_a_frozen_camera_is_blind(tmp_path: Path, media: Path) -> None:
    with street(tmp_path / "gateway", media, cameras=1) as place:
        gateway = place.gateway
        gateway.site["cameras"][0]["frozen_after_s"] = 8
        gateway.write_config(gateway.site)
        gateway.wait_until(has_cases("cam-00"), 30, "the parked cars' cases")
        before = told(gateway)
        place.cameras.freeze("/cam-00")
        took_s = gateway.wait_until(blind("cam-00", "frozen"), 20, "blind: frozen")
        time.sleep(6)
        place.cameras.thaw("/cam-00")
        back_s = gateway.wait_until(streams("cam-00"), 10, "streaming again")
        assert told(gateway) == before
        print(f"frozen: blind after {took_s:.1f} s (frozen_after_s 8), streaming {back_s:.1f} s after its return")


def test_another_resolution_and_codec_after_a_reconnect_are_the_same_cases(
    tmp_path: Path, media: Path, view: Callable[..., Stream]
) -> None:
    with street(tmp_path / "gateway", media, cameras=1) as place:
        gateway = place.gateway
        gateway.wait_until(has_cases("cam-00"), 30, "the parked cars' cases")
        before = told(gateway)
        for changes in ({"width": 960, "height": 540}, {"codec": "h265"}, {}):
            wanted = view(**changes)
            place.cameras.switch("/cam-00", wanted)
            gateway.wait_until(
                lambda status, wanted=wanted: (  # type: ignore[misc]
                    of(status, "cam-00").report.width_px == wanted.width
                    and streams("cam-00")(status)
                    and wanted.codec in of(status, "cam-00").report.codec.replace("hevc", "h265")
                ),
                15,
                f"streaming {changes}",
            )
            time.sleep(8)
            assert told(gateway) == before, changes


REASONS = {
    "wrong-password": "wrong password",
    "unknown-host": "unknown host",
    "refused": "refused port",
    "not-rtsp": "not an RTSP server",
    "wrong-path": "wrong path",
}


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
    with street(tmp_path / "gateway", media, cameras=4) as place:
        memory = memory_drill(place, warm_up_s=45, seconds=45, every_s=1.5)
        print(memory)
        assert memory.own_growth < 0.02
        assert memory.descriptors[0] == memory.descriptors[1]


def test_damaged_streams_crash_nothing_and_make_no_case(tmp_path: Path, media: Path) -> None:
    damage = damage_drill(tmp_path / "gateway", media, mutated=10_000)
    print(damage)
    assert damage.mutated >= 10_000


def pid_of(status: GatewayStatus, name: str) -> int:
    return of(status, name).process.pid
