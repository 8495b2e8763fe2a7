"""The catalogue: each scenario does what its title says with its own defaults, and the page of the docs is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.cli.scenarios import page, seen_by
from edge.config.catalogue import Scenario, stock_catalogue
from edge.config.loader import load_site
from edge.core.scenarios import Rule
from tests.rules import first_rule
from tests.street import LABELS, Street, Thing

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = stock_catalogue().scenarios
SCENES = 48
BLOCK = re.compile(r"<!-- scenarios: written by scripts/scenarios -->\n(.*?)\n<!-- end of scenarios -->", re.DOTALL)


def rule_of(scenario: Scenario, folder: Path) -> Rule:
    """The rule of a camera that uses the scenario with its defaults, by a model that has a word for its things."""
    extra = "".join(f', {name}: "Mon-Sun 00:00-24:00"' for name in scenario.requires)
    (folder / "site.yaml").write_text(
        "version: 1\nsite: {id: s, timezone: UTC}\ngateway: {id: g}\ncameras:\n  - id: c\n    source: clip.mp4\n"
        "    zones: [{id: kerb, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}]\n"
        f"    scenarios: [{{use: {scenario.id}, zones: [kerb]{extra}}}]\n"
    )
    site = load_site(folder / "site.yaml", environ={})
    labels = (*LABELS, *(label for label in scenario.labels if label not in LABELS))
    return first_rule(site, labels)


def things_of(rule: Rule, now_s: float) -> list[Thing]:
    """What the scenario is about, as it stands there from now on."""
    label = rule.label_names[rule.labels[0]] if len(rule.labels) else ""
    if rule.kind == "left_object":
        return [Thing(seed=5, box=(100, 120, 140, 160), rest_s=now_s, region=True)]
    if rule.kind == "gathering":
        return [
            Thing(
                seed=20 + row, box=(80 + 30 * row, 100, 96 + 30 * row, 160), track=row + 1, label=label, first_s=now_s
            )
            for row in range(4)
        ]
    return [Thing(seed=5, box=(100, 100, 160, 170), track=1, label=label, score=0.8, rest_s=now_s, first_s=now_s)]


SIMPLE = [scenario for scenario in CATALOGUE.values() if scenario.kind in ("stationary", "left_object", "loitering")]


@pytest.mark.parametrize("scenario", SIMPLE, ids=lambda scenario: scenario.id)
def test_a_scenario_opens_after_its_time_and_is_cleared_when_its_thing_is_gone(
    scenario: Scenario, tmp_path: Path
) -> None:
    rule = rule_of(scenario, tmp_path)
    after_s, clear_after_s = rule.after_ns / 1e9, rule.clear_after_ns / 1e9
    street = Street(rule, step_s=min(max(0.2, after_s / 40), 20))
    street.play(5)
    came_s = street.now_s
    street.play(after_s + 20 * street.step_s + 2, *things_of(rule, came_s))
    street.play(clear_after_s + 20 * street.step_s + 5)
    print(f"{scenario.id:28} after {after_s:6g} s: opened at {street.at('opened')}, cleared at {street.at('cleared')}")
    assert [kind for kind in street.told if kind != "updated"] == ["opened", "cleared"]
    assert 0 <= street.at("opened")[0] - came_s - after_s <= 3 + 4 * street.step_s
    assert street.changes[0][1].case.scenario == scenario.id


@pytest.mark.parametrize("scenario", SIMPLE, ids=lambda scenario: scenario.id)
def test_a_scenario_with_a_waiting_time_says_nothing_of_what_is_gone_before(scenario: Scenario, tmp_path: Path) -> None:
    rule = rule_of(scenario, tmp_path)
    after_s = rule.after_ns / 1e9
    if after_s == 0:
        return  # being there is enough: there is no time before
    street = Street(rule, step_s=min(max(0.2, after_s / 40), 20))
    street.play(5)
    street.play(0.8 * after_s, *things_of(rule, street.now_s))
    street.play(after_s + 5)
    assert street.told == []


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=lambda scenario: scenario.id)
def test_every_default_has_its_reason_beside_it(scenario: Scenario) -> None:
    given = [name for name in scenario.defaults if name not in ("category", "severity")]
    assert given
    assert [name for name in given if not scenario.reasons.get(name, "").strip()] == []


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=lambda scenario: scenario.id)
def test_what_a_scenario_needs_names_every_label_that_the_stock_model_has_no_word_for(scenario: Scenario) -> None:
    needed = re.findall(r"custom model \((.*?)\)", seen_by(scenario))
    labels = [label for group in needed for label in group.split(", ")]
    assert [label for label in labels if label not in " ".join(scenario.needs.split())] == []
    assert not labels or "custom model" in scenario.needs


def test_all_scenes_of_the_sub_district_are_served_and_the_seeds_name_by_what() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| (.*?) \|$", (ROOT / "seeds" / "scenes.md").read_text(), re.MULTILINE)
    served: dict[int, set[str]] = {}
    for scenario in CATALOGUE.values():
        for scene in scenario.scenes:
            served.setdefault(scene, set()).add(scenario.id)
    stock = {
        scene for scene, names in served.items() if any("custom" not in seen_by(CATALOGUE[name]) for name in names)
    }
    print(f"{len(CATALOGUE)} scenarios; {len(stock)} of {SCENES} scenes are seen by the stock parts")
    assert {int(number): set(re.findall("`(.*?)`", names)) for number, names in rows} == served
    assert set(served) == set(range(1, SCENES + 1))


JAM_S = 150
BEFORE_A_JAM_ENDS = [one for one in SIMPLE if "car" in one.labels and float(str(one.defaults["after_s"])) < JAM_S]


@pytest.mark.parametrize("scenario", BEFORE_A_JAM_ENDS, ids=lambda scenario: scenario.id)
def test_no_vehicles_that_wait_for_the_traffic_are_a_case(scenario: Scenario, tmp_path: Path) -> None:
    """Two that halt behind one another wait, at most for as long as a red light and a jam behind it."""
    rule = rule_of(scenario, tmp_path)
    street = Street(rule, step_s=0.5)
    for _ in range(round(JAM_S / street.step_s)):
        came_s = min(street.now_s, 6.0)
        queue = [
            Thing(5 + row, (100 + x, 100, 150 + x, 140), track=1 + row, label="car", rest_s=came_s, drawn=False)
            for row, x in enumerate((240 - 40 * came_s, 295 - 40 * came_s))
        ]
        street.look(queue)
        street.now_s = round(street.now_s + street.step_s, 6)
    assert street.told == []


def test_the_page_of_the_docs_is_the_catalogues() -> None:
    found = BLOCK.search((ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8"))
    assert found
    assert found[1] == page(stock_catalogue()), "run ./scripts/scenarios"
