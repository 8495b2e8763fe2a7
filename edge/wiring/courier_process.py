"""The courier process: from the outbox to the broker, and what is retained there of the gateway's health."""

from __future__ import annotations

import threading
from zoneinfo import ZoneInfo

from edge.clock import SystemClock
from edge.delivery.courier import Courier
from edge.delivery.message import Topics
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.upload import FOLLOWER, Uploader
from edge.runtime.announcing import Announcer, courier_report, upload_report
from edge.runtime.health import CourierReport, gateway_status, write_report
from edge.runtime.process import run_child
from edge.state.database import Database
from edge.state.relays import Relays
from edge.wiring.bridges import Bridges, follower_names, rules_of
from edge.wiring.broker_process import PORT
from edge.wiring.process_order import ProcessOrder
from edge.wiring.uploading import uploader_for

DRAIN_S = 2.0  # for the last alerts when the gateway stops; the rest goes out with the next start
GOODBYE_S = 1.5
_POLL_S = 0.25
_TURN_S = 0.5
_GIVE_WAY_S = 0.5  # a file on its way goes on with the next start


def main(order: ProcessOrder) -> None:
    """Deliver until SIGTERM."""
    order.set_up_log("courier")
    run_child(lambda stop: _run(order, stop), name="edge:courier")


def _run(order: ProcessOrder, stop: threading.Event) -> None:
    clock, config, row = SystemClock(), order.site.config, order.row
    assert config.mqtt is not None
    identity = f"{config.site.id}:{config.gateway.id}"  # an id holds no colon, so no two gateways share one
    publisher = MqttPublisher(
        f"mqtt://127.0.0.1:{PORT}" if config.mqtt.embedded else config.mqtt.url,
        client_id=identity,
        username=config.mqtt.username,
        password=config.mqtt.password,
        version5=True,
        recall=Topics(config.site.id, config.gateway.id).all_health,
    )
    with Database.open(order.database) as database:
        relays = Relays(database)
        relays.set_followers([*follower_names(config.bridges), *([FOLLOWER] if config.upload else [])])
        bridges = Bridges(config.bridges, relays, folder=order.folder, rules=rules_of(order.site))
        announcer = Announcer(
            lambda: gateway_status(order.board, mono_ns=clock.mono_ns(), wall_ns=clock.wall_ns()),
            broker=publisher.address,
            site=config.site.id,
            gateway=config.gateway.id,
            timezone=ZoneInfo(config.site.timezone),
            health_s=config.mqtt.health_s,
            followers=bridges.states,
        )
        courier = Courier(database, publisher, notices=announcer, measures=database, poll_s=_POLL_S)
        uploader = _uploader(order, database, courier)

        def report() -> CourierReport:
            upload = upload_report(uploader.state()) if uploader else None
            return courier_report(courier.state(), publisher.address, bridges.states(), upload)

        courier.start()
        with bridges:
            if uploader:
                uploader.start()
            while not stop.wait(_TURN_S):
                write_report(row, report())
                if courier.alive:
                    row.beat(clock.mono_ns())
            if uploader:
                uploader.close(_GIVE_WAY_S)
            if courier.state().connected:
                courier.drain(DRAIN_S)
        courier.close(GOODBYE_S)
        write_report(row, report())


def _uploader(order: ProcessOrder, database: Database, courier: Courier) -> Uploader | None:
    upload = order.site.config.upload
    if upload is None:
        return None
    return uploader_for(upload, database, root=order.folder, connected=lambda: courier.connected, poll_s=_POLL_S)
