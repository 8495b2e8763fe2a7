"""A broker inside the program, for the demo and for `mqtt: embedded`: loopback only, and nothing survives its end.

It runs as a child process that ends with us. Whoever needs alerts to outlive it keeps them in the outbox.
"""

from __future__ import annotations

import socket
from types import TracebackType

import iotcore

from edge.errors import DeliveryError

_HOST = "127.0.0.1"
_PAYLOAD_MAX_BYTES = 2_000_000  # iotcore's own limit of 20 kB would drop the connection at a long alert
_PORT_TRIES = 5


class EmbeddedBroker:
    """Running from the moment it is made. `port=0` takes a free one."""

    def __init__(self, port: int = 0, *, start_s: float = 10.0) -> None:
        self._broker = _started(port, start_s)

    @property
    def port(self) -> int:
        return self._broker.port

    @property
    def url(self) -> str:
        return f"mqtt://{_HOST}:{self.port}"

    def close(self) -> None:
        self._broker.stop()

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _started(port: int, start_s: float) -> iotcore.Broker:
    """A free port can be taken between the look and the use, so a port of our choice is tried anew."""
    for tries_left in reversed(range(_PORT_TRIES if port == 0 else 1)):
        broker = iotcore.Broker(port=port or _free_port(), listen=_HOST, max_payload_size=_PAYLOAD_MAX_BYTES)
        try:
            return broker.start(timeout=start_s)
        except (OSError, RuntimeError) as error:  # the port is taken; the child ended or was too slow
            broker.stop()
            if not tries_left:
                raise DeliveryError(f"the embedded broker does not start: {error}; free the port or name 0") from error
    raise AssertionError("the last try returns or raises")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
