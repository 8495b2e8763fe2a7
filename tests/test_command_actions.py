"""What commands do at a gateway: a real worker, database and evidence; the clock and the pictures are the test's."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cv2
import jsonschema
import numpy as np
import pytest

from edge.core.types import NS_PER_S, UInt8
from edge.delivery.commands import DONE, FAILED, REFUSED, Command, CommandRefusedError, Gate, Reply
from edge.errors import EdgeError, UsageError
from edge.evidence.hiding import Hiding
from edge.runtime import live
from edge.runtime.health import CAMERA, ProcessEntry, SupervisorReport
from edge.state.commands import KnownCommand
from edge.state.mode import EMERGENCY, NORMAL, mode_of
from edge.state.retrievals import Retrievals
from edge.wiring import command_actions
from edge.wiring.command_actions import INLINE_MAX_BYTES, CommandActions
from edge.wiring.judging import DISMISS, applied_by
from edge.wiring.looking import SNAPSHOTS_MAX, looking_takes
from tests.alerts import a_change, alert_of, closed_schema, topic_of
from tests.commanding import CASE, command
from tests.test_live_camera import Rig, site_in

pytestmark = pytest.mark.delivery

GATE = Gate(site="xiaohe", gateway="gw-01")
PRIVATE = np.array([[0.5, 0.0], [1.0, 0.0], [1.0, 0.5], [0.5, 0.5]], np.float32)


class Asked:
    """The actions of a gateway whose only camera is a rig's; the worker goes on while one is waited for."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder)
        self.report = SupervisorReport(config_sha256="c" * 64, processes=(ProcessEntry(CAMERA, "cam", 1),))
        self.hung_up: list[SupervisorReport] = []
        self.resent: list[tuple[int, int]] = []
        self.after_hang_up: Callable[[], None] = lambda: None
        self.actions = self.anew()
        self.start()

    def anew(self, **options: Any) -> CommandActions:
        return CommandActions(
            self.rig.database.database,
            folder=self.rig.folder,
            supervised=lambda: self.report,
            hang_up=self._hang_up,
            resend=lambda first, last: self.resent.append((first, last)),
            clock=self.rig.clock,
            **options,
        )

    def start(self, **changes: Any) -> None:
        rig = self.rig
        rig.start(**changes)
        rig.takes.update(
            looking_takes(
                "cam",
                rig.worker,
                rig.live._telling,
                scene=lambda: rig.live.scene,
                hiding=Hiding([PRIVATE]),
                folder=rig.folder,
                timezone=ZoneInfo("Asia/Shanghai"),
            )
        )
        rig.takes[DISMISS] = applied_by(rig.dismissing)

    def _hang_up(self) -> None:
        self.hung_up.append(self.report)
        self.after_hang_up()

    def do(self, name: str, data: Mapping[str, Any], *, bgr: UInt8 | None = None) -> Reply:
        asked = GATE.read(command(name, dict(data)))
        told: list[Reply] = []
        thread = threading.Thread(target=lambda: told.append(self._act(asked)))
        thread.start()
        while thread.is_alive():
            if self._asks_the_worker():
                self.rig.look(1, bgr=bgr)
            else:  # time stands still before the question is asked, and from the answer on until it is read
                thread.join(0.001)
        return told[0]

    def _asks_the_worker(self) -> bool:
        return bool(self.rig.database.database.open_requests("cam", now_wall_ns=self.rig.clock.wall_ns()))

    def _act(self, asked: Command) -> Reply:
        try:
            return self.actions.by_name()[asked.name](asked)
        except CommandRefusedError as error:
            return Reply(REFUSED, error.reason, error.words)
        except UsageError as error:
            return Reply(REFUSED, "cannot-be", str(error))
        except EdgeError as error:
            return Reply(FAILED, "failed", str(error))

    def opened(self) -> str:
        self.rig.look(8)
        assert self.rig.kinds() == ["opened"]
        return str(self.rig.alerts()[0]["data"]["case_id"])


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    asked = Asked(tmp_path)
    yield asked
    asked.rig.stop.set()
    asked.rig.database.database.close()


def result_of(reply: Reply) -> Mapping[str, Any]:
    assert reply.outcome == DONE, reply
    assert reply.result is not None
    return reply.result


# verify


def test_a_thing_that_is_there_is_seen_with_sealed_evidence_that_goes_out_as_an_update(asked: Asked) -> None:
    case_id = asked.opened()
    result = result_of(asked.do("verify", {"case_id": case_id}))
    assert result["place"] == "seen"
    alert = asked.rig.alerts()[-1]
    jsonschema.validate(alert, closed_schema())
    assert (alert["type"], alert["data"]["reason"]) == ("cityeye.case.updated.v1", "verified")
    assert result["alert"] == {name: alert[name] for name in ("id", "sequence", "time")}
    assert result["evidence"][0]["role"] == "overview"
    for file in result["evidence"]:
        content = (asked.rig.folder / file["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


def test_a_thing_that_has_just_gone_is_told_as_empty_and_the_case_is_cleared_in_its_own_time(asked: Asked) -> None:
    case_id = asked.opened()
    asked.rig.detector.sees = False
    asked.rig.look(2)
    assert result_of(asked.do("verify", {"case_id": case_id}))["place"] == "empty"
    assert asked.rig.kinds() == ["opened", "updated"]
    asked.rig.look(8)
    assert asked.rig.kinds() == ["opened", "updated", "cleared"]
    reply = asked.do("verify", {"case_id": case_id})
    assert (reply.outcome, reply.reason) == (REFUSED, "case-over")


def test_a_camera_that_is_blind_says_that_it_cannot_tell_and_tells_no_update(asked: Asked) -> None:
    case_id = asked.opened()
    black = np.zeros((240, 320, 3), np.uint8)
    asked.rig.look(2, bgr=black)
    result = result_of(asked.do("verify", {"case_id": case_id}, bgr=black))
    assert (result["place"], result["blind"]) == ("unknown", "black")
    assert asked.rig.kinds() == ["opened"]


def test_a_case_that_nobody_opened_and_a_worker_that_does_not_answer_are_told(asked: Asked) -> None:
    reply = asked.do("verify", {"case_id": CASE})
    assert (reply.outcome, reply.reason) == (REFUSED, "unknown-case")
    case_id = asked.opened()
    asked.actions = asked.anew(answer_s=0.05)
    reply = asked._act(GATE.read(command("verify", {"case_id": case_id})))
    assert (reply.outcome, reply.reason) == (FAILED, "no-answer")
    asked.rig.look(3)
    assert asked.rig.kinds() == ["opened"], "what nobody waits for is not done later"


# dismiss


def test_a_dismissal_is_that_of_the_command_line(asked: Asked) -> None:
    case_id = asked.opened()
    said = {"case_id": case_id, "reason": "allowed", "by": "李", "note": "有许可"}
    result = result_of(asked.do("dismiss", said))
    assert result == {"case_id": case_id, "reason": "allowed", "left_alone": True}
    assert asked.rig.kinds() == ["opened", "withdrawn"]
    assert asked.rig.alerts()[-1]["data"]["reason"] == "dismissed"
    reply = asked.do("dismiss", {**said, "reason": "because"})
    assert (reply.outcome, reply.reason) == (REFUSED, "unknown-reason")
    reply = asked.do("dismiss", {**said, "case_id": CASE})
    assert (reply.outcome, reply.reason) == (REFUSED, "unknown-case")


# snapshot


def test_a_snapshot_is_stored_whole_and_comes_inline_with_its_masks_blurred(asked: Asked) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)
    result = result_of(asked.do("snapshot", {"camera": "cam"}, bgr=noise))
    content = (asked.rig.folder / result["file"]["path"]).read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (result["file"]["sha256"], result["file"]["bytes"])
    inline = base64.b64decode(result["inline"]["base64"])
    assert hashlib.sha256(inline).hexdigest() == result["inline"]["sha256"]
    assert len(inline) <= INLINE_MAX_BYTES
    for one in (content, inline):
        picture = cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (240, 320, 3)
        masked, in_the_open = picture[10:110, 170:310].std(), picture[130:, :].std()
        print(f"spread of the levels: {masked:.1f} under the mask, {in_the_open:.1f} elsewhere")
        assert masked < 0.2 * in_the_open


def test_a_picture_too_big_for_a_reply_is_scaled_down_and_few_are_kept(asked: Asked) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (720, 1280, 3), np.uint8)
    result = result_of(asked.do("snapshot", {"camera": "cam"}, bgr=noise))
    assert result["frame_px"] == [1280, 720]
    assert result["inline"]["bytes"] <= INLINE_MAX_BYTES
    assert result["inline"]["frame_px"][0] < 960
    folder = asked.rig.folder / "snapshots" / "cam"
    for number in range(SNAPSHOTS_MAX + 5):
        (folder / f"old-{number}.jpg").touch()
    asked.do("snapshot", {"camera": "cam"})
    assert len(list(folder.iterdir())) == SNAPSHOTS_MAX


def test_a_camera_that_the_gateway_does_not_have_is_refused(asked: Asked) -> None:
    reply = asked.do("snapshot", {"camera": "elsewhere"})
    assert (reply.outcome, reply.reason) == (REFUSED, "unknown-camera")


# reload and mode


def test_a_reload_tells_what_came_of_it(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken() -> None:
        asked.report = replace(asked.report, reloads=asked.report.reloads + 1, config_sha256="d" * 64)

    def refused() -> None:
        asked.report = replace(asked.report, reloads=asked.report.reloads + 1, config_refused="site.yaml:7: no")

    asked.after_hang_up = taken
    assert result_of(asked.do("reload", {})) == {"config_sha256": "d" * 64}
    asked.after_hang_up = refused
    reply = asked.do("reload", {})
    assert (reply.outcome, reply.reason) == (REFUSED, "configuration")
    assert "site.yaml:7: no" in reply.words
    asked.after_hang_up = lambda: None
    monkeypatch.setattr(command_actions, "RELOAD_S", 0.05)
    assert asked.do("reload", {}).reason == "no-answer"
    assert len(asked.hung_up) == 3


def test_a_reload_that_restarted_the_courier_is_answered_by_the_next_one(asked: Asked) -> None:
    known = KnownCommand("reload-1", "reload", "f", "")
    assert asked.actions.after_a_break(known).outcome == DONE
    asked.report = replace(asked.report, config_refused="site.yaml:7: no")
    assert asked.actions.after_a_break(known).reason == "configuration"
    assert asked.actions.after_a_break(KnownCommand("verify-1", "verify", "f", "")).reason == "interrupted"


def test_the_mode_is_kept_over_restarts(asked: Asked) -> None:
    database = asked.rig.database.database
    assert mode_of(database) == NORMAL
    assert result_of(asked.do("mode", {"mode": "emergency"})) == {"mode": "emergency", "before": "normal"}
    assert "as before" in asked.do("mode", {"mode": "emergency"}).words
    assert mode_of(database) == EMERGENCY
    assert result_of(asked.do("mode", {"mode": "normal"})) == {"mode": "normal", "before": "emergency"}


def test_in_an_emergency_an_open_case_is_updated_often_and_after_it_as_before(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert live.EMERGENCY_REPEAT_NS == 60 * NS_PER_S
    monkeypatch.setattr(live, "EMERGENCY_REPEAT_NS", 6 * NS_PER_S)
    mode = ["normal"]
    asked.start(emergency=lambda: mode[0] == "emergency")
    rig = asked.rig
    asked.opened()
    rig.look(12)
    assert rig.kinds() == ["opened"], "the scenario's repeat_s is an hour"
    mode[0] = "emergency"
    rig.look(24)
    updates = rig.alerts()[1:]
    assert {alert["type"] for alert in updates} == {"cityeye.case.updated.v1"}
    apart = [round(b["data"]["dwell_s"] - a["data"]["dwell_s"]) for a, b in pairwise(updates)]
    print(f"{len(updates)} updates in 24 s of an emergency, {apart} s apart")
    assert len(updates) >= 2
    assert set(apart) == {6}
    assert updates[-1]["data"]["evidence"]
    mode[0] = "normal"
    rig.look(22)
    assert len(rig.alerts()) - 1 <= len(updates) + 1, "it takes hold within 10 s"


# retrieve and resend


def test_the_evidence_of_a_case_is_named_and_queued_for_the_store(asked: Asked) -> None:
    case_id = asked.opened()
    result = result_of(asked.do("retrieve", {"case_id": case_id}))
    told = {file["sha256"]: file["bytes"] for file in asked.rig.alerts()[0]["data"]["evidence"]}
    named = {file["sha256"]: file["bytes"] for file in result["files"]}
    assert told.items() <= named.items()
    assert (result["left_out"], result["queued"]) == (0, False)
    asked.actions = asked.anew(uploads=True)
    assert result_of(asked.do("retrieve", {"case_id": case_id}))["queued"]
    assert Retrievals(asked.rig.database.database).next_case() == case_id
    assert asked.do("retrieve", {"case_id": CASE}).reason == "no-evidence"


def test_a_small_file_comes_inline_by_its_hash(asked: Asked) -> None:
    asked.opened()
    crop = next(file for file in asked.rig.alerts()[0]["data"]["evidence"] if file["role"] == "crop")
    result = result_of(asked.do("retrieve", {"sha256": crop["sha256"]}))
    assert [file["path"] for file in result["files"]] == [crop["path"]]
    assert not result["withheld"]
    content = base64.b64decode(result["inline"]["base64"])
    assert hashlib.sha256(content).hexdigest() == crop["sha256"]
    assert asked.do("retrieve", {"sha256": "0" * 64}).reason == "no-evidence"
    (asked.rig.folder / crop["path"]).write_bytes(b"another picture")
    assert asked.do("retrieve", {"sha256": crop["sha256"]}).outcome == FAILED


def test_a_file_that_shows_what_is_hidden_is_named_and_stays_here(asked: Asked) -> None:
    asked.rig.site = site_in(asked.rig.folder, masks={"privacy": [PRIVATE.tolist()]})
    asked.start()
    asked.opened()
    files = {file["role"]: file for file in asked.rig.alerts()[0]["data"]["evidence"]}
    original = result_of(asked.do("retrieve", {"sha256": files["original"]["sha256"]}))
    assert (original["withheld"], "inline" in original) == (True, False)
    overview = result_of(asked.do("retrieve", {"sha256": files["overview"]["sha256"]}))
    assert (overview["withheld"], "inline" in overview) == (False, True)


def test_alerts_that_are_still_here_are_sent_again_and_the_others_are_gone(asked: Asked) -> None:
    database = asked.rig.database.database
    for number in range(1, 11):
        change = a_change(number)
        database.commit(change, alert_of(change), topic_of(change))
    ids = {row.sequence: row.id for row in database.alerts_between(1, 10, 100)}
    database.delete([ids[number] for number in (1, 2, 5, 10)])
    result = result_of(asked.do("resend", {"from": 2, "to": 50}))
    assert result == {"resent": 5 + 1, "gone": [[2, 2], [5, 5], [10, 10]], "left_out": 0, "last_sequence": 10}
    assert asked.resent == [(2, 50)]
    result = result_of(asked.do("resend", {"from": 1, "to": 2}))
    assert (result["resent"], result["gone"]) == (0, [[1, 2]])
    result = result_of(asked.do("resend", {"from": 11, "to": 20}))
    assert (result["resent"], result["gone"], result["last_sequence"]) == (0, [], 10)
    assert asked.resent == [(2, 50)]
