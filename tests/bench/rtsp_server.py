"""An RTSP server of many cameras that break on command: JSON lines in on stdin, answers and events out on stdout.

A program for the system's Python, which alone has `gi`; it imports nothing of the project but what stands beside it.
Every connection has a pipeline of its own, so that a client comes and vanishes without touching another:

    pusher thread: access units with true PTS -> appsrc -> payloader -> gst-rtsp-server -> client

It ends when its stdin closes or the thread that started it ends.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from feeds import Feed, Media, Mount, Pusher  # noqa: E402  # the versions must be chosen first
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402
from mutations import Corruption  # noqa: E402

ANYBODY = "anybody"
COMMANDS = {"add", "remove", "set", "drop", "switch", "corrupt", "clean", "stats"}
FLAGS = {"paused", "frozen", "hung"}
METHODS = {"basic": GstRtsp.RTSPAuthMethod.BASIC, "digest": GstRtsp.RTSPAuthMethod.DIGEST}
PR_SET_PDEATHSIG = 1
REQUESTS = ("options", "describe", "setup", "play", "get-parameter", "teardown")

_output = threading.Lock()


def say(**message: Any) -> None:
    with _output:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def die(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A mistake in any thread or callback is the end of the server: a test must not go on without it."""
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(text)
    sys.stderr.flush()
    say(event="failed", traceback=text)
    os._exit(1)


class Auth(GstRtspServer.RTSPAuth):
    """Asks for Basic, Digest or both, as each camera does."""

    def __init__(self) -> None:
        super().__init__()
        self.schemes: dict[str, list[str]] = {}  # by path
        self._one_at_a_time = threading.Lock()

    def do_generate_authenticate_header(self, context: GstRtspServer.RTSPContext) -> None:
        with self._one_at_a_time:
            for scheme in self.schemes.get(_camera_path(context), METHODS):
                self.set_supported_methods(METHODS[scheme])  # one only: Python cannot say both
                GstRtspServer.RTSPAuth.do_generate_authenticate_header(self, context)


class Server:
    """The cameras' address: mounts by path, clients by number."""

    def __init__(self, port: int) -> None:
        self._lock = threading.RLock()
        self._mounts: dict[str, Mount] = {}
        self._factories: dict[str, GstRtspServer.RTSPMediaFactory] = {}
        self._clients: dict[int, tuple[GstRtspServer.RTSPClient, str]] = {}
        self._passwords: dict[str, str] = {}  # by user
        self._numbers = itertools.count(1)
        self._pusher = Pusher()
        self._pusher.start()
        self._server = GstRtspServer.RTSPServer()
        self._server.set_address("127.0.0.1")
        self._server.set_service(str(port))
        # A thread for each client: one that is kept waiting keeps nobody else waiting.
        pool = GstRtspServer.RTSPThreadPool.new()
        pool.set_max_threads(-1)
        self._server.set_thread_pool(pool)
        self._auth = Auth()
        self._auth.set_default_token(_token(ANYBODY))
        self._server.set_auth(self._auth)
        self._server.connect("client-connected", self._on_client)
        GLib.timeout_add_seconds(2, self._clean_up)
        if not self._server.attach(None):
            raise OSError(f"port {port}: cannot listen")
        self.port = self._server.get_bound_port()

    def answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command. Errors: ValueError, LookupError, TypeError or OSError for what cannot be done."""
        if command not in COMMANDS:
            raise ValueError(f"unknown command {command}")
        return getattr(self, f"_{command}")(**arguments) or {}

    def _add(self, *, path: str, media: str, pace: float, user: str, password: str, schemes: list[str]) -> None:
        if path in self._mounts:
            raise ValueError(f"{path}: there is such a camera already")
        mount = Mount(path, Media.load(media), pace, time.monotonic_ns())
        mount.awake.set()
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(False)
        factory.set_launch(_launch(mount.media.codec))
        factory.set_permissions(self._permissions(user, password))
        self._auth.schemes[path] = schemes
        factory.connect("media-configure", self._on_media, path)
        with self._lock:
            self._mounts[path], self._factories[path] = mount, factory
        self._server.get_mount_points().add_factory(path, factory)

    def _permissions(self, user: str, password: str) -> GstRtspServer.RTSPPermissions:
        """Who may open a camera: anybody, or its user."""
        permissions = GstRtspServer.RTSPPermissions()
        # A stranger may look but not open: that is what the library answers with 401; a ban on looking gets a 404.
        _allow(permissions, ANYBODY, construct=not user)
        if user:
            if self._passwords.setdefault(user, password) != password:
                raise ValueError(f"{user} has another password already; Digest knows users by name alone")
            role = f"user{list(self._passwords).index(user)}"  # a role's name may hold few characters
            _allow(permissions, role, construct=True)
            self._auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), _token(role))
            self._auth.add_digest(user, password, _token(role))
        return permissions

    def _remove(self, path: str) -> None:
        self._server.get_mount_points().remove_factory(path)
        self._set(path, hung=False)
        self._drop(path)
        with self._lock:
            del self._mounts[path], self._factories[path]

    def _set(self, path: str, **flags: bool) -> None:
        mount = self._mounts[path]
        if set(flags) - FLAGS:
            raise ValueError(f"{path}: unknown flags {sorted(set(flags) - FLAGS)}")
        if "hung" in flags:
            mount.paused = flags["hung"]
            (mount.awake.clear if flags["hung"] else mount.awake.set)()
        mount.paused = flags.get("paused", mount.paused)
        if "frozen" in flags:
            mount.still = mount.media.unit(mount.keyframe_now()).data if flags["frozen"] else None

    def _drop(self, path: str) -> dict[str, Any]:
        with self._lock:
            path = self._mounts[path].path
            leaving = [client for client, wanted in self._clients.values() if wanted == path]
        for client in leaving:
            client.close()
        return {"dropped": len(leaving)}

    def _switch(self, path: str, media: str, drop: bool = True) -> None:
        """Other pictures, resolution or codec: for new connections, or without `drop` in the present ones too."""
        mount, coming = self._mounts[path], Media.load(media)
        if not drop and coming.codec != mount.media.codec:
            raise ValueError(f"{path}: another codec needs a new connection")
        self._factories[path].set_launch(_launch(coming.codec))
        mount.media, mount.begun_ns, mount.still = coming, time.monotonic_ns(), None
        if drop:
            self._drop(path)

    def _corrupt(self, path: str, seed: int, kinds: list[str], probability: float) -> None:
        self._mounts[path].corruption = Corruption(seed, tuple(kinds), probability)

    def _clean(self, path: str) -> None:
        self._mounts[path].corruption = None

    def _stats(self) -> dict[str, Any]:
        with self._lock:
            mounts = {path: mount.stats() for path, mount in self._mounts.items()}
            return {"mounts": mounts, "clients": len(self._clients)}

    def _on_client(self, _server: GstRtspServer.RTSPServer, client: GstRtspServer.RTSPClient) -> None:
        number = next(self._numbers)
        with self._lock:
            self._clients[number] = (client, "")
        client.connect("closed", self._on_closed, number)
        client.connect("play-request", self._on_play, number)
        for request in REQUESTS:
            client.connect(f"pre-{request}-request", self._on_request, number)

    def _on_request(
        self, _client: GstRtspServer.RTSPClient, context: GstRtspServer.RTSPContext, number: int
    ) -> GstRtsp.RTSPStatusCode:
        """Runs in the client's own thread before each answer."""
        path = _camera_path(context)
        with self._lock:
            mount = self._mounts.get(path)
            if number in self._clients:
                self._clients[number] = (self._clients[number][0], path)
        if mount is not None:
            mount.awake.wait()
        return GstRtsp.RTSPStatusCode.OK

    def _on_play(self, _client: GstRtspServer.RTSPClient, _context: GstRtspServer.RTSPContext, number: int) -> None:
        with self._lock:
            _, path = self._clients.get(number, (None, ""))
        say(event="connected", client=number, path=path)

    def _on_closed(self, _client: GstRtspServer.RTSPClient, number: int) -> None:
        with self._lock:
            _, path = self._clients.pop(number, (None, ""))
        say(event="disconnected", client=number, path=path)

    def _on_media(self, _factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia, path: str) -> None:
        with self._lock:
            mount = self._mounts.get(path)
            if mount is None:
                return
            feed = Feed(mount, media.get_element().get_child_by_name("source"))
            mount.feeds.add(feed)
            mount.connections += 1
        media.connect("unprepared", lambda _media: feed.close())
        self._pusher.add(feed)

    def _clean_up(self) -> bool:
        self._server.get_session_pool().cleanup()
        return True


def _launch(codec: str) -> str:
    # No parser in between: it would mend what a test has spoiled.
    return (
        "( appsrc name=source is-live=true format=time do-timestamp=false block=false max-bytes=0 "
        f"caps=video/x-{codec},stream-format=byte-stream,alignment=au "
        f"! rtp{codec}pay name=pay0 pt=96 config-interval=-1 )"
    )


def _camera_path(context: GstRtspServer.RTSPContext) -> str:
    return context.uri.abspath.split("/stream=")[0].rstrip("/")


def _token(role: str) -> GstRtspServer.RTSPToken:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", role)
    return token


def _allow(permissions: GstRtspServer.RTSPPermissions, role: str, *, construct: bool) -> None:
    permissions.add_role(role)
    permissions.add_permission_for_role(role, "media.factory.access", True)
    permissions.add_permission_for_role(role, "media.factory.construct", construct)


def _listen(server: Server) -> None:
    """Commands until stdin closes."""
    for line in sys.stdin:
        command = json.loads(line)
        number, name = command.pop("id"), command.pop("command")
        try:
            say(id=number, answer=server.answer(name, command))
        except (ValueError, LookupError, TypeError, OSError) as error:
            say(id=number, error=f"{name}: {type(error).__name__}: {error}")
    os._exit(0)  # at once: pipelines that still run would only be waited for


def main() -> None:
    parser = argparse.ArgumentParser(description="RTSP cameras for tests on the loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    sys.excepthook = die
    threading.excepthook = lambda failure: die(failure.exc_type, failure.exc_value, failure.exc_traceback)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a stopped process does not see its stdin close
    faulthandler.register(signal.SIGUSR1)  # a client that gets no answer asks what hangs
    Gst.init(None)
    server = Server(arguments.port)
    say(event="ready", port=server.port)
    threading.Thread(target=_listen, args=(server,), name="commands", daemon=True).start()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
