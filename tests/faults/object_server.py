"""An S3-compatible server on loopback, and a proxy before it that fails by a seeded schedule."""

import http.client
import logging
import random
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import pytest

Fault = Literal["500", "503", "reset", "lost", "cut", "slow", "deaf"]
"""Errors of the server; a connection that breaks before the request is done, or after; a body that
ends early or comes in drops; a server that does not know conditional put."""

FAULTS: tuple[Fault, ...] = ("500", "503", "reset", "lost", "cut", "slow")

Schedule = Callable[[str, str], Fault | None]
"""From a method and a path to what goes wrong with the request."""

BUCKET = "bucket"
SECRET = "sk0123456789SECRETabcdef"
KEY_ID = "AKIATESTTESTTEST"
_PAUSE = 0.01


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a moto server with one empty bucket."""
    pytest.importorskip("obstore", reason="needs taistore[object-stores]")
    moto = pytest.importorskip(
        "moto.server", reason="needs moto[s3], flask and flask-cors (the S3 server of the tests)"
    )
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        make = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
        urllib.request.urlopen(make).close()
        yield address
    finally:
        server.stop()


def environment(address: str) -> dict[str, str]:
    """The variables that lead to a server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def everything(address: str) -> Mapping[str, bytes]:
    """Every object of the bucket."""
    from obstore import get, list
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=address,
        access_key_id=KEY_ID,
        secret_access_key=SECRET,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    paths = [row["path"] for rows in list(store) for row in rows]
    return {path: bytes(get(store, path).bytes()) for path in paths}


class Seeded:
    """Fails a share of the requests, the same ones for the same seed and order; ``most`` of them:
    then the server is well again."""

    def __init__(
        self, seed: int, *, share: float, most: int, faults: tuple[Fault, ...] = FAULTS
    ) -> None:
        self._most = most
        self._random = random.Random(seed)
        self._share = share
        self._faults = faults
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.requests = 0

    def __call__(self, method: str, path: str) -> Fault | None:
        """What goes wrong with this request."""
        with self._lock:
            self.requests += 1
            if self.done.total() >= self._most or self._random.random() >= self._share:
                return None
            fault = self._random.choice(self._faults)
            self.done[fault] += 1
            return fault


class FaultProxy:
    """A proxy before a server; ``schedule`` may be changed while it runs."""

    def __init__(self, target: str, schedule: Schedule) -> None:
        self.schedule = schedule
        host, port = target.removeprefix("http://").split(":")
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy.schedule(self.command, self.path)
                if fault in ("500", "503"):
                    return self._refuse(int(fault or 0))
                if fault == "reset":
                    return self._break()
                headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                if fault == "deaf":
                    headers = {k: v for k, v in headers.items() if k.lower() != "if-none-match"}
                upstream = http.client.HTTPConnection(host, int(port), timeout=30)
                try:
                    upstream.request(self.command, self.path, body, headers)
                    answer = upstream.getresponse()
                    content = answer.read()
                finally:
                    upstream.close()
                if fault == "lost":
                    return self._break()
                self.send_response_only(answer.status)
                skipped = {"connection", "transfer-encoding", "content-length"}
                for name, value in answer.getheaders():
                    if name.lower() not in skipped:
                        self.send_header(name, value)
                length = str(len(content))
                if self.command == "HEAD":
                    length = answer.getheader("Content-Length") or "0"
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self._send(content, fault)

            def _send(self, content: bytes, fault: Fault | None) -> None:
                if fault == "cut" and content:
                    self.wfile.write(content[: len(content) // 2])
                    return self._break()
                if fault == "slow" and content:
                    step = len(content) // 8 + 1
                    for start in range(0, len(content), step):
                        self.wfile.write(content[start : start + step])
                        self.wfile.flush()
                        threading.Event().wait(_PAUSE)
                    return None
                self.wfile.write(content)
                return None

            def _refuse(self, status: int) -> None:
                code = "SlowDown" if status == 503 else "InternalError"
                content = f"<Error><Code>{code}</Code><Message>later</Message></Error>".encode()
                self.send_response_only(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def _break(self) -> None:
                self.close_connection = True
                with suppress(OSError):
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that gave up is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
