"""What site.yaml says of the way out: the broker, and whoever else is told of alerts."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from edge.config.fields import Secret, Strict, located

EMBEDDED = "embedded"


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
    health_s: Annotated[float, Field(ge=1, le=3600)] = Field(
        default=60.0, description="How often the numbers of each camera's health are told; changes of state at once"
    )

    @property
    def embedded(self) -> bool:
        return self.url == EMBEDDED

    @model_validator(mode="after")
    def _password_needs_a_user(self) -> MqttConfig:
        if self.password is not None and self.username is None:
            fault = PydanticCustomError("password", "needs a `username:` beside it (MQTT 3.1.1 demands one)")
            raise located("mqtt", [(("password",), fault)])
        return self
