"""What can be said of a source before a decoder sees it, in words that an installer understands.

Decoders answer "Invalid data found when processing input" to a folder, a text file and a half copied recording alike.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge.errors import CaptureError, redact

_HEAD_BYTES = 4096
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_BOX_LIMIT = 1000  # boxes at the top of one mp4; ordinary files have under ten


def is_url(source: str) -> bool:
    return "://" in source


def is_rtsp(source: str) -> bool:
    return source.lower().startswith(("rtsp://", "rtsps://"))


def is_http(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def is_device(source: str) -> bool:
    return source.startswith("/dev/")


def check_source(source: str) -> str:
    """What to hand to the decoder: the URL, or the file's absolute path. Raises CaptureError for an unusable file."""
    if is_url(source):
        return source
    path = Path(source)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise CaptureError(f"{source}: no such file; check the path") from None
    except OSError as error:
        raise CaptureError(
            f"{source}: cannot be reached ({error.strerror}); check the path and its folder's rights"
        ) from None
    if stat.S_ISDIR(status.st_mode):
        raise CaptureError(f"{source}: is a folder; name the clips in it one by one")
    if not stat.S_ISREG(status.st_mode):
        raise CaptureError(f"{source}: is not a file; name a recorded clip or a URL")
    if status.st_size == 0:
        raise CaptureError(f"{source}: is empty (0 bytes); copy it again from the recorder")
    if not os.access(path, os.R_OK):
        raise CaptureError(f"{source}: this user may not read it; change its rights (chmod +r)")
    # An absolute path, because FFmpeg takes `gate:2.mp4` for a protocol called "gate".
    return str(path.absolute())


def unreadable(source: str, reason: str) -> CaptureError:
    """The error for a source that no demuxer opens; `reason` is the decoder's own word for it."""
    if is_url(source):
        return CaptureError(
            f"{redact(source)}: cannot be opened ({redact(reason)}); check the address, the name and the password"
        )
    head = _head(source)
    if _is_text(head):
        return CaptureError(f"{source}: is a text file, not a video, whatever its name says; name a recorded clip")
    if head[4:8] in _MP4_BOXES and not _has_index(source):
        return CaptureError(
            f"{source}: has no index (moov), so the recording was cut off early; copy it again from the recorder"
        )
    if declares_length(source):
        return CaptureError(f"{source}: holds no picture that can be decoded here; export it as H.264 mp4")
    return CaptureError(
        f"{source}: is not a video in a known format, or its beginning is missing; "
        "copy it again, or export it as H.264 mp4"
    )


def no_picture(source: str) -> CaptureError:
    return CaptureError(f"{redact(source)}: has no picture, only sound or other data; name a clip with a video track")


def unknown_codec(source: str) -> CaptureError:
    return CaptureError(
        f"{redact(source)}: its pictures are coded in a way that cannot be decoded here; export it as H.264 mp4"
    )


def nothing_decodes(source: str) -> CaptureError:
    return CaptureError(f"{redact(source)}: not one of its pictures could be decoded; copy it again from the recorder")


def broke_off(source: str, reason: str) -> CaptureError:
    return CaptureError(
        f"{redact(source)}: reading broke off ({redact(reason)}); check the disk or the network, then start again"
    )


def ended_early(*, seen_s: float, declared_s: float) -> bool:
    """Whether a file ends before it said it would.

    Whole files fall short too: the last frame's own duration, frames that a decoder never gives back (2 of 750 in
    an MPEG-4 AVI), a track length rounded by the recorder. Over 19 whole clips from eight kinds of camera the worst is
    0.04 s. More than a second and more than 2 % is a file that was cut.
    """
    missing_s = declared_s - seen_s
    return missing_s > max(1.0, 0.02 * declared_s)


def declares_length(source: str) -> bool:
    """Whether the file's format says in its header how long it is: mp4, AVI, Matroska, FLV. Others are guessed at."""
    head = b"" if is_url(source) else _head(source)
    return head[4:8] in _MP4_BOXES or head[:4] in (b"RIFF", b"\x1a\x45\xdf\xa3") or head[:3] == b"FLV"


def _head(source: str) -> bytes:
    try:
        with open(source, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


def _is_text(head: bytes) -> bool:
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return bool(head) and control == 0


def _has_index(source: str) -> bool:
    """Whether an mp4 has a whole `moov` box at its top level (ISO/IEC 14496-12, 4.2)."""
    size = os.path.getsize(source)
    position = 0
    with open(source, "rb") as file:
        for _ in range(_BOX_LIMIT):
            file.seek(position)
            header = file.read(16)
            if len(header) < 8:
                return False
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if header[4:8] == b"moov":
                return position + length <= size
            if length < 8:  # 0: this box runs to the end of the file; else: not a box
                return False
            position += length
    return False
