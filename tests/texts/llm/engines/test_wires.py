"""One deadline over a whole request, and threads that wait are woken."""

import socket
import threading
from collections.abc import Iterator

import httpcore2
import pytest

from taistore.texts.llm.engines.wires import Wires


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def test_reads_share_one_deadline(listening: socket.socket) -> None:
    wires = Wires()
    with wires.timed(0.2):
        wire = wires.connect_tcp("127.0.0.1", port_of(listening))
        with pytest.raises(httpcore2.ReadTimeout):
            wire.read(1, timeout=60)
        # Nothing is left for a second one, whatever it is allowed.
        with pytest.raises(httpcore2.ReadTimeout, match="the time of the request is over"):
            wire.read(1, timeout=60)
    wire.close()


def test_aborting_wakes_who_waits(listening: socket.socket) -> None:
    wires = Wires()
    ended: list[bytes | Exception] = []
    reading = threading.Event()

    def wait() -> None:
        with wires.timed(60):
            wire = wires.connect_tcp("127.0.0.1", port_of(listening))
            reading.set()
            try:
                ended.append(wire.read(1))
            except httpcore2.NetworkError as error:
                ended.append(error)
            wire.close()

    thread = threading.Thread(target=wait)
    thread.start()
    assert reading.wait(30)
    wires.abort()
    thread.join(30)
    assert not thread.is_alive()
    assert len(ended) == 1


def test_a_connection_that_comes_about_after_the_end_is_of_no_use(
    listening: socket.socket,
) -> None:
    wires = Wires()
    wires.abort()
    with wires.timed(60):
        wire = wires.connect_tcp("127.0.0.1", port_of(listening))
        for use in (lambda: wire.read(1), lambda: wire.write(b"x")):
            with pytest.raises(httpcore2.ReadError):
                use()
    wire.close()
