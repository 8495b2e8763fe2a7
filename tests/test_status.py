"""Asking the running gateway: over a real socket, from full boards, with clients that behave badly."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from edge.cli.main import run
from edge.cli.status_view import Row, Sample, view
from edge.clock import elapsed_s
from edge.config.state_folder import running_state_folder, state_folder
from edge.errors import ConfigError, StateError, UsageError
from edge.runtime import health
from edge.runtime.status_socket import CLIENTS_MAX, SOCKET_NAME, NotRunningError, StatusSocket, fetch_status
from tests.boards import UPLOAD_REPORT

NOW_NS = 1_777_858_267_000_000_000  # 2026-05-04 09:31:07 +08:00
S = 1_000_000_000
STAGES = {"decode": 0.004, "wait": 0.002, "detect": 0.06, "track": 0.001, "rules": 0.003, "evidence": 0.02}


def streaming(*, analysed: int = 5000, fps: float = 2.0, **changes: object) -> health.CameraReport:
    report = health.CameraReport(
        state=health.STREAMING,
        reason="",
        since_wall_ns=NOW_NS - 7300 * S,
        fps=fps,
        width_px=1920,
        height_px=1080,
        codec="h264",
        clock_offset_s=-0.42,
        read=analysed * 7,
        decoded=analysed * 7,
        analysed=analysed,
        dropped=12,
        cases_open=1,
        stage_s={name: mean_s * analysed for name, mean_s in STAGES.items()},
        stage_count=dict.fromkeys(STAGES, analysed),
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def camera(
    name: str, report: health.CameraReport, *, row: int, age_s: float | None = 0.4, **entry: object
) -> health.CameraStatus:
    process = health.ProcessEntry(health.CAMERA, name, row, pid=4000 + row, **entry)  # type: ignore[arg-type]
    return health.CameraStatus(name, report, process, age_s)


WRONG_PASSWORD = health.CameraReport(
    reason="wrong-password",
    words="the camera refuses this user and password (401 Unauthorized): check both in secrets.env and in the camera",
    since_wall_ns=NOW_NS - 190 * S,
    reconnects=63,
    unseen=8800,
)


def gateway(*, healthy: bool = True, cameras: int = 3, later_s: float = 0, boot_id: str = "a") -> health.GatewayStatus:
    seen = 5000 + round(2 * later_s)
    all_cameras = [camera("桥弄街-3号", streaming(analysed=seen), row=1)]
    all_cameras += [
        camera(f"gate-{row:02}", streaming(analysed=seen, dropped=40), row=row) for row in range(2, cameras + 1)
    ]
    if not healthy:
        all_cameras[-1] = camera(
            "yard", WRONG_PASSWORD, row=cameras, age_s=None, restarts=4, reason="killed by signal 9"
        )
    detector = health.ProcessEntry(health.DETECTOR, "yolox-nano", 300 - 13, pid=3001)
    courier = health.ProcessEntry(health.COURIER, "mqtt", 280, pid=3002, restarts=0 if healthy else 2)
    processes = (*(status.process for status in all_cameras), detector, courier)
    pictures = seen * cameras
    return health.GatewayStatus(
        supervisor=health.SupervisorReport(
            site="xiaohe",
            gateway="gw-01",
            software="0.1.0",
            boot_id=boot_id,
            started_wall_ns=NOW_NS - 7400 * S,
            config_path="/etc/city-eye-edge/site.yaml",
            config_sha256="1a2b3c4d5e6f" + "0" * 52,
            config_refused="" if healthy else "site.yaml:23: cameras.gate.zones[1]: polygon needs 3 points, has 2",
            processes=processes,
        ),
        taken_wall_ns=NOW_NS + round(later_s * S),
        beat_age_s=0.1,
        cameras=tuple(all_cameras),
        detectors=(
            health.DetectorStatus(
                health.DetectorReport(
                    model="yolox-nano",
                    provider="CPUExecutionProvider",
                    ready=True,
                    cameras=cameras,
                    queue=1,
                    batches=pictures // 2,
                    pictures=pictures,
                    batch_biggest=4,
                    wait_s=pictures * 0.008,
                    run_s=pictures * 0.03,
                ),
                detector,
                0.1,
            ),
        ),
        courier=health.CourierReport(
            broker="mqtts://brain.example:8883",
            connected=healthy,
            reason="" if healthy else "refused",
            unsent=0 if healthy else 17,
            sent=480,
            last_sequence=4182,
            oldest_unsent_s=0 if healthy else 61,
            unreceipted=0 if healthy else 5,
            oldest_unreceipted_s=0 if healthy else 120,
            merged=0 if healthy else 9,
            given_up=0 if healthy else 2,
            receipts_malformed=0 if healthy else 3,
        ),
        processes=processes,
    )


@contextmanager
def served(folder: Path, *answers: health.GatewayStatus) -> Iterator[StatusSocket]:
    """A supervisor's loop: each answer in turn, the last one again and again."""
    left = list(answers)
    window = StatusSocket(folder, lambda: health.as_document(left.pop(0) if len(left) > 1 else left[0]))
    end_read, end_write = os.pipe()

    def loop() -> None:
        while end_read not in (ready := select.select([window, end_read], [], [])[0]):
            if ready:
                window.serve()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield window
    finally:
        os.close(end_write)
        thread.join()
        os.close(end_read)
        window.close()


# The socket


def test_the_answer_is_what_the_supervisor_knows(tmp_path: Path) -> None:
    expected = gateway(healthy=False)
    with served(tmp_path, expected):
        assert fetch_status(tmp_path) == expected
        assert (tmp_path / SOCKET_NAME).stat().st_mode & 0o777 == 0o660
    assert not (tmp_path / SOCKET_NAME).exists()


def test_the_biggest_gateway_fits(tmp_path: Path) -> None:
    expected = gateway(cameras=256)
    size = len(json.dumps(health.as_document(expected)))
    with served(tmp_path, expected):
        begin_s = elapsed_s()
        assert fetch_status(tmp_path) == expected
        print(f"256 cameras: {size} bytes, {(elapsed_s() - begin_s) * 1000:.0f} ms")


def test_a_folder_with_a_long_name_works_too(tmp_path: Path) -> None:
    folder = tmp_path / ("状态" * 20) / ("x" * 100)
    folder.mkdir(parents=True)
    with served(folder, gateway()):
        assert fetch_status(folder).supervisor.gateway == "gw-01"
    with pytest.raises(NotRunningError):
        fetch_status(folder)
    with pytest.raises(NotRunningError):
        fetch_status(tmp_path / ("y" * 200))


def test_clients_that_do_not_read_hold_nobody_up(tmp_path: Path) -> None:
    document = health.as_document(gateway(cameras=256))
    window = StatusSocket(tmp_path, lambda: document)
    deaf = []
    longest_s = 0.0
    for _ in range(3 * CLIENTS_MAX):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / SOCKET_NAME))
        deaf.append(client)
        begin_s = elapsed_s()
        window.serve()
        longest_s = max(longest_s, elapsed_s() - begin_s)
    print(f"a turn with a client that does not read: {longest_s * 1000:.0f} ms at most, {window.put_out} put out")
    assert longest_s < 1
    assert window.put_out == 2 * CLIENTS_MAX
    window.serve()
    assert window.answered == 0
    last = deaf[-1]
    last.settimeout(5)
    content = b""
    while not content.endswith(b"}]}") or len(content) < 200_000:
        content += last.recv(1 << 20)
        window.serve()
    assert json.loads(content) == json.loads(json.dumps(document))
    for client in deaf:
        client.close()
    window.serve()
    assert not select.select([window], [], [], 0)[0], "nothing is left to do"
    window.close()


def test_a_socket_that_a_killed_gateway_left_is_replaced(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / SOCKET_NAME))
    stale.close()
    with pytest.raises(NotRunningError, match="no gateway runs there"):
        fetch_status(tmp_path)
    with served(tmp_path, gateway()):
        assert fetch_status(tmp_path)


def test_a_second_gateway_in_the_same_folder_is_refused_and_the_first_one_stays(tmp_path: Path) -> None:
    with served(tmp_path, gateway()):
        with pytest.raises(StateError, match="a gateway runs there already"):
            StatusSocket(tmp_path, dict)
        assert fetch_status(tmp_path)


def test_a_file_in_the_sockets_place_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / SOCKET_NAME).write_text("precious")
    with pytest.raises(StateError, match="is not a socket"):
        StatusSocket(tmp_path, dict)
    with pytest.raises(StateError, match="cannot be made: No such file"):
        StatusSocket(tmp_path / "nowhere", dict)
    assert (tmp_path / SOCKET_NAME).read_text() == "precious"


def test_closing_leaves_another_gateways_socket_alone(tmp_path: Path) -> None:
    first = StatusSocket(tmp_path, dict)
    (tmp_path / SOCKET_NAME).unlink()
    second = StatusSocket(tmp_path, dict)
    first.close()
    assert (tmp_path / SOCKET_NAME).exists()
    second.close()


def test_a_gateway_that_hangs_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    window = StatusSocket(tmp_path, dict)  # nobody calls serve()
    with pytest.raises(StateError, match=r"does not answer within 0\.2 s") as told:
        fetch_status(tmp_path, limit_s=0.2)
    assert not isinstance(told.value, NotRunningError)
    clients = []
    for _ in range(100):  # until its queue is full
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect_ex(str(tmp_path / SOCKET_NAME))
        clients.append(client)
    with pytest.raises(StateError, match="does not answer"):
        fetch_status(tmp_path, limit_s=0.2)
    for client in clients:
        client.close()
    window.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"supervisor": {"software": "9.0", "processes": [], "moon": 1}}',
        b'{"supervisor": 3}',
    ],
)
def test_another_version_is_told(tmp_path: Path, answer: bytes) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / SOCKET_NAME))
    listener.listen()

    def speak() -> None:
        client, _ = listener.accept()
        client.sendall(answer)
        client.close()

    thread = threading.Thread(target=speak)
    thread.start()
    with pytest.raises(StateError, match=r"of another version \((9\.0|unknown)\), this is"):
        fetch_status(tmp_path)
    thread.join()
    listener.close()


NOBODY, GROUP = 65534, 54321
AS_SOMEBODY = """
import os, sys
os.setgroups([]); os.setgid({group}); os.setuid({user})
from pathlib import Path
from edge.errors import StateError
from edge.runtime.status_socket import fetch_status
try:
    print(fetch_status(Path(sys.argv[1])).supervisor.gateway)
except StateError as error:
    print(error)
"""


def ask_as(user: int, group: int, folder: Path) -> str:
    """What another user is told."""
    program = "import edge.runtime.status_socket\n" + AS_SOMEBODY.format(group=group, user=user)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_members_of_the_group_may_ask_and_others_are_told_that_they_may_not() -> None:
    with tempfile.TemporaryDirectory() as name, served(Path(name), gateway()):
        folder = Path(name)
        for path in (folder, folder / SOCKET_NAME):
            os.chown(path, 0, GROUP)
        folder.chmod(0o750)
        assert ask_as(NOBODY, GROUP, folder) == "gw-01\n"
        assert "no rights to ask the gateway there" in ask_as(NOBODY, NOBODY, folder)


# The state folder


def test_the_state_folder_is_found_in_one_order(tmp_path: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("version: 1\nstate_dir: state\nmqtt:\n  password: ${NOT_SET}\n")
    bare = tmp_path / "bare.yaml"
    bare.write_text("version: 1\n")
    home = {"HOME": "/home/me"}
    systemd = {**home, "STATE_DIRECTORY": "/var/lib/city-eye-edge:/var/lib/other"}
    assert state_folder(named=Path("/x"), config=config, environ=systemd) == Path("/x")
    assert state_folder(named=Path("x"), config=config, environ=systemd) == Path.cwd() / "x"
    assert state_folder(named=None, config=config, environ=systemd) == tmp_path / "state"
    assert state_folder(named=None, config=bare, environ=systemd) == Path("/var/lib/city-eye-edge")
    assert state_folder(named=None, config=bare, environ={**home, "XDG_STATE_HOME": "/s"}) == Path("/s/city-eye-edge")
    own = Path("/home/me/.local/state/city-eye-edge")
    assert state_folder(named=None, config=None, environ={**home, "XDG_STATE_HOME": "relative"}) == own
    assert state_folder(named=None, config=None, environ=home) == own
    with pytest.raises(UsageError, match="HOME is not set"):
        state_folder(named=None, config=None, environ={})
    config.write_text("version: 1\nstate_dir: ${STATE}\n")
    with pytest.raises(ConfigError, match=r"site\.yaml:2: state_dir: cannot hold a variable"):
        state_folder(named=None, config=config, environ=home)


def test_next_to_the_service_its_folder_is_asked(tmp_path: Path) -> None:
    service, home = tmp_path / "service", tmp_path / "home"
    own = home / ".local/state/city-eye-edge"
    for folder in (service, own):
        folder.mkdir(parents=True)
    environ = {"HOME": str(home)}

    def found(named: Path | None = None, **more: str) -> Path:
        return running_state_folder(named=named, config=None, environ={**environ, **more}, service=service)

    assert found() == own
    (service / SOCKET_NAME).touch()
    assert found() == service
    assert found(tmp_path) == tmp_path
    assert found(STATE_DIRECTORY="/run/x") == Path("/run/x")
    (own / SOCKET_NAME).touch()
    assert found() == own


# The command


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["status", *arguments])
    out, err = capsys.readouterr()
    print(out, err)
    return code, out, err


def test_a_healthy_gateway_is_told_in_eighty_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with served(tmp_path, gateway(cameras=16)):
        code, out, err = told(capsys, "--state", str(tmp_path))
    assert (code, err) == (0, "")
    assert "healthy" in out
    assert max(cell_len(line) for line in out.splitlines()) <= 80
    assert "\x1b" not in out
    for words in ("xiaohe / gw-01", "16 of 16 cameras streaming", "1a2b3c4d5e6f", "1920x1080 h264", "CPU", "2 h 1 min"):
        assert words in out
    assert out.count("gate-07") == 3, "one row in each of the three tables"


def test_in_a_pipe_each_camera_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with served(tmp_path, gateway(cameras=5)):
        _, out, _ = told(capsys, "--state", str(tmp_path))
    assert out.count("gate-04") == 1
    [line] = [line for line in out.splitlines() if "gate-04" in line]
    cells = re.split(r"\s{2,}", line.rstrip())
    print(cells)
    assert cells[:7] == ["gate-04", "streaming", "2 h 1 min", "2.0", "0.4", "1920x1080 h264", "1"]
    counts, stages = (
        ["40", "0", "0", "0", "0", "0", "-0.4"],
        ["4.0", "2.0", "-", "60.0", "1.0", "-", "-", "3.0", "20.0"],
    )
    assert cells[7:] == counts + stages


def test_chinese_names_keep_the_columns_straight() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(view(Sample(gateway()), 80))
    lines = [line for line in console.export_text().splitlines() if "1920x1080" in line]
    assert len({cell_len(line[: line.index("1920x1080")]) for line in lines}) == 1


@pytest.mark.parametrize("decoder", ["software", "cuda", "software: cuda: no such device can be opened here"])
def test_only_a_device_that_does_not_decode_is_spoken_of(decoder: str) -> None:
    found = gateway()
    seen = replace(found.cameras[0], report=streaming(decoder=decoder))
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(view(Sample(replace(found, cameras=(seen, *found.cameras[1:]))), 160))
    line = f"桥弄街-3号: decoded by {decoder}"
    assert (line in console.export_text()) == (":" in decoder)


def test_what_is_wrong_is_told_in_words_and_by_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with served(tmp_path, gateway(healthy=False)):
        code, out, _ = told(capsys, "--state", str(tmp_path))
    assert code == 1
    assert "healthy" not in out
    for words in (
        "configuration refused, the old one runs on: site.yaml:23: cameras.gate.zones[1]",
        "not connected to mqtts://brain.example:8883",
        "17 unsent, the oldest for 1 min",
        "outbox 5 without a receipt, the oldest for 2 min; for room, 9 merged and 2 given up; 3 malformed receipts",
        "yard: the camera refuses this user and password",
        "blind wrong-password",
        "killed by signal 9",
    ):
        assert words in out


def test_one_blind_camera_does_not_make_the_gateway_ill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = gateway()
    blind = replace(status, cameras=(*status.cameras[:-1], camera("yard", WRONG_PASSWORD, row=3)))
    with served(tmp_path, blind):
        code, out, _ = told(capsys, "--state", str(tmp_path))
    assert code == 0
    assert "blind wrong-password" in out
    late = replace(status, beat_age_s=12.0)
    with served(tmp_path, late):
        code, out, _ = told(capsys, "--state", str(tmp_path))
    assert (code, "supervisor: no sign of life for over 5 s" in out) == (1, True)


def test_json_is_the_document_and_its_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, gateway(healthy=False)):
        code, out, _ = told(capsys, "--state", str(tmp_path), "--json")
    document = json.loads(out)
    assert code == 1
    assert len(document.pop("problems")) == 2
    assert health.from_document(document) == gateway(healthy=False)


def test_without_a_gateway_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, "--state", str(tmp_path))
    assert (code, out) == (1, "")
    assert err == f"edge: {tmp_path}: no gateway runs there; start one, or name its folder with --state\n"
    code, _, err = told(capsys, "--config", str(tmp_path / "none.yaml"))
    assert (code, err) == (2, f"edge: {tmp_path / 'none.yaml'}: no such file\n")
    code, _, err = told(capsys, "--stat", "x")
    assert code == 2


def test_the_configuration_leads_to_the_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "site.yaml").write_text("version: 1\nstate_dir: state\n")
    with served(tmp_path / "state", gateway()):
        assert told(capsys, "--config", str(tmp_path / "site.yaml"))[0] == 0


def test_two_samples_show_rates_and_a_restart_shows_none() -> None:
    def text(before: health.GatewayStatus | None) -> str:
        console = Console(width=400, record=True, file=io.StringIO())
        console.print(view(Sample(gateway(later_s=10), before), 400))
        return console.export_text()

    [detector] = [line for line in text(gateway()).splitlines() if line.startswith("yolox-nano")]
    assert detector.split()[-4:-2] == ["6.0", "3.0"], "pictures and batches a second"
    for before in (None, gateway(boot_id="b"), gateway(later_s=20)):
        [detector] = [line for line in text(before).splitlines() if line.startswith("yolox-nano")]
        assert detector.split()[-4:-2] == ["-", "-"]
    dropped = Row(gateway(later_s=10).cameras[0], gateway().cameras[0], 10.0, NOW_NS)
    assert dropped.count(lambda at: at.report.analysed) == "5020 +2.0/s"
    assert dropped.mean(lambda at: at.report.stage_s["detect"], lambda at: at.report.analysed, factor=1e3) == "60.0"


@contextmanager
def watched(folder: Path, *arguments: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`edge status --watch` on a terminal of 200 x 24; yields the terminal's other end."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    command = [sys.executable, "-m", "edge", "status", "--state", str(folder), "--watch", *arguments]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    try:
        yield ours, process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def wait_for(terminal: int, words: str, limit_s: float = 20) -> str:
    shown = ""
    end_s = elapsed_s() + limit_s
    while words not in shown:
        assert elapsed_s() < end_s, f"no {words!r} in {shown[-3000:]!r}"
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


def drain(terminal: int, process: subprocess.Popen[bytes], limit_s: float = 20) -> int:
    """The exit status, with the terminal read meanwhile."""
    end_s = elapsed_s() + limit_s
    while process.poll() is None and elapsed_s() < end_s:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                os.read(terminal, 65536)
            except OSError:  # its last user has gone
                break
    return process.wait(timeout=5)


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_a_watched_gateway_may_come_and_go_and_a_key_leaves(tmp_path: Path, key: bytes) -> None:
    with watched(tmp_path) as (terminal, process):
        wait_for(terminal, "start one, or name")
        with served(tmp_path, *(gateway(later_s=number) for number in range(60))):
            wait_for(terminal, "3 of 3 cameras streaming")
            wait_for(terminal, "6.0")
        wait_for(terminal, "start one, or name")
        with served(tmp_path, gateway(boot_id="b", cameras=5)):
            wait_for(terminal, "5 of 5 cameras streaming")
            before = termios.tcgetattr(terminal)
            os.write(terminal, key)
            assert drain(terminal, process) == 0
        after = termios.tcgetattr(terminal)
    assert not before[3] & termios.ICANON
    assert after[3] & termios.ICANON
    assert after[3] & termios.ECHO


def test_a_watch_that_is_stopped_puts_the_terminal_back(tmp_path: Path) -> None:
    with watched(tmp_path) as (terminal, process):
        wait_for(terminal, "start one, or name")
        process.send_signal(signal.SIGTERM)
        assert drain(terminal, process) == 1
        assert termios.tcgetattr(terminal)[3] & termios.ECHO


def test_a_watch_in_a_pipe_is_a_document_a_second(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge", "status", "--state", str(tmp_path), "--watch", "--json"]
    with served(tmp_path, gateway(), gateway(later_s=1)):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        first, second = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert second["taken_wall_ns"] - first["taken_wall_ns"] == S
    assert process.returncode == 1


def test_what_became_of_evidence_stands_beside_the_courier(tmp_path: Path) -> None:
    before = gateway()
    assert before.courier is not None
    expected = replace(before, courier=replace(before.courier, upload=UPLOAD_REPORT))
    with served(tmp_path, expected):
        assert fetch_status(tmp_path) == expected
    text = io.StringIO()
    Console(file=text, width=160).print(view(Sample(expected), 160))
    told = "upload to s3://evidence at store; 2 alerts wait; 7 files sent (0.7 MB), 1 there already, 3 tries failed"
    assert told in text.getvalue()
