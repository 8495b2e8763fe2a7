"""Stores to upload to, each on the loopback: nginx, Apache and SeaweedFS, and one that misbehaves on order."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.brokers import WAIT_S, free_port
from tests.conftest import missing, need_program

TOKEN = "token-of-the-gateway"
ACCESS_KEY, SECRET_KEY = "AKGATEWAY", "secret-of-the-gateway"


class WebServer:
    """A daemon with a folder of its own that it may write, whoever runs the tests."""

    takes_parts = False

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/evidence"
        self._folder = Path(tempfile.mkdtemp(prefix="store-"))  # not below pytest's, which is for its owner alone
        self._folder.chmod(0o755)
        self.root = self._folder / "root" / "evidence"
        self.root.mkdir(parents=True)
        (self._folder / "tmp").mkdir()
        self.own()
        self._process = subprocess.Popen(
            self._command(self._folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, self._process)

    def own(self) -> None:
        """The daemon steps down from root, and its folders with it."""
        if os.geteuid() == 0:
            for path in (self._folder, *self._folder.rglob("*")):
                shutil.chown(path, "www-data", "www-data")

    def config(self) -> dict[str, Any]:
        return {"url": self.url, "token": TOKEN}

    def holds(self, name: str) -> bytes | None:
        path = self.root / name
        return path.read_bytes() if path.exists() else None

    def partial_bytes(self, name: str) -> int:
        path = self.root / name
        return path.stat().st_size if path.exists() else 0

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)
        shutil.rmtree(self._folder)

    def _command(self, folder: Path) -> list[str]:
        raise NotImplementedError


class Nginx(WebServer):
    """The plain PUT of its dav module: whole files only, behind a token."""

    def _command(self, folder: Path) -> list[str]:
        program = need_program("nginx")
        config = folder / "nginx.conf"
        config.write_text(
            f"""
            daemon off; pid {folder}/pid; error_log {folder}/error; worker_processes 1;
            {"user www-data;" if os.geteuid() == 0 else ""}
            events {{}}
            http {{
              access_log off; client_body_temp_path {folder}/tmp; client_max_body_size 0;
              server {{
                listen 127.0.0.1:{self.port}; root {folder}/root;
                location / {{
                  if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
                  dav_methods PUT; create_full_put_path on;
                }}
              }}
            }}
            """
        )
        return [program, "-c", str(config), "-p", str(folder), "-e", str(folder / "error")]


class Apache(WebServer):
    """WebDAV: folders are made first, and parts of files are taken."""

    takes_parts = True

    def _command(self, folder: Path) -> list[str]:
        program = need_program("apache2")
        modules = ("mpm_event", "authz_core", "setenvif", "dav", "dav_fs")
        config = folder / "apache.conf"
        config.write_text(
            "\n".join(
                [
                    f'ServerRoot "{folder}"',
                    f"Listen 127.0.0.1:{self.port}",
                    "ServerName 127.0.0.1",
                    f"PidFile {folder}/pid",
                    f"ErrorLog {folder}/error",
                    *(["User www-data", "Group www-data"] if os.geteuid() == 0 else []),
                    *(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules),
                    f"DavLockDB {folder}/tmp/locks",
                    f"DocumentRoot {folder}/root",
                    f'SetEnvIf Authorization "^Bearer {TOKEN}$" known',
                    f"<Directory {folder}/root>",
                    "Dav On",
                    "Require env known",
                    "</Directory>",
                    "StartServers 1",
                ]
            )
        )
        return [program, "-DFOREGROUND", "-f", str(config)]


class SeaweedFs:
    """A store that speaks S3."""

    takes_parts = True

    def __init__(self) -> None:
        program = Path(sys.executable).parent / "weed"
        if not program.exists():
            missing("SeaweedFS is not installed: scripts/test does it, where there is a build for this machine")
        self._folder = Path(tempfile.mkdtemp(prefix="store-"))
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List"]
        identities = {"identities": [{"name": "gateway", "credentials": keys, "actions": actions}]}
        (self._folder / "keys.json").write_text(json.dumps(identities))
        names = ("master", "volume", "filer", "s3")
        ports = {f"-{name}.port{kind}": free_port() for name in names for kind in ("", ".grpc")}
        self.endpoint = f"http://127.0.0.1:{ports['-s3.port']}"
        self.bucket = "evidence"
        self._process = subprocess.Popen(
            [
                *(str(program), "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-filer", "-s3", f"-s3.config={self._folder}/keys.json", "-volume.max=8"),
                *("-master.volumeSizeLimitMB=64", "-volume.preStopSeconds=0", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"{name}={port}" for name, port in ports.items()),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )
        wait_for_port(ports["-s3.port"], self._process)

    def config(self) -> dict[str, Any]:
        url = f"s3://{self.bucket}/xiaohe/gw-01"
        return {"url": url, "endpoint": self.endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}

    def close(self) -> None:
        self._process.kill()
        self._process.wait(WAIT_S)
        shutil.rmtree(self._folder)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"{process.args} ended with {process.returncode}, or does not listen")


class OddStore:
    """Takes PUT, and does what it is told instead: `orders` are used up one a PUT, then it behaves.

    A number is answered as it is; `hang` answers never; `drop` hangs up in the middle of a body.
    """

    def __init__(self, *, certificate: tuple[Path, Path] | None = None) -> None:
        """`certificate`: its file and its key's, for TLS."""
        self.orders: list[int | str] = []
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, float]] = []  # method, path, monotonic time of the request
        self.read: list[tuple[float, int]] = []  # monotonic time and bytes of each piece of a body
        self._ending = threading.Event()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Not to our terminal."""

            def do_HEAD(self) -> None:
                store.asked.append(("HEAD", self.path, time.monotonic()))
                content = store.objects.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()

            def do_PUT(self) -> None:
                store.asked.append(("PUT", self.path, time.monotonic()))
                order = store.orders.pop(0) if store.orders else 201
                length = int(self.headers["Content-Length"])
                content = store._body(self.rfile, length // 2 if order == "drop" else length)
                if order == "hang":
                    store._ending.wait(WAIT_S)
                if not isinstance(order, int):
                    self.close_connection = True
                    return
                if order == 201 and len(content) == length:
                    store.objects[self.path] = content
                self.send_response(order)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_address[1]}/evidence"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _body(self, stream: Any, length: int) -> bytes:
        content = b""
        while len(content) < length and (piece := stream.read1(min(65536, length - len(content)))):
            self.read.append((time.monotonic(), len(piece)))
            content += piece
        return content

    def close(self) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
