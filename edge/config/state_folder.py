"""Where the gateway keeps its state, and where a running one keeps it: one order for `edge run` and `edge status`.

    --state  >  state_dir: of site.yaml  >  $STATE_DIRECTORY  >  $XDG_STATE_HOME/city-eye-edge  >  ~/.local/state/...

Nothing is made or checked here, and no password is needed: of the configuration only `state_dir:` is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.config.document import read_document
from edge.errors import ConfigError, UsageError

NAME = "city-eye-edge"
SERVICE_STATE = Path("/var/lib") / NAME  # what systemd makes of `StateDirectory=city-eye-edge`
SOCKET_NAME = "status.sock"


def state_folder(*, named: Path | None, config: Path | None, environ: Mapping[str, str]) -> Path:
    """The absolute folder to run in.

    A relative `state_dir:` starts from the configuration's folder, a relative `--state` from the working folder.
    Raises ConfigError for a configuration that cannot be read, UsageError without any folder to fall back to.
    """
    return _told(named, config, environ) or _own(environ)


def running_state_folder(
    *, named: Path | None, config: Path | None, environ: Mapping[str, str], service: Path = SERVICE_STATE
) -> Path:
    """The folder to ask in. Where none is told and the user's own has no gateway, that of the installed service."""
    if told := _told(named, config, environ):
        return told
    own = _own(environ)
    return service if _has_socket(service, hidden=True) and not _has_socket(own, hidden=False) else own


def _told(named: Path | None, config: Path | None, environ: Mapping[str, str]) -> Path | None:
    if named is not None:
        return named.absolute()
    if config is not None and (configured := _configured(config)):
        return (config.parent / configured).absolute()
    # systemd gives all folders of StateDirectory=, the first is ours.
    by_systemd = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(by_systemd).absolute() if by_systemd else None


def _configured(config: Path) -> str:
    document = read_document(config)
    value = document.data.get("state_dir") if isinstance(document.data, dict) else None
    if isinstance(value, str) and "${" in value:
        line = document.line(("state_dir",))
        raise ConfigError(f"{config}:{line}: state_dir: cannot hold a variable; `edge status` has to find it without")
    return value if isinstance(value, str) else ""


def _own(environ: Mapping[str, str]) -> Path:
    given = environ.get("XDG_STATE_HOME", "")
    if given.startswith("/"):  # the standard says to ignore others
        return Path(given) / NAME
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise UsageError("no state folder: HOME is not set; name one with --state DIR or `state_dir:`")
    return Path(home) / ".local" / "state" / NAME


def _has_socket(folder: Path, *, hidden: bool) -> bool:
    """`hidden`: the answer where we may not look. Who then asks the service is told about the rights."""
    try:
        return (folder / SOCKET_NAME).exists()
    except PermissionError:
        return hidden
