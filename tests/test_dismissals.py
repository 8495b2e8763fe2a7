"""What a dismissal does: the case ends, its thing is left alone while it stays, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edge.core.cases import DISMISSED_MAX
from edge.core.types import NS_PER_S, seconds_to_ns
from edge.errors import StateError, UsageError
from edge.runtime.live import SAVE_NS
from edge.runtime.reenactment import reenact
from edge.state import judgements as table
from edge.state.database import Answer, Database
from edge.state.judgements import CONFIRMED, DISMISSED, REVOKED, Judgements
from edge.state.kept_cases import KeptCases
from edge.wiring.judging import DISMISS, Word, applied_by, judge
from tests.alerts import a_case, a_change, alert_of, closed_schema, topic_of
from tests.street import Street, Thing, parking_rule, person_rule
from tests.test_live_camera import Rig

CAR = Thing(seed=3, box=(100, 80, 180, 140), track=1)
OTHER = Thing(seed=9, box=(100, 80, 180, 140), track=5)


# The thing is left alone while it stays


def dismissed(thing: Thing = CAR, **rule: Any) -> Street:
    """A street whose only case was dismissed."""
    street = Street(parking_rule(**rule))
    street.play(3)
    street.play(12, replace(thing, rest_s=3, first_s=3))
    assert street.told == ["opened"]
    (case,) = street.book.live
    assert street.book.dismiss(case.case_id, mono_ns=seconds_to_ns(street.now_s)) is not None
    return street


def test_a_dismissed_thing_that_stays_opens_no_other_case() -> None:
    street = dismissed()
    street.play(60, replace(CAR, rest_s=3, first_s=3))
    assert street.told == ["opened"]
    assert len(street.book.dismissed) == 1
    assert street.book.live == []


def test_it_is_left_alone_when_the_tracker_begins_anew_and_while_something_stands_before_it() -> None:
    street = dismissed()
    lorry = Thing(seed=11, box=(80, 60, 220, 180), track=7, label="truck", first_s=street.now_s, rest_s=street.now_s)
    street.play(8, lorry)
    street.play(30, replace(CAR, track=8, rest_s=street.now_s, first_s=street.now_s))
    assert street.told == ["opened"]


def test_another_thing_in_its_place_is_another_case() -> None:
    street = dismissed()
    street.play(1, replace(CAR, rest_s=3, first_s=3))
    street.play(20, replace(OTHER, rest_s=street.now_s, first_s=street.now_s))
    assert street.told == ["opened", "opened"]
    assert street.book.dismissed == []


def test_another_thing_beside_it_is_another_case() -> None:
    street = dismissed()
    beside = Thing(seed=12, box=(200, 80, 280, 140), track=6, rest_s=street.now_s, first_s=street.now_s)
    street.play(15, replace(CAR, rest_s=3, first_s=3), beside)
    assert street.told == ["opened", "opened"]
    assert len(street.book.dismissed) == 1


def test_when_it_has_gone_and_come_back_it_is_a_case_again_and_no_alert_tells_of_its_going() -> None:
    street = dismissed()
    street.play(8)
    assert street.told == ["opened"]
    assert street.book.dismissed == []
    street.play(15, replace(CAR, track=2, rest_s=street.now_s, first_s=street.now_s))
    assert street.told == ["opened", "opened"]


def test_a_revoked_dismissal_lets_the_thing_be_found_anew() -> None:
    street = dismissed()
    (case,) = street.book.dismissed
    street.book.revoke("another")
    street.play(12, replace(CAR, rest_s=3, first_s=3))
    assert street.told == ["opened"]
    street.book.revoke(case.case_id)
    street.play(12, replace(CAR, rest_s=3, first_s=3))
    assert street.told == ["opened", "opened"]


def test_it_is_still_left_alone_when_the_opening_hours_begin_again() -> None:
    street = dismissed()
    street.play(20, replace(CAR, rest_s=3, first_s=3), active=False)
    street.play(20, replace(CAR, rest_s=3, first_s=3))
    assert street.told == ["opened"]


def test_a_dismissed_loiterer_is_left_alone_for_this_visit_only() -> None:
    street = Street(person_rule("loitering"))
    walker = Thing(seed=4, box=(60, 60, 90, 140), track=1, label="person", first_s=0)
    aside = replace(walker, box=(160, 60, 190, 140))
    street.play(6, walker)
    street.play(6, aside)
    assert street.told == ["opened"]
    (case,) = street.book.live
    street.book.dismiss(case.case_id, mono_ns=seconds_to_ns(street.now_s))
    street.play(15, aside)
    assert street.told == ["opened"]
    street.play(12)
    street.play(8, replace(walker, track=2, first_s=street.now_s))
    street.play(8, replace(aside, track=2, first_s=street.now_s))
    assert street.told == ["opened", "opened"]


def test_no_more_dismissed_things_are_followed_than_the_bound() -> None:
    street = Street(parking_rule(after_ns=NS_PER_S))
    cars = [
        Thing(
            seed=n, box=(24 + 21 * (n % 12), 40 + 22 * (n // 12), 42 + 21 * (n % 12), 58 + 22 * (n // 12)), track=n + 1
        )
        for n in range(DISMISSED_MAX + 8)
    ]
    street.play(3, *cars)
    assert street.told == ["opened"] * len(cars)
    for case in street.book.live:
        street.book.dismiss(case.case_id, mono_ns=1)
    assert len(street.book.dismissed) == DISMISSED_MAX


# The words are kept


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "edge.db") as database:
        for number in (1, 2, 3):
            change = a_change(number)
            database.commit(change, alert_of(change), topic_of(change))
        yield database


def word(number: int = 1, verdict: str = DISMISSED, **more: str) -> Word:
    reason = {"reason": "not-there"} if verdict == DISMISSED else {}
    return Word(a_case(number).case_id, verdict, **{**reason, **more})


def test_a_word_is_kept_with_its_reason_and_asked_again_it_is_as_it_was(database: Database) -> None:
    said, words = judge(database, word(note="一块招牌", judged_by="Li"), running=False)
    assert (said.reason, said.note, said.judged_by) == ("not-there", "一块招牌", "Li")
    assert "withdrawn when one starts" in words
    again, words = judge(database, word(note="一块招牌", judged_by="Wang"), running=False)
    assert "as before" in words
    assert Judgements(database).judged() == [said]
    assert again.case_id == said.case_id


def test_the_newest_word_holds_and_none_is_lost(database: Database) -> None:
    judge(database, word(), running=False)
    judge(database, word(verdict=CONFIRMED), running=False)
    kept = Judgements(database)
    assert [judgement.verdict for judgement in kept.judged()] == [CONFIRMED]
    assert kept.standing("qiaonong-03") == set()
    judge(database, word(verdict=REVOKED), running=False)
    assert kept.judged() == []
    assert database.read("SELECT verdict FROM judgements ORDER BY id") == [(DISMISSED,), (CONFIRMED,), (REVOKED,)]


@pytest.mark.parametrize(
    ("case_id", "reason", "words"),
    [
        ("00000000-0000-0000-0000-000000000000", "allowed", "has opened no such case"),
        ("no-case", "allowed", "no case's id"),
        (a_case(1).case_id, "because", "expected one of no-violation, not-there"),
    ],
)
def test_an_unknown_case_or_reason_is_refused_and_nothing_is_kept(
    database: Database, case_id: str, reason: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        judge(database, Word(case_id, DISMISSED, reason), running=False)
    assert database.read("SELECT COUNT(*) FROM judgements") == [(0,)]


@pytest.mark.parametrize("words", ["two\nlines", "\x1b[31mred", "\udcc0\udcee"], ids=["lines", "colour", "gbk"])
def test_a_note_that_is_no_line_of_text_is_refused_and_nothing_is_kept(database: Database, words: str) -> None:
    for named in ({"note": words}, {"judged_by": words}):
        with pytest.raises(UsageError, match="one line of UTF-8 text"):
            judge(database, word(**named), running=False)
    assert database.read("SELECT COUNT(*) FROM judgements") == [(0,)]


def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so(database: Database) -> None:
    whole = a_case(2).case_id
    assert Judgements(database).whole_id(whole[:8]) == Judgements(database).whole_id(whole[:8].upper()) == whole
    twin = a_change(9, case_id=whole[:-1] + ("0" if whole[-1] != "0" else "1"))
    database.commit(twin, alert_of(twin), topic_of(twin))
    with pytest.raises(UsageError, match="several cases begin so"):
        Judgements(database).whole_id(whole[:8])


def test_the_words_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "JUDGEMENTS_MAX", 2)
    for number in (1, 2, 3):
        judge(database, word(number, CONFIRMED), running=False)
    assert len(Judgements(database).judged()) == 2


def test_a_cleared_case_is_only_judged(database: Database) -> None:
    cleared = a_change(2, "cleared", state="cleared", cleared_ns=90 * NS_PER_S, alerts=2)
    database.commit(cleared, alert_of(cleared), topic_of(cleared))
    _, words = judge(database, word(2), running=False)
    assert "judged only" in words
    assert Judgements(database).standing("qiaonong-03") == set()
    assert len(database.read("SELECT id FROM outbox")) == 4


# At a camera


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.stop.set()
    rig.database.database.close()


def case_of(rig: Rig) -> str:
    rig.look(8)
    assert rig.kinds() == ["opened"]
    return str(rig.alerts()[0]["data"]["case_id"])


def say(rig: Rig, case_id: str, verdict: str = DISMISSED, **changes: Any) -> str:
    """As the command does while no worker answers."""
    reason = "allowed" if verdict == DISMISSED else ""
    arguments = {"running": False, "clock": rig.clock, **changes}
    return judge(rig.database.database, Word(case_id, verdict, reason), **arguments)[1]


def asked(rig: Rig, case_id: str) -> Answer:
    frame = rig.live._last
    assert frame is not None
    return applied_by(rig.dismissing)({"case_id": case_id}, frame)


def test_a_worker_that_is_asked_withdraws_the_case_with_evidence(rig: Rig) -> None:
    case_id = case_of(rig)
    say(rig, case_id)
    assert asked(rig, case_id).words.startswith("the case is withdrawn")
    alert = rig.alerts()[-1]
    jsonschema.validate(alert, closed_schema())
    assert (alert["data"]["state"], alert["data"]["reason"]) == ("withdrawn", "dismissed")
    assert alert["data"]["evidence"][-1]["role"] == "manifest"
    assert asked(rig, case_id).words.startswith("the case is withdrawn")
    rig.look(30)
    assert rig.kinds() == ["opened", "withdrawn"]
    assert rig.report().cases_open == 0


def test_a_dismissal_holds_over_a_restart_until_the_thing_has_gone(rig: Rig) -> None:
    case_id = case_of(rig)
    say(rig, case_id)
    asked(rig, case_id)
    rig.look(11)
    rig.start()
    rig.look(20)
    assert rig.kinds() == ["opened", "withdrawn"]
    kept = Judgements(rig.database.database)
    assert kept.standing("cam") == {case_id}
    rig.detector.sees = False
    rig.look(25)
    assert kept.standing("cam") == set()
    rig.detector.sees = True
    rig.look(12)
    assert rig.kinds() == ["opened", "withdrawn", "opened"]


def test_a_worker_that_was_away_finds_the_word_when_it_comes_back(rig: Rig) -> None:
    """Killed after the word was kept and before it was taken, or stopped all the while."""
    case_id = case_of(rig)
    rig.live._save()
    say(rig, case_id)
    rig.start()
    rig.look(20)
    assert rig.kinds() == ["opened", "withdrawn"]


def test_a_word_whose_request_the_worker_did_not_see_in_time_is_heeded_all_the_same(rig: Rig) -> None:
    """It waited for the detector, or for the disk, for longer than anybody waited for its answer."""
    case_id = case_of(rig)
    say(rig, case_id, running=True, limit_s=0.05)
    rig.look(2 * SAVE_NS / NS_PER_S)
    assert rig.kinds() == ["opened", "withdrawn"]


def test_a_busy_database_puts_a_word_off_and_ends_no_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    case_id = case_of(rig)
    rig.live._save()
    say(rig, case_id)
    rig.start()
    with monkeypatch.context() as busy:
        busy.setattr(Judgements, "standing", _is_busy)
        rig.look(2)
    assert rig.kinds() == ["opened"]
    assert "dismissals wait for the database: edge.db: busy" in caplog.text
    rig.look(2 * SAVE_NS / NS_PER_S)
    assert rig.kinds() == ["opened", "withdrawn"]


def _is_busy(judgements: Judgements, camera: str) -> set[str]:
    raise StateError("edge.db: busy")


def test_a_withdrawal_that_was_not_stored_before_the_end_is_told_after_it(rig: Rig) -> None:
    case_id = case_of(rig)
    rig.live._save()
    say(rig, case_id)
    rig.database.fails = 1
    rig.stop.set()
    with pytest.raises(StateError):
        asked(rig, case_id)
    rig.live._save()
    rig.start()
    rig.look(2)
    assert rig.kinds() == ["opened", "withdrawn"]


def test_without_a_gateway_the_case_is_withdrawn_in_the_database_and_stays_so(rig: Rig) -> None:
    case_id = case_of(rig)
    rig.live._save()
    words = say(rig, case_id, site=rig.site)
    assert "no gateway runs here: the case is withdrawn" in words
    alert = rig.alerts()[-1]
    jsonschema.validate(alert, closed_schema())
    assert alert["data"]["evidence"] == []
    assert "did not run" in alert["data"]["evidence_error"]
    assert "as before" in say(rig, case_id, site=rig.site)
    rig.start()
    rig.look(20)
    assert rig.kinds() == ["opened", "withdrawn"]


def test_a_case_that_is_cleared_while_it_is_dismissed_is_judged_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is about to end, or has just begun, does not answer and still ends cases."""
    case_id = case_of(rig)
    open_case = rig.database.database.known_case(case_id)
    rig.detector.sees = False
    rig.look(15)
    assert rig.kinds() == ["opened", "cleared"]
    monkeypatch.setattr(Database, "known_case", lambda database, case_id: open_case)  # as it was a moment before
    assert "was over already" in say(rig, case_id, site=rig.site)
    assert rig.kinds() == ["opened", "cleared"]


def test_a_blind_camera_withdraws_without_a_picture_and_still_leaves_the_thing_alone(rig: Rig) -> None:
    case_id = case_of(rig)
    rig.look(2, bgr=np.zeros((240, 320, 3), np.uint8))
    say(rig, case_id)
    asked(rig, case_id)
    alert = rig.alerts()[-1]
    assert alert["data"]["state"] == "withdrawn"
    assert "blind" in alert["data"]["evidence_error"]
    rig.look(20)
    assert rig.kinds() == ["opened", "withdrawn"]


def test_a_dismissal_that_is_taken_back_lets_the_thing_be_found_anew(rig: Rig) -> None:
    case_id = case_of(rig)
    say(rig, case_id)
    asked(rig, case_id)
    rig.look(5)
    say(rig, case_id, REVOKED)
    asked(rig, case_id)
    rig.look(10)
    assert rig.kinds() == ["opened", "withdrawn", "opened"]


def test_a_camera_that_does_not_answer_is_told_of_and_nothing_is_lost(rig: Rig) -> None:
    case_id = case_of(rig)
    words = say(rig, case_id, running=True, limit_s=0.05)
    assert "when it has a picture again" in words
    assert Judgements(rig.database.database).standing("cam") == {case_id}


def test_the_request_reaches_the_worker_by_the_desk(rig: Rig) -> None:
    case_id = case_of(rig)
    rig.takes[DISMISS] = applied_by(rig.dismissing)
    database = rig.database.database
    say(rig, case_id)
    now_ns = rig.clock.wall_ns()
    number = database.put_request(
        "cam", DISMISS, {"case_id": case_id}, now_wall_ns=now_ns, until_wall_ns=now_ns + 10**10
    )
    rig.look(2)
    answer = database.answer_to(number)
    assert answer is not None
    assert answer.done
    assert rig.kinds() == ["opened", "withdrawn"]


def test_a_camera_keeps_its_opened_case_below_the_state_folder(rig: Rig) -> None:
    case_id = case_of(rig)
    rig.look(5)
    rig.detector.sees = False
    rig.look(15)
    assert rig.kinds() == ["opened", "cleared"]
    (kept,) = KeptCases(rig.folder).read("cam")
    assert (kept.case_id, kept.over) == (case_id, True)
    assert (rig.folder / "kept" / "cam" / f"{case_id}.npz").is_file()
    came = reenact(kept, list(kept.scenes()), kept.rule)
    assert came.opened_ns is not None
    assert abs(came.opened_ns - kept.opened_ns) <= NS_PER_S
