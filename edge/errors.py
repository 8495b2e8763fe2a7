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

_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<userinfo>[^/\s]*@)", re.IGNORECASE)


def redact(url: str) -> str:
    """The URL with its user name and password replaced: for logs, errors and messages."""
    return _USERINFO.sub(r"\g<scheme>***@", url)


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
