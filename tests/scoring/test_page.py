"""The page: nothing on it can run that is not ours, and it shows what the file of tags says."""

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given
from PIL import Image

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.labels import Label, LabelSet
from taistore.scoring.page.html import inline_json, render, visible
from taistore.scoring.page.page_head import require_page
from taistore.scoring.page.write_page import write_page
from taistore.scoring.tags.tag_file import tag_writer
from taistore.store.store import Store
from tests.fakes import colour_image
from tests.scoring.colours import image_row

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\' & \u2028'


class Elements(html.parser.HTMLParser):
    """All elements with their attributes, and the text inside of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, []).append(data)

    def all(self, tag: str, name: str = "") -> list[dict[str, str | None]]:
        """Attributes of the elements of a kind and class."""
        return [
            attributes
            for kind, attributes in self.found
            if kind == tag and (not name or name in (attributes.get("class") or "").split())
        ]


def card(name: str, *tags: tuple[str, float], **changes: Any) -> dict[str, Any]:
    """A card without a photo; each tag's key is its name."""
    return {
        "name": name,
        "alt": name,
        "thumbnail": "",
        "width": 0,
        "height": 0,
        "whole": False,
        "problem": name,
        "link": name,
        "path": name,
        "missed": [],
        "positives": [],
        "tags": [
            {"key": n, "name": n, "score": f"{v:.2f}", "percent": f"{100 * v}", "right": None}
            for n, v in tags
        ],
    } | changes


def known(label: str) -> dict[str, Any]:
    """What is on a card of an image that is known to show a label, which it is not tagged with."""
    return {"missed": [label], "positives": [{"key": f"not {label}", "name": f"not {label}"}]}


def rendered(cards: Sequence[dict[str, Any]], **changes: Any) -> str:
    texts: dict[str, Any] = {"title": "T", "about": "A", "footer": "F", "left_out": ""} | changes
    return render(images=cards, **texts)


def write_tags(path: Path, rows: Sequence[tuple[Path | str, str, float]]) -> Path:
    """A file of tags of (photo, label, score); ranks follow the order of a photo's rows."""
    ranks: dict[str, int] = {}
    table = []
    for photo, label, score in rows:
        ranks[str(photo)] = ranks.get(str(photo), 0) + 1
        table.append(
            {
                "image_id": f"id of {photo}",
                "uri": str(photo),
                "rank": ranks[str(photo)],
                "label_key": label.upper(),
                "label_name": label,
                "score": score,
            }
        )
    with tag_writer(path, path.suffix) as writer:
        writer.write(pa.Table.from_pylist(table, schema=SCORES))
    return path


def test_no_user_string_becomes_an_element() -> None:
    plain = Elements(rendered([card("a", ("b", 0.5), **known("c"))], left_out="l", made_of="m"))
    evil = card(EVIL, (EVIL, 0.5), **known(EVIL))
    text = rendered([evil], title=EVIL, about=EVIL, footer=EVIL, left_out=EVIL, made_of=EVIL)
    found = Elements(text)
    assert [tag for tag, _ in found.found] == [tag for tag, _ in plain.found]
    assert [sorted(attributes) for _, attributes in found.found] == [
        sorted(attributes) for _, attributes in plain.found
    ]
    assert not [name for _, attributes in found.found for name in attributes if name[:2] == "on"]
    assert text.count("<script") == 2
    assert "\u2028" not in Elements(text).texts["script"][0]
    data = json.loads("".join(found.texts["script"]).split('"use strict"')[0])
    assert data["labels"] == [EVIL, f"not {EVIL}"]


@given(st.text())
def test_inline_json_cannot_leave_its_element(text: str) -> None:
    written = str(inline_json({text: text}))
    assert json.loads(written) == {text: text}
    assert not re.search("[<>&\u2028\u2029]", written)


def test_the_policy_allows_exactly_our_style_and_script() -> None:
    text = rendered([card("a", ("b", 0.5))])
    (policy,) = [
        str(m["content"])
        for m in Elements(text).all("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert style is not None
    assert script is not None
    for kind, content in (("style", style[1]), ("script", script[1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data: file: 'self';")
    assert "unsafe" not in policy
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = rendered([card("a", ("b", 0.5), thumbnail="AAAA")])
    assert not re.findall(r"https?:|//[a-z]|@import|url\(", text)
    sources = [
        value
        for _, attributes in Elements(text).found
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action")
    ]
    assert sources
    assert all(str(value).startswith(("data:", "#")) for value in sources)


def test_every_photo_comes_upright_and_small_with_its_tags(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    colour_image("red", "green", size=(900, 600)).save(tmp_path / "a.jpg", exif=exif)
    colour_image("blue", size=(600, 600)).save(tmp_path / "b.png")
    tags = write_tags(
        tmp_path / "tags.parquet",
        [
            (tmp_path / "a.jpg", "red", 0.9),
            (tmp_path / "a.jpg", "green", 0.4),
            (tmp_path / "b.png", "blue", 1.0),
        ],
    )
    page = tmp_path / "out" / "page.html"
    summary = write_page(tags, page, thumbnail_pixels=90)
    assert (summary.images, summary.left_out, summary.without_preview) == (2, 0, 0)
    found = Elements(page.read_text(encoding="utf-8"))
    first, second, _large = found.all("img")
    assert (first["width"], first["height"]) == ("60", "90")
    assert first["alt"] == "Photo tagged red, green"
    image = Image.open(io.BytesIO(base64.b64decode(str(first["src"]).split(",")[1])))
    assert image.format == "JPEG"
    assert image.size == (60, 90)
    assert image.getpixel((30, 5)) != image.getpixel((30, 85))
    assert (first.get("class"), second.get("class")) == ("whole", None)
    assert [rect["width"] for rect in found.all("rect", "fill")] == ["90.0%", "40.0%", "100.0%"]
    assert [b["data-label"] for b in found.all("button", "tag")] == ["2", "1", "0"]
    assert str(tmp_path) not in page.read_text(encoding="utf-8")


def test_truth_is_shown_where_the_store_knows_it(tmp_path: Path) -> None:
    labels = LabelSet(Label(name.upper(), name) for name in ("red", "green", "blue", "cyan"))
    store = Store.create(tmp_path / "store", labels, default_encoder="x")
    for n, name in enumerate(("known", "partial", "stranger")):
        colour_image("red").save(tmp_path / f"{name}.png")
        if name == "stranger":
            break
        row = image_row(n, ["red"], image_id=f"id of {tmp_path / name}.png", positives=[0, 3])
        row |= {"complete": name == "known", "negatives": [] if name == "known" else [1]}
        store.append("images", [row])
    tags = write_tags(
        tmp_path / "tags.csv",
        [
            (tmp_path / f"{name}.png", label, 0.5)
            for name in ("known", "partial", "stranger")
            for label in ("red", "green", "blue")
        ],
    )
    page = tmp_path / "page.html"
    write_page(tags, page, store=store)
    text = page.read_text(encoding="utf-8")
    found = Elements(text)
    classes = [str(button["class"]) for button in found.all("button", "tag")]
    assert classes == [
        *("tag right", "tag wrong", "tag wrong"),
        *("tag right", "tag wrong", "tag"),
        *("tag", "tag", "tag"),
    ]
    assert text.count("missed: <bdi>cyan</bdi>") == 2


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_long_file_is_cut_and_says_so(tmp_path: Path, suffix: str) -> None:
    rows = [(f"/gone/{n}.jpg", label, 0.5) for n in range(5) for label in ("a", "b")]
    tags = write_tags(tmp_path / f"tags{suffix}", rows)
    page = tmp_path / "page.html"
    summary = write_page(tags, page, max_images=3)
    assert (summary.images, summary.left_out, summary.without_preview) == (3, 2, 3)
    text = page.read_text(encoding="utf-8")
    assert f"The first 3 images are shown, 2 more are in the file tags{suffix}." in text
    assert "no such file" in text


@pytest.mark.parametrize(("least", "start"), [(None, "0.41"), (0.25, "0.25"), (0.816, "0.81")])
def test_the_slider_starts_at_the_cut_and_else_at_the_lowest_tag(
    tmp_path: Path, least: float | None, start: str
) -> None:
    tags = write_tags(tmp_path / "tags.csv", [("/p/a.jpg", "dog", 0.9), ("/p/b.jpg", "dog", 0.414)])
    write_page(tags, tmp_path / "page.html", least_score=least)
    inputs = Elements((tmp_path / "page.html").read_text(encoding="utf-8")).all("input")
    slider = next(one for one in inputs if one.get("id") == "least")
    assert slider["value"] == start
    assert slider["min"] == min(start, "0.41")


def test_an_empty_file_gives_a_page_that_says_so(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    summary = write_page(write_tags(tmp_path / "tags.csv", []), page)
    assert summary.images == 0
    assert "No tagged images." in page.read_text(encoding="utf-8")


def test_labels_that_share_a_name_are_told_apart() -> None:
    images = [card("a", ("organ", 0.5)), card("b", ("organ", 0.5))]
    images[1]["tags"][0]["key"] = "/m/2"
    data = json.loads("".join(Elements(rendered(images)).texts["script"]).split('"use strict"')[0])
    assert data["labels"] == ["organ (/m/2)", "organ (organ)"]


def test_characters_that_turn_text_around_are_not_shown() -> None:
    assert visible("a\u202eb\x00c\n") == "a b c "
    assert visible("日本 👩\u200d🚀") == "日本 👩\u200d🚀"


def test_a_page_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    tags, page = write_tags(tmp_path / "tags.csv", []), tmp_path / "mine.html"
    write_page(tags, page)
    write_page(tags, page)
    page.write_text("<p>mine</p>", encoding="utf-8")
    with pytest.raises(ScoringError, match=r"mine.html is there already and is no page of tags"):
        write_page(tags, page)
    assert page.read_text(encoding="utf-8") == "<p>mine</p>"


def test_pages_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    tags = write_tags(tmp_path / "tags.csv", [])
    with pytest.raises(ScoringError, match=r"tags.csv/page.html: cannot be written"):
        write_page(tags, tags / "page.html")
    with pytest.raises(ScoringError, match=r"no.csv: no such file of tags"):
        write_page(tmp_path / "no.csv", tmp_path / "page.html")


def test_places_for_a_page_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    tags = write_tags(tmp_path / "tags.csv", [])
    before = tags.read_bytes()
    for page, complaint in {
        "/": "/ is a directory: name a file for html=",
        str(tmp_path): "is a directory",
        f"{tmp_path}/deep/../tags.csv": "tags.csv is the file of tags: name another file",
        f"{tags}/deep/page.html": r"cannot be written \(Not a directory\)",
        f"{tmp_path}/{'x' * 300}": r"cannot be written \(File name too long\)",
    }.items():
        for refuse in (require_page, lambda page, tags: write_page(tags, page)):
            with pytest.raises(ScoringError, match=complaint) as caught:
                refuse(Path(page), tags)
            assert "\n" not in str(caught.value)
    require_page(tmp_path / "new" / "folder" / "page.html", tags)
    assert list(tmp_path.iterdir()) == [tags]
    assert tags.read_bytes() == before


@pytest.fixture(scope="module")
def browser() -> str:
    """A Chromium to look at pages with."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("needs chromium, which is not installed")


def seen(browser: str, page: Path, state: str) -> tuple[list[str], str]:
    """File names shown and the status line after opening the page with ``#state``."""
    dump = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={page.parent / 'profile'}", f"{page.as_uri()}#{state}"),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    shown = []
    for item in re.findall(r'<li class="card"[^>]*>.*?</figure>', dump, re.S):
        name = re.search(r"<figcaption[^>]*><bdi>(.*?)</bdi>", item)
        if name and " hidden" not in item.split(">")[0]:
            shown.append(name[1])
    status = re.search(r'id="shown"[^>]*>(.*?)<', dump)
    return shown, status[1] if status else ""


def test_search_and_label_filter_work_in_a_browser(browser: str, tmp_path: Path) -> None:
    tags = write_tags(
        tmp_path / "tags.csv",
        [
            ("/p/Beach.jpg", "dog", 0.5),
            ("/p/Beach.jpg", "sea", 0.4),
            ("/p/Beach.jpg", "park", 0.2),
            ("/p/park.jpg", "dog", 0.9),
            ("/p/café.jpg", "cup", 0.9),
            (f"/p/{EVIL.replace('/', '∕')}.jpg", EVIL, 0.9),
        ],
    )
    page = tmp_path / "page.html"
    write_page(tags, page, least_score=0.3)
    shown, status = seen(browser, page, "")
    assert (len(shown), status) == (4, "4 of 4 images")
    assert seen(browser, page, "q=caf%C3%A9") == (["café.jpg"], "1 of 4 images")
    assert seen(browser, page, "q=DOG%20beach")[0] == ["Beach.jpg"]
    assert seen(browser, page, "q=park")[0] == ["park.jpg"]
    # The surest image of a label comes first.
    assert seen(browser, page, "label=DOG")[0] == ["park.jpg", "Beach.jpg"]
    # Tags below the least score count for nothing.
    assert seen(browser, page, "from=0.6&label=DOG") == (["park.jpg"], "1 of 4 images")
    assert seen(browser, page, "label=DOG&label=SEA&q=nothing") == ([], "0 of 4 images")
