"""Why a source does not open, found out step by step, in words that an installer understands.

Decoders answer "Invalid data" to a hung camera and "Input/output error" to a mistyped name. So after a failed opening
it is asked again by hand: address, name, connection, language, login, path, codec. Each step takes three seconds at
most; nothing here opens a stream, and no word holds a secret.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import stat
from urllib.parse import SplitResult, unquote, urlsplit

import av

from edge.capture import sources
from edge.capture.asking import STEP_S, Answer, Dialogue, Login, NotUnderstoodError
from edge.capture.look_up import LookUp, UnknownHostError
from edge.errors import CaptureError, redact

# Reason -> what is wrong and what to do; `{host}` is the address without name and password.
WORDS = {
    "bad-address": "is not a complete address; write it as rtsp://user:password@host/path",
    "unknown-host": "the name {host} is not known here; check its spelling, or write the number (10.0.0.8)",
    "refused": "{host} refuses the connection at this port; check the port, and that its stream is on",
    "unreachable": "there is no way to {host}; check the cable, the network and the address",
    "no-answer": "{host} does not answer; check that it has power and is not hung, and that no firewall is between",
    "not-rtsp": "what answers at {host} is not an RTSP server; check the port (usually 554)",
    "not-http": "what answers at {host} is not a web server; check the port (usually 80)",
    "not-encrypted": "what answers at {host} speaks no TLS; write rtsp:// or http:// without the s, or check the port",
    "password-missing": "{host} asks for a user name and a password; write rtsp://user:password@host/path",
    "wrong-password": "{host} does not accept the user name or the password; check both; "
    "tried again after 1 to 10 minutes, as some cameras lock, and at once when changed",
    "wrong-path": "{host} has no stream under this path; check what follows the host in the address",
    "no-video": "{host} offers no picture under this path, only sound or other data; check the path",
    "unsupported-codec": "{host} codes its pictures in a way that cannot be decoded here; set it to H.264 or H.265",
    "wrong-transport": "{host} does not send over this transport; set the other one of tcp and udp",
    "busy": "{host} has too many viewers; close some, or allow more in the camera",
    "camera-fault": "{host} reports a fault of its own; restart the camera",
    "other": "{host} answers, but its stream does not open; try it with another player",
    "missing": "there is no such device; check that the camera is plugged in",
    "no-rights": "this user may not use the device; add it to the group that owns it (usually video)",
    "in-use": "another program uses the device; end it",
    "not-a-camera": "is a device, but not a camera that gives pictures; try the next number",
    "unreadable-file": "",  # the file's own error says it all
}
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_DECODED = {"H264", "H265", "JPEG", "MP4V-ES", "MPV", "VP8", "VP9", "AV1", "MP2T", "RAW", "H263-1998", "H263-2000"}
_FIXED_VIDEO = {"26", "31", "32", "33", "34"}  # payload types that need no name: JPEG, H.261, MPEG, TS, H.263
_BY_STATUS = {
    401: "wrong-password",
    403: "wrong-password",
    404: "wrong-path",
    410: "wrong-path",
    453: "busy",
    461: "wrong-transport",
    503: "busy",
}


def find_reason(source: str, error: CaptureError) -> tuple[str, str]:
    """A short code and one line of words for a source that has just failed to open with `error`."""
    if isinstance(error, UnknownHostError):
        reason = "unknown-host"
    elif isinstance(error.__cause__, av.HTTPUnauthorizedError | av.HTTPForbiddenError):
        reason = _of_refusal(source, error.__cause__)  # not asked again: each wrong password counts towards a lock
    elif sources.is_device(source):
        reason = _ask_device(source)
    elif sources.is_rtsp(source) or sources.is_http(source):
        reason = _ask_address(source)
    elif sources.is_url(source):
        return "other", str(error)
    else:
        return "unreadable-file", str(error)
    return reason, f"{redact(source)}: {WORDS[reason].format(host=_host(source))}"


def _of_refusal(source: str, refusal: av.HTTPUnauthorizedError | av.HTTPForbiddenError) -> str:
    has_login = "@" in source.partition("://")[2]
    return "password-missing" if isinstance(refusal, av.HTTPUnauthorizedError) and not has_login else "wrong-password"


def _ask_address(source: str) -> str:
    try:
        url = urlsplit(source)
        host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    except ValueError:
        host = ""
    if not host:
        return "bad-address"
    if not LookUp().knows(host, limit_s=STEP_S):
        return "unknown-host"
    is_http = sources.is_http(source)
    try:
        return (_ask_http if is_http else _ask_rtsp)(url, host, port)
    except NotUnderstoodError:
        return "not-http" if is_http else "not-rtsp"
    except OSError as error:
        return _of_socket(error)


def _ask_rtsp(url: SplitResult, host: str, port: int) -> str:
    target = _without_login(url)
    login = _login(url)
    with Dialogue(host, port, protocol="RTSP/1.0", encrypted=url.scheme == "rtsps") as dialogue:
        dialogue.ask("OPTIONS", target)
        described = dialogue.ask("DESCRIBE", target, login=login, headers=("Accept: application/sdp",))
    if described.status != 200:
        return _of_status(described, login)
    return _of_description(described.body)


def _ask_http(url: SplitResult, host: str, port: int) -> str:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    login = _login(url)
    # A camera's own server may close after a refusal: the second question goes over a new connection.
    answer = _get(url, host, port, target=target, login=None)
    if answer.status == 401 and login is not None:
        answer = _get(url, host, port, target=target, login=login)
    return _of_status(answer, login) if answer.status != 200 else "other"


def _get(url: SplitResult, host: str, port: int, *, target: str, login: Login | None) -> Answer:
    with Dialogue(host, port, protocol="HTTP/1.1", encrypted=url.scheme == "https") as dialogue:
        return dialogue.ask("GET", target, login=login)


def _of_status(answer: Answer, login: Login | None) -> str:
    if answer.status == 401 and login is None:
        return "password-missing"
    return _BY_STATUS.get(answer.status, "camera-fault" if answer.status >= 500 else "other")


def _of_description(description: str) -> str:
    """What an SDP (RFC 8866) lacks, "other" where it offers pictures that can be decoded."""
    _, *media = re.split(r"^m=", description, flags=re.MULTILINE)
    pictures = [each for each in media if each.startswith("video")]
    if not pictures:
        return "no-video"
    names = {name.upper() for each in pictures for name in re.findall(r"^a=rtpmap:\d+ ([^/\s]+)", each, re.MULTILINE)}
    types = {kind for each in pictures for kind in each.split("\n")[0].split()[3:]}
    return "other" if names & _DECODED or types & _FIXED_VIDEO else "unsupported-codec"


def _of_socket(error: OSError) -> str:
    if isinstance(error, TimeoutError | ConnectionResetError):
        return "no-answer"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}:
        return "unreachable"
    return "not-encrypted" if isinstance(error, ssl.SSLError) else "other"


def _ask_device(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return "no-rights" if error.errno == errno.EACCES else "missing"
    if not stat.S_ISCHR(status.st_mode):
        return "not-a-camera"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        by_number = {errno.EACCES: "no-rights", errno.EPERM: "no-rights", errno.EBUSY: "in-use"}
        return by_number.get(error.errno or 0, "missing" if error.errno in {errno.ENODEV, errno.ENXIO} else "other")
    return "not-a-camera"


def _login(url: SplitResult) -> Login | None:
    return Login(unquote(url.username), unquote(url.password or "")) if url.username else None


def _without_login(url: SplitResult) -> str:
    """What is asked for, as FFmpeg asks for it: without name and password."""
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


def _host(source: str) -> str:
    """The host and port to be shown; "" where they cannot be told from a piece of a password."""
    return redact(source).partition("://")[2].rpartition("@")[2].partition("/")[0]
