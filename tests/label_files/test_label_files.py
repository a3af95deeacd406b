"""Label files: what is clearly no part of a name is left out, what may be no label is asked."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taistore
from taistore.errors import LabelError
from taistore.label_files.label_file import almost_equal, read_labels
from taistore.labels import Label, LabelSet


def keys_of(folder: Path, text: str, name: str = "labels.txt") -> tuple[list[str], list[str]]:
    """Keys that are read, and what is noted."""
    (folder / name).write_text(text, encoding="utf-8")
    notes: list[str] = []
    labels = read_labels(folder / name, note=notes.append)
    return labels.keys, [note.removeprefix(f"{folder / name}: ") for note in notes]


@pytest.mark.parametrize(
    ("text", "keys", "note"),
    [
        ("- dog\n- cat\n", ["dog", "cat"], "read without the bullets before the labels"),
        ("# animals\n* dog\n\n\u2022 cat\n", ["dog", "cat"], "read without the bullets"),
        ("1. dog\n2. cat\n", ["dog", "cat"], "read without the numbers"),
        ("0) dog\n1) cat\n", ["dog", "cat"], "read without the numbers"),
        (
            "\"dog\"\n'cat'\n\u201cbus\u201d\n",
            ["dog", "cat", "bus"],
            "the quotes around labels (3 lines)",
        ),
        ('- "dog"\n- cat\n', ["dog", "cat"], "read without the bullets"),
    ],
    ids=["hyphens", "other bullets", "numbers", "from nought", "quotes", "both"],
)
def test_what_is_clear_is_read(tmp_path: Path, text: str, keys: list[str], note: str) -> None:
    read, notes = keys_of(tmp_path, text)
    assert read == keys
    assert note in notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "organ (pipe, church)\n1,000 lakes\n",
        "5 o'clock\n'tis\nrock 'n' roll\n",
        "747\n3D\n2.5 litres\n1.FC\n",
        "-\n*\n-dog\n#dog\n#1 fan\n/m/01\n",
        "T-shirt - red\nmen & women / all\nC++\n[x]\n",
        "\U0001f415\n犬\nna\u00efve\n",
    ],
    ids=["commas", "apostrophes", "digits", "signs", "inside", "letters"],
)
def test_labels_stay_as_they_are(tmp_path: Path, text: str) -> None:
    assert keys_of(tmp_path, text) == (text.split("\n")[:-1], [])


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("dog, cat, bird", "is 'dog, cat, bird' one label? put one label on each line, or put it"),
        ("dog,cat", "is 'dog,cat' one label?"),
        ("犬、猫", "is '犬、猫' one label?"),
        ("{'dog','puppy'}", "one label?"),
        ("dog;puppy", "synonyms need a .csv file with the header key,name,synonyms"),
        ("dog\tpuppy", "has columns: save a table as .csv with the header key,name,synonyms"),
        ("// dog", "is '// dog' a label? begin a comment with '# ', or put it in double quotes"),
        ("- dog", "is '- dog' a label? leave the bullet out, or put it in double quotes"),
        ("3. dog", "is '3. dog' a label? leave the number out, or put it in double quotes"),
        ('"dog', "the quotes of '\"dog' do not fit"),
        ('"dog" "cat"', "do not fit"),
    ],
    ids=lambda value: value.split()[0][:8].encode("ascii", "replace").decode(),
)
def test_what_may_be_no_label_is_asked_in_one_line(
    tmp_path: Path, line: str, question: str
) -> None:
    with pytest.raises(LabelError) as caught:
        keys_of(tmp_path, f"bus\n{line}\ncar\n")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'labels.txt'}: line 2: ")
    assert question in said
    assert "\n" not in said
    quoted = line.replace('"', '""')
    read, notes = keys_of(tmp_path, f'bus\n"{quoted}"\ncar\n')
    assert read == ["bus", " ".join(line.split()), "car"], "the quotes say that it is one label"
    assert notes == []


def test_more_lines_that_are_asked_about_are_counted(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"line 1: .*\(the first of 3 such lines\)"):
        keys_of(tmp_path, "a, b\nc\nd, e\nf;g\n")


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5))
def test_any_name_can_be_given_in_quotes(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    names = [" ".join(name.split()) for name in names]
    names = list(dict.fromkeys(name for name in names if name and name.isprintable()))
    if not names:
        return
    lines = "\n".join('"' + name.replace('"', '""') + '"' for name in names)
    assert keys_of(tmp_path_factory.mktemp("quoted"), lines)[0] == names


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_a_table_may_be_separated_otherwise(tmp_path: Path, separator: str) -> None:
    rows = [("key", "name", "synonyms"), ("1", "dog", "puppy|hound"), ("2", "cat", "")]
    text = "\r\n".join(separator.join(row) for row in rows)
    (tmp_path / "labels.csv").write_bytes(text.encode())
    assert list(read_labels(tmp_path / "labels.csv")) == [
        Label("1", "dog", ("puppy", "hound")),
        Label("2", "cat"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dog\ncat\n", "line 1: no header, and one column: write 'name' above the labels, or save"),
        ("dog,cat\nbus,car\n", "line 1: no 'name' column: the header must be key,name"),
        ("name;name of it\n", "no labels below the header"),
        ("name\nducks, geese and swans\n", "line 2: more values than the header has"),
    ],
    ids=["one column", "no header", "no rows", "a comma without quotes"],
)
def test_a_table_that_does_not_fit_is_told_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LabelError) as caught:
        keys_of(tmp_path, text, "labels.csv")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_duplicates_are_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(LabelError) as caught:
        keys_of(tmp_path, "a\nb\na\nc\nb\na\n")
    assert str(caught.value).endswith(
        "2 labels are given several times: 'a' in lines 1, 3, 6; 'b' in lines 2, 5: give each once"
    )
    many = "\n".join(map(str, range(1000)))
    with pytest.raises(
        LabelError, match=r"1,000 labels are given .*; and 995 more: give each once$"
    ):
        keys_of(tmp_path, f"{many}\n{many}\n")


def test_a_file_of_comments_has_no_header(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no labels, only comments: put one label on each line"):
        keys_of(tmp_path, "# animals\n#\n")


def test_labels_that_differ_in_case_width_or_composition_only_are_named(tmp_path: Path) -> None:
    names = ["dog", "Dog", "DOG", "caf\u00e9", "cafe\u0301", "\uff42us", "bus", "car"]
    assert almost_equal(LabelSet(Label(name, name) for name in names)) == (
        "warning: labels that differ only in case or in how letters are written stay separate: "
        "'dog', 'Dog', 'DOG'; 'caf\u00e9', 'cafe\u0301'; '\uff42us', 'bus'; take out what is "
        "meant as one"
    )
    assert almost_equal(LabelSet([Label("1", "dog"), Label("2", "dog")])) is None
    notes: list[str] = []
    taistore.create(
        tmp_path / "store", labels=["dog", "Dog"], encoder="vectors:x", note=notes.append
    )
    assert [note for note in notes if note.startswith("warning")] == [
        "warning: labels that differ only in case or in how letters are written stay separate: "
        "'dog', 'Dog'; take out what is meant as one"
    ]


def test_what_was_left_out_is_noted_by_a_command(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("- dog\n- cat\n", encoding="utf-8")
    notes: list[str] = []
    project = taistore.create(
        tmp_path / "store",
        labels=tmp_path / "labels.txt",
        encoder="vectors:x",
        note=notes.append,
    )
    assert project.labels.keys == ["dog", "cat"]
    assert "read without the bullets" in notes[0]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("labels/nuswide-81.txt", 81),
        ("labels/nuswide-tags-1000.txt", 1000),
        ("labels/openimages-trainable.csv", 7186),
        ("coco/classes.txt", 80),
        ("coco/classes.csv", 80),
        ("voc2012/classes.txt", 20),
        ("voc2012/classes.csv", 20),
        ("clip-vit-b-32/lvis1203-names.txt", 1203),
    ],
)
def test_published_lists_are_read_without_a_question(
    shared_data: Path, name: str, count: int
) -> None:
    notes: list[str] = []
    path = shared_data / name
    labels = read_labels(path, note=notes.append)
    assert (len(labels), notes) == (count, [])
    if path.suffix == ".txt":
        assert labels.keys == [
            " ".join(line.split()) for line in path.read_text(encoding="utf-8").splitlines()
        ]
