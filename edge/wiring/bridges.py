"""From `bridges:` of site.yaml to the followers that tell other systems of alerts, in the courier's process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from edge.config.catalogue import stock_catalogue
from edge.config.delivery import BridgesConfig, Gat1400Config, WebhookConfig
from edge.config.loader import Site
from edge.delivery.bridges.follower import Bridge, Follower, FollowerState
from edge.delivery.bridges.gat1400 import Gat1400Settings, Notifier, ViewLibrary
from edge.delivery.bridges.rules import Rule, Rules
from edge.delivery.bridges.webhook import PICTURE_MAX_BYTES, Robot, RobotSettings
from edge.errors import StateError
from edge.state.relays import Relays

GAT1400 = "gat1400"


class Bridges:
    """All followers of one gateway, each with a thread of its own. A context: inside, they run."""

    def __init__(self, config: BridgesConfig, relays: Relays, *, folder: Path, rules: Rules) -> None:
        """`folder` is that of the gateway's state, where the evidence lies."""
        bridges = _bridges(config, Pictures(folder), rules)
        self._followers = [Follower(name, relays, bridge) for name, bridge in bridges.items()]
        self._last: dict[str, FollowerState] = {}  # as many as there are followers

    def states(self) -> Sequence[FollowerState]:
        """Where the database fails, the last ones."""
        for follower in self._followers:
            try:
                self._last[follower.name] = follower.state()
            except StateError:
                self._last.setdefault(follower.name, FollowerState(follower.name))
        return list(self._last.values())

    def __enter__(self) -> Bridges:
        for follower in self._followers:
            follower.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Within a second, however many hang."""
        for follower in self._followers:
            follower.stop()
        for follower in self._followers:
            follower.close(1.0 / len(self._followers))


def follower_names(config: BridgesConfig) -> Iterator[str]:
    """Who is to be told of every alert from now on. A robot is known by its place in the list."""
    if config.gat1400 is not None:
        yield GAT1400
    yield from (_robot_name(number) for number in range(len(config.webhooks)))


def rules_of(site: Site) -> Rules:
    """What kind of rule each scenario is; being there at all is a moment."""
    configured = {
        (camera, use.name): Rule(use.kind, moment=use.after_s == 0)
        for camera, uses in site.scenarios.items()
        for use in uses
    }
    stock = stock_catalogue().scenarios.values()
    catalogue = {
        scenario.id: Rule(scenario.kind, moment=scenario.defaults.get("after_s", 0) == 0)
        for scenario in stock
        if not scenario.is_measure
    }
    return Rules(configured, catalogue)


class Pictures:
    """The bytes of an evidence file, by the path that an alert names it with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def __call__(self, path: str) -> bytes | None:
        """None where it is gone, too big to be sent, or lies elsewhere."""
        file = (self._folder / path).resolve()
        try:
            if not file.is_relative_to(self._folder) or file.stat().st_size > PICTURE_MAX_BYTES:
                return None
            return file.read_bytes()
        except OSError:
            return None


def _robot_name(number: int) -> str:
    return f"webhook-{number}"


def _bridges(config: BridgesConfig, picture: Pictures, rules: Rules) -> Mapping[str, Bridge]:
    made: dict[str, Bridge] = {}
    if config.gat1400 is not None:
        made[GAT1400] = ViewLibrary(Notifier(_library_settings(config.gat1400), rules), picture=picture)
    for number, robot in enumerate(config.webhooks):
        made[_robot_name(number)] = Robot(_robot_settings(robot), picture=picture)
    return made


def _library_settings(library: Gat1400Config) -> Gat1400Settings:
    return Gat1400Settings(
        url=library.url,
        username=library.username,
        password=library.password,
        device_id=library.device_id,
        cameras=library.cameras,
        subscribe_id=library.subscribe_id,
        title=library.title,
        states=library.states,
        pictures=library.pictures,
        keepalive_s=library.keepalive_s,
        ca_file=None if library.ca_file is None else Path(library.ca_file),
    )


def _robot_settings(robot: WebhookConfig) -> RobotSettings:
    return RobotSettings(
        kind=robot.kind,
        url=robot.url,
        secret=robot.secret or "",
        keyword=robot.keyword,
        states=robot.states,
        pictures=robot.pictures,
        per_minute=robot.per_minute,
    )
