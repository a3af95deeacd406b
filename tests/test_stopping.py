"""Signals: held while a batch is under way, and left to Python where nobody asked for more."""

import signal
import threading
from collections.abc import Iterator
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from taistore.progress import no_progress, stoppable
from taistore.stopping import (
    SIGNALS,
    StopRequested,
    check,
    held,
    stop_on_signals,
    stop_requested,
    woken_by,
)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    # A shell starts background jobs with SIGINT ignored: the tests say what Python does else.
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_signal_stops_at_once_where_nothing_is_under_way(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    with pytest.raises(StopRequested, match=f"by {number.name}") as caught, stop_on_signals():
        signal.raise_signal(number)
    assert caught.value.number == number
    assert {each: signal.getsignal(each) for each in SIGNALS} == before
    assert not stop_requested()


def test_a_batch_under_way_is_finished() -> None:
    done = []

    def job() -> None:
        with stoppable(no_progress)("Images", total=3, unit="image") as bar:
            for batch in range(3):
                if batch == 1:
                    signal.raise_signal(SIGTERM)
                done.append(batch)
                bar.advance()

    with pytest.raises(StopRequested) as caught, stop_on_signals():
        job()
    assert done == [0, 1]
    assert caught.value.done == "2 of 3 images"


def test_the_outermost_hold_lets_it_through() -> None:
    done = []

    def job() -> None:
        with held():
            with held():
                signal.raise_signal(SIGHUP)
            done.append("after the inner")
        done.append("after the outer")

    with stop_on_signals(), pytest.raises(StopRequested):
        job()
    assert done == ["after the inner"]


def test_an_error_is_not_hidden_by_a_signal() -> None:
    def job() -> None:
        with held():
            signal.raise_signal(SIGTERM)
            raise ValueError("mine")

    with stop_on_signals(), pytest.raises(ValueError, match="mine"):
        job()


def test_the_second_is_left_to_the_system() -> None:
    found: set[object] = set()

    def job() -> None:
        with held():
            signal.raise_signal(SIGTERM)
            found.update(signal.getsignal(each) for each in SIGNALS)

    with stop_on_signals(), pytest.raises(StopRequested):
        job()
    assert found == {signal.SIG_DFL}


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(SIGHUP, signal.SIG_IGN)
    with stop_on_signals():
        signal.raise_signal(SIGHUP)
        assert signal.getsignal(SIGHUP) is signal.SIG_IGN


def test_without_it_ctrl_c_is_a_keyboard_interrupt() -> None:
    shown = stoppable(no_progress)("Images", total=1, unit="image")
    with pytest.raises(KeyboardInterrupt), shown:
        signal.raise_signal(SIGINT)
    check()


def test_in_another_thread_nothing_changes() -> None:
    seen = []

    def work() -> None:
        with stop_on_signals():
            seen.append(signal.getsignal(SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_who_waits_is_woken() -> None:
    woken = threading.Event()
    with stop_on_signals(), pytest.raises(StopRequested), held(), woken_by(woken.set):
        signal.raise_signal(SIGTERM)
    assert woken.is_set()
