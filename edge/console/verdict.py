"""Whether the gateway does its work, in the words of /healthz.

A blind camera alone is no failure of the gateway: restarting it would not heal the camera, and would blind the others.
"""

from __future__ import annotations

from edge.runtime.health import BLIND, OFF, STREAMING, GatewayStatus


def verdict(status: GatewayStatus) -> tuple[bool, dict[str, object]]:
    """Whether all is well, and the document that says so."""
    problems = status.problems
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
