"""What the supervisor says to systemd, over real datagram sockets of both kinds of names."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.clock import elapsed_s
from edge.runtime.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket in systemd's place, and its name as NOTIFY_SOCKET gives it."""
    name = f"@edge-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        listener.settimeout(5)
        yield listener, name


def test_each_message_is_as_systemd_reads_it(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name}, mono_ns=lambda: 1_234_567_890)
    for send, expected in (
        (lambda: notifier.ready("16 cameras"), "READY=1\nSTATUS=16 cameras"),
        (notifier.ready, "READY=1"),
        (
            lambda: notifier.status("two\nlines of rtsp://admin:pass@10.0.0.8/x"),
            "STATUS=two lines of rtsp://***@10.0.0.8/x",
        ),
        (notifier.watchdog, "WATCHDOG=1"),
        (notifier.reloading, "RELOADING=1\nMONOTONIC_USEC=1234567"),
        (lambda: notifier.extend(90), "EXTEND_TIMEOUT_USEC=90000000"),
        (notifier.stopping, "STOPPING=1"),
    ):
        send()
        assert listener.recv(4096).decode() == expected
    assert notifier.lost == 0


def test_the_variables_are_taken_so_that_no_child_notifies(systemd: tuple[socket.socket, str]) -> None:
    environ = {"NOTIFY_SOCKET": systemd[1], "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier(environ)
    assert environ == {"HOME": "/"}
    assert notifier.watchdog_s == 30


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_ours_or_nobodys(environ: dict[str, str], watchdog_s: float | None) -> None:
    assert Notifier(environ).watchdog_s == watchdog_s


@pytest.mark.parametrize("name", ["", "/nowhere", "@nobody-listens", "vsock:2:1234", "x\0y", "/" + "y" * 200])
def test_without_a_listener_nothing_is_raised(name: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.watchdog()
    notifier.status("")
    assert notifier.lost == (2 if name.startswith(("/", "@")) else 0)


def test_a_systemd_that_does_not_read_holds_nobody_up(systemd: tuple[socket.socket, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd[1]})
    sent = 0
    while not notifier.lost and sent < 100_000:
        notifier.watchdog()
        sent += 1
    begin_s = elapsed_s()
    notifier.watchdog()
    spent_s = elapsed_s() - begin_s
    print(f"queue full after {sent} messages; one more takes {spent_s:.2f} s")
    assert notifier.lost == 2
    assert spent_s < 1


def test_a_process_finds_systemd_by_its_environment(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    program = (
        "import os; from edge.runtime.systemd import Notifier; Notifier().ready('up'); os.environ['NOTIFY_SOCKET']"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NOTIFY_SOCKET": name},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "KeyError: 'NOTIFY_SOCKET'" in done.stderr
    assert listener.recv(4096) == b"READY=1\nSTATUS=up"
