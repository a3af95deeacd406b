"""JSON over HTTP with bounds: on time in all, on the size of an answer, on where a key goes.

The standard library's sockets time out between two bytes, not over a whole answer, so a server
that trickles could hold a request for ever; here each read gets what is left of the request's
time. Redirects are never followed: the key must not travel to another host.
"""

import contextlib
import io
import json
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, cast

from taistore.texts.llm.engines.endpoint import Endpoint

MAX_BYTES = 1 << 20
"""A caption has a few hundred bytes; what is larger than this is not read to its end."""

CONNECT_SECONDS = 10.0
HIDDEN = "***"

SHORTEST_KEY = 8
"""Characters; what is shorter is a stand-in for local servers, and stands in many a word."""


class NoAnswerError(Exception):
    """The server gave no whole answer; ``reason`` is the code kept in ``rejects``."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class NotConnectedError(NoAnswerError):
    """Not even a connection came about."""


class TooLargeError(NoAnswerError):
    """The answer has more than :data:`MAX_BYTES`; asking again would bring it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes


class _TimedReader(io.RawIOBase):
    """What a connection reads through: every read gets the time that is left."""

    def __init__(self, timed: "_TimedSocket") -> None:
        self._timed = timed
        # SocketIO counts as a user of the socket: it stays open until the body has been read.
        self._source = timed.raw.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._timed.arm()
        return self._source.readinto(buffer)

    def close(self) -> None:
        self._source.close()
        super().close()


class _TimedSocket:
    """The part of a socket that ``http.client`` uses, with one deadline over many reads."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.deadline = 0.0

    def arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time of the request is over")
        self.raw.settimeout(left)

    def sendall(self, data: bytes) -> None:
        self.arm()
        self.raw.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self))

    def close(self) -> None:
        self.raw.close()


@dataclass(slots=True, eq=False)
class _Line:
    """One kept connection."""

    http: HTTPConnection
    socket: _TimedSocket

    @property
    def hung_up(self) -> bool:
        """Whether something lies there to read before anything was asked: the server's farewell."""
        poll = select.poll()
        poll.register(self.socket.raw, select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Wake a thread that waits on this connection."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown, which would take the TLS state from under the reader.
            socket.socket.shutdown(self.socket.raw, socket.SHUT_RDWR)


@dataclass(slots=True)
class _Pool:
    """Connections at rest and at work."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    idle: list[_Line] = field(default_factory=list)
    busy: list[_Line] = field(default_factory=list)
    closed: bool = False


class Transport:
    """Sends requests to one endpoint from many threads and keeps its connections open.

    ``seconds`` bounds a request in all, from connecting to the last byte.
    """

    def __init__(self, endpoint: Endpoint, *, seconds: float, key: str) -> None:
        self.endpoint = endpoint
        self._seconds = seconds
        self._key = key
        self._shown_key = _shown(key) if len(key) >= SHORTEST_KEY else None
        self._pool = _Pool()
        self._tls = ssl.create_default_context() if endpoint.secure else None

    def hide(self, text: str) -> str:
        """``text`` without the key."""
        return text if self._shown_key is None else self._shown_key.sub(HIDDEN, text)

    def send(self, method: str, path: str, content: object = None) -> Answer:
        """One request and its whole answer, the key blotted out wherever the server repeats it.

        Raises :class:`NotConnectedError`, :class:`TooLargeError` or :class:`NoAnswerError`.
        """
        deadline = time.monotonic() + self._seconds
        body = None if content is None else json.dumps(content).encode()
        line = self._take(deadline)
        try:
            answer, reusable = self._exchange(line, method, path, body)
        except TimeoutError as error:
            self._drop(line)
            raise NoAnswerError("timeout", f"no answer in {self._seconds:g} s") from error
        except (OSError, HTTPException, ValueError) as error:
            self._drop(line)
            detail = f"the connection was dropped ({type(error).__name__})"
            # Such errors quote what the server sent, and a traceback would show it.
            raise NoAnswerError("dropped", detail) from None
        except BaseException:
            self._drop(line)
            raise
        self._give_back(line, reusable=reusable)
        return answer

    def close(self) -> None:
        """Break off what is under way and close every connection, for good."""
        with self._pool.lock:
            self._pool.closed = True
            idle, self._pool.idle = self._pool.idle, []
            busy = list(self._pool.busy)
        for line in idle:
            line.http.close()
        for line in busy:
            line.abort()

    def _exchange(
        self, line: _Line, method: str, path: str, body: bytes | None
    ) -> tuple[Answer, bool]:
        headers = {"Accept": "application/json", "User-Agent": "taistore"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        line.http.request(method, self.endpoint.prefix + path, body=body, headers=headers)
        with line.http.getresponse() as response:
            if (response.length or 0) > MAX_BYTES:
                raise TooLargeError("too_large", f"an answer of {response.length:,} bytes")
            content = response.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise TooLargeError("too_large", f"an answer of more than {MAX_BYTES:,} bytes")
            if response.length:
                raise ConnectionResetError("fewer bytes than announced")
            answer = Answer(
                status=response.status,
                phrase=self.hide(response.reason),
                headers={name.lower(): self.hide(value) for name, value in response.getheaders()},
                body=self._hide_in(content),
            )
            return answer, not response.will_close

    def _hide_in(self, content: bytes) -> bytes:
        # Latin-1 takes any bytes there and back, and a key is ASCII.
        return self.hide(content.decode("latin-1")).encode("latin-1")

    def _take(self, deadline: float) -> _Line:
        with self._pool.lock:
            line = self._pool.idle.pop() if self._pool.idle else None
            if line is not None:
                self._pool.busy.append(line)
        if line is not None and line.hung_up:
            # A server may close a connection at rest at any time; that is no failure.
            self._drop(line)
            line = None
        if line is None:
            line = self._connect(deadline)
            with self._pool.lock:
                self._pool.busy.append(line)
                closed = self._pool.closed
            if closed:
                self._drop(line)
                raise NoAnswerError("dropped", "the engine was closed")
        line.socket.deadline = deadline
        return line

    def _connect(self, deadline: float) -> _Line:
        patience = min(CONNECT_SECONDS, deadline - time.monotonic())
        address = self.endpoint
        try:
            if patience <= 0:
                raise TimeoutError
            http: HTTPConnection
            if self._tls is None:
                http = HTTPConnection(address.host, address.port, timeout=patience)
            else:
                http = HTTPSConnection(
                    address.host, address.port, timeout=patience, context=self._tls
                )
            http.connect()
        except TimeoutError as error:
            raise NotConnectedError("unreachable", "connecting took too long") from error
        except (OSError, HTTPException, ValueError) as error:
            detail = getattr(error, "strerror", None) or type(error).__name__
            raise NotConnectedError("unreachable", str(detail)) from error
        timed = _TimedSocket(http.sock)
        http.sock = cast(socket.socket, timed)
        # A dropped connection must not be dialled again behind the deadline's back.
        http.auto_open = 0
        return _Line(http, timed)

    def _give_back(self, line: _Line, *, reusable: bool) -> None:
        with self._pool.lock:
            self._pool.busy.remove(line)
            keep = reusable and not self._pool.closed
            if keep:
                self._pool.idle.append(line)
        if not keep:
            line.http.close()

    def _drop(self, line: _Line) -> None:
        with self._pool.lock:
            self._pool.busy.remove(line)
        line.http.close()


def _shown(key: str) -> re.Pattern[str]:
    """Finds ``key`` as it is and as JSON may write it, in JSON within JSON too."""
    characters = (f"(?:{re.escape(c)}|(?i:u{ord(c):04x}))" for c in key)
    return re.compile("".join(rf"\\{{0,4}}{character}" for character in characters))
