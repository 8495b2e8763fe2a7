"""`edge review` counts only what was judged, and `edge tune` proposes only what parts right from wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.cli.main import run
from edge.core.kept import KeptCase
from edge.core.tuning import best_threshold, cross_validated, groups_of
from edge.core.types import NS_PER_S
from edge.state.database import Database
from edge.state.judgements import CONFIRMED, DISMISSED, Judgement, Judgements
from edge.state.kept_cases import KeptCases
from edge.wiring.judging import Word, judge
from edge.wiring.tuning import Advice, advice_text, tune
from tests.alerts import a_case, a_change, alert_of, topic_of
from tests.keeping import recorded
from tests.street import Thing, parking_rule

DAY_NS = 86_400 * NS_PER_S
COME_S = 3.0  # the street is empty before and after


# The figures


def test_a_threshold_lies_in_the_middle_of_the_gap_and_loses_nobody() -> None:
    confirmed = np.array([False] * 6 + [True] * 6)
    chosen = best_threshold(np.array([1, 2, 3, 2, 1, 4, 10, 12, 14, 16, 11, 13]), confirmed)
    assert chosen is not None
    assert (chosen.row, chosen.spared) == (8, 6)
    assert chosen.chance == pytest.approx(1 / math.comb(12, 6))


def test_without_a_gap_there_is_no_threshold_and_a_lucky_one_is_told_by_chance_and_by_leaving_out() -> None:
    confirmed = np.array([True, False] * 10)
    assert best_threshold(np.array([0, *range(5, 24)]), confirmed) is None
    lucky = np.array([5, 0, *range(6, 24)])
    chosen = best_threshold(lucky, confirmed)
    assert chosen is not None
    assert (chosen.spared, chosen.chance) == (1, 0.5)
    assert cross_validated(lucky, confirmed, np.arange(20)).spared == 0


def test_labels_without_meaning_are_seldom_believed() -> None:
    """The rule by which `edge tune` believes, on limits that have nothing to do with the labels."""
    random, believed = np.random.default_rng(1), 0
    for _ in range(400):
        limit, confirmed = random.integers(0, 24, 24), random.permutation(np.arange(24) < 12)
        chosen, trial = best_threshold(limit, confirmed), cross_validated(limit, confirmed, np.arange(24))
        believed += chosen is not None and chosen.chance <= 0.05 / 3 and not trial.lost and trial.spared > 0
    print(f"believed {believed} of 400")
    assert believed <= 12


def test_days_are_left_out_where_there_are_enough_of_them() -> None:
    assert groups_of(["1", "1", "2"])[1] is False
    group, by_day = groups_of(["5", "1", "2", "1"])
    assert by_day
    assert group.tolist() == [2, 0, 1, 0]


# Precision


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with Database.open(tmp_path / "edge.db") as database:
        for number in range(10):
            camera = "qiaonong-03" if number < 8 else "gate"
            change = a_change(number, camera=camera, opened_wall_ns=(1 + number) * DAY_NS)
            database.commit(change, alert_of(change), topic_of(change))
            if number < 3:
                judge(database, Word(change.case.case_id, CONFIRMED), running=False)
            elif number < 5:
                judge(database, Word(change.case.case_id, DISMISSED, "not-there", "影子", "Li"), running=False)
    return tmp_path


def test_cases_that_nobody_judged_are_neither_right_nor_wrong(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["review", "--json", "--state", str(state)]) == 0
    gate, kerb, both = json.loads(capsys.readouterr().out)["scenarios"]
    assert (gate["opened"], gate["judged"], gate["precision"], gate["unjudged_share"]) == (2, 0, None, 1)
    assert (kerb["opened"], kerb["judged"], kerb["precision"]) == (8, 5, 0.6)
    assert kerb["precision_95"] == [0.2307, 0.8824]
    assert kerb["reasons"] == {"not-there": 2}
    assert (both["camera"], both["opened"], both["judged"]) == ("all", 10, 5)
    assert run(["review", "--state", str(state)]) == 0
    text = capsys.readouterr().out
    print(text)
    assert "5 of 10 cases were judged; the others count neither as right nor as wrong" in text
    with Database.open(state / "edge.db") as database:
        (only,) = [tally for tally in Judgements(database).tallies(since_wall_ns=5 * DAY_NS) if tally.camera != "gate"]
    assert (only.opened, only.confirmed, only.dismissed) == (4, 0, 1)


def test_what_is_left_alone_is_listed(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["review", "list", "--state", str(state)]) == 0
    lines = capsys.readouterr().out.splitlines()
    print("\n".join(lines))
    assert len(lines) == 5
    assert [line.endswith("[its thing is left alone while it stays]") for line in lines] == [True, True, *[False] * 3]
    assert "dismissed (not-there) by Li: 影子" in lines[0]


def test_a_command_dismisses_confirms_and_refuses(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case_id = a_case(6).case_id
    assert run(["dismiss", case_id[:8], "--reason", "allowed", "--state", str(state)]) == 0
    assert "no gateway runs here: the case is withdrawn when one starts" in capsys.readouterr().out
    assert run(["dismiss", case_id, "--revoke", "--state", str(state)]) == 0
    assert run(["confirm", case_id, "--state", str(state)]) == 0
    assert run(["dismiss", case_id, "--state", str(state)]) == 2
    assert run(["confirm", "deadbeef", "--state", str(state)]) == 2
    assert "has opened no such case" in capsys.readouterr().err
    assert run(["review", "--state", str(state / "elsewhere")]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["review", "--days", "inf"], "--days"),
        (["review", "--days", "1e300"], "--days"),
        (["review", "list", "--limit", "99999999999999999999"], "--limit"),
        (["review", "list", "--camera", "\udcc0"], "is no name in UTF-8"),
        (["tune", "--scenario", "\udcc0"], "is no name in UTF-8"),
        (["review", "--json", "list"], "stand behind its name"),
    ],
)
def test_an_option_that_cannot_be_is_told_in_one_line(
    state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run([*arguments, "--state", str(state)]) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)


def test_the_list_of_another_state_folder_is_not_shown_by_mistake(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["review", "--state", str(state), "list"]) == 2
    assert "edge review list --help" in capsys.readouterr().err


# Tuning


def kept_street(scores: Sequence[float]) -> list[KeptCase]:
    """One car after the other at the kerb, each for 14 s, two a day."""
    street, kept = recorded(parking_rule(), step_s=1.0)
    for number, score in enumerate(scores):
        street.play(COME_S)
        now_s = street.now_s
        car = Thing(
            seed=3 + number, box=(100, 80, 180, 140), track=number + 1, score=score, rest_s=now_s, first_s=now_s
        )
        street.play(14, car)
        street.play(7)
    assert len(kept) == len(scores)
    return [replace(case, opened_wall_ns=(1 + number // 2) * DAY_NS + number) for number, case in enumerate(kept)]


def advised(folder: Path, kept: Sequence[KeptCase], confirmed: Sequence[bool]) -> Advice:
    shelf = KeptCases(folder)
    judgements = []
    for case, right in zip(kept, confirmed, strict=True):
        shelf.save(case, bytes_max=10**8)
        verdict, reason = (CONFIRMED, "") if right else (DISMISSED, "not-there")
        judgements.append(
            Judgement(case.case_id, case.camera, case.scenario, case.zone, case.opened_wall_ns, verdict, reason)
        )
    (advice,) = tune(folder, judgements)
    print(advice_text([advice]))
    return advice


@pytest.fixture(scope="module")
def mixed() -> list[KeptCase]:
    """Ten dim cars, 0.30 to 0.39, and ten bright ones, 0.60 to 0.69, in turn."""
    return kept_street([score + step * 0.01 for step in range(10) for score in (0.30, 0.60)])


def test_dim_false_alarms_give_a_score_between_them_and_the_right_ones(tmp_path: Path, mixed: list[KeptCase]) -> None:
    advice = advised(tmp_path, mixed, [False, True] * 10)
    assert (advice.dismissed, advice.confirmed, advice.not_reproduced, advice.refusal) == (10, 10, 0, "")
    (proposal,) = advice.proposals
    assert proposal.parameter == "score_min"
    assert 0.39 < proposal.value < 0.60
    assert (proposal.threshold.spared, proposal.by_day) == (10, True)
    assert (proposal.trial.spared, proposal.trial.lost) == (10, 0)
    assert proposal.later_s <= 1
    text = advice_text([advice])
    assert f"        score_min: {proposal.value:g}" in text.splitlines()


def test_right_and_wrong_ones_that_overlap_give_nothing(tmp_path: Path, mixed: list[KeptCase]) -> None:
    """Every second dim one and every second bright one is confirmed: the score says nothing."""
    advice = advised(tmp_path, mixed, [False, False, True, True] * 5)
    assert advice.proposals == []
    assert "no stricter value parts" in advice.refusal


def test_few_cases_give_nothing_however_clear_they_look(tmp_path: Path, mixed: list[KeptCase]) -> None:
    advice = advised(tmp_path, mixed[:18], [False, True] * 9)
    assert advice.proposals == []
    assert "too few cases to say: 9 dismissed and 9 confirmed; it takes 20 in all, 5 of each" in advice.refusal
    one_sided = advised(tmp_path, mixed, [False] * 20)
    assert "20 dismissed and 0 confirmed" in one_sided.refusal


def test_judged_cases_that_were_not_kept_or_do_not_open_again_are_told_of(
    tmp_path: Path, mixed: list[KeptCase]
) -> None:
    broken = replace(mixed[0], looks=mixed[0].looks[:5])
    advice = advised(tmp_path, [broken, *mixed[1:10]], [False, True] * 5)
    assert (advice.dismissed, advice.confirmed, advice.not_reproduced) == (4, 5, 1)
    gone = Judgement("gone", mixed[0].camera, mixed[0].scenario, "kerb", 1, CONFIRMED)
    (again,) = tune(tmp_path, [gone])
    assert (again.not_kept, again.refusal) == (1, "none of its judged cases was kept")
    assert tune(tmp_path, [gone], camera="another") == []
