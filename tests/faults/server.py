"""A chat server on loopback that answers well or badly, over real sockets.

As a program it echoes, for benchmarks: ``python -m tests.faults.server --latency 0.1`` prints its
base URL and runs until its standard input ends.
"""

import argparse
import hashlib
import json
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]
MODEL = "echo-1"
WORDS = re.findall(
    r"\w+",
    "bright dark warm cold quiet busy narrow wide old new soft sharp near far low high round "
    "square empty full clean dusty early late still windy plain fancy light heavy smooth rough",
)


class Exchange:
    """One request and the means to answer it well or badly; ``number`` counts from 0."""

    def __init__(self, handler: "_Handler", number: int, body: Json) -> None:
        self._handler = handler
        self.number = number
        self.body = body

    @property
    def prompt(self) -> str:
        """The last message, or what an image is wanted of."""
        if "prompt" in self.body:
            return str(self.body["prompt"])
        return str(self.body["messages"][-1]["content"])

    @property
    def host(self) -> str:
        """Whom the client asked: host and port."""
        return str(self._handler.headers["Host"])

    def wait(self, seconds: float) -> None:
        """Let time pass, unless the server closes."""
        self._handler.faults.closing.wait(seconds)

    def send(
        self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with ``body``."""
        self.start(len(body), status=status, headers=headers)
        self.write(body)

    def start(
        self, length: int, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the head of an answer that announces ``length`` bytes."""
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", "application/json")
        self._handler.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def write(self, body: bytes) -> None:
        """Send bytes as they are."""
        self._handler.wfile.write(body)

    def drop(self) -> None:
        """Cut the connection."""
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)

    def die(self) -> None:
        """Cut every connection and take no new ones."""
        self._handler.faults.die()


Behaviour = Callable[[Exchange], None]


def completion(text: str | None, **message: object) -> bytes:
    """The body of a good answer; a finish reason may be given as ``finish_reason``."""
    finish = message.pop("finish_reason", "stop")
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
    }
    return json.dumps({"object": "chat.completion", "model": MODEL, "choices": [choice]}).encode()


def caption(body: Json) -> str:
    """A caption that follows from the request alone: its last words, and others by its hash."""
    said = " ".join(str(body["messages"][-1]["content"]).split()[-12:])
    number = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    return f"Photo of {said}, {', '.join(WORDS[byte % len(WORDS)] for byte in number[:4])}"


def echo(latency: float = 0.0, *, answer: Callable[[Json], str] = caption) -> Behaviour:
    """A good server: ``answer(request)`` after ``latency`` seconds."""

    def behave(exchange: Exchange) -> None:
        if latency:
            exchange.wait(latency)
        exchange.send(completion(answer(exchange.body)))

    return behave


def raw(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Behaviour:
    """Always the same answer: wrong shapes, truncated JSON, invalid UTF-8, refusals, redirects."""
    return lambda exchange: exchange.send(body, status=status, headers=headers)


def says(text: str) -> Behaviour:
    """Something that is no answer in HTTP, then the end."""

    def behave(exchange: Exchange) -> None:
        exchange.write(text.encode())
        exchange.drop()

    return behave


def failing(
    status: int, *, code: str = "", message: str = "no", headers: Mapping[str, str] | None = None
) -> Behaviour:
    """An error answer as such servers word it."""
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return raw(body, status=status, headers=headers)


def stall(exchange: Exchange) -> None:
    """Take the request and say nothing."""
    exchange.wait(60)
    exchange.drop()


def drop(exchange: Exchange) -> None:
    """Cut the connection before the first byte."""
    exchange.drop()


def drop_mid_body(exchange: Exchange) -> None:
    """Announce a whole answer and cut the connection in the middle of it."""
    body = completion("A dog on a sofa.")
    exchange.start(len(body))
    exchange.write(body[: len(body) // 2])
    exchange.drop()


def trickle(exchange: Exchange) -> None:
    """A byte now and then: never silent for long, never done."""
    exchange.start(10_000)
    for _ in range(2_000):
        exchange.write(b" ")
        exchange.wait(0.02)


def trickle_head(exchange: Exchange) -> None:
    """Never done with its headers."""
    exchange.write(b"HTTP/1.1 200 OK\r\nX-Wait: ")
    for _ in range(2_000):
        exchange.write(b"z")
        exchange.wait(0.02)


def first(times: int, bad: Behaviour, good: Behaviour) -> Behaviour:
    """``bad`` for the first ``times`` requests, then ``good``."""
    return lambda exchange: (bad if exchange.number < times else good)(exchange)


def poisoned(word: str, bad: Behaviour, good: Behaviour) -> Behaviour:
    """``bad`` for requests whose last message holds ``word``."""
    return lambda exchange: (bad if word in exchange.prompt else good)(exchange)


def dies_after(answers: int, good: Behaviour) -> Behaviour:
    """``good`` for some requests, then the server is gone."""
    return lambda exchange: good(exchange) if exchange.number < answers else exchange.die()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: "FaultServer"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        faults = self.faults
        faults.gets.append({"path": self.path, "headers": dict(self.headers)})
        behaviour = faults.files.get(self.path, faults.listing)
        try:
            behaviour(Exchange(self, -1, {}))
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        faults = self.faults
        with faults.lock:
            number = len(faults.requests)
            faults.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
            faults.at_once += 1
            faults.most_at_once = max(faults.most_at_once, faults.at_once)
            faults.lock.notify_all()
        try:
            faults.behaviour(Exchange(self, number, body))
        except OSError:
            self.close_connection = True
        finally:
            with faults.lock:
                faults.at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are the point of the tests."""


class FaultServer:
    """Runs ``behaviour`` for every ``POST`` while the context is open, and ``files`` by their path.

    ``requests`` and ``gets`` keep what came in, ``most_at_once`` how many were under way at the
    same time.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        listing: Behaviour | None = None,
        files: Mapping[str, Behaviour] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        models = json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode()
        self.behaviour = behaviour
        self.listing = listing or raw(models)
        self.files = files or {}
        self.requests: list[Json] = []
        self.gets: list[Json] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Condition()
        self.closing = threading.Event()
        self._server = _Server(type("_Handler", (_Handler,), {"faults": self}))
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def connections(self) -> int:
        """How many connections were opened."""
        return len(self._server.connections)

    def wait_for(self, requests: int) -> None:
        """Until so many requests have come in."""
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.requests) >= requests, timeout=60)

    def die(self) -> None:
        """Refuse new connections and cut the open ones."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.closing.set()
        self.die()
        self._thread.join()


def main() -> None:
    """Echo until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds before each answer")
    with FaultServer(echo(parser.parse_args().latency)) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
