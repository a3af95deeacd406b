"""The pages say what is true: their Python runs, and their commands exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

import taistore
from taistore import plugins
from taistore.encoders.registry import load_encoder
from taistore_cli.demo_photos import demo_labels, write_demo_photos
from taistore_cli.main import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES_PLUGINS = (("taistore.encoders", "mine"), ("taistore.writers", "slogans"))
GENERATED = {"cli.md", "architecture.md", "log.md"}
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name not in GENERATED)

BLOCK = re.compile(
    r"(?:<!-- not run:(?P<reason>[^>]*)-->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.S
)


def blocks(page: str, language: str) -> list[tuple[str, str | None, int]]:
    """Code, the reason not to run it, and its line in the page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (found["code"], found["reason"], text.count("\n", 0, found.start("code")))
        for found in BLOCK.finditer(text)
        if found["language"] == language
    ]


def with_fences(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small demo photos with their manifest."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo_photos(folder, pairs=4, fours=0)
    for path in (folder / "photos").iterdir():
        with Image.open(path) as image:
            image.convert("RGB").resize((160, 120)).save(path)
    return folder


@pytest.fixture
def here(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder as the pages speak of it: labels.txt, photos/, new/, a.jpg."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(demo_labels()), encoding="utf-8")
    sources = sorted((photos / "photos").iterdir())
    for folder, chosen in (("photos", sources), ("new", sources[:2])):
        (tmp_path / folder).mkdir()
        for number, path in enumerate(chosen):
            (tmp_path / folder / f"{number:02d}.jpg").write_bytes(path.read_bytes())
    (tmp_path / "a.jpg").write_bytes(sources[0].read_bytes())
    yield tmp_path
    for group, name in PAGES_PLUGINS:
        plugins._registered.get(group, {}).pop(name, None)


def run_page(page: str, names: dict[str, Any], *, changed: dict[str, str] | None = None) -> None:
    """All Python of a page in one namespace; ``changed`` makes figures smaller."""
    for code, reason, line in blocks(page, "python"):
        if reason is not None:
            continue
        source = "\n" * line + code
        for old, new in (changed or {}).items():
            source = source.replace(old, new)
        exec(compile(source, str(DOCS / page), "exec"), names)


@pytest.mark.parametrize("page", [p for p in with_fences("python") if p != "index.md"])
def test_the_python_of_a_page_runs(page: str, here: Path) -> None:
    run_page(page, {"__name__": "page"})


def test_the_example_on_the_first_page_runs_as_it_stands(here: Path) -> None:
    """What the page calls yours is made first: known labels, a second run, names."""
    before = taistore.create("shop", labels="labels.txt", encoder="packaged")
    manifest = here / "known.jsonl"
    found = sorted((here / "photos").iterdir())
    rows = (
        f'{{"image": "photos/{path.name}", "labels": ["{name}"]}}\n'
        for path, name in zip(found, demo_labels(), strict=False)
    )
    manifest.write_text("".join(rows), encoding="utf-8")
    before.ingest_images(manifest, split="test", regions=7)
    before.generate_texts(100)
    before.train(task="zsl", epochs=1)
    with Image.open("a.jpg") as image:
        names: dict[str, Any] = {
            "pil_image": image.copy(),
            "ids": before.images()["image_id"],
            "MyEncoder": lambda: load_encoder("packaged:lite0@224"),
        }
    run_page("index.md", names, changed={"10_000": "300"})
    assert names["vectors_ID"].shape[0] == len(found)
    assert names["frame"].wide().height == len(found)
    assert (here / "tags.html").is_file()
    assert names["better"].labels


@pytest.mark.parametrize("page", PAGES)
def test_what_does_not_run_says_why(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = BLOCK.finditer(text)
    reasons = [match["reason"] for match in found if match["reason"] is not None]
    assert all(len(reason.split()) >= 4 for reason in reasons)
    assert text.count("<!-- not run") == len(reasons), "a comment without a block right below it"


def commands(page: str) -> Iterator[list[str]]:
    for code, _, _ in blocks(page, "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            if line.startswith("taistore "):
                yield shlex.split(line, comments=True)[1:]


def parse(arguments: list[str]) -> None:
    """Let click parse a command line without running it; paths need not exist."""
    command: click.Command = main
    context = click.Context(main, info_name="taistore", **main.context_settings)
    while isinstance(command, click.Group):
        name = arguments[0]
        if name.startswith("-") and command.invoke_without_command:
            break  # a group that does something by itself
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command, arguments = found, arguments[1:]
        context = click.Context(command, parent=context, info_name=name, **main.context_settings)
    options, _, _ = command.make_parser(context).parse_args(list(arguments))
    kinds = {parameter.name: parameter for parameter in command.params}
    for key, value in options.items():
        kind = kinds[key].type
        if value is not None and not isinstance(kind, click.Path):
            kinds[key].type_cast_value(context, value)


@pytest.mark.parametrize("page", [p for p in with_fences("bash") if list(commands(p))])
def test_commands_and_options_exist(page: str) -> None:
    for arguments in commands(page):
        parse(arguments)


def test_a_wrong_command_is_seen() -> None:
    with pytest.raises(click.UsageError):
        parse(["train", "--tsak", "zsl"])
    with pytest.raises(click.UsageError):
        parse(["train", "--task", "nothing"])
    with pytest.raises(AssertionError):
        parse(["trian"])
