"""The courier process: from the outbox to the broker, and what is retained there of the gateway's health."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from functools import partial
from zoneinfo import ZoneInfo

from edge.clock import SystemClock
from edge.delivery.courier import Courier
from edge.delivery.letters import LetterBoxes
from edge.delivery.message import Topics
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.receipts import Receipts
from edge.delivery.upload import FOLLOWER, Uploader
from edge.errors import StateError
from edge.evidence.chain import read_head
from edge.runtime.announcing import Announcer, Commanded, courier_report, upload_report
from edge.runtime.command_desk import CommandDesk
from edge.runtime.health import CourierReport, gateway_status, write_report
from edge.runtime.process import run_child
from edge.state.database import Database
from edge.state.mode import EMERGENCY, NORMAL, mode_of
from edge.wiring.bridges import Bridges, recalled
from edge.wiring.broker_process import PORT
from edge.wiring.commanding import desk_for
from edge.wiring.credentials import credentials_of, placed
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
    topics = Topics(config.site.id, config.gateway.id)
    login = credentials_of(order.site)
    order.set_up_log("courier", secret=login.password)
    publisher = MqttPublisher(
        f"mqtt://127.0.0.1:{PORT}" if config.mqtt.embedded else config.mqtt.url,
        client_id=identity,
        username=login.username,
        password=login.password,
        ca_file=login.ca_file,
        cert_file=login.cert_file,
        key_file=login.key_file,
        version5=True,
        recall=[topics.all_health, *recalled(order.site)],
    )
    receipts = Receipts() if config.mqtt.confirm == "receipt" else None
    if receipts is not None:
        publisher.subscribe(topics.receipt, receipts)
    with Database.open(order.database) as database:
        others = [FOLLOWER] if config.upload else []
        bridges = Bridges(order.site, database, folder=order.folder, others=others)

        def resend(first: int, last: int) -> None:
            courier.resend(first, last)

        desk = desk_for(order, database, clock=clock, resend=resend)
        head = partial(read_head, order.folder)
        announcer = Announcer(
            lambda: gateway_status(order.board, mono_ns=clock.mono_ns(), wall_ns=clock.wall_ns()),
            broker=publisher.address,
            site=config.site.id,
            gateway=config.gateway.id,
            timezone=ZoneInfo(config.site.timezone),
            health_s=config.mqtt.health_s,
            followers=bridges.states,
            commanded=lambda: _commanded(database, desk),
            head=head,
        )
        courier = Courier(
            database,
            publisher,
            notices=bridges.beside(announcer),
            measures=bridges.measures,
            letters=LetterBoxes({**({} if desk is None else {"reply": desk}), **bridges.letters}),
            receipts=receipts,
            redrive_s=config.mqtt.redrive_s,
            redrive_max_s=config.mqtt.redrive_max_s,
            poll_s=_POLL_S,
        )
        uploader = _uploader(order, database, courier)
        if desk is not None:
            desk.wake = courier.wake
            publisher.subscribe(topics.command, lambda message: desk.receive(message.body, retained=message.retained))

        def report() -> CourierReport:
            upload = upload_report(uploader.state()) if uploader else None
            commanded = _commanded(database, desk)
            return courier_report(courier.state(), publisher.address, bridges.states(), upload, commanded, head=head())

        courier.start()
        with bridges, desk or nullcontext():
            if uploader:
                uploader.start()
            while not stop.wait(_TURN_S):
                told = report()
                write_report(row, told)
                if uploader:
                    uploader.unthrottled = told.mode == EMERGENCY
                    uploader.tend()
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
    return uploader_for(
        upload,
        database,
        root=order.folder,
        connected=lambda: courier.is_busy,
        ca_file=placed(order.site, upload.ca_file),
        poll_s=_POLL_S,
    )


def _commanded(database: Database, desk: CommandDesk | None) -> Commanded:
    try:
        mode = mode_of(database)
    except StateError:  # a full disk is told of by the courier
        mode = NORMAL
    counted, refused = desk.tally() if desk is not None else ({}, {})
    return Commanded(mode, counted, refused)
