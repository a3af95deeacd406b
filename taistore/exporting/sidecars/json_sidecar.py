"""The bytes of a JSON sidecar, ``photo.jpg.json``: our tags by run. Others' JSON is left alone."""

import json
from collections.abc import Sequence
from typing import Any

from taistore.exporting.set_aside import SetAsideError
from taistore.exporting.tagged_photos import PhotoTag

FORMAT = "taistore-tags/1"
MAX_BYTES = 2**23


def with_json_tags(
    data: bytes | None, tags: Sequence[PhotoTag], *, run: str, image: str, image_id: str
) -> bytes | None:
    """A sidecar (None: there is none) once ``tags`` are all that ``run`` gives; None: no file.

    Raises :class:`SetAsideError` on JSON that is not ours, such as that of Google Takeout.
    """
    new: dict[str, Any] = {"format": FORMAT, "image": image, "image_id": image_id, "runs": {}}
    told = new if data is None else _read(data)
    runs = {name: held for name, held in told["runs"].items() if name != run}
    if tags:
        given = told["runs"].get(run)
        wanted = [_told(tag) for tag in tags]
        if given == wanted:
            return data
        runs[run] = wanted
    elif run not in told["runs"]:
        return data
    if not runs and told.keys() <= {"format", "image", "image_id", "runs"}:
        return None
    text = json.dumps({**told, "runs": runs}, ensure_ascii=False, indent=1)
    # File names that are no UTF-8 hold lone surrogates, which have an escape in JSON only.
    return (_escaped(text) + "\n").encode()


def without_json_run(data: bytes, *, run: str) -> bytes | None:
    """A sidecar without the tags of ``run``; None where it held no others."""
    return with_json_tags(data, (), run=run, image="", image_id="")


def _told(tag: PhotoTag) -> dict[str, Any]:
    return {"label": tag.key, "name": tag.name, "score": round(tag.score, 4), "rank": tag.rank}


def _read(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise SetAsideError("is no readable JSON") from None
    ours = isinstance(told, dict) and told.get("format") == FORMAT
    if not ours or not isinstance(told.get("runs"), dict):
        raise SetAsideError("is not of taistore")
    return dict(told)


def _escaped(text: str) -> str:
    if text.isascii():
        return text
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)
