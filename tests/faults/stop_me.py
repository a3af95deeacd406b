"""Run by test_signals.py in a process of its own: a command whose work waits at one place.

``python -m tests.faults.stop_me MODULE:ATTRIBUTE COMMAND ...``; every call of that function is a
step of :mod:`tests.killing`.
"""

import functools
import importlib
import os
import sys
from typing import Any

from taistore import plugins, stopping
from taistore_cli.main import main
from tests.fakes import ColourEncoder
from tests.killing import step


def add_encoder() -> None:
    """The tests' encoder, as another package would add it."""
    plugins.register("taistore.encoders", "colour", ColourEncoder)


def waiting(place: str) -> None:
    """Have every call of ``place`` wait for its step."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    function = getattr(owner, name)

    @functools.wraps(function)
    def stepping(*arguments: Any, **options: Any) -> Any:
        step()
        return function(*arguments, **options)

    setattr(owner, name, stepping)


if __name__ == "__main__":
    add_encoder()
    waiting(sys.argv[1])
    with stopping.woken_by(lambda: os.write(1, b"!")):
        main(sys.argv[2:], prog_name="taistore")
