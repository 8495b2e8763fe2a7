"""The main job on the committed clip, end to end: real footage, real model, real files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from edge.cli.demo import _print_alert
from edge.cli.main import run
from edge.evidence.verify import verify
from edge.resources import configs_dir
from tests.brokers import Mosquitto
from tests.documentation import Documentation, DocumentedSubscriber

DEMO = configs_dir() / "demo"
VAN = (651, 44, 725, 102)
WANTED = {
    "opened": {"overview", "original", "crop", "still", "manifest"},
    "updated": {"overview", "still", "manifest"},
    "updated clip": {"clip", "manifest"},
    "cleared": {"after", "manifest"},
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def subscriber(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentedSubscriber]:
    """Listens from before the first alert."""
    broker = Mosquitto(tmp_path_factory.mktemp("broker"))
    broker.start()
    with DocumentedSubscriber(broker.port) as listening:
        yield listening
    broker.kill()


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, subscriber: DocumentedSubscriber) -> Path:
    """What the demo does, with a broker that plain clients can reach."""
    folder = tmp_path_factory.mktemp("replay") / "out"
    clip, config = str(DEMO / "plaza.mp4"), str(DEMO / "site.yaml")
    url = f"mqtt://127.0.0.1:{subscriber.port}"
    assert run(["replay", clip, "--config", config, "--out", str(folder), "--annotate", "--mqtt", url]) == 0
    return folder


def alerts_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "alerts.jsonl").read_text(encoding="utf-8").splitlines()]


def step_of(alert: dict[str, Any]) -> str:
    """What it tells of its case: `opened`, `updated`, `updated clip`, `cleared`."""
    kind = str(alert["type"].split(".")[2])
    return f"{kind} clip" if alert["data"].get("reason") == "clip" else kind


def test_the_van_in_the_no_parking_zone_is_one_case_that_stays_open(replayed: Path) -> None:
    told = [alert for alert in alerts_of(replayed) if alert["data"]["scenario"] == "illegal-parking"]
    assert [step_of(alert) for alert in told] == ["opened", "updated clip", "updated", "updated", "updated"]
    assert {alert["data"]["state"] for alert in told} == {"opened"}
    data = told[0]["data"]
    assert 10 <= data["media_time_s"] <= 12
    assert data["object"]["label"] in {"truck", "car"}
    assert all(abs(have - want) < 8 for have, want in zip(data["object"]["box_px"], VAN, strict=True))
    summary = json.loads((replayed / "summary.json").read_text())
    assert data["case_id"] in summary["open_at_end"]
    print(f"van opened at {data['media_time_s']} s, {summary['times_real_time']} times real time")


def test_the_van_has_three_stills_or_more_ten_seconds_apart(replayed: Path) -> None:
    told = [alert for alert in alerts_of(replayed) if alert["data"]["scenario"] == "illegal-parking"]
    files = [file for alert in told for file in alert["data"]["evidence"] if file["role"] == "still"]
    taken = [datetime.fromisoformat(file["taken_at"]) for file in files]
    assert len(taken) >= 3
    assert min(later - earlier for earlier, later in pairwise(taken)) >= timedelta(seconds=10)
    print(f"stills at {[round((moment - taken[0]).total_seconds(), 1) for moment in taken]} s after the first")


def test_people_who_stay_are_cases_too_and_end_when_they_go(replayed: Path) -> None:
    told = [alert["data"] for alert in alerts_of(replayed) if alert["data"]["scenario"] != "illegal-parking"]
    assert {data["scenario"] for data in told} == {"loitering", "crowd-gathering"}
    (meeting, *_) = (data for data in told if data["scenario"] == "crowd-gathering" and data["state"] == "opened")
    assert meeting["object"]["count"] >= 2
    assert meeting["media_time_s"] < 20  # they part then
    opened = {data["case_id"] for data in told if data["state"] == "opened"}
    cleared = {data["case_id"] for data in told if data["state"] == "cleared"}
    assert cleared
    assert cleared <= opened


@pytest.mark.delivery
def test_who_knows_only_the_documentation_validates_all_that_the_demo_publishes(
    replayed: Path, subscriber: DocumentedSubscriber
) -> None:
    told = alerts_of(replayed)
    assert subscriber.wait_for(lambda heard: len(heard) >= len(told))
    counts = subscriber.check(Documentation())
    print(f"{dict(counts)} of {len(subscriber.heard)} messages, each on a topic and of a form that the documents name")
    assert counts == {"alert": len(told)}
    assert [json.loads(body) for _, body in subscriber.heard] == told


def test_the_demo_prints_what_happened_to_each_case(replayed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for alert in alerts_of(replayed):
        _print_alert("topic", alert)
    lines = capsys.readouterr().out.splitlines()[::2]
    assert [line.split()[2] for line in lines] == [alert["type"].split(".")[2] for alert in alerts_of(replayed)]
    assert "updated" in " ".join(lines)


def test_sequences_have_no_gap_and_ids_no_twin(replayed: Path) -> None:
    alerts = alerts_of(replayed)
    assert [alert["sequence"] for alert in alerts] == list(range(1, len(alerts) + 1))
    assert len({alert["id"] for alert in alerts}) == len(alerts)


def test_all_evidence_that_an_alert_names_is_there_and_is_what_it_says(replayed: Path) -> None:
    for alert in alerts_of(replayed):
        roles = {file["role"] for file in alert["data"]["evidence"]}
        assert WANTED[step_of(alert)] <= roles
        for file in alert["data"]["evidence"]:
            assert (replayed / file["path"]).stat().st_size == file["bytes"]
    assert verify(replayed).problems == []


@pytest.mark.delivery
def test_each_case_has_a_clip_of_the_moment_it_opened_in_the_recording_own_pictures(replayed: Path) -> None:
    source = {bytes(packet) for packet in packets_of(DEMO / "plaza.mp4")}
    told = alerts_of(replayed)
    opened = {alert["data"]["case_id"]: alert for alert in told if alert["type"].split(".")[2] == "opened"}
    clips = {alert["data"]["case_id"]: alert for alert in told if step_of(alert) == "updated clip"}
    assert list(clips) == list(opened)
    for case_id, alert in clips.items():
        (clip,) = (file for file in alert["data"]["evidence"] if file["role"] == "clip")
        packets = packets_of(replayed / clip["path"])
        moment = datetime.fromisoformat(opened[case_id]["data"]["opened_at"])
        before_s = (moment - datetime.fromisoformat(clip["taken_at"])).total_seconds()
        long_s = len(packets) / 10  # pictures a second
        print(f"{clip['bytes']} bytes: from {before_s:.2f} s before to {long_s - before_s:.2f} s after it opened")
        assert {bytes(packet) for packet in packets} <= source
        assert 0 < before_s < 12.5
        assert before_s + 5 <= long_s <= before_s + 5.6  # a few more, which those before them hang on


def packets_of(path: Path) -> list[Any]:
    with av.open(str(path), "r") as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def test_a_changed_byte_in_the_evidence_is_found(replayed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(replayed, copy)
    picture = next((copy / "evidence").rglob("original-1.jpg"))
    data = bytearray(picture.read_bytes())
    data[len(data) // 2] ^= 1
    picture.write_bytes(data)
    assert verify(copy).problems


def test_the_same_footage_gives_the_same_bytes(replayed: Path, tmp_path: Path) -> None:
    clip, config = str(DEMO / "plaza.mp4"), str(DEMO / "site.yaml")
    again = tmp_path / "elsewhere" / "again"
    assert run(["replay", clip, "--config", config, "--out", str(again), "--against", str(replayed)]) == 0
    assert (again / "alerts.jsonl").read_bytes() == (replayed / "alerts.jsonl").read_bytes()
    files = sorted(path.relative_to(replayed) for path in (replayed / "evidence").rglob("*") if path.is_file())
    assert files
    for name in files:
        assert (again / name).read_bytes() == (replayed / name).read_bytes()


def test_the_annotated_video_plays(replayed: Path) -> None:
    with av.open(str(replayed / "annotated.mp4")) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert frames == json.loads((replayed / "summary.json").read_text())["frames"]["detected"]


def test_the_summary_says_where_the_time_went(replayed: Path) -> None:
    summary = json.loads((replayed / "summary.json").read_text())
    stages = summary["stages"]
    assert {"decode", "still", "detect", "track", "static", "zones", "rules", "evidence"} <= set(stages)
    assert sum(stage["wall_s"] for stage in stages.values()) <= summary["wall_s"]
    assert list(summary["frames"])[:4] == ["read", "decoded", "detected", "dropped"]
    assert summary["frames"]["detected"] == stages["still"]["count"]
    assert summary["frames"]["held"] == stages["still"]["count"] - stages["detect"]["count"]
    assert summary["frames"]["read"] == 795
    hit = {name: count for name, count in summary["limits"].items() if count}
    assert set(hit) <= {"stills_thinned", "clips_cut_short"}  # the crowd is a case nine seconds after the beginning
    assert {"tracks_dropped", "cases_refused", "detections_dropped", "stills_refused"} <= set(summary["limits"])
    assert summary["frames"]["dropped"] == 0
    print({name: stage["wall_s"] for name, stage in stages.items()}, "of", summary["wall_s"], "s")


def test_the_report_is_one_file_with_every_case(replayed: Path) -> None:
    html = (replayed / "report.html").read_text(encoding="utf-8")
    for alert in alerts_of(replayed):
        assert alert["data"]["case_id"] in html
    assert "data:image/jpeg;base64," in html
