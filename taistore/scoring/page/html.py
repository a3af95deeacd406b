"""The HTML of a page of tags: everything that comes from users is escaped, nothing is loaded.

The content security policy allows the page's own style and script by their hashes and nothing
else, so that no label or file name could run even if it were not escaped.
"""

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

_JOINER = "\u200d"


def render(
    *,
    images: Sequence[dict[str, Any]],
    title: str,
    about: str,
    footer: str,
    left_out: str,
    least_score: float | None = None,
    made_of: str = "",
    origin: str = "",
) -> str:
    """The HTML of a page from its cards (see the template); escapes every string.

    ``made_of`` is the name of the file of tags.
    """
    folder = resources.files("taistore.scoring.page") / "templates"
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = (folder / "page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    labels = _label_list(images)
    place = {label["key"]: n for n, label in enumerate(labels)}
    for image in images:
        for tag in image["tags"]:
            tag["label"] = place[tag["key"]]
    scores = [float(tag["score"]) for image in images for tag in image["tags"]]
    least = _hundredths(min(scores, default=0.0) if least_score is None else least_score)
    data = {
        "labels": [label["name"] for label in labels],
        "keys": [label["key"] for label in labels],
        "images": [
            {
                "name": image["name"],
                "link": image["link"],
                "path": image["path"],
                "tags": [[tag["label"], float(tag["score"])] for tag in image["tags"]],
                "positives": [place[label["key"]] for label in image["positives"]],
            }
            for image in images
        ],
    }
    return template.render(
        title=title,
        origin=origin,
        about=about,
        footer=footer,
        left_out=left_out,
        made_of=made_of,
        least=f"{least:.2f}",
        lowest=f"{min([least, *scores]):.2f}",
        images=images,
        panel=[label for label in labels if label["count"]],
        bare=sum(not image["tags"] for image in images),
        data=inline_json(data),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def inline_json(value: Any) -> Markup:
    """JSON that may stand inside ``<script>``: no character there can end it or start a comment.

    >>> str(inline_json("</script>&"))
    '"\\\\u003c/script\\\\u003e\\\\u0026"'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _hundredths(score: float) -> float:
    """The step of the slider at or below a score: no tag from there on is hidden by rounding."""
    return math.floor(100 * score + 1e-6) / 100


def _label_list(images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All labels with the number of images that are tagged with them, most frequent first.

    Labels that are only known of images come last, with the number 0.
    """
    labels: dict[str, dict[str, Any]] = {}
    for image in images:
        for tag in image["tags"]:
            entry = {"key": tag["key"], "name": tag["name"], "count": 0}
            labels.setdefault(tag["key"], entry)["count"] += 1
        for label in image["positives"]:
            labels.setdefault(label["key"], {**label, "count": 0})
    names = Counter(label["name"] for label in labels.values())
    for label in labels.values():
        if names[label["name"]] > 1:
            label["name"] += f" ({visible(label['key'])})"
    return sorted(labels.values(), key=lambda label: (-label["count"], label["name"]))


def visible(text: str) -> str:
    """Text without characters that show nothing or turn what follows around.

    >>> visible("photo\\u202egpj.exe")
    'photo gpj.exe'
    """
    return "".join(c if c.isprintable() or c == _JOINER else " " for c in text)
