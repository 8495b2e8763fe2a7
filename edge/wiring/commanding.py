"""The desk of a gateway's commands, from its configuration."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing import parent_process
from zoneinfo import ZoneInfo

from edge.clock import SystemClock
from edge.delivery.commands import Gate, Reply, reply_event
from edge.delivery.message import Topics
from edge.runtime.board import SUPERVISOR_ROW
from edge.runtime.command_desk import CommandDesk
from edge.runtime.health import SupervisorReport, read_report
from edge.state.commands import Commands
from edge.state.database import Database
from edge.wiring.command_actions import CommandActions
from edge.wiring.credentials import command_keys
from edge.wiring.process_order import ProcessOrder


def desk_for(
    order: ProcessOrder, database: Database, *, clock: SystemClock, resend: Callable[[int, int], None]
) -> CommandDesk | None:
    """None where the gateway takes no commands. `resend` sends alerts again. Raises ConfigError for keys that cannot be
    used."""
    site = order.site
    wanted = site.config.commands
    if wanted is None:
        return None
    site_id, gateway_id = site.config.site.id, site.config.gateway.id
    gate = Gate(site=site_id, gateway=gateway_id, allow=wanted.allow, keys=command_keys(site), stale_s=wanted.stale_s)
    actions = CommandActions(
        database,
        folder=order.folder,
        supervised=lambda: read_report(order.board.row(SUPERVISOR_ROW), SupervisorReport),
        hang_up=_hang_up,
        resend=resend,
        clock=clock,
        uploads=site.config.upload is not None,
    )
    timezone = ZoneInfo(site.config.site.timezone)

    def word(reply: Reply, command_id: str, name: str) -> str:
        return reply_event(
            reply,
            command_id=command_id,
            name=name,
            site=site_id,
            gateway=gateway_id,
            now_wall_ns=clock.wall_ns(),
            timezone=timezone,
        )

    return CommandDesk(
        gate,
        Commands(database),
        actions.by_name(),
        topic=Topics(site_id, gateway_id).reply,
        word=word,
        clock=clock,
        after_a_break=actions.after_a_break,
    )


def _hang_up() -> None:
    """The supervisor is our parent, and we die with it: its number is nobody else's."""
    parent = parent_process()
    if parent is not None and parent.pid is not None:
        os.kill(parent.pid, signal.SIGHUP)
