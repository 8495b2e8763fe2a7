"""`edge bench`: what it makes of its measurements, and its short forms. The long forms run by scripts/bench."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge.bench import history
from edge.bench.gateway import sources, uss_bytes
from edge.bench.history import Entry, figure
from edge.bench.live import FOR_EVER_S, IntervalEnds, left_out_share, search
from edge.cli.main import run
from edge.errors import UsageError
from edge.resources import configs_dir
from edge.runtime.health import (
    CAMERA,
    CameraReport,
    CameraStatus,
    GatewayStatus,
    ProcessEntry,
    SupervisorReport,
)

DEMO = configs_dir() / "demo"
NAME = "replay"


def an_entry(commit: str, cost_s: float, *, slower: float = 1.0, seed: int = 0, machine: str = "two cores") -> Entry:
    """Seven rounds whose cost scatters by 3 %, on a machine that is slower by a factor."""
    noise = np.random.default_rng(seed).normal(1, 0.03, 7)
    costs = [float(cost) for cost in cost_s * slower * noise]
    return Entry(commit, "2026-01-05", machine, {NAME: figure("CPU s", costs, [0.1 * slower] * 7)})


def test_a_regression_fails_the_check_and_noise_passes() -> None:
    before = an_entry("old", 10.0)
    noise = [history.regressions(before, an_entry("new", 10.0, seed=seed)) for seed in range(1, 200)]
    print(f"{sum(map(bool, noise))} of {len(noise)} repetitions without a change are taken for a regression")
    assert not any(noise)
    worse = [history.regressions(before, an_entry("new", 13.5, seed=seed)) for seed in range(1, 200)]
    print(worse[0])
    assert all(worse), "a third more is no noise"
    assert history.regressions(before, an_entry("new", 7.0)) == [], "better is no regression"


def test_small_steps_add_up_to_a_regression() -> None:
    steps = [an_entry(f"c{number}", 10.0 * 1.08**number, seed=number) for number in range(5)]
    best = history.best_of(steps, "two cores")
    assert best is not None
    found = history.regressions(best, an_entry("new", 10.0 * 1.08**5, seed=9))
    print(found)
    assert len(found) == 1
    assert history.best_of(steps, "four cores") is None


def test_what_scatters_too_much_is_not_called_well() -> None:
    noisy = Entry("new", "", "two cores", {NAME: figure("CPU s", [6.0, 8.0, 10.0, 12.0, 14.0], [0.1] * 5)})
    assert "too noisy to judge" in history.regressions(an_entry("old", 10.0), noisy)[0]


def test_a_slow_machine_is_no_regression_and_hides_none() -> None:
    before = an_entry("old", 10.0)
    assert history.regressions(before, an_entry("new", 10.0, slower=2.0, seed=1)) == []
    assert history.regressions(before, an_entry("new", 14.0, slower=0.5, seed=1))


def test_what_does_not_hang_on_speed_is_compared_as_it_is() -> None:
    before = Entry("old", "", "m", {"memory": figure("MiB", [40.0, 40.2, 39.9])})
    assert history.regressions(before, Entry("new", "", "m", {"memory": figure("MiB", [42.0, 42.1, 42.0])})) == []
    assert history.regressions(before, Entry("new", "", "m", {"memory": figure("MiB", [46.0, 46.1, 46.0])}))


def test_a_figure_that_is_not_measured_any_more_is_told() -> None:
    assert history.regressions(an_entry("old", 10.0), Entry("new", "", "two cores", {})) == [
        "replay: was measured on old and is not any more"
    ]


def test_the_history_is_bounded_and_compares_with_the_same_kind_of_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.json"
    monkeypatch.setattr(history, "ENTRIES_MAX", 4)
    for number in range(6):
        history.add(path, an_entry(f"c{number}", 10.0))
    history.add(path, an_entry("c5", 11.0, machine="four cores"))
    history.add(path, an_entry("c5", 12.0))
    entries = history.read(path)
    assert [(entry.commit, entry.machine) for entry in entries] == [
        ("c3", "two cores"),
        ("c4", "two cores"),
        ("c5", "four cores"),
        ("c5", "two cores"),
    ]
    last = history.last_of(entries, "two cores")
    assert last is not None
    assert round(last.figures[NAME].median) == 12, "the newest of a commit counts"
    other = history.last_of(entries, "two cores", but="c5")
    assert other is not None
    assert other.commit == "c4"
    assert history.last_of(entries, "eight cores") is None
    path.write_text('{"entries": [{"commit": 1}]}')
    with pytest.raises(UsageError, match="no history"):
        history.read(path)


def test_the_reference_work_takes_a_while() -> None:
    spent_s = history.reference_work_s()
    print(f"{spent_s:.3f} CPU s")
    assert 0.005 < spent_s < 5


@pytest.mark.parametrize("most", [0, 1, 2, 3, 31, 32, 47, 100, 256])
def test_the_search_finds_how_many_cameras_hold(most: int) -> None:
    asked: list[int] = []

    def holds(cameras: int) -> bool:
        asked.append(cameras)
        return cameras <= most

    found, whole = search(holds)
    print(most, found, asked)
    assert whole
    assert found <= most < found + max(2, found // 8 + 1)
    assert len(asked) <= 14


def test_a_search_that_has_no_time_left_says_what_held_until_then() -> None:
    assert search(lambda cameras: True if cameras <= 4 else None) == (4, False)


def test_an_interval_that_was_never_told_is_late_for_ever() -> None:
    ends = IntervalEnds()
    body = {"data": {"camera": {"id": "cam-000"}, "to": "2026-01-05T08:00:10+00:00"}}
    ends("topic", body)
    end_s = 1767600010.0
    delays_s, missing = ends.between(2, end_s - 5, end_s + 5)
    assert missing == 1
    assert sorted(delays_s)[0] == FOR_EVER_S
    assert ends.between(2, end_s, end_s + 5) == ([], 0), "it ended before"


def test_pictures_that_are_left_out_count_against_the_cameras() -> None:
    begin, whole = CameraReport(decoded=100, taken=100), CameraReport(decoded=200, taken=200, analysed=200)
    assert left_out_share(_status(begin), _status(whole)) == 0
    skipping, dropping = replace(whole, skipped=100), replace(whole, dropped=25)
    shares = [left_out_share(_status(begin, begin), _status(whole, worst)) for worst in (skipping, dropping)]
    print(shares)
    assert shares == [0.5, 0.25]
    assert left_out_share(_status(begin), _status(begin)) == 1, "nothing was looked at"


def _status(*reports: CameraReport) -> GatewayStatus:
    process = ProcessEntry(CAMERA, "c", 0)
    cameras = tuple(CameraStatus(f"cam-{row}", report, process, None) for row, report in enumerate(reports))
    return GatewayStatus(SupervisorReport(), 0, 0.0, cameras, (), None, ())


def test_addresses_are_numbered_and_bounded() -> None:
    assert sources("rtsp://host/cam{n}", 3) == ["rtsp://host/cam0", "rtsp://host/cam1", "rtsp://host/cam2"]
    for strange in (0, 257):
        with pytest.raises(UsageError, match="choose 1 to 256"):
            sources("rtsp://host/cam{n}", strange)


def test_private_memory_is_that_of_the_process() -> None:
    """Of another process, whose memory nothing else of this run moves."""
    code = "import sys; held = bytearray(int(sys.argv[1])); print(len(held), flush=True); sys.stdin.read()"
    sizes = []
    for held in (0, 16 * 2**20):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            sizes.append(uss_bytes(child.pid))
            child.kill()
    print(sizes)
    assert 15 * 2**20 < sizes[1] - sizes[0] < 18 * 2**20
    assert uss_bytes(2**22 + 1) == 0, "no such process"


def test_bench_replay_measures_some_seconds_of_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "replay.json"
    order = ["bench", "replay", str(DEMO / "plaza.mp4"), "--config", str(DEMO / "site.yaml")]
    assert run([*order, "--seconds", "2", "--rounds", "1", "--json", str(out)]) == 0
    print(capsys.readouterr().out)
    found = json.loads(out.read_text())
    assert found["bench"] == "replay"
    assert found["machine"] == history.machine()
    assert 8 <= found["looks"] <= 30, "two seconds, up to the next keyframe"
    assert found["cpu_s_per_minute"] > 0.1
    assert 0 < found["rest_share"] < 1
    assert {"decode", "detect", "track", "rules"} <= set(found["stages"])


def test_bench_hotpath_prints_a_row_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "hotpath", "--cameras", "1", "--objects", "1,5", "--seconds", "0", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["cameras"], row["objects"]) for row in found["rows"]] == [(1, 1), (1, 5)]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (["hotpath", "--cameras", "1,x"], "--cameras 1,x: write numbers"),
        (["live", "--source", "rtsp://h/{n}", "--seconds", "5"], "--seconds 5: a trial needs 20"),
        (["live", "--source", "rtsp://h/{n}", "--cameras-max", "500"], "500 cameras: choose 1 to 256"),
        (["live", "--source", "rtsp://h/{n}", "--decode", "some"], "--decode some: choose one of auto"),
        (["live", "--source", "rtsp://h/{n}", "--seconds", "nan"], "--seconds nan: a trial needs 20"),
        (["live", "--source", "rtsp://h/{n}", "--fps", "0"], "--fps 0: choose 0.1 to 60"),
        (["live", "--source", "rtsp://h/{n}", "--delay-s", "-1"], "--delay-s -1: choose 0.1"),
        (["hotpath", "--seconds", "nan"], "--seconds nan: choose 0 to"),
        (["hotpath", "--objects", "1681"], "--objects 1681: choose 1 to 1680"),
        (["latency", "--seconds", "-1"], "--seconds -1: choose 1 to"),
        (["memory", "--seconds", "-1"], "--seconds -1: choose 0 to"),
        (["memory", "--cameras", "500"], "500 cameras: choose 1 to 256"),
        (["memory", "--cameras", "1"], "--cameras 1: two at least"),
        (["replay", "x.mp4", "-c", str(DEMO / "site.yaml"), "--rounds", "0"], "--rounds 0: at least one"),
    ],
)
def test_a_misused_bench_says_what_to_do(order: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", *order]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_an_entry_without_figures_is_not_kept_for_the_next_would_be_compared_with_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without figures"):
        history.add(tmp_path / "history.json", Entry("c", "", "m", {}))
    assert not (tmp_path / "history.json").exists()


def test_the_page_shows_the_figures_that_are_kept() -> None:
    bench = _script("bench")
    match = bench.BLOCK.search(bench.PAGE.read_text(encoding="utf-8"))
    kept = bench.figures_text(history.read(bench.HISTORY), bench.public_figures())
    assert match is not None
    assert match[0] == f"{match[1]}{kept}{match[2]}", "run: scripts/bench --page"


def test_the_page_tells_of_every_kind_of_machine_the_newest_figures() -> None:
    entries = [an_entry("c1", 10.0), an_entry("c2", 12.0), an_entry("c3", 3.0, machine="four cores")]
    row = {"cpu_s_per_minute": 2.0, "cpu_s_range": [1.9, 2.1], "ratio": 0.1, "cases": [{}, {}]}
    public = {
        "commit": "c4",
        "machine": "two cores",
        "rounds": 5,
        "streets": {"quiet": {"auto": row}},
        "missed": ["it"],
    }
    text = _script("bench").figures_text(entries, public)
    print(text)
    assert "commit c2" in text
    assert "commit c1" not in text
    assert "commit c3" in text
    assert "| quiet | auto | 2.00 | 1.90 to 2.10 | 0.100 |  | 2 |" in text
    assert "- missed: it" in text


def _script(name: str) -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
