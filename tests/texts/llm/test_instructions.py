"""Prompts as data: the paper's words, profiles, and files that say what is wrong with them."""

from pathlib import Path

import pytest

from taistore.errors import TextError
from taistore.texts.llm.instructions import PROFILES, load_instructions

GOOD = """
name = "mine"
different = "Another one."
[[instruction]]
name = "ask"
text = "Describe {names}."
[[example]]
labels = ["dog", "bus"]
caption = "A dog on a bus."
"""


def test_the_default_is_the_papers_conversation() -> None:
    paper = load_instructions("paper")
    asked = [paper.ask(i.name, phrases="a dog", names="dog") for i in paper.instruction]
    assert asked == [
        "Please briefly caption an image that contains a dog.",
        "Please organize the words dog into a sentence to describe an image.",
    ]
    assert paper.shorter == "It's too long, please make it shorter."
    assert paper.different.startswith("Go ahead and add a caption to this image that is different")
    assert not paper.example


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_whole(name: str) -> None:
    assert load_instructions(name).name == name
    assert len({load_instructions(p).digest for p in PROFILES}) == len(PROFILES)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, encoding="utf-8")
    mine = load_instructions(str(path))
    assert (mine.name, mine.different, mine.shorter, mine.remembered) == (
        "mine",
        "Another one.",
        "",
        8,
    )
    assert mine.example[0].labels == ("dog", "bus")
    path.write_text(GOOD.replace("Another one", "Another"), encoding="utf-8")
    assert load_instructions(str(path)).digest != mine.digest
    as_json = tmp_path / "mine.json"
    as_json.write_text('{"name": "j", "instruction": [{"name": "a", "text": "{phrases}"}]}')
    assert load_instructions(str(as_json)).ask("a", phrases="a {dog}", names="") == "a {dog}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "mine"', ""), "bad.toml: field 'name': give a text that is not empty"),
        (("{names}", "it"), "bad.toml: instruction 1: field 'text': write {names} or {phrases}"),
        (("{names}", "{name}"), "instruction 1: field 'text': write {names}"),
        (("{names}", "{names[0]}"), "instruction 1: field 'text': write {names}"),
        (("{names}", "{0}"), "instruction 1: field 'text': write {names}"),
        (("{names}", "{names"), "instruction 1: field 'text': write {names}"),
        (("caption =", "captoin ="), "bad.toml: example 1: field 'captoin': there is no such"),
        (('caption = "A dog on a bus."', ""), "bad.toml: example 1: field 'caption': give a text"),
        (("different", "diferent"), "bad.toml: field 'diferent': there is no such field"),
        (('["dog", "bus"]', '["dog", 3]'), "example 1: field 'labels': give a list of texts"),
        (("[[instruction]]", "[instruction]"), "field 'instruction': write [[instruction]]"),
        (("[[instruction]]", "[[instructions]]"), "field 'instruction"),
        (('name = "mine"', 'name = "mine"\nremembered = -1'), "field 'remembered': give a whole"),
        (('name = "mine"', 'name = "mine"\nremembered = "8"'), "field 'remembered': give a whole"),
        (('name = "mine"', 'name = "mine"\nremembered = true'), "field 'remembered': give a whole"),
        (('name = "mine"', "name = 2026-11-25"), "bad.toml: field 'name': give a text"),
        (('"Another one."', "1"), "bad.toml: field 'different': give a text"),
        (('name = "mine"', '"na\\nme" = "mine"'), r"bad.toml: field 'na\nme': there is no such"),
        (('name = "mine"', "name = mine"), "bad.toml: not TOML: "),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace(*change), encoding="utf-8")
    with pytest.raises(TextError) as caught:
        load_instructions(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"no-such: no such instructions: .* paper, few-shot"):
        load_instructions("no-such")
    with pytest.raises(TextError, match="cannot be read"):
        load_instructions(str(tmp_path))
    for name, content in (
        ("a.json", b"[1"),
        ("b.json", b"[1]"),
        ("c.toml", b"\xff\xfe"),
        ("e.json", b'{"name": "e", "instruction": [1]}'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TextError, match=name):
            load_instructions(str(tmp_path / name))
    twice = GOOD + '[[instruction]]\nname = "ask"\ntext = "{names}"\n'
    (tmp_path / "d.toml").write_text(twice, encoding="utf-8")
    with pytest.raises(TextError, match="the names ask, ask must differ"):
        load_instructions(str(tmp_path / "d.toml"))
