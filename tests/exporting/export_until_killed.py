"""``python -m``: export a file of tags to XMP, telling of each write beforehand."""

import os
import sys
from typing import Any

import taistore
from taistore.exporting.sidecars import whole_files
from tests.killing import step


class _Told:
    """The calls of ``os`` that change a file, each with a step before it."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in ("open", "rename", "unlink"):
            return found

        def told(*args: Any, **options: Any) -> Any:
            step()
            return found(*args, **options)

        return told


if __name__ == "__main__":
    vars(whole_files)["os"] = _Told()
    taistore.export(sys.argv[1], to="xmp")
