"""From `bridges:` of site.yaml to the followers that tell other systems of alerts, in the courier's process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from zoneinfo import ZoneInfo

from edge import __version__
from edge.clock import iso
from edge.config.catalogue import stock_catalogue
from edge.config.delivery import BridgesConfig, Gat1400Config, WebhookConfig
from edge.config.loader import Site
from edge.delivery.bridges.follower import Bridge, Follower, FollowerState
from edge.delivery.bridges.gat1400 import Gat1400Settings, Notifier, ViewLibrary
from edge.delivery.bridges.homeassistant import HomeNotices, House, Measured, Watched
from edge.delivery.bridges.onvif import Counters, OnvifLetters, Standing
from edge.delivery.bridges.rules import Rule, Rules
from edge.delivery.bridges.webhook import PICTURE_MAX_BYTES, Robot, RobotSettings
from edge.delivery.courier import CourierState, MeasureQueue, Notices
from edge.delivery.letters import Box
from edge.delivery.message import STATIC_OBJECT, Topics
from edge.errors import StateError
from edge.state.database import Database
from edge.state.open_cases import open_cases, open_counts
from edge.state.relays import Relays

ONVIF = "onvif"
GAT1400 = "gat1400"


class Bridges:
    """All followers of one gateway. A context: inside, those that speak HTTP run, each in a thread of its own; what the
    others have to say goes with the courier, as letters and notices.
    """

    def __init__(self, site: Site, database: Database, *, folder: Path, others: Iterable[str] = ()) -> None:
        """`folder` is that of the gateway's state, where the evidence lies. From here on alerts are copied; `others`
        follow too.
        """
        config, rules, relays = site.config.bridges, rules_of(site), Relays(database)
        relays.set_followers([*follower_names(config), *others])
        bridges = _bridges(site, Pictures(folder), rules)
        self._followers = [Follower(name, relays, bridge) for name, bridge in bridges.items()]
        self._told: list[Follower | OnvifLetters] = [*self._followers]
        self.letters: dict[str, Box] = {}  # for the courier to post
        self.measures: MeasureQueue = database  # for the courier to send
        self._notices: list[Callable[[], Mapping[str, str]]] = []
        if config.onvif is not None:
            prefix = config.onvif.prefix or f"{site.config.site.id}-{site.config.gateway.id}"
            letters = OnvifLetters(ONVIF, relays, prefix=prefix, rules=rules, standing=_standing(site, database))
            counters = Counters(database, prefix)
            self.letters[ONVIF], self.measures = letters, counters
            self._told.append(letters)
            self._notices.append(counters.notices)
        house = house_of(site)
        if house is not None:
            zone = ZoneInfo(site.config.site.timezone)
            self._notices.append(HomeNotices(house, watched_of(site), lambda: open_counts(database), timezone=zone))
        self._last = {told.name: FollowerState(told.name) for told in self._told}

    def beside(self, notices: Notices) -> Notices:
        """The gateway's own notices and those of its bridges."""
        return _Beside(notices, self._notices) if self._notices else notices

    def states(self) -> Sequence[FollowerState]:
        """Where the database fails, the last ones."""
        for told in self._told:
            with suppress(StateError):
                self._last[told.name] = told.state()
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


class _Beside:
    """Notices, and more of them. What a bridge retains is not taken back at the end: it is the last that was known."""

    def __init__(self, notices: Notices, more: Sequence[Callable[[], Mapping[str, str]]]) -> None:
        self._notices = notices
        self._more = more
        self.will = notices.will
        self.farewell = notices.farewell

    def current(self, courier: CourierState) -> Mapping[str, str]:
        known = self._notices.current(courier)
        return {**known, **{topic: body for more in self._more for topic, body in more().items()}} if known else known


def follower_names(config: BridgesConfig) -> Iterator[str]:
    """Who is to be told of every alert from now on."""
    if config.onvif is not None:
        yield ONVIF
    if config.gat1400 is not None:
        yield GAT1400
    yield from (_robot_name(robot) for robot in config.webhooks)


def house_of(site: Site) -> House | None:
    home = site.config.bridges.homeassistant
    if home is None:
        return None
    return House(home.prefix, site.config.site.id, site.config.gateway.id, __version__)


def recalled(site: Site) -> list[str]:
    """Topic filters of what an earlier configuration may have left at the broker, to be taken back."""
    house, topics = house_of(site), Topics(site.config.site.id, site.config.gateway.id)
    return [] if house is None else [house.all_configs, topics.all_cases]


def watched_of(site: Site) -> list[Watched]:
    titles = {scenario.id: f"{scenario.title} {scenario.title_zh}" for scenario in stock_catalogue().scenarios.values()}
    return [
        Watched(
            camera=camera.id,
            name=camera.name,
            road=camera.road,
            scenarios={
                use.name: titles.get(use.use, use.use) if use.name == use.use else use.name
                for use in site.scenarios[camera.id]
            },
            measures=[
                Measured(use.name, use.kind, tuple(use.lines) or tuple(use.zones)) for use in site.measures[camera.id]
            ],
        )
        for camera in site.config.cameras
    ]


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


def _standing(site: Site, database: Database) -> Iterator[tuple[tuple[str, str, str], Standing]]:
    zone = ZoneInfo(site.config.site.timezone)
    for case in open_cases(database):
        place = (case.camera, case.scenario, case.zone)
        yield place, Standing(case.case_id, case.label or STATIC_OBJECT, iso(case.started_wall_ns, zone))


def _robot_name(robot: WebhookConfig) -> str:
    """By its address and not by its place in the list: what waits for one group must never go to another."""
    return f"webhook-{hashlib.sha256(f'{robot.kind} {robot.url}'.encode()).hexdigest()[:8]}"


def _bridges(site: Site, picture: Pictures, rules: Rules) -> Mapping[str, Bridge]:
    config = site.config.bridges
    made: dict[str, Bridge] = {}
    if config.gat1400 is not None:
        made[GAT1400] = ViewLibrary(Notifier(_library_settings(site, config.gat1400), rules), picture=picture)
    for robot in config.webhooks:
        made[_robot_name(robot)] = Robot(_robot_settings(robot), picture=picture)
    return made


def _library_settings(site: Site, library: Gat1400Config) -> Gat1400Settings:
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
        ca_file=None if library.ca_file is None else site.path.parent / library.ca_file,
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
