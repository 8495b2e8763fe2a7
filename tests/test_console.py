"""What a monitoring system reads of a gateway: metrics that any parser takes, a verdict, and a server hard to block."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest
from prometheus_client import openmetrics
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from rich.text import Text

from edge.cli.status_view import _header
from edge.console.metrics import exposition
from edge.console.server import HEAD_MAX_BYTES, ConsoleServer, Listen, _Names
from edge.console.verdict import verdict
from edge.core.types import NS_PER_S
from edge.errors import EdgeError, UsageError
from edge.runtime.announcing import gateway_health
from edge.runtime.board import SUPERVISOR_ROW
from edge.runtime.health import CAMERA, STAGES, WAITING, CourierReport, FollowerReport, GatewayStatus, from_document
from edge.state.database import Database
from edge.state.judgements import Tally
from edge.wiring.console_process import counted
from tests.alerts import a_change, alert_of, topic_of
from tests.boards import BROKER, COURIER_REPORT, UPLOAD_REPORT, Gateway, a_camera_report
from tests.brokers import WAIT_S, free_port
from tests.test_requests import HandClock

OWN_NAME = socket.gethostname()
LOOPBACK = Listen("127.0.0.1", 0)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


# --- metrics ---------------------------------------------------------------------------------------------------


TALLY = Tally("cam-01", "illegal-parking", opened=9, confirmed=3, dismissed=2, reasons=(("allowed", 2),))


def families_of(status: GatewayStatus, accept: str = "") -> list[Metric]:
    body, content_type = exposition(status, accept, [TALLY])
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    return list(parse(body.decode()))


class Series:
    """Values by name and labels, site and gateway left out."""

    def __init__(self, families: list[Metric]) -> None:
        samples = [sample for family in families for sample in family.samples]
        assert all(sample.labels["site"] == "xiaohe" and sample.labels["gateway"] == "gw-01" for sample in samples)
        self._values = {(sample.name, self._key(sample.labels)): sample.value for sample in samples}
        assert len(self._values) == len(samples), "no series twice"

    @staticmethod
    def _key(labels: dict[str, str]) -> frozenset[tuple[str, str]]:
        return frozenset((name, value) for name, value in labels.items() if name not in ("site", "gateway"))

    def __call__(self, name: str, /, **labels: str) -> float:
        return self._values[name, self._key(labels)]

    def named(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for known, labels in self._values if known == name]


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", OPENMETRICS])
def test_both_parsers_take_the_metrics_and_find_the_same(accept: str) -> None:
    gateway = Gateway(3)
    gateway.blind("cam-02", words='it said "no"\nand \\ hung up')
    values = Series(families_of(gateway.status(), accept))
    report = a_camera_report(1)
    assert values("edge_frames_total", camera="cam-01", outcome="read") == report.read
    assert values("edge_frames_total", camera="cam-01", outcome="unseen") == report.unseen
    assert values("edge_camera_state", camera="cam-01", state="streaming") == 1
    assert values("edge_camera_state", camera="cam-02", state="streaming") == 0
    assert values("edge_camera_state", camera="cam-02", state="blind") == 1
    assert values.named("edge_camera_blind") == [{"camera": "cam-02", "reason": "wrong-password"}]
    assert values("edge_camera_frame_age_seconds", camera="cam-03") == pytest.approx(0.1)
    assert values("edge_camera_clock_offset_seconds", camera="cam-01") == pytest.approx(report.clock_offset_s)
    for stage in STAGES:
        labels = {"camera": "cam-01", "stage": stage}
        assert values("edge_stage_seconds_total", **labels) == pytest.approx(report.stage_s[stage])
        assert values("edge_stage_frames_total", **labels) == report.analysed
    assert values("edge_detector_run_seconds_total", detector="yolox-nano") == 1234.5
    assert values("edge_detector_queue", detector="yolox-nano") == 1
    assert values("edge_alerts_unsent") == 3
    assert values("edge_alerts_unreceipted") == 2
    assert values("edge_alerts_given_up_total") == 1
    assert values("edge_alerts_sent_total") == 39
    assert values("edge_broker_connected") == 1
    assert values("edge_process_state", kind=CAMERA, name="cam-01", state="running") == 1
    assert values.named("edge_build_info")[0]["software"] == "0.1.0"
    assert values("edge_healthy") == 1


def test_openmetrics_ends_as_it_must() -> None:
    body, content_type = exposition(Gateway(1).status(), OPENMETRICS)
    assert body.endswith(b"# EOF\n")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert openmetrics.exposition.CONTENT_TYPE_LATEST.startswith("application/openmetrics-text")


def test_frames_can_be_added_up() -> None:
    """Each picture that was taken has one end, but for what is in work."""
    values = Series(families_of(Gateway(1).status()))
    count = {
        labels["outcome"]: int(values("edge_frames_total", **labels)) for labels in values.named("edge_frames_total")
    }
    assert set(count) == {
        "read",
        "undecoded",
        "decoded",
        "taken",
        "analysed",
        "dropped",
        "withheld",
        "skipped",
        "unseen",
        "corrupt",
    }
    assert count["taken"] == sum(count[end] for end in ("analysed", "dropped", "unseen"))
    assert count["read"] >= count["decoded"] >= count["taken"]


def test_what_is_not_known_is_left_out_rather_than_zero() -> None:
    gateway = Gateway(1)
    row = gateway.board.row(gateway.processes[-1].row)
    row.clear()
    values = Series(families_of(gateway.status()))
    assert values("edge_camera_state", camera="cam-01", state="blind") == 1
    for name in ("edge_camera_frame_age_seconds", "edge_camera_clock_offset_seconds", "edge_stage_seconds_total"):
        assert values.named(name) == []


def test_a_gateway_that_has_not_reported_yet_has_metrics_too() -> None:
    gateway = Gateway(1)
    gateway.board.row(SUPERVISOR_ROW).write("")
    body, _ = exposition(gateway.status(), "")
    healthy = next(family for family in parse_text(body.decode()) if family.name == "edge_healthy")
    assert healthy.samples[0].value == 0


def test_cases_are_counted_by_what_was_said_of_them() -> None:
    series = Series(families_of(Gateway(1).status()))
    where = {"camera": "cam-01", "scenario": "illegal-parking"}
    assert series("edge_cases_opened", **where) == 9
    assert [series("edge_cases_judged", **where, verdict=verdict) for verdict in ("confirmed", "dismissed")] == [3, 2]


def test_a_database_that_cannot_be_opened_costs_the_counts_and_not_the_console(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "edge.db", HandClock()
    path.write_bytes(b"no database " * 100)
    tallies = counted(path, clock)
    assert tallies() == ()
    assert tallies() == ()
    assert [record.message.split(": ")[:2] for record in caplog.records] == [["cases are not counted", str(path)]]
    path.unlink()
    with Database.open(path) as database:
        change = a_change(1)
        database.commit(change, alert_of(change), topic_of(change))
    clock.pass_s(60)
    assert [(tally.camera, tally.opened) for tally in tallies()] == [("qiaonong-03", 1)]


def test_the_operators_page_tells_of_every_metric_and_of_no_other() -> None:
    gateway = Gateway(2)
    gateway.blind("cam-02")
    report = replace(COURIER_REPORT, followers=(FollowerReport("webhook-0"),), upload=UPLOAD_REPORT)
    gateway.tell("courier", "courier", report)
    page = (Path(__file__).parent.parent / "docs" / "health.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(edge_[a-z_]+)", page, re.MULTILINE))
    made = {sample.name for family in families_of(gateway.status()) for sample in family.samples}
    assert told == made


# --- the verdict -----------------------------------------------------------------------------------------------


def test_one_blind_camera_is_told_but_no_failure() -> None:
    gateway = Gateway(3)
    gateway.blind("cam-02")
    well, document = verdict(gateway.status())
    assert well
    assert document["status"] == "ok"
    assert document["cameras"] == {"streaming": 2, "blind": 1, "off": 0}
    words = "the camera refuses the password"
    assert document["blind"] == [{"camera": "cam-02", "reason": "wrong-password", "words": words}]


Change = Callable[[Gateway], None]


def _supervisor_hangs(gateway: Gateway) -> None:
    gateway.mono_ns += 6 * NS_PER_S
    for entry in gateway.processes:
        gateway.board.row(entry.row).frame(gateway.mono_ns)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda gateway: [gateway.blind(f"cam-0{number}") for number in (1, 2)], "no camera is streaming"),
        (
            lambda gateway: gateway.tell("courier", "courier", CourierReport(broker=BROKER, reason="refused")),
            f"courier: not connected to {BROKER} (refused)",
        ),
        (
            lambda gateway: gateway.change_process("yolox-nano", state=WAITING, reason="killed by SIGKILL"),
            "detector yolox-nano: waiting (killed by SIGKILL)",
        ),
        (
            lambda gateway: gateway.tell("courier", "courier", replace(COURIER_REPORT, oldest_unsent_s=120.5)),
            f"courier: {BROKER} has confirmed no alert for over 120 s, and some wait",
        ),
        (
            lambda gateway: gateway.tell("courier", "courier", replace(COURIER_REPORT, refusal="Not authorized")),
            "courier: an alert is refused; Not authorized",
        ),
        (
            lambda gateway: gateway.tell("courier", "courier", replace(COURIER_REPORT, oldest_unreceipted_s=600.5)),
            "courier: no receipt for over 600 s, and alerts wait for one; check the street brain, or set "
            "`confirm: puback` where none sends any",
        ),
        (
            lambda gateway: gateway.tell_supervisor(config_refused="site.yaml:23: polygon needs 3 points, has 2"),
            "configuration refused, the old one runs on: site.yaml:23: polygon needs 3 points, has 2",
        ),
        (lambda gateway: gateway.tell_supervisor(stopping=True), "supervisor: the gateway is stopping"),
        (lambda gateway: gateway.board.row(SUPERVISOR_ROW).write(""), "supervisor: it has not reported yet"),
        (_supervisor_hangs, "supervisor: no sign of life for over 5 s"),
    ],
)
def test_what_keeps_the_gateway_from_its_work_is_the_same_in_http_mqtt_and_edge_status(
    change: Change, problem: str
) -> None:
    gateway = Gateway(2)
    assert verdict(gateway.status())[0]
    change(gateway)
    well, document = verdict(gateway.status())
    assert not well
    assert document["status"] == "failing"
    assert document["problems"] == [problem]
    assert gateway_health(gateway.status()).problems == (problem,)
    assert [line.plain for line in _header(gateway.status()) if isinstance(line, Text)][-1] == problem


@pytest.mark.parametrize(
    "report",
    [
        CourierReport(unsent=5, oldest_unsent_s=3600.0),
        replace(COURIER_REPORT, oldest_unsent_s=119.0),
    ],
    ids=["no-broker-configured", "a-short-outage"],
)
def test_alerts_that_may_wait_are_no_problem(report: CourierReport) -> None:
    gateway = Gateway(1)
    gateway.tell("courier", "courier", report)
    assert verdict(gateway.status())[0]


# --- the server ------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(2)


@pytest.fixture
def server(gateway: Gateway) -> Iterator[ConsoleServer]:
    with ConsoleServer(gateway.status, LOOPBACK, request_s=2.0, connections_max=16, fresh_s=0) as running:
        yield running


def ask(
    server: ConsoleServer, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.listen.host, server.listen.port, timeout=WAIT_S)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_metrics_are_served_in_the_format_that_is_asked_for(server: ConsoleServer) -> None:
    answer, body = ask(server, "/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert Series(list(parse_text(body.decode())))("edge_healthy") == 1
    prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    answer, body = ask(server, "/metrics", headers={"Accept": prometheus, "User-Agent": "Prometheus/3"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert Series(list(parse_openmetrics(body.decode())))("edge_healthy") == 1


def test_healthz_answers_200_and_503_with_the_problems(server: ConsoleServer, gateway: Gateway) -> None:
    answer, body = ask(server, "/healthz")
    assert (answer.status, json.loads(body)["status"]) == (200, "ok")
    gateway.change_process("courier", over_budget=True, reason="killed by SIGKILL")
    answer, body = ask(server, "/healthz?verbose=1")
    assert answer.status == 503
    assert json.loads(body)["problems"] == ["courier courier: running (killed by SIGKILL)"]


@pytest.mark.parametrize(
    "host", ["attacker.example", "127.0.0.1.attacker.example:9480", "localhost.attacker.example", ""]
)
@pytest.mark.parametrize("path", ["/status", "/metrics", "/healthz"])
def test_a_page_that_turns_its_name_to_this_machine_reads_nothing(server: ConsoleServer, path: str, host: str) -> None:
    answer, body = ask(server, path, headers={"Host": host})
    assert answer.status == 403
    assert b"cam-0" not in body
    with socket.create_connection((server.listen.host, server.listen.port), WAIT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: {host}\r\n\r\n".encode())
        assert b" 403 " in connection.recv(4096), "one good name does not make up for a bad one"


def test_the_server_is_asked_by_address_or_by_its_own_names(gateway: Gateway) -> None:
    with ConsoleServer(gateway.status, Listen("localhost", 0)) as server:
        for host in ("127.0.0.1:9480", "10.0.0.8", "[::1]:9480", "[fe80::1]", "LOCALHOST:1", "localhost.", OWN_NAME):
            answer, _ = ask(server, "/status", headers={"Host": host})
            assert answer.status == 200, host
        with socket.create_connection((server.listen.host, server.listen.port), WAIT_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b" 200 " in connection.recv(4096), "a probe that names nobody is no browser"
    names = _Names(Listen("gw-01.lan", 9480))
    assert names.know("GW-01.lan:9480")
    assert not names.know("gw-02.lan:9480")


def test_the_whole_status_comes_back_as_it_was(server: ConsoleServer, gateway: Gateway) -> None:
    answer, body = ask(server, "/status")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert from_document(json.loads(body)) == gateway.status()


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/status", "/nowhere"])
def test_head_is_get_without_its_body(server: ConsoleServer, path: str) -> None:
    get, body = ask(server, path)
    head, nothing = ask(server, path, "HEAD")
    assert (head.status, nothing) == (get.status, b"")
    assert head.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "//metrics", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/status", 405),
        ("OPTIONS", "/healthz", 405),
    ],
)
def test_nothing_else_is_there(server: ConsoleServer, method: str, path: str, status: int) -> None:
    answer, _ = ask(server, path, method)
    assert answer.status == status


def raw(server: ConsoleServer, request: bytes) -> bytes:
    """What comes back, b"" where the connection is closed or broken off."""
    with socket.create_connection((server.listen.host, server.listen.port), timeout=WAIT_S) as connection:
        got = b""
        try:
            connection.sendall(request)
            while piece := connection.recv(65_536):
                got += piece
        except ConnectionError:
            pass
        return got


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /healthz SMTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(server: ConsoleServer, request_bytes: bytes) -> None:
    assert raw(server, request_bytes).startswith(b"HTTP/1.1 400 ")
    assert ask(server, "/healthz")[0].status == 200


def test_a_request_that_never_ends_is_cut_off(server: ConsoleServer) -> None:
    for request in (b"GET /" + b"a" * 1_000_000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000):
        answer = raw(server, request)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    fits = b"GET /healthz HTTP/1.1\r\nX: " + b"y" * (HEAD_MAX_BYTES - 100) + b"\r\n\r\n"
    assert raw(server, fits).startswith(b"HTTP/1.1 200 ")


def test_two_hundred_ask_at_once_and_all_are_answered(server: ConsoleServer) -> None:
    before = threading.active_count()
    most = [before]
    begin = threading.Barrier(200)

    def once(number: int) -> tuple[int, float]:
        begin.wait()
        started = perf_counter()
        status = ask(server, ("/metrics", "/healthz", "/status")[number % 3])[0].status
        most.append(threading.active_count())
        return status, perf_counter() - started

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(once, range(200)))
    print(f"200 requests at once: the slowest took {max(took for _, took in answers):.2f} s; {max(most)} threads")
    assert {status for status, _ in answers} == {200}
    assert max(most) <= before + 200 + 16
    assert server.evicted == 0


def test_clients_that_dribble_keep_nobody_out_and_are_shown_the_door(server: ConsoleServer) -> None:
    """Slow loris: many connections, each of which sends a byte now and then and never ends its request."""
    stop = threading.Event()
    slow = [socket.create_connection((server.listen.host, server.listen.port)) for _ in range(100)]

    def dribble() -> None:
        while not stop.wait(0.1):
            for connection in slow:
                try:
                    connection.send(b"X")
                except OSError:
                    continue

    dribbler = threading.Thread(target=dribble)
    dribbler.start()
    try:
        took = []
        for _ in range(3):
            begin = perf_counter()
            assert ask(server, "/healthz")[0].status == 200
            took.append(perf_counter() - begin)
        print(f"beside 100 slow clients on 16 places: {', '.join(f'{one:.2f}' for one in took)} s an answer")
        for connection in slow[:16]:
            connection.settimeout(WAIT_S)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert server.evicted >= 16
    finally:
        stop.set()
        dribbler.join()
        for connection in slow:
            connection.close()


def test_a_client_that_does_not_read_its_answer_gives_up_its_place() -> None:
    gateway = Gateway(128)
    with ConsoleServer(gateway.status, LOOPBACK, request_s=0.3, connections_max=1) as server:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect((server.listen.host, server.listen.port))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert ask(server, "/healthz")[0].status == 200
        print(f"{server.evicted} cut off")


def test_the_board_is_read_at_most_twice_a_second_however_many_ask(gateway: Gateway) -> None:
    reads = []

    def status() -> GatewayStatus:
        reads.append(1)
        return gateway.status()

    with ConsoleServer(status, LOOPBACK, fresh_s=3600) as server, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(server, "/metrics")[1], range(100)))
    assert len(set(answers)) == 1
    assert len(reads) == 1


def test_a_status_that_cannot_be_read_ends_one_connection_and_is_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [True]

    def status() -> GatewayStatus:
        if broken:
            raise TypeError("a report of another version")
        return gateway.status()

    with ConsoleServer(status, LOOPBACK) as server:
        assert raw(server, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        broken.clear()
        assert ask(server, "/healthz")[0].status == 200
    assert "a report of another version" in caplog.text


def test_a_server_that_is_closed_has_let_its_port_go(gateway: Gateway) -> None:
    with ConsoleServer(gateway.status, LOOPBACK) as first:
        taken = first.listen
        assert ask(first, "/healthz")[0].status == 200
    with ConsoleServer(gateway.status, taken) as second:
        assert ask(second, "/healthz")[0].status == 200


def test_a_port_that_is_taken_is_named_in_one_line(server: ConsoleServer, gateway: Gateway) -> None:
    with pytest.raises(EdgeError) as refused:
        ConsoleServer(gateway.status, server.listen)
    words = f"console: cannot listen on {server.listen}: Address already in use"
    assert str(refused.value) == f"{words}; end what listens there or change console.listen"


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_named(gateway: Gateway, host: str) -> None:
    with pytest.raises(EdgeError, match=f"console: cannot listen on {host}"):
        ConsoleServer(gateway.status, Listen(host, free_port()))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:9480", Listen("127.0.0.1", 9480)),
        ("0.0.0.0:0", Listen("0.0.0.0", 0)),
        ("gateway.local:80", Listen("gateway.local", 80)),
        (":9480", Listen("127.0.0.1", 9480)),
        ("[::1]:9480", Listen("::1", 9480)),
    ],
)
def test_an_address_to_listen_on_is_read(text: str, read: Listen) -> None:
    assert Listen.parse(text) == read
    assert str(read) == (text if not text.startswith(":") else f"127.0.0.1{text}")


@pytest.mark.parametrize(
    "text", ["", "9480", "127.0.0.1", "::1:9480", "host:", "host:http", "a:b:1", "http://h:1", "h:65536"]
)
def test_an_address_that_cannot_be_listened_on_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"console\.listen: ") as refused:
        Listen.parse(text)
    assert "\n" not in str(refused.value)


def test_the_loopback_of_ipv6_works(gateway: Gateway) -> None:
    try:
        server = ConsoleServer(gateway.status, Listen.parse("[::1]:0"))
    except EdgeError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with server:
        assert ask(server, "/healthz")[0].status == 200


# --- what it costs ---------------------------------------------------------------------------------------------


def test_a_scrape_of_64_cameras_is_cheap() -> None:
    gateway = Gateway(64)
    for accept in ("", OPENMETRICS):
        took = []
        for _ in range(7):
            begin = perf_counter()
            body, _ = exposition(gateway.status(), accept)
            took.append(1000 * (perf_counter() - begin))
        lines = body.count(b"\n")
        print(f"{accept or 'text'}: {statistics.median(took):.0f} ms, {lines} lines, {len(body) / 1000:.0f} kB")
        assert statistics.median(took) < 500


_CONSOLE = """
import http.client, json, sys
from edge.console.server import ConsoleServer, Listen, _Names
from tests.boards import Gateway
with ConsoleServer(Gateway(64).status, Listen("127.0.0.1", 0)) as server:
    for path in ("/metrics", "/healthz", "/status") * 3:
        connection = http.client.HTTPConnection(server.listen.host, server.listen.port)
        connection.request("GET", path)
        assert connection.getresponse().read()
heavy = ("cv2", "av", "onnxruntime", "paho", "pydantic", "asyncio", "edge.config", "edge.wiring")
rows = [line.split() for line in open("/proc/self/smaps_rollup")]
kilobytes = {row[0]: int(row[1]) for row in rows if row[-1] == "kB"}
print(json.dumps([[name for name in heavy if name in sys.modules], kilobytes]))
"""


def test_the_consoles_process_is_small_and_loads_no_video_library() -> None:
    root = Path(__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", _CONSOLE], cwd=root, capture_output=True, text=True, check=True)
    heavy, kilobytes = json.loads(run.stdout)
    private_mb = (kilobytes["Private_Clean:"] + kilobytes["Private_Dirty:"]) / 1000
    print(f"console beside 64 cameras: {private_mb:.1f} MB private, {kilobytes['Pss:'] / 1000:.1f} MB PSS")
    assert heavy == []
    assert private_mb < 30
