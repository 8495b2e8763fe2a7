"""`edge run` from the command line: what it says when it cannot begin, and what it holds while it runs."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.runtime.health import WAITING
from tests.bench.gateway import RunningGateway, camera_config, site_config

HEAVY = ("onnxruntime", "/av/")  # what the supervisor must not have loaded
NOT_A_CAMERA = "rtsp://127.0.0.1:9/none"


def run(*arguments: str, limit_s: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, taken_port: int) -> Iterator[RunningGateway]:
    """Two cameras that do not answer, and a console whose port is taken. Its soft limit on descriptors is low."""
    folder = tmp_path_factory.mktemp("gateway")
    cameras = [camera_config(name, NOT_A_CAMERA) for name in ("cam-0", "cam-1")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    gateway = RunningGateway(folder, site_config(cameras, console={"listen": f"127.0.0.1:{taken_port}"}))
    try:
        with gateway:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            gateway.wait_until(
                lambda status: all(camera.report.reason == "refused" for camera in status.cameras),
                30,
                "cameras refused",
            )
            yield gateway
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_help_has_an_example_and_the_exit_statuses() -> None:
    told = run("--help")
    assert told.returncode == 0
    assert "Example: edge run --config site.yaml" in told.stdout
    assert "Exit status: 0 stopped in order, 1 failed, 2 misused." in told.stdout


def test_a_missing_configuration_is_misuse(tmp_path: Path) -> None:
    told = run("--config", str(tmp_path / "none.yaml"), "--state", str(tmp_path / "state"))
    assert told.returncode == 2
    assert "none.yaml: no such file" in one_line(told.stderr)
    assert not (tmp_path / "state").exists()


def test_a_bad_configuration_is_misuse_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("version: 1\nsite: {id: a, timezone: Asia/Shanghai}\ngateway: {id: b}\ncameras:\n  - id: cam\n")
    told = run("--config", str(path), "--state", str(tmp_path / "state"))
    assert told.returncode == 2
    assert re.match(r"edge: .*site\.yaml:\d+: cameras", one_line(told.stderr))
    assert not (tmp_path / "state").exists()


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    path, blocked = tmp_path / "site.yaml", tmp_path / "file"
    blocked.touch()
    path.write_text(
        "version: 1\nsite: {id: a, timezone: Asia/Shanghai}\ngateway: {id: b}\n"
        f"cameras:\n  - {{id: cam, source: '{NOT_A_CAMERA}'}}\n"
    )
    told = run("--config", str(path), "--state", str(blocked / "state"))
    assert told.returncode == 2
    assert "cannot be made: Not a directory: name another --state" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_second_gateway_is_told_of_the_first(gateway: RunningGateway) -> None:
    told = run("--config", str(gateway.config), "--state", str(gateway.state))
    assert told.returncode == 1
    assert f"is already run by process {gateway.pid}; stop that one first" in told.stderr
    assert "Traceback" not in told.stderr
    assert gateway.running


def test_a_console_whose_port_is_taken_is_told_and_the_rest_runs(gateway: RunningGateway) -> None:
    gateway.wait_until(
        lambda status: any("console" in line for line in status.problems), 20, "the console as a problem"
    )
    gateway.wait_until(
        lambda status: next(entry for entry in status.processes if entry.kind == "console").state == WAITING,
        20,
        "waiting",
    )
    assert "ended with status 1" in gateway.entry("console").reason
    assert gateway.entry("camera", "cam-0").restarts == gateway.entry("detector").restarts == 0
    assert re.search(r"127\.0\.0\.1:\d+", gateway.log_tail(400))
    assert "Traceback" not in gateway.log_path.read_text()


def test_the_supervisor_is_light(gateway: RunningGateway) -> None:
    mapped = Path(f"/proc/{gateway.pid}/maps").read_text()
    loaded = [name for name in HEAVY if name in mapped]
    memory = Path(f"/proc/{gateway.pid}/smaps_rollup").read_text()
    private_kib = sum(int(amount) for amount in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", memory, re.MULTILINE))
    descriptors = len(os.listdir(f"/proc/{gateway.pid}/fd"))
    opencv = "cv2" in mapped
    print(f"supervisor: {private_kib / 1024:.1f} MiB private, {descriptors} descriptors, OpenCV loaded: {opencv}")
    assert loaded == []


def test_a_low_limit_on_descriptors_is_raised(gateway: RunningGateway) -> None:
    """256 cameras need seven each in the supervisor; outside systemd the usual limit is 1024."""
    limits = Path(f"/proc/{gateway.pid}/limits").read_text()
    found = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.MULTILINE)
    assert found is not None
    soft, hard = int(found[1]), int(found[2])
    assert soft == min(hard, 65_536)


def test_a_bad_new_configuration_is_refused_and_the_next_good_one_taken(gateway: RunningGateway) -> None:
    before = gateway.status().supervisor.config_sha256
    gateway.write_config({**gateway.site, "version": 2})
    os.kill(gateway.pid, signal.SIGHUP)
    gateway.wait_until(lambda status: "version" in status.supervisor.config_refused, 10, "refused")
    assert gateway.status().supervisor.config_sha256 == before
    gateway.write_config(gateway.site)
    os.kill(gateway.pid, signal.SIGHUP)
    gateway.wait_until(lambda status: status.supervisor.config_refused == "", 10, "taken again")
    assert gateway.entry("camera", "cam-0").restarts == 0


def test_sigterm_ends_it_in_order(gateway: RunningGateway) -> None:
    """The last of this file: the gateway is gone afterwards."""
    took_s = gateway.stop()
    print(f"stopped after {took_s:.2f} s")
    assert took_s < 10
    assert gateway.session() == []
