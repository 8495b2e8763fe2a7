"""Whether the gateway does its work, in the words of /healthz.

A blind camera alone is no failure of the gateway: restarting it would not heal the camera, and would blind the others.
"""

from __future__ import annotations

from edge.runtime.health import BLIND, OFF, STREAMING, GatewayStatus

BEAT_MAX_S = 5.0


def problems_of(status: GatewayStatus) -> list[str]:
    """A line each; none means healthy."""
    found = list(status.problems)
    if not status.supervisor.boot_id:
        found.append("supervisor: it has not reported yet")
    elif status.beat_age_s > BEAT_MAX_S:
        found.append(f"supervisor: no sign of life for {status.beat_age_s:.0f} s")
    if status.supervisor.stopping:
        found.append("supervisor: the gateway is stopping")
    return found


def verdict(status: GatewayStatus) -> tuple[bool, dict[str, object]]:
    """Whether all is well, and the document that says so."""
    problems = problems_of(status)
    states = [camera.report.state for camera in status.cameras]
    return not problems, {
        "status": "failing" if problems else "ok",
        "problems": problems,
        "cameras": {state: states.count(state) for state in (STREAMING, BLIND, OFF)},
        "blind": [
            {"camera": camera.camera, "reason": camera.report.reason, "words": camera.report.words}
            for camera in status.cameras
            if camera.report.state == BLIND
        ],
    }
