"""Label sets: keys are identity, files are read exactly, mistakes are named by line."""

import string
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.errors import LabelError, UnknownLabelError
from taistore.label_files.label_file import read_labels
from taistore.labels import SEARCHES, Label, LabelSet, combination_id

KEYS = st.text(string.ascii_letters + "/_é犬 ", min_size=1).filter(str.strip)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_text_file(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "l.txt", "\ufeffcat\n\n# a comment\n traffic  light \n"))
    assert labels.keys == ["cat", "traffic light"]


def test_a_comment_needs_a_space(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "labels", "#\n#1 fan\n # a comment\n#tag\n"))
    assert labels.keys == ["#1 fan", "#tag"]


def test_csv_with_the_header_of_openimages(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "l.CSV", "LabelName,DisplayName\n/m/1,Pipe organ\n"))
    assert list(labels) == [Label("/m/1", "Pipe organ")]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".tsv", ".xlsx", ".JSON"])
def test_other_suffixes_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"l{suffix}"
    path.write_bytes(b"\xff\x00cat\n")
    with pytest.raises(LabelError, match=r"labels are read from \.txt and \.csv files"):
        read_labels(path)


def test_csv_with_key_name_synonyms(tmp_path: Path) -> None:
    rows = 'key,name,synonyms\n/m/1,organ,"pipe organ | church organ"\n/m/2,organ,\n'
    labels = read_labels(write(tmp_path / "l.csv", rows))
    assert labels[0] == Label("/m/1", "organ", ("pipe organ", "church organ"))
    assert labels.shared_names() == {"organ": ["/m/1", "/m/2"]}
    assert labels.prompt_name(0) == "organ (pipe organ)"
    assert labels.prompt_name(1) == "organ"


def test_csv_without_keys_takes_the_name(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path / "l.csv", "name\ncat\ndog\n")).keys == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "cat\ndog\ncat\n", r"l\.txt: line 3: label 'cat' was already given at .*line 1"),
        ("l.csv", "key,name\na,cat\nb,\n", r"l\.csv: line 3: empty label"),
        ("l.csv", "key,name\n,cat\n", r"l\.csv: line 2: empty label"),
        ("l.csv", "key,name\na,cat\na,dog\n", r"l\.csv: line 3: label 'a' was already given"),
        ("l.csv", "mid,title\na,cat\n", r"l\.csv: line 1: no 'name' column"),
        ("l.csv", "key,name\n", r"l\.csv: no labels below the header"),
        ("l.csv", 'key,name\n"a,cat\n', r"l\.csv: line 2: .*mend the CSV row"),
        ("l.txt", "  \n", r"l\.txt: the label file is empty"),
        ("l.txt", "# only a comment\n", r"l\.txt: no labels"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        read_labels(write(tmp_path / name, text))


def test_missing_directory_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such label file"):
        read_labels(tmp_path / "none.txt")
    with pytest.raises(LabelError, match="is a directory"):
        read_labels(tmp_path)
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelError, match="not UTF-8"):
        read_labels(tmp_path / "l.txt")


def test_openimages(shared_data: Path) -> None:
    labels = read_labels(shared_data / "labels" / "openimages-trainable.csv")
    assert len(labels) == 7186
    # 109 spellings occur more than once; one more pair differs in white space only.
    assert len(labels.shared_names()) == 110
    assert len({labels.combination_id([i]) for i in range(len(labels))}) == 7186


def test_find_by_key_name_and_synonym() -> None:
    labels = LabelSet(
        [Label("1", "organ", ("pipe organ",)), Label("2", "organ"), Label("3", "Cat")]
    )
    assert labels.find("2") == 1
    assert labels.find("Pipe  Organ") == 0
    assert labels.find("cat") == 2
    with pytest.raises(LabelError, match="ambiguous: use one of the keys 1, 2"):
        labels.find("organ")
    with pytest.raises(LabelError, match="'dog' is not in the label set"):
        labels.find("dog")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("giraffe", "did you mean 'giraffes'? Else add it by taistore labels add giraffe"),
        ("pipe organs", "or 'organ'? Else add it by taistore labels add 'pipe organs'"),
        ("zebra", "is not in the label set: add it by taistore labels add zebra"),
        ("x; rm -r /", "is not in the label set: add it by taistore labels add 'x; rm -r /'"),
        ("y" * 101, "is not in the label set: add it by taistore labels add NAME"),
    ],
    ids=["plural", "synonym", "none", "shell", "long"],
)
def test_a_name_that_is_missing_says_what_adds_it_and_what_is_near(name: str, said: str) -> None:
    labels = LabelSet([Label("1", "giraffes"), Label("2", "organ", ("pipe organ",))])
    with pytest.raises(UnknownLabelError) as caught:
        labels.find(name)
    assert said in str(caught.value)


def test_near_names_are_looked_for_a_bounded_number_of_times() -> None:
    labels = LabelSet([Label("1", "giraffes")])
    said = []
    for number in range(SEARCHES + 1):
        with pytest.raises(UnknownLabelError) as caught:
            labels.find(f"giraffe{number % 10}")
        said.append(str(caught.value))
    assert all("did you mean" in line for line in said[:-1])
    assert "did you mean" not in said[-1]


def test_a_name_wins_over_the_synonym_of_another() -> None:
    plane, aeroplane = Label("1", "plane"), Label("2", "aeroplane", ("Plane", "jet"))
    labels = LabelSet([aeroplane, plane, Label("3", "fighter", ("jet",))])
    assert labels.find("PLANE") == 1
    with pytest.raises(LabelError, match="ambiguous: use one of the keys 2, 3"):
        labels.find("jet")


@given(st.lists(KEYS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_combination_id_is_a_function_of_the_set(keys: list[str], random: Random) -> None:
    shuffled = keys * 2
    random.shuffle(shuffled)
    assert combination_id(shuffled) == combination_id(keys)
    assert -(2**63) <= combination_id(keys) < 2**63


@given(st.sets(KEYS, min_size=1, max_size=4), st.sets(KEYS, min_size=1, max_size=4))
def test_different_sets_have_different_ids(one: set[str], other: set[str]) -> None:
    assert (combination_id(one) == combination_id(other)) == (one == other)


def test_combination_id_never_changes() -> None:
    # Stores written by earlier versions hold these ids.
    assert combination_id(["cat", "dog"]) == 1976644659512750520


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_only_a_files_own_line_ends_end_a_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    head = "name\n" if suffix == ".csv" else ""
    path.write_text(f"{head}a\x85b\nc\u2028d\ne\u2029f\n", encoding="utf-8")
    assert [label.name for label in read_labels(path)] == ["a b", "c d", "e f"]
