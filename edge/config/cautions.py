"""What in a site.yaml is allowed, runs, and is still better not left so: secrets in clear, doors that stand open.

Told by `edge check` and in the log at the start, never an error: sites that run with it must go on running.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from edge.config.document import Loc
from edge.config.loader import Site

_SECRET_KEYS = {"password", "secret", "secret_key", "token"}
_SECRET_QUERY = re.compile(r"[?&][^=]*(pass|pwd|token|secret|key|auth)[^=]*=[^&]", re.IGNORECASE)


def cautions_of(site: Site) -> list[str]:
    """One line each, beginning with file and line."""
    found = [*_in_clear(site.document.data, ()), *_open_doors(site)]
    return [str(site.fault(loc, words)) for loc, words in found]


def _in_clear(value: object, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _in_clear(child, (*loc, key))
    elif isinstance(value, tuple):
        for row, child in enumerate(value):
            yield from _in_clear(child, (*loc, row))
    elif isinstance(value, str) and value and "${" not in value:
        by_file = ", or name a password_file" if loc == ("mqtt", "password") else ""
        words = f"holds a secret in clear: whoever reads this file has it; put it into a variable, ${{NAME}}{by_file}"
        if (loc[-1:] and loc[-1] in _SECRET_KEYS) or (
            "://" in value and (_has_password(value) or _SECRET_QUERY.search(value))
        ):
            yield loc, words


def _has_password(url: str) -> bool:
    login, at, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    return bool(at) and bool(login.partition(":")[2])


def _open_doors(site: Site) -> Iterator[tuple[Loc, str]]:
    config = site.config
    if config.console is not None and not _is_loopback(config.console.listen.rpartition(":")[0]):
        words = "lets the network read the gateway's state without a password: keep it on 127.0.0.1, behind a proxy"
        yield ("console", "listen"), words
    mqtt = config.mqtt
    if mqtt is None or mqtt.embedded or mqtt.tls or _is_loopback(urlsplit(mqtt.url).hostname or ""):
        return
    if mqtt.username is not None:
        yield ("mqtt", "url"), "sends the user's name and password readable over the network: use mqtts://"
    if config.commands is not None and config.commands.key is None:
        words = "takes commands unsigned and without TLS: use mqtts:// and the broker's ACL, or set commands.key"
        yield ("mqtt", "url"), words


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
