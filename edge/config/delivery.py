"""What site.yaml says of the way out: the broker, and whoever else is told of alerts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from edge.config.fields import NOT_EMPTY, ONE_OR_MORE, Id, Secret, Strict, Text, distinct, located

EMBEDDED = "embedded"

File = Annotated[Text, Field(min_length=1)]  # its path, from the folder of site.yaml
CommandName = Literal["verify", "dismiss", "snapshot", "reload", "mode", "retrieve", "resend"]


def _broker_url(url: str) -> str:
    if url == EMBEDDED:
        return url
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"mqtt", "mqtts"} and bool(parts.hostname) and parts.port != 0
        extra = parts.path.strip("/") or parts.query or parts.fragment
    except ValueError:  # a port that is no number, a broken IPv6 address
        usable, extra = False, ""
    if not usable or extra:
        raise PydanticCustomError("broker_url", "must be mqtt://host:port, mqtts://host:port or embedded")
    if "@" in parts.netloc:
        raise PydanticCustomError("broker_url", "must not hold the user's name: use `username:` and `password:`")
    return url


def mqtt_shorthand(value: Any) -> Any:
    """`mqtt: embedded` stands for `mqtt: {url: embedded}`, `mqtt: none` for no broker."""
    return {EMBEDDED: {"url": EMBEDDED}, "none": None}.get(value, value) if isinstance(value, str) else value


class MqttConfig(Strict):
    """The broker. `url` is `embedded` for the one inside the gateway."""

    url: Annotated[Secret, AfterValidator(_broker_url)] = Field(repr=False)
    username: Secret | None = Field(default=None, repr=False)
    password: Secret | None = Field(default=None, repr=False)
    password_file: File | None = Field(default=None, description="Holds the password instead; nobody else may read it")
    ca_file: File | None = Field(
        default=None, description="PEM: the authorities that may have signed the broker's certificate, not the system's"
    )
    cert_file: File | None = Field(default=None, description="PEM: the gateway's certificate, for the broker to check")
    key_file: File | None = Field(default=None, description="PEM: its private key; nobody else may read it")
    health_s: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=60.0, description="How often the numbers of each camera's health are told; changes of state at once"
    )
    confirm: Literal["receipt", "puback"] = Field(
        default="receipt",
        description="Whose word that an alert has arrived is enough: the street brain's receipt, or the broker's "
        "PUBACK (for plain subscribers; by itself with `url: embedded`)",
    )
    redrive_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=60.0, description="An alert without a receipt is sent again after this, then twice as long each time"
    )
    redrive_max_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=3600.0, description="But no longer than this"
    )

    @model_validator(mode="before")
    @classmethod
    def _nobody_sends_receipts_inside(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("url") == EMBEDDED and "confirm" not in data:
            return {**data, "confirm": "puback"}
        return data

    @property
    def embedded(self) -> bool:
        return self.url == EMBEDDED

    @property
    def tls(self) -> bool:
        return self.url.startswith("mqtts:")

    @model_validator(mode="after")
    def _keys_fit(self) -> MqttConfig:
        faults: list[tuple[tuple[str | int, ...], PydanticCustomError]] = []
        for key in ("password", "password_file"):
            if getattr(self, key) is not None and self.username is None:
                fault = PydanticCustomError("password", "needs a `username:` beside it (MQTT 3.1.1 demands one)")
                faults.append(((key,), fault))
        if self.password is not None and self.password_file is not None:
            faults.append((("password_file",), PydanticCustomError("password", "stands beside `password:`; give one")))
        for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
            if getattr(self, key) is not None and getattr(self, other) is None:
                fault = PydanticCustomError("tls", "needs a `{other}:` beside it", {"other": other})
                faults.append(((key,), fault))
        for key in ("ca_file", "cert_file"):
            if getattr(self, key) is not None and not self.tls:
                faults.append(((key,), PydanticCustomError("tls", "is for TLS: begin the `url:` with mqtts://")))
        if faults:
            raise located("mqtt", faults)
        return self

    @model_validator(mode="after")
    def _pauses_grow(self) -> MqttConfig:
        if self.redrive_max_s < self.redrive_s:
            fault = PydanticCustomError("redrive", "must not be below redrive_s")
            raise located("mqtt", [(("redrive_max_s",), fault)])
        return self


class OutboxConfig(Strict):
    """How much may wait while the broker or the brain is away.

    An alert takes some 2.5 kB (a picture inside it comes on top). 64 cameras with 20 cases a day each make 77,000
    openings and ends in a month, so the defaults keep those of two months; only updates are merged before.
    """

    alerts_max: Annotated[int, Field(ge=100, le=10_000_000)] = Field(
        default=200_000, description="Beyond, old updates are merged into later alerts, at last the oldest are given up"
    )
    mb_max: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1000, description="The same for the space that they take, in millions of bytes"
    )


def _http_url(url: str) -> str:
    """The reason never repeats it: a robot's address is its password."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.fragment:
        raise PydanticCustomError("http_url", "must be https://host or http://host, with port and path as given")
    if "@" in parts.netloc:
        raise PydanticCustomError("http_url", "must not hold the user's name: use `username:` and `password:`")
    return url


def _robot_url(url: str) -> str:
    url = _http_url(url)
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise PydanticCustomError("robot_url", "must be https: the address of a robot is its password")
    return url


States = Annotated[
    tuple[Literal["opened", "updated", "cleared", "withdrawn"], ...],
    Field(max_length=4, json_schema_extra=ONE_OR_MORE),
    NOT_EMPTY,
    AfterValidator(distinct),
]


class WebhookConfig(Strict):
    """A group robot of WeCom (企业微信) or DingTalk (钉钉)."""

    kind: Literal["wecom", "dingtalk"]
    url: Annotated[Secret, AfterValidator(_robot_url)] = Field(
        repr=False, description="The robot's address, which is a secret: keep it in a variable"
    )
    secret: Secret | None = Field(default=None, repr=False, description="Of a DingTalk robot with 加签")
    keyword: Text = Field(default="", description="A word that the robot asks for in each message")
    states: States = Field(default=("opened", "cleared"), description="Which alerts are told")
    pictures: bool = Field(default=True, description="A picture after each text; WeCom only")
    per_minute: Annotated[int, Field(ge=1, le=20)] = Field(
        default=20, description="Messages, pictures included; what is more is told in one. Both bar who speaks more"
    )

    @model_validator(mode="after")
    def _secret_is_dingtalks(self) -> WebhookConfig:
        if self.secret is not None and self.kind == "wecom":
            fault = PydanticCustomError("secret", "belongs to DingTalk; WeCom's is in its address")
            raise located("webhook", [(("secret",), fault)])
        return self


def _digits(count: int) -> Any:
    return Field(pattern=rf"^[0-9]{{{count}}}\z", json_schema_extra={"pattern": f"^[0-9]{{{count}}}$"})


DeviceId = Annotated[str, _digits(20)]


class Gat1400Config(Strict):
    """A view library (视图库) of GA/T 1400."""

    url: Annotated[Secret, AfterValidator(_http_url)] = Field(repr=False, description="http(s)://host:port")
    username: Secret = Field(repr=False)
    password: Secret = Field(repr=False)
    device_id: DeviceId = Field(description="The gateway's own code")
    cameras: dict[Id, DeviceId] = Field(
        min_length=1, max_length=256, description="The code of each camera that is told of; of others nothing is"
    )
    subscribe_id: Annotated[str, _digits(33)] = Field(description="The subscription that was agreed upon")
    title: Text = "City Eye"
    states: States = ("opened", "updated", "cleared", "withdrawn")
    pictures: bool = True
    keepalive_s: Annotated[float, Field(ge=5, le=3600)] = 60.0
    ca_file: File | None = Field(default=None, description="PEM: authorities to trust instead of the system's")


def _prefix(text: str) -> str:
    """An own one: what lies under cityeye/ is ours, and documented as such."""
    if text.partition("/")[0] == "cityeye":
        raise PydanticCustomError("prefix", "must not begin with cityeye, where the gateway's own topics lie")
    return text


TopicPrefix = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*\z",
        max_length=200,
        json_schema_extra={"pattern": "^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$"},
    ),
    AfterValidator(_prefix),
]


class OnvifConfig(Strict):
    """Events in the form of ONVIF's event broker, over the connection of `mqtt:`."""

    prefix: TopicPrefix | None = Field(
        default=None,
        description="First levels of the topics, one's own in the whole broker; <site>-<gateway> if left out",
    )


class HomeAssistantConfig(Strict):
    """MQTT discovery for Home Assistant, over the connection of `mqtt:`."""

    prefix: TopicPrefix = Field(default="homeassistant", description="Home Assistant's discovery prefix")


class BridgesConfig(Strict):
    """Other systems that are told of alerts, each in its own form: docs/bridges.md."""

    onvif: OnvifConfig | None = None
    homeassistant: HomeAssistantConfig | None = None
    gat1400: Gat1400Config | None = None
    webhooks: tuple[WebhookConfig, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _robots_differ(self) -> BridgesConfig:
        told = [(robot.kind, robot.url) for robot in self.webhooks]
        again = PydanticCustomError("robot_url", "is that of another one in the list")
        faults = [(("webhooks", row, "url"), again) for row, one in enumerate(told) if one in told[:row]]
        if faults:
            raise located("bridges", faults)
        return self


_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _is_host(name: str | None) -> bool:
    """Whether it can be looked up at all: `a..b` cannot."""
    try:
        return name is None or bool(name.encode("idna"))
    except UnicodeError:
        return False


def _store_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        remote = parts.scheme in {"http", "https", "s3"} and bool(parts.hostname) and parts.port != 0
        folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        extra = parts.query or parts.fragment
    except ValueError:  # a port that is no number, a broken IPv6 address
        remote = folder = False
        extra = ""
    if not (remote or folder) or extra or not _is_host(parts.hostname):
        raise PydanticCustomError(
            "store_url", "must be https://host/path, s3://bucket/prefix or file:///folder, such as file:///mnt/evidence"
        )
    if "@" in parts.netloc:
        raise PydanticCustomError("store_url", "must not hold the user's name: use `token:`, or the keys of S3")
    return url


def _endpoint_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    except ValueError:
        usable, extra = False, ""
    if not usable or extra or not _is_host(parts.hostname):
        raise PydanticCustomError("endpoint_url", "must be https://host or https://host:port")
    return url


class UploadConfig(Strict):
    """Where evidence is brought to beside the gateway: the street brain, a store that speaks S3, or a folder."""

    url: Annotated[Secret, AfterValidator(_store_url)] = Field(
        repr=False, description="https://host/path (HTTP PUT), s3://bucket/prefix, or file:///folder"
    )
    endpoint: Annotated[Secret, AfterValidator(_endpoint_url)] | None = Field(
        default=None, repr=False, description="Of a store that speaks S3 and is not Amazon's: https://host:port"
    )
    region: Text = Field(default="us-east-1", min_length=1, description="Of the S3 store")
    access_key: Secret | None = Field(default=None, repr=False)
    secret_key: Secret | None = Field(default=None, repr=False)
    token: Secret | None = Field(default=None, repr=False, description="Bearer token of the HTTP server")
    ca_file: Text | None = Field(
        default=None, min_length=1, description="Certificates to trust instead of the system's, PEM"
    )
    rate_kbps: Annotated[float, Field(ge=0, le=10_000_000)] = Field(
        default=0.0, description="At most so many thousand bits a second; 0: as fast as it goes"
    )
    originals: bool = Field(
        default=False,
        description="Also what shows what masks or blurring hide: the untouched pictures and clips",
    )

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @model_validator(mode="after")
    def _keys_fit(self) -> UploadConfig:
        s3, http = self.scheme == "s3", self.scheme in {"http", "https"}
        needed = [("access_key", self.access_key), ("secret_key", self.secret_key)]
        faults = []
        if s3 and not all(key for _, key in needed):
            faults.append((("url",), PydanticCustomError("keys", "needs `access_key:` and `secret_key:` beside it")))
        for name, value, fits in (
            *((name, key, s3) for name, key in needed),
            ("endpoint", self.endpoint, s3),
            ("token", self.token, http),
            ("ca_file", self.ca_file, s3 or http),
        ):
            if value is not None and not fits:
                faults.append(((name,), PydanticCustomError("keys", "has no use with such a `url:`")))
        if self.token and self.scheme == "http" and urlsplit(self.url).hostname not in _LOOPBACK:
            faults.append((("token",), PydanticCustomError("token", "would be read on the way: use https://")))
        if faults:
            raise located("upload", faults)
        return self


def commands_shorthand(value: Any) -> Any:
    """`commands: none` stands for a gateway that takes none."""
    return None if value == "none" else value


class CommandsConfig(Strict):
    """What the street brain may ask for over the broker."""

    allow: Annotated[tuple[CommandName, ...], NOT_EMPTY, AfterValidator(distinct)] = Field(
        default=get_args(CommandName), json_schema_extra=ONE_OR_MORE, description="The commands that are done"
    )
    key: File | None = Field(
        default=None,
        description="PEM: the Ed25519 public keys that sign commands. Without, the broker's ACL alone confines them",
    )
    stale_s: Annotated[float, Field(ge=10, le=86_400)] = Field(
        default=300.0, description="A command that was sent longer ago is refused"
    )
