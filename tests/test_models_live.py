"""A running gateway whose camera looks with several models: a process and a slot each, added and taken by a reload."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.resources import configs_dir
from edge.runtime.health import GatewayStatus
from tests.bench.gateway import RunningGateway, site_config
from tests.tiny_models import brightness_model, write_classifier, write_model

PLAZA = configs_dir() / "demo" / "plaza.mp4"  # as a stream it begins anew when it ends
WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


def _camera(scenarios: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    zones = [
        {"id": "whole", "polygon": WHOLE},
        {"id": "far", "polygon": [[0.4, 0.1], [0.6, 0.1], [0.6, 0.3], [0.4, 0.3]]},
    ]
    return {"id": "cam", "source": str(PLAZA), "zones": zones, "scenarios": scenarios, **more}


def _looked(*names: str) -> Callable[[GatewayStatus], bool]:
    """Exactly these models run, each has a slot of the camera, and has looked at pictures."""

    def condition(status: GatewayStatus) -> bool:
        reports = {detector.report.model: detector.report for detector in status.detectors}
        return set(reports) == set(names) and all(
            report.ready and report.cameras == 1 and report.pictures > 0 for report in reports.values()
        )

    return condition


def _pictures(status: GatewayStatus) -> dict[str, int]:
    return {detector.report.model: detector.report.pictures for detector in status.detectors}


def test_each_model_has_its_process_and_a_reload_adds_and_takes_one(tmp_path: Path) -> None:
    street = write_model(tmp_path / "street", brightness_model(), format="yolo-e2e")
    carts = write_model(tmp_path / "carts", brightness_model(), format="yolo-e2e", labels=["cart", "stall"])
    judge = write_classifier(tmp_path / "judge")
    parking = {"use": "illegal-parking", "zones": ["whole"], "labels": ["car"], "size_min": 0}
    checked = {
        "use": "non-motor-parking",
        "zones": ["whole"],
        "labels": ["stall"],
        "size_min": 0,
        "model": str(carts),
        "check": {"model": str(judge), "labels": ["bright"]},
    }
    one = site_config([_camera([parking])], model=str(street))
    three = site_config([_camera([parking, checked], sampling={"closer": ["far"]})], model=str(street))
    with RunningGateway(tmp_path / "gateway", one) as gateway:
        first_s = gateway.wait_until(_looked("street"), 60, "the one model looks")
        gateway.write_config(three)
        os.kill(gateway.pid, signal.SIGHUP)
        added_s = gateway.wait_until(_looked("street", "carts", "judge"), 60, "three models look")
        code, table = gateway.edge_status()
        print(table)
        assert code == 0
        assert all(re.search(rf"^{name} ", table, re.MULTILINE) for name in ("street", "carts", "judge"))
        # A crop in a second and a half, two looks at each of five pictures a second.
        gateway.wait_until(lambda now: _pictures(now)["judge"] + 5 < _pictures(now)["carts"], 30, "crops are rarer")
        pictures = _pictures(gateway.status())
        gateway.write_config(one)
        os.kill(gateway.pid, signal.SIGHUP)
        taken_s = gateway.wait_until(_looked("street"), 60, "one model again")
        analysed = gateway.status().cameras[0].report.analysed
    print(f"the first looks after {first_s:.1f} s, two more after {added_s:.1f} s, one again after {taken_s:.1f} s")
    print(f"pictures by model: {pictures}; {analysed} pictures of the camera analysed")
