"""From `upload:` to what brings evidence to its store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge.config.delivery import UploadConfig
from edge.delivery.upload import AlertsFirst, Target, Uploader
from edge.delivery.upload_folder import FolderTarget
from edge.delivery.upload_http import PutTarget
from edge.delivery.upload_s3 import S3Keys, S3Target
from edge.state.database import Database
from edge.state.relays import Relays
from edge.state.retrievals import Retrievals


def uploader_for(
    config: UploadConfig,
    database: Database,
    *,
    root: Path,
    connected: Callable[[], bool],
    ca_file: Path | None = None,
    poll_s: float = 1.0,
) -> Uploader:
    """`root` is the state folder. While the broker is `connected`, evidence lets every alert go first. `ca_file`: where
    that of the configuration lies."""

    return Uploader(
        Relays(database),
        Retrievals(database),
        target_of(config, ca_file=ca_file),
        root=root,
        way_is_clear=AlertsFirst(database.unsent_numbers, connected).is_clear,
        originals=config.originals,
        rate_kbps=config.rate_kbps,
        poll_s=poll_s,
    )


def target_of(config: UploadConfig, *, ca_file: Path | None = None) -> Target:
    """Touches neither the network nor the disk: what is wrong there is told by the first try."""
    authorities = None if ca_file is None else str(ca_file)
    parts = urlsplit(config.url)
    if config.scheme == "file":
        return FolderTarget(Path(unquote(parts.path)), address=config.url)
    if config.scheme == "s3":
        assert config.access_key is not None
        assert config.secret_key is not None
        return S3Target(
            config.endpoint or f"https://s3.{config.region}.amazonaws.com",
            bucket=parts.netloc,
            prefix=unquote(parts.path),
            keys=S3Keys(config.access_key, config.secret_key, config.region),
            ca_file=authorities,
        )
    return PutTarget(config.url, token=config.token, ca_file=authorities)
