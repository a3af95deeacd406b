"""What the page does in a browser: by keyboard, at two widths, with photos beside it."""

import csv
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest

from taistore.contracts import SCORES
from taistore.labels import Label, LabelSet
from taistore.scoring.page.write_page import write_page
from taistore.scoring.tags.tag_file import tag_writer
from taistore.scoring.tags.untagged import Untagged, UntaggedImage
from taistore.store.store import Store
from tests.fakes import colour_image
from tests.faults.hostile_names import names
from tests.scoring.browser import Browser
from tests.scoring.colours import image_row

SHOWN = "return [...document.querySelectorAll('.card figcaption')].map((name) => name.innerText)"
FOCUS = "return document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def written(folder: Path, rows: Sequence[tuple[str, str, float]], **options: Any) -> Path:
    """A page of (photo in the folder, label, score); the photos are red, 600 pixels wide."""
    ranks: dict[str, int] = {}
    table = []
    for name, label, score in rows:
        ranks[name] = ranks.get(name, 0) + 1
        photo = folder / name
        if not photo.exists():
            colour_image("red", size=(600, 400)).save(photo, "PNG")
        line = [f"id of {name}", str(photo), ranks[name], label.upper(), label, score]
        table.append(dict(zip(SCORES.names, line, strict=True)))
    with tag_writer(folder / "tags.csv", ".csv") as writer:
        writer.write(pa.Table.from_pylist(table, schema=SCORES))
    write_page(folder / "tags.csv", folder / "page.html", **options)
    return folder / "page.html"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Four photos with a cut at 0.3, and one in the middle that has no tag above it."""
    labels = LabelSet(Label(name.upper(), name) for name in ("dog", "sea", "cup"))
    store = Store.create(tmp_path / "store", labels, default_encoder="x")
    row = image_row(0, ["red"], image_id="id of a.png", positives=[0, 2])
    store.append("images", [row | {"complete": True, "negatives": []}])
    colour_image("blue", size=(400, 600)).save(tmp_path / "none.png")
    bare = UntaggedImage(1, "id of none.png", str(tmp_path / "none.png"))
    rows = [
        *(("a.png", "dog", 0.5), ("a.png", "sea", 0.4)),
        ("b b.png", "dog", 0.9),
        *(("sea.png", "cup", 0.9), ("sea.png", "dog", 0.31)),
        ("d.png", "sea", 0.8),
    ]
    options = {"store": store, "least_score": 0.3, "untagged": Untagged(1, (bare,))}
    return written(tmp_path, rows, **options)


def test_what_is_searched_puts_the_photos_in_order(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run(SHOWN) == ["a.png", "none.png", "b b.png", "sea.png", "d.png"]
    browser.press("/", *"dog")
    assert browser.run(SHOWN) == ["b b.png", "a.png", "sea.png"]
    assert browser.run("return document.getElementById('order').innerText") == "by the score of dog"
    browser.press("Escape", *"sea")
    # What has the word in its file name alone comes last.
    assert browser.run(SHOWN) == ["d.png", "a.png", "sea.png"]
    browser.open(page, state="label=SEA&label=DOG")
    assert browser.run(SHOWN) == ["a.png"]
    browser.click("#clear")
    assert browser.run(SHOWN) == ["a.png", "none.png", "b b.png", "sea.png", "d.png"]


@pytest.mark.parametrize("width", [360, 1440])
def test_a_long_path_shows_its_end_where_the_files_name_is(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    folders = "a folder of this name/" * 6
    (tmp_path / folders).mkdir(parents=True)
    rows = [(f"{folders}sea.png", "dog", 0.9), ("b.png", "dog", 0.8)]
    browser.open(written(tmp_path, rows), width=width)
    places = browser.run(
        "return [...document.querySelectorAll('figcaption')].map((caption) => {"
        " const box = caption.getBoundingClientRect();"
        " const name = caption.firstElementChild.getBoundingClientRect();"
        " return [name.left - box.left, box.right - name.right]; })"
    )
    (left, right), (short, rest) = places
    assert left < 0 < right
    # A short one stays at the left.
    assert 0 < short < 20 < rest


def test_the_slider_starts_at_the_cut_and_moves_what_is_missed(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    slider = browser.run(
        "const s = document.getElementById('least'); return [s.value, s.min, s.max, s.step]"
    )
    assert slider == ["0.3", "0.30", "1", "0.01"]
    missed = "return document.querySelector('.card .missed').innerText"
    assert browser.run(missed) == "missed: cup"
    browser.open(page, state="from=0.6")
    assert browser.run(missed) == "missed: cup, dog"
    assert browser.run("return document.querySelector('.card .bare').innerText") == (
        "no tags above the cut"
    )
    browser.open(page, state="from=0.45")
    assert browser.run(missed) == "missed: cup"


def test_photos_without_tags_can_be_filtered_to(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click("#bare")
    assert browser.run(SHOWN) == ["none.png"]
    assert browser.run("return document.querySelector('#bare .count').innerText") == "1"
    browser.open(page, state="from=0.6&tags=none")
    assert browser.run(SHOWN) == ["a.png", "none.png"]


def test_a_photo_opens_large_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.press("Tab", "Enter")
    assert browser.run(FOCUS) == "Open a.png"
    browser.press("ArrowRight", "ArrowRight", "Enter")
    large = "const image = document.getElementById('large-image');"
    whole = large + "return image.src.startsWith('file:') && image.naturalWidth === 600"
    assert browser.wait(whole)
    told = "return ['large-name', 'large-place', 'large-path'].map((id) => "
    told += "document.getElementById(id).textContent)"
    assert browser.run(told) == ["b b.png", "3 of 5", str(page.parent / "b b.png")]
    browser.press("ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert browser.run(told)[:2] == ["a.png", "1 of 5"]
    assert browser.run("return document.getElementById('large-missed').innerText") == "missed: cup"
    browser.press("Escape")
    assert not browser.run("return document.getElementById('large').open")
    # The dialog gives the focus back before the page is told that it closed.
    assert browser.wait(f"return (() => {{ {FOCUS} }})() === 'Open a.png'")
    # A photo that is gone is shown by its thumbnail.
    (page.parent / "d.png").unlink()
    browser.press("End", "Enter")
    assert browser.run(told)[:2] == ["d.png", "5 of 5"]
    time.sleep(0.3)
    assert browser.run(large + "return [image.src.slice(0, 5), image.naturalWidth]") == [
        "data:",
        288,
    ]


@pytest.mark.parametrize("clipboard", [True, False], ids=["clipboard", "without"])
def test_a_path_is_copied(browser: Browser, page: Path, clipboard: bool) -> None:
    browser.open(page, state="q=b+b")
    if clipboard:
        browser.cdp(
            "Browser.grantPermissions",
            permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        )
    else:
        refuse = "value: {writeText: () => Promise.reject(new Error('no'))}"
        browser.run(f"Object.defineProperty(navigator, 'clipboard', {{{refuse}}})")
    browser.click(".open")
    browser.click("#copy")
    assert browser.wait("return document.getElementById('copied').textContent") == "copied"
    # Into the search field, as a reader would paste it.
    browser.press("Escape")
    browser.run("document.getElementById('search').value = ''")
    browser.click("#search")
    browser.cdp("Input.dispatchKeyEvent", type="keyDown", key="v", modifiers=2, commands=["paste"])
    pasted = "return document.getElementById('search').value"
    assert browser.wait(pasted) == str(page.parent / "b b.png")


def saved(browser: Browser, name: str) -> str:
    """A file that the page saves, once it is whole."""
    path = browser.downloads / name
    for _ in range(500):
        if path.exists() and not list(browser.downloads.glob("*.crdownload")):
            text = path.read_bytes().decode()
            path.unlink()
            return text
        time.sleep(0.02)
    raise AssertionError(f"{name} was not saved")


def test_what_is_shown_can_be_saved(browser: Browser, page: Path) -> None:
    browser.open(page, state="label=DOG&from=0.4")
    browser.click("#save-paths")
    assert saved(browser, "photos.txt") == f"{page.parent / 'b b.png'}\n{page.parent / 'a.png'}\n"
    browser.click("#save-tags")
    rows = list(csv.reader(saved(browser, "tags.csv").splitlines()))
    assert rows == [
        ["uri", "label_key", "label_name", "score"],
        [str(page.parent / "b b.png"), "DOG", "dog", "0.90"],
        [str(page.parent / "a.png"), "DOG", "dog", "0.50"],
        [str(page.parent / "a.png"), "SEA", "sea", "0.40"],
    ]


def test_grid_and_labels_are_one_tab_stop_each(browser: Browser, page: Path) -> None:
    browser.open(page)
    stops = []
    for _ in range(9):
        browser.press("Tab")
        stops.append(browser.run(FOCUS))
    theme = "Switch between light and dark"
    assert stops[:3] == ["skip", "search", theme]
    assert stops[4:] == ["bare", "save-paths", "save-tags", "least", "Open a.png"]
    browser.press("Tab")
    assert not browser.run(FOCUS).startswith("Open")
    browser.click("#bare")
    browser.press("ArrowDown", "ArrowDown", "Enter")
    assert browser.run("return document.activeElement.innerText.split(/\\s+/)[0]") == "sea"
    assert browser.run(SHOWN) == []  # No photo without tags is tagged with it.


@pytest.mark.parametrize("width", [360, 1440])
def test_arrows_go_by_rows_and_nothing_sticks_out(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.run("document.querySelector('.open[tabindex=\"0\"]').focus()")
    browser.press("ArrowDown")
    assert browser.run(FOCUS) == {360: "Open none.png", 1440: "Open d.png"}[width]
    browser.press("Enter")
    inside = "const box = document.getElementById('large').getBoundingClientRect();"
    assert browser.run(inside + "return box.left >= 0 && box.right <= innerWidth")


def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    hostile = [name for name in names() if len(name.encode()) < 200]
    tags = [(f"{name}.png", label, 0.5) for name, label in zip(hostile, hostile[::-1], strict=True)]
    page = written(tmp_path, tags)
    browser.open(page, state=f"q={quote('alert(1)')}")
    assert browser.run(SHOWN)
    browser.open(page)
    assert browser.run("return document.querySelectorAll('script, img[onerror]').length") == 2
    assert len(browser.run(SHOWN)) == len(hostile)
    browser.click("#save-paths")
    kept = [name for name in hostile if not {"\n", "\r"} & set(name)]
    told = browser.run("return document.getElementById('saved').textContent")
    assert told == f"saved, without {len(hostile) - len(kept)} with a line break"
    lines = saved(browser, "photos.txt").split("\n")[:-1]
    assert lines == [str(tmp_path / f"{name}.png") for name in kept]
    browser.click("#save-tags")
    for row in csv.DictReader(io.StringIO(saved(browser, "tags.csv"), newline="")):
        assert not row["label_name"].startswith(("=", "@", "\t", "\r", "+1+", "-2+"))
