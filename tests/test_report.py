"""The replay's report: one page that holds everything, believes no text and no file, and says so when it lacks one."""

from __future__ import annotations

import hashlib
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.errors import EvidenceError
from edge.evidence.report import CASES_WITH_PICTURES, PICTURE_WIDTH_PX, write_report

HOSTILE = "<script>alert('x')</script>\"'&"


def moment(second: float) -> str:
    minutes, seconds = divmod(second, 60)
    return f"2026-05-04T09:{int(minutes):02d}:{seconds:06.3f}+08:00"


def stored(folder: Path, path: str, role: str, *, width_px: int = 1280, second: float = 5) -> dict[str, Any]:
    """A street picture in the folder, and the entry that an alert has for it."""
    bgr = np.full((width_px * 9 // 16, width_px, 3), 90, np.uint8)
    cv2.rectangle(bgr, (width_px // 4, width_px // 4), (width_px // 2, width_px // 3), (40, 60, 230), 3)
    data = cv2.imencode(".jpg", bgr)[1].tobytes()
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)
    return {
        "role": role,
        "media_type": "image/jpeg",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "path": path,
        "taken_at": moment(second),
    }


def an_alert(
    kind: str = "opened",
    *,
    case: str = "case-a",
    second: float = 5,
    started: float = 0,
    evidence: Any = (),
    **changed: Any,
) -> dict[str, Any]:
    data = {
        "case_id": case,
        "state": "cleared" if kind == "cleared" else "opened",
        "scenario": "illegal-parking",
        "category": {"code": "0505", "name": "机动车乱停放", "standard": "GB/T 30428.2", "extension": False},
        "severity": "normal",
        "site": "xiaohe",
        "gateway": "gw-01",
        "camera": {"id": "gate", "name": "桥弄街 3 号", "road": "桥弄街", "grid": "G-17"},
        "zone": {"id": "kerb", "polygon": [[0.4, 0.2], [0.5, 0.2], [0.5, 0.6]]},
        "object": {"label": "car", "score": 0.83, "box_px": [272, 155, 340, 207], "frame_px": [1280, 720]},
        "started_at": moment(started),
        "opened_at": moment(started + 5),
        "dwell_s": second - started,
        "media_time_s": second,
        "evidence": list(evidence),
        "model": {"name": "yolox-nano", "sha256": "6" * 64},
        "config_sha256": "c" * 64,
        "software": "0.1.0",
        **changed,
    }
    return {"type": f"cityeye.case.{kind}.v1", "time": moment(second), "sequence": 1, "data": data}


def a_summary(**changed: Any) -> dict[str, Any]:
    clip = {
        "path": "clip.mp4",
        "duration_s": 60.0,
        "frames_declared": 1500,
        "width_px": 1280,
        "height_px": 720,
        "codec": "h264",
        "fps": 25.0,
        "started_at": moment(0),
        "incomplete": False,
    }
    return {
        "produced_by": "edge replay",
        "software": "0.1.0",
        "config_sha256": "c" * 64,
        "camera": "gate",
        "clips": [clip],
        "incomplete": False,
        "frames": {"read": 1500, "decoded": 1500, "detected": 300, "dropped": 0, "corrupt": 0},
        "limits": {"cases_refused": 0, "stills_thinned": 0},
        "media_s": 60.0,
        "wall_s": 10.0,
        "cpu_s": 12.5,
        "times_real_time": 6.0,
        "stages": {"capture": {"wall_s": 2.5, "count": 300}, "detect": {"wall_s": 6.0, "count": 300}},
        "alerts": {"opened": 1, "updated": 0, "cleared": 0, "withdrawn": 0},
        "open_at_end": ["case-a"],
        "model": {"name": "yolox-nano", "sha256": "6" * 64},
        "started_at": moment(0),
        "ended_at": moment(60),
        **changed,
    }


def report(
    folder: Path, alerts: list[dict[str, Any]], summary: dict[str, Any] | None = None, site: str = "小河街道"
) -> str:
    path = write_report(folder, alerts=alerts, summary=summary or a_summary(), site_name=site, timezone="Asia/Shanghai")
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would make of the page: its elements with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def every(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def cleared_case(tmp_path: Path) -> list[dict[str, Any]]:
    before = [stored(tmp_path, f"evidence/case-a/{role}.jpg", role) for role in ("overview", "original", "crop")]
    stills = [stored(tmp_path, f"evidence/case-a/still-{n}.jpg", "still", second=n) for n in range(3)]
    after = [stored(tmp_path, "evidence/case-a/after.jpg", "after", second=40)]
    return [
        an_alert("opened", evidence=before + stills),
        an_alert("cleared", second=42, evidence=after, reason="seen-empty", cleared_at=moment(42)),
    ]


def test_a_cleared_case_shows_what_where_since_when_and_the_pictures_before_and_after(
    tmp_path: Path, cleared_case: list[dict[str, Any]]
) -> None:
    page = Page(report(tmp_path, cleared_case))
    what = ("机动车乱停放", "0505", "score 0.83", "seen-empty")
    where = ("小河街道", "桥弄街 3 号 · 桥弄街 · G-17", "kerb")
    when = ("2026-05-04 09:00:00", "Cleared 09:00:42", "42.0 s")
    for words in what + where + when:
        assert words in page.text
    pictures = page.every("img")
    assert [picture["alt"].split(":")[0] for picture in pictures] == ["Before", "After", "Object"] + ["Still"] * 3
    assert all("car in zone kerb" in picture["alt"] for picture in pictures)


def test_the_page_refers_to_nothing_but_itself_and_files_beside_it(
    tmp_path: Path, cleared_case: list[dict[str, Any]]
) -> None:
    html = report(tmp_path, cleared_case)
    told = re.sub(r"base64,[^\"]*", "", html).replace("media-src 'self' file:;", "")  # a clip beside the page may play
    assert not re.search(r"(https?:)?//[a-z]|file:|@import|url\((?!#)", told)
    page = Page(html)
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in page.every("img"))
    assert not page.every("link") + page.every("iframe")
    links = [link["href"] for link in page.every("a")]
    files = [link for link in links if not link.startswith("#")]
    assert files
    assert all((tmp_path / link).is_file() for link in files)
    anchors = {attributes.get("id") for _, attributes in page.elements}
    assert all(link[1:] in anchors for link in links if link.startswith("#"))


def test_embedded_pictures_are_small_copies(tmp_path: Path, cleared_case: list[dict[str, Any]]) -> None:
    widths = [int(picture["width"]) for picture in Page(report(tmp_path, cleared_case)).every("img")]
    assert max(widths) == PICTURE_WIDTH_PX


def test_a_small_picture_is_not_enlarged(tmp_path: Path) -> None:
    alert = an_alert(evidence=[stored(tmp_path, "a.jpg", "overview", width_px=320)])
    assert Page(report(tmp_path, [alert])).every("img")[0]["width"] == "320"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, cleared_case: list[dict[str, Any]]) -> None:
    assert report(tmp_path, cleared_case) == report(tmp_path, cleared_case)


def test_no_text_from_outside_becomes_markup(tmp_path: Path) -> None:
    alert = an_alert(
        case=HOSTILE,
        scenario=HOSTILE,
        severity=HOSTILE,
        camera={"id": HOSTILE, "name": HOSTILE, "road": HOSTILE, "grid": HOSTILE},
        zone={"id": HOSTILE, "polygon": []},
        category={"code": HOSTILE, "name": HOSTILE, "standard": HOSTILE, "extension": True},
        object={"label": HOSTILE, "score": 0.5},
        model={"name": HOSTILE, "sha256": HOSTILE},
        evidence=[stored(tmp_path, "a.jpg", "overview") | {"path": f"../{HOSTILE}"}],
    )
    clip = a_summary()["clips"][0] | {"path": HOSTILE, "codec": HOSTILE, "incomplete": True}
    summary = a_summary(clips=[clip], stages={HOSTILE: {"wall_s": 1.0, "count": 1}}, incomplete=True)
    page = Page(report(tmp_path, [alert], summary, site=HOSTILE))
    assert len(page.every("script")) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert HOSTILE in page.text


def test_the_page_forbids_every_script_but_its_own(tmp_path: Path) -> None:
    page = Page(report(tmp_path, []))
    policy = next(meta["content"] for meta in page.every("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", policy)


def test_a_clip_is_played_from_beside_the_page_and_loaded_only_when_asked_for(tmp_path: Path) -> None:
    entry = stored(tmp_path, "clip-2.mp4", "clip") | {"media_type": "video/mp4"}
    page = Page(report(tmp_path, [an_alert(evidence=[]), an_alert("updated", evidence=[entry])]))
    (video,) = page.every("video")
    assert video["src"] == entry["path"]
    assert video["preload"] == "none"
    policy = next(meta["content"] for meta in page.every("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "media-src 'self' file:" in policy


@pytest.mark.parametrize("path", ["../outside.jpg", "/etc/outside.jpg", "evidence/../../outside.jpg"])
def test_a_path_that_leaves_the_folder_is_neither_read_nor_linked(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    entry = stored(tmp_path, "outside.jpg", "overview") | {"path": path}
    page = Page(report(folder, [an_alert(evidence=[entry])]))
    assert not page.every("img")
    assert "picture outside the folder" in page.text
    assert not [link for link in page.every("a") if "outside" in link["href"]]


def test_a_missing_picture_is_named_as_missing(tmp_path: Path, cleared_case: list[dict[str, Any]]) -> None:
    (tmp_path / "evidence/case-a/overview.jpg").unlink()
    page = Page(report(tmp_path, cleared_case))
    assert "picture missing" in page.text
    assert len(page.every("img")) == 5


def test_an_altered_picture_is_not_shown(tmp_path: Path, cleared_case: list[dict[str, Any]]) -> None:
    stored(tmp_path, "evidence/case-a/overview.jpg", "overview", width_px=800)
    assert "picture altered" in Page(report(tmp_path, cleared_case)).text


def test_a_file_that_is_no_picture_is_named_as_such(tmp_path: Path) -> None:
    data = b"not a jpeg"
    (tmp_path / "a.jpg").write_bytes(data)
    entry = stored(tmp_path, "b.jpg", "overview") | {"path": "a.jpg", "sha256": hashlib.sha256(data).hexdigest()}
    assert "picture cannot be read" in Page(report(tmp_path, [an_alert(evidence=[entry])])).text


def test_a_case_without_evidence_gives_the_reason(tmp_path: Path) -> None:
    page = Page(report(tmp_path, [an_alert(evidence_error="no space left")]))
    assert "No pictures: no space left" in page.text


def test_a_replay_without_cases_says_so_plainly(tmp_path: Path) -> None:
    page = Page(report(tmp_path, []))
    assert "No case was opened in this recording." in page.text
    assert "ran over 300 frames" in page.text
    assert "6.0×" in page.text


def test_bounds_that_were_hit_are_shown_and_the_others_are_not(tmp_path: Path) -> None:
    page = Page(report(tmp_path, [], a_summary(limits={"cases_refused": 0, "stills_thinned": 1200})))
    assert "stills thinned 抽稀留证 1,200" in page.text
    assert "cases refused" not in page.text


def test_an_incomplete_recording_is_flagged_before_anything_else(tmp_path: Path) -> None:
    clip = a_summary()["clips"][0] | {"incomplete": True}
    text = Page(report(tmp_path, [], a_summary(clips=[clip], incomplete=True))).text
    assert text.index("Incomplete run") < text.index("Timeline")
    assert "Incomplete run" not in Page(report(tmp_path, [])).text


def test_a_case_open_at_the_end_fades_out_at_the_edge_of_its_timeline(tmp_path: Path) -> None:
    page = Page(report(tmp_path, [an_alert()]))
    bars = [rect for rect in page.every("rect") if rect.get("class") == "bar bar-open" and "%" in rect["x"]]
    assert [(bar["x"], bar["width"]) for bar in bars] == [("8.333%", "91.667%")]
    assert "Open at the end" in page.text
    assert "5.0 s when last told, 60.0 s when the recording ended" in page.text


def test_a_position_is_told_only_where_there_is_no_doubt_of_the_clip(tmp_path: Path) -> None:
    clip = a_summary()["clips"][0]
    assert "at 0:05 in the clip" in Page(report(tmp_path, [an_alert()])).text
    assert "in the clip" not in Page(report(tmp_path, [an_alert()], a_summary(clips=[clip, clip]))).text


def test_every_alert_of_a_case_has_its_mark(tmp_path: Path) -> None:
    html = report(
        tmp_path, [an_alert(), an_alert("updated", second=20), an_alert("withdrawn", second=30, reason="dismissed")]
    )
    titles = re.findall(r"<title>((?:opened|updated|cleared|withdrawn) [0-9:]+)</title>", html)
    assert titles == ["opened 09:00:05", "updated 09:00:20", "withdrawn 09:00:30"]
    assert "Withdrawn 09:00:30" in Page(html).text


def test_cases_at_one_time_in_one_zone_lie_one_below_the_other(tmp_path: Path) -> None:
    page = Page(report(tmp_path, [an_alert(case=name, started=n, second=n + 5) for n, name in enumerate("abc")]))
    rows = {rect["y"] for rect in page.every("rect") if rect.get("class") == "bar bar-open" and "%" in rect["x"]}
    assert len(rows) == 3


def test_each_camera_has_its_own_timeline(tmp_path: Path) -> None:
    other = {"id": "bridge", "name": "", "road": "", "grid": ""}
    page = Page(report(tmp_path, [an_alert(), an_alert(case="b", camera=other)]))
    assert len([section for section in page.every("section") if section.get("class") == "panel camera"]) == 2


def test_five_hundred_cases_embed_the_pictures_of_the_first_hundred(tmp_path: Path) -> None:
    entry = stored(tmp_path, "evidence/overview.jpg", "overview")
    alerts = [an_alert(case=f"case-{n}", started=n / 10, second=5 + n / 10, evidence=[entry]) for n in range(500)]
    began = time.perf_counter()
    html = report(tmp_path, alerts)
    print(f"500 cases: {len(html) / 1e6:.1f} MB in {time.perf_counter() - began:.2f} s")
    page = Page(html)
    assert len(page.every("article")) == 500
    assert len(page.every("img")) == CASES_WITH_PICTURES
    assert f"first {CASES_WITH_PICTURES} of 500 cases" in page.text


def test_clips_of_unknown_length_and_an_instant_run_do_not_stop_the_report(tmp_path: Path) -> None:
    clip = a_summary()["clips"][0] | {"duration_s": 0.0, "fps": 0.0}
    assert "No cases" in report(tmp_path, [], a_summary(clips=[clip], wall_s=0.0, stages={}, media_s=0.0))
    assert "No recording was read" in report(tmp_path, [], a_summary(clips=[]))


def test_a_report_that_cannot_be_written_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"gone/report\.html: the report cannot be written"):
        report(tmp_path / "gone", [])
