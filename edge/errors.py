"""Every error that edge raises on purpose.

EdgeError                  exit status 1
 |- UsageError             the command line or a file named on it cannot be used: exit status 2
 |   |- ConfigError        site.yaml or a scenario file; carries file:line
 |   '- OutputError        the output folder holds foreign files or is not writable
 |- CaptureError           a source cannot be opened or broke off
 |- ModelError             a model file, its manifest or its outputs do not fit
 |- EvidenceError          evidence cannot be written or does not verify
 |- StateError             the database cannot be opened or written
 '- DeliveryError          the broker cannot be reached or refused us

A message is one line that says what, where and what to do. It never holds a password: see `redact`.
"""

from __future__ import annotations

import re

# To the next blank; a name and a password typed by hand may hold blanks too.
_URL = re.compile(r"([a-z][a-z0-9+.-]*://)((?:[^\s/?@]*:[^/?\n]*@)?\S*)", re.IGNORECASE)
_SECRET = re.compile(r"pass|pwd|pw=|token|secret|key=|auth", re.IGNORECASE)


def redact(text: str) -> str:
    """A text whose URLs show scheme, host and path, and no secret: for logs, errors and messages.

    Name and password before the host go (up to the last @: passwords hold slashes and @ signs), and so do the query and
    the path from where it speaks of a password, as those of many cameras do. Where the last @ may be a piece of such a
    password, what follows it may be the rest, and the host goes too.
    """
    return _URL.sub(lambda url: url[1] + _without_secrets(url[2]), text)


def _without_secrets(rest: str) -> str:
    before, at, place = rest.rpartition("@")
    if "?" in before or _SECRET.search(before.partition("/")[2]):
        return "***"
    place, asks, _ = place.partition("?")
    host, *path = place.split("/")
    spoken = next((row for row, part in enumerate(path) if _SECRET.search(part)), len(path))
    shown = [host if "=" not in host else "…", *path[:spoken], *("…" for _ in path[spoken : spoken + 1])]
    return f"{'***@' if at else ''}{'/'.join(shown)}{'?…' if asks else ''}"


class EdgeError(Exception):
    exit_status = 1


class UsageError(EdgeError):
    exit_status = 2


class ConfigError(UsageError):
    """A configuration that cannot be used; `str()` begins with file:line."""


class OutputError(UsageError):
    pass


class CaptureError(EdgeError):
    pass


class ModelError(EdgeError):
    pass


class EvidenceError(EdgeError):
    pass


class StateError(EdgeError):
    pass


class DeliveryError(EdgeError):
    pass


class OversizedError(DeliveryError):
    """The broker has said that it does not take so long a message; the connection stands."""
