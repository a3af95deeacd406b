"""Manifests, captions, cards and filters under fuzzing: a short form here, a minute each long."""

from pathlib import Path

import pytest

from tests.faults.fuzzing import EXAMPLES, TARGETS

LONG_SECONDS = 60.0


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_anything_is_taken_or_refused_in_a_line(tmp_path: Path, target: str) -> None:
    assert TARGETS[target](tmp_path, 0) >= EXAMPLES // 2


@pytest.mark.faults
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_minute_of_anything(tmp_path: Path, target: str) -> None:
    assert TARGETS[target](tmp_path, LONG_SECONDS) > EXAMPLES
