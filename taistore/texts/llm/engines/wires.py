"""Connections of the HTTP client with one deadline over a whole request and an end to all waiting.

A timeout of httpcore begins anew with every read, so a server that trickles could hold a request
for ever; here each read and write gets what is left of the time of its thread's request. And a
thread that waits for an answer can be woken, which closing a socket under it does not do.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore2

CONNECT_SECONDS = 10.0


class _Request(threading.local):
    """The request of this thread; ``deadline`` on the monotonic clock while it is under way."""

    deadline: float | None = None


_request = _Request()


def _left() -> float:
    if _request.deadline is None:
        raise RuntimeError("a connection is used outside of a timed request")
    left = _request.deadline - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the time of the request is over")
    return left


def _not_ours(record: logging.LogRecord) -> bool:
    return _request.deadline is None


for _name in ("httpcore2.connection", "httpcore2.http11"):
    # At level DEBUG they write what a server sends, and some servers send the key back.
    logging.getLogger(_name).addFilter(_not_ours)


class Wires(httpcore2.NetworkBackend):
    """Opens the connections of one pool; they work inside :meth:`timed` only."""

    def __init__(self) -> None:
        self._tcp = httpcore2.SyncBackend()
        self._lock = threading.Lock()
        self._wires: weakref.WeakSet[_Wire] = weakref.WeakSet()
        self._aborted = False

    @contextlib.contextmanager
    def timed(self, seconds: float) -> Iterator[None]:
        """All that this thread connects, sends and reads inside has ``seconds`` together."""
        _request.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            _request.deadline = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Open a connection; ``timeout`` is not asked, the time that is left is."""
        patience = min(CONNECT_SECONDS, _left())
        wire = _Wire(self._tcp.connect_tcp(host, port, patience, local_address, socket_options))
        with self._lock:
            self._wires.add(wire)
            aborted = self._aborted
        if aborted:
            wire.abort()
        return wire

    def abort(self) -> None:
        """Wake all threads that wait on a connection; what they do next fails, for good."""
        with self._lock:
            self._aborted = True
            wires = list(self._wires)
        for wire in wires:
            wire.abort()


class _Wire(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._aborted = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._time())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._time())

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            patience = min(CONNECT_SECONDS, self._time())
            self._stream = self._stream.start_tls(ssl_context, server_hostname, patience)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def abort(self) -> None:
        # First, for whoever is about to wait: in a TLS handshake there is no socket to shut down.
        self._aborted = True
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown, which would take the TLS state from under the reader.
            socket.socket.shutdown(self.get_extra_info("socket"), socket.SHUT_RDWR)

    def _time(self) -> float:
        if self._aborted:
            raise httpcore2.ReadError("no more requests are sent")
        return _left()
