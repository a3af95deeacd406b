"""Waiting times, one pause for all workers, and giving a server up."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from taistore.texts.llm.engines.retry import (
    LONGEST_WAIT,
    Clock,
    Gate,
    Health,
    RetryPolicy,
    Trial,
    retry_after,
)
from tests.faults.clock import QuickClock


def test_waiting_times_double_up_to_a_bound_and_vary() -> None:
    policy = RetryPolicy(first_wait=0.5)
    for attempt in range(12):
        longest = min(0.5 * 2**attempt, LONGEST_WAIT)
        waits = {policy.wait(attempt) for _ in range(20)}
        assert len(waits) > 1
        assert all(longest / 2 <= wait <= longest for wait in waits)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sunday, 22-Nov-26 12:00:30 GMT", 30.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        (None, None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=datetime(2026, 11, 22, 12, tzinfo=UTC)) == seconds


def test_a_pause_holds_everybody_and_the_longest_stands() -> None:
    clock = QuickClock()
    gate = Gate(clock=clock)
    gate.pause(20)
    gate.pause(1)
    assert gate.enter()
    assert 20 <= clock.now() <= 20.25
    assert gate.enter()
    assert clock.now() <= 20.25
    assert gate.sleep(3)
    assert clock.waits[-1] == 3


class _Announcing(Clock):
    """Says that somebody is about to wait."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waiting.set()
        return super().wait(event, seconds)


@pytest.mark.parametrize("wait", [Gate.enter, lambda gate: gate.sleep(600)])
def test_a_shut_gate_wakes_who_waits(wait: Callable[[Gate], bool]) -> None:
    clock, passed = _Announcing(), []
    gate = Gate(clock=clock)
    gate.pause(600)
    thread = threading.Thread(target=lambda: passed.append(wait(gate)))
    thread.start()
    assert clock.waiting.wait(30)
    gate.shut()
    thread.join(30)
    assert passed == [False]
    assert not wait(gate)


def test_any_answer_ends_a_row_of_failures() -> None:
    health = Health(connects=3, requests=2, limited=60)
    assert [health.not_connected() for _ in range(2)] == [False, False]
    assert not health.request_lost()
    health.answered()
    assert [health.not_connected() for _ in range(3)] == [False, False, True]
    assert [health.request_lost() for _ in range(2)] == [False, True]


def test_a_trial_ends_with_the_first_success() -> None:
    trial = Trial(requests=2)
    assert [trial.failed(reason) for reason in ("a", "b", "a", "b")] == [False, False, True, True]
    trial.passed()
    assert not trial.failed("a")


def test_rate_limits_are_given_up_by_time_and_by_number() -> None:
    clock = QuickClock()
    health = Health(connects=3, requests=2, limited=60, clock=clock)
    assert not health.rate_limited()
    assert not health.limit_lost()
    health.answered()
    assert [health.limit_lost() for _ in range(2)] == [False, True]
    health.answered()
    assert not health.rate_limited()
    clock.wait(threading.Event(), 59)
    assert not health.rate_limited()
    clock.wait(threading.Event(), 1)
    assert health.rate_limited()
    health.answered()
    assert not health.rate_limited()


def test_a_rate_limit_ends_a_row_of_silence() -> None:
    health = Health(connects=2, requests=2, limited=60)
    assert not health.not_connected()
    assert not health.rate_limited()
    assert not health.not_connected()
