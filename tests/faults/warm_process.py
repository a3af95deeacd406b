"""A process that has loaded everything and forks a child for each order; children may be killed.

Orders are lines of JSON on standard input, answers lines of JSON on standard output. It works on no
store itself, so that no thread of Lance or torch is lost in a fork.
"""

import ctypes
import importlib
import json
import os
import select
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from tests.faults.crash_jobs import JOBS, make_given
from tests.faults.crash_state import state

LONGEST = 120.0
"""Seconds after which a child counts as hung."""


def _shim() -> ctypes.CDLL:
    shim = ctypes.CDLL(None)
    shim.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    shim.fault_arm.restype = None
    shim.fault_count.restype = ctypes.c_long
    shim.fault_killed.restype = ctypes.c_char_p
    return shim


def _work(order: dict[str, Any], shim: ctypes.CDLL) -> dict[str, Any]:
    here, given = Path(order["here"]), Path(order["given"])
    job = JOBS[order["job"]]
    if order["do"] == "prepare":
        make_given(given)
        job.prepare(here, given)
    elif order["do"] == "run":
        shim.fault_arm(os.fsencode(here), order["call"], order["after"])
        job.run(here, given)
        shim.fault_disarm()
    elif order["do"] == "again":
        job.again(here, given)
    return {"state": state(here)} if order["do"] in ("state", "again") else {}


def _child(order: dict[str, Any], shim: ctypes.CDLL, answers: int) -> None:
    quiet = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(quiet, fd)
    warnings.simplefilter("ignore")
    try:
        answer = _work(order, shim)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        answer = {"error": f"{type(error).__name__}: {error} ({place})"}
    with os.fdopen(answers, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os._exit(0)


def _answer(order: dict[str, Any], shim: ctypes.CDLL) -> dict[str, Any]:
    read, write = os.pipe()
    shim.fault_arm(b"/nowhere", 0, 0)
    shim.fault_disarm()
    child = os.fork()
    if not child:
        os.close(read)
        _child(order, shim, write)
    os.close(write)
    process = os.pidfd_open(child)
    with os.fdopen(read, encoding="utf-8") as file:
        hung = not select.select([file.fileno(), process], [], [], LONGEST)[0]
        if hung:
            os.kill(child, 9)
        text = file.read()
    os.close(process)
    _, status = os.waitpid(child, 0)
    found = json.loads(text) if text else {}
    if hung:
        found["error"] = f"no end after {LONGEST:.0f} s"
    killed = shim.fault_killed().decode()
    return {**found, "status": status, "calls": shim.fault_count(), "killed": killed}


def main() -> None:
    """Load the modules that are named, then serve orders until standard input ends."""
    warnings.simplefilter("ignore")
    for name in sys.argv[1:]:
        importlib.import_module(name)
    shim = _shim()
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), shim)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
