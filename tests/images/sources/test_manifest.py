"""Manifests: every form of a row, and every fault named by its line."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from taistore.errors import ManifestError
from taistore.images.sources.manifest import ManifestSource
from taistore.images.sources.open_source import Annotation, SourceImage, open_source
from taistore.labels import Label, LabelSet
from taistore.record_files import MAX_RECORD_BYTES
from taistore.store.rejects import Reject

LABELS = LabelSet(
    [
        Label("cat", "cat", ("kitty",)),
        Label("dog", "dog"),
        Label("tl", "traffic light"),
        Label("/m/1", "organ", ("pipe organ",)),
        Label("/m/2", "organ", ("liver",)),
    ]
)


def _read(path: Path, text: str | bytes) -> list[SourceImage | Reject]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(ManifestSource(path, LABELS))


def _rejects(path: Path, text: str | bytes) -> list[tuple[str, str]]:
    return [(item.reason, item.detail) for item in _read(path, text) if isinstance(item, Reject)]


def test_every_form_of_annotation(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image": "a.jpg", "labels": ["dog", "Kitty", "dog"], "split": "train"},
        {"image": "sub/b.jpg", "positives": ["tl"], "negatives": ["liver", "cat"]},
        {"image": "/abs/../c.jpg", "negatives": ["Traffic  Light"]},
        {"image": "d.jpg", "labels": []},
        {"image": "e.jpg", "labels": None, "width": 12},
        {"image": "f.jpg", "labels": "cat | dog"},
    ]
    items = _read(tmp_path / "m.jsonl", "\n".join(map(json.dumps, rows)))
    assert items == [
        SourceImage(
            uri=str(tmp_path / "a.jpg"),
            annotation=Annotation(positives=(0, 1), complete=True),
            split="train",
        ),
        SourceImage(
            uri=str(tmp_path / "sub/b.jpg"),
            annotation=Annotation(positives=(2,), negatives=(0, 4)),
        ),
        SourceImage(uri="/c.jpg", annotation=Annotation(negatives=(2,))),
        SourceImage(uri=str(tmp_path / "d.jpg"), annotation=Annotation(complete=True)),
        SourceImage(uri=str(tmp_path / "e.jpg")),
        SourceImage(
            uri=str(tmp_path / "f.jpg"), annotation=Annotation(positives=(0, 1), complete=True)
        ),
    ]


def test_csv_separates_labels_by_bars_and_an_empty_cell_says_nothing(tmp_path: Path) -> None:
    items = _read(
        tmp_path / "m.csv",
        "\ufeffImage, labels ,positives,negatives,split,note\r\n"
        '"a, b.jpg",cat|traffic light,,,val,x\r\n'
        "\r\n"
        "c.jpg,,dog,cat|kitty,,\r\n"
        '"two\nlines.jpg",,,,,\r\n'
        "d.jpg,wolf,,,,\r\n",
    )
    assert items[:3] == [
        SourceImage(
            uri=str(tmp_path / "a, b.jpg"),
            annotation=Annotation(positives=(0, 2), complete=True),
            split="val",
        ),
        SourceImage(
            uri=str(tmp_path / "c.jpg"), annotation=Annotation(positives=(1,), negatives=(0,))
        ),
        SourceImage(uri=str(tmp_path / "two\nlines.jpg")),
    ]
    assert items[3] == SourceImage(uri=str(tmp_path / "d.jpg"), unknown_labels=("wolf",))
    assert isinstance(items[3], SourceImage)
    assert items[3].row == f"{tmp_path / 'm.csv'}: line 7"


def test_parquet(tmp_path: Path) -> None:
    pl.DataFrame(
        {"image": ["a.jpg", "b.jpg"], "labels": [["cat"], None], "split": [None, "val"]},
        schema_overrides={"labels": pl.List(pl.String)},
    ).write_parquet(tmp_path / "m.parquet")
    source = ManifestSource(tmp_path / "m.parquet", LABELS)
    assert source.count() == 2
    assert list(source) == [
        SourceImage(
            uri=str(tmp_path / "a.jpg"), annotation=Annotation(positives=(0,), complete=True)
        ),
        SourceImage(uri=str(tmp_path / "b.jpg"), split="val"),
    ]
    pl.DataFrame({"image": ["a.jpg"], "labels": ["cat|wolf"]}).write_parquet(tmp_path / "m.parquet")
    (item,) = ManifestSource(tmp_path / "m.parquet", LABELS)
    assert isinstance(item, SourceImage)
    assert (item.annotation, item.unknown_labels) == (Annotation(positives=(0,)), ("wolf",))
    assert item.row.endswith("m.parquet: row 1")


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ('{"image": "a.jpg"', "malformed", "line 2: not JSON"),
        ('["a.jpg"]', "malformed", "not a JSON object"),
        ('{"labels": ["cat"]}', "malformed", "image is None: it must be a path"),
        ('{"image": " "}', "malformed", "it must be a path"),
        ('{"image": 7}', "malformed", "it must be a path"),
        ('{"image": "https://x/y.jpg"}', "unsupported", "is a URL: download it"),
        ('{"image": "\\ud800.jpg"}', "bad_name", "is not UTF-8 text"),
        (
            '{"image": "a", "labels": ["organ"]}',
            "ambiguous_label",
            "use one of the keys /m/1, /m/2",
        ),
        ('{"image": "a", "labels": [3]}', "malformed", "must be a list of label names"),
        ('{"image": "a", "labels": 3}', "malformed", "must be a list of label names"),
        ('{"image": "a", "labels": {"cat": 2}}', "malformed", "'cat' is 2: it must be 1"),
        ('{"image": "a", "labels": {"cat": "yes"}}', "malformed", "'cat' is 'yes': it must be 1"),
        (
            '{"image": "a", "labels": {"cat": 1, "kitty": 0}}',
            "conflict",
            "'cat' is both positive and negative",
        ),
        ('{"image": "a", "labels": {"cat": 1}, "positives": []}', "conflict", "keep one of the"),
        ('{"image": "a", "cat": 1, "dgo": 0}', "unknown_label", "'dgo' stands among.*mean 'dog'?"),
        ('{"image": "a", "cat": 1, "width": 7}', "unknown_label", "'width' stands among columns"),
        ('{"image": "a", "cat": 1, "organ": 0}', "ambiguous_label", "one of the keys /m/1, /m/2"),
        ('{"image": "a", "cat": 1, "kitty": 1}', "conflict", "'cat' has several columns"),
        ('{"image": "a", "cat": 1, "dog": [1]}', "malformed", "'dog' is \\[1\\]: it must be 1"),
        (
            '{"image": "a", "positives": ["cat"], "negatives": ["kitty"]}',
            "conflict",
            "'cat' is both positive and negative",
        ),
        ('{"image": "a", "labels": ["cat"], "positives": []}', "conflict", "keep one of the two"),
        ('{"image": "a", "label": ["cat"]}', "malformed", "'label' is not known: .*'labels'"),
        ('{"image": "a", "split": 3}', "malformed", "split is 3"),
        ('{"image": "a", "split": "a\\nb"}', "malformed", "it must be a short text"),
        ("[" * 100_000, "malformed", "nested deeper"),
        ("1" * 5000, "malformed", "not JSON"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, row: str, reason: str, detail: str) -> None:
    items = _read(tmp_path / "m.jsonl", f'{{"image": "ok.jpg"}}\n{row}\n\n{{"image": "ok2.jpg"}}\n')
    assert [Path(item.uri).name for item in items] == ["ok.jpg", "m.jsonl: line 2", "ok2.jpg"]
    reject = items[1]
    assert isinstance(reject, Reject)
    assert reject.reason == reason
    assert reject.detail.startswith("line 2: ")
    assert "\n" not in reject.detail
    assert re.search(detail, reject.detail)


@pytest.mark.parametrize(
    ("row", "known", "unknown"),
    [
        ({"labels": ["cat", "giraffe"]}, Annotation(positives=(0,)), ("giraffe",)),
        ({"labels": ["giraffe", "okapi", "giraffe"]}, None, ("giraffe", "okapi")),
        (
            {"positives": ["giraffe", "dog"], "negatives": ["cat", "okapi"]},
            Annotation(positives=(1,), negatives=(0,)),
            ("giraffe", "okapi"),
        ),
        ({"positives": ["giraffe"]}, None, ("giraffe",)),
        ({"labels": {"catt": 1, "dog": 0}}, Annotation(negatives=(1,)), ("catt",)),
        ({"labels": {"catt": 1}}, None, ("catt",)),
    ],
    ids=["all", "none-known", "partial", "nothing-else", "codes", "code"],
)
def test_a_label_that_is_not_in_the_set_does_not_drop_the_photo(
    tmp_path: Path, row: dict[str, Any], known: Annotation | None, unknown: tuple[str, ...]
) -> None:
    (item,) = _read(tmp_path / "m.jsonl", json.dumps({"image": "a.jpg", **row}))
    # What such a row does not name may be meant by what is not known: it is not absent.
    assert item == SourceImage(
        uri=str(tmp_path / "a.jpg"), annotation=known, unknown_labels=unknown
    )


WIDE = "Image,split,Kitty,dog,/m/1\n"


def test_a_column_per_label_holds_the_papers_codes(tmp_path: Path) -> None:
    text = f"{WIDE}a.jpg,train,1,0,-1\nb.jpg,,,1,\nc.jpg,,-1,-1,-1\nd.jpg,,,,\ne.jpg,,2,,\n"
    items = _read(tmp_path / "m.csv", text)
    assert items[:4] == [
        SourceImage(
            uri=str(tmp_path / "a.jpg"),
            annotation=Annotation(positives=(0,), negatives=(1,), unknown=(3,)),
            split="train",
        ),
        SourceImage(uri=str(tmp_path / "b.jpg"), annotation=Annotation(positives=(1,))),
        # Said to be unknown, which replaces what was known; an empty row says nothing.
        SourceImage(uri=str(tmp_path / "c.jpg"), annotation=Annotation(unknown=(0, 1, 3))),
        SourceImage(uri=str(tmp_path / "d.jpg")),
    ]
    assert isinstance(items[4], Reject)
    assert "line 6: 'Kitty' is '2'" in items[4].detail


def test_codes_of_every_label_are_complete(tmp_path: Path) -> None:
    row = {"image": "a.jpg", "cat": 0, "dog": 1, "tl": 1, "/m/1": 0, "/m/2": 0}
    expected = [
        SourceImage(
            uri=str(tmp_path / "a.jpg"), annotation=Annotation(positives=(1, 2), complete=True)
        )
    ]
    assert _read(tmp_path / "m.jsonl", json.dumps(row)) == expected
    nested = {"image": "a.jpg", "labels": {k: v for k, v in row.items() if k != "image"}}
    assert _read(tmp_path / "m.jsonl", json.dumps(nested)) == expected


def test_codes_in_parquet_may_be_floats_and_bools(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "image": ["a.jpg", "b.jpg", "c.jpg"],
            "cat": [1.0, float("nan"), None],
            "dog": [True, False, None],
        }
    ).write_parquet(tmp_path / "m.parquet")
    items = list(ManifestSource(tmp_path / "m.parquet", LABELS))
    assert [item.annotation for item in items if isinstance(item, SourceImage)] == [
        Annotation(positives=(0, 1)),
        Annotation(negatives=(1,)),
        None,
    ]


def test_a_column_named_like_a_label_is_left_alone_beside_another_form(tmp_path: Path) -> None:
    rows = '{"image": "a.jpg", "labels": ["dog"], "cat": "Felix"}'
    (item,) = _read(tmp_path / "m.jsonl", rows)
    assert isinstance(item, SourceImage)
    assert item.annotation == Annotation(positives=(1,), complete=True)


def test_lines_that_are_no_text_or_never_end(tmp_path: Path) -> None:
    long = b'{"image": "' + b"x" * MAX_RECORD_BYTES * 2 + b'"}'
    ok = b'{"image": "ok.jpg"}'
    text = b"\n".join([b"\xef\xbb\xbf" + ok, b'{"image": "\xff.jpg"}', long, ok])
    items = _read(tmp_path / "m.jsonl", text)
    assert [item.reason if isinstance(item, Reject) else "" for item in items] == [
        *("", "malformed", "malformed", "")
    ]
    assert items[2].uri.endswith(": line 3")


def test_csv_rows_that_do_not_fit(tmp_path: Path) -> None:
    text = (
        b'image,labels\na.jpg,cat,dog\nb.jpg\n"c"d.jpg,cat\n\xe9.jpg,cat\ne.jpg,cat\n"f.jpg,cat\n'
    )
    rejects = _rejects(tmp_path / "m.csv", text)
    assert [detail.split(": ")[0] for _, detail in rejects] == [
        *("line 2", "line 3", "line 4", "line 5", "line 7")
    ]
    assert "3 fields where the header has 2" in rejects[0][1]
    assert "not UTF-8" in rejects[3][1]
    assert len(list(ManifestSource(tmp_path / "m.csv", LABELS))) == 6


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.jsonl", "", "has no rows"),
        ("m.jsonl", "\n  \n", "has no rows"),
        ("m.csv", "", "has no rows"),
        ("m.csv", "image,labels\n", "has no rows"),
        ("m.csv", "file;labels\na;b\n", "no column 'image'"),
        ("m.csv", "image,label\na,cat\n", "'label' is not known: did you mean 'labels'"),
        ("m.csv", "image,image\na,b\n", "column 'image' is there twice"),
        ("m.csv", "image,cat,dgo\na,1,0\n", "column 'dgo' .*did you mean 'dog'"),
        ("m.csv", "image,cat,organ\na,1,0\n", "use one of the keys /m/1, /m/2"),
        ("m.csv", "image,cat,cat\na,1,0\n", "label 'cat' has several columns"),
        ("m.csv", "image,cat,kitty\na,1,0\n", "label 'cat' has several columns"),
        ("m.csv", "image,cat,splt\na,1,0\n", "'splt' is not known: did you mean 'split'"),
        (
            "m.csv",
            "image\na\n".encode("utf-16").decode("latin-1"),
            "line 1, the header: holds a NUL",
        ),
        ("m.parquet", "PAR1 this is none", "cannot be read"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=message) as caught:
        list(ManifestSource(tmp_path / name, LABELS))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "dir.jsonl").mkdir()
    for name, message in (("gone.jsonl", "no such manifest"), ("dir.jsonl", "a directory")):
        source = ManifestSource(tmp_path / name, LABELS)
        with pytest.raises(ManifestError, match=message):
            source.count()
        with pytest.raises(ManifestError, match=message):
            next(iter(source))


def test_open_source_knows_manifests_by_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "M.JSONL").write_text('{"image": "a.jpg"}\n', encoding="utf-8")
    source = open_source(tmp_path / "M.JSONL", LABELS)
    assert isinstance(source, ManifestSource)
    assert source.count() == 1
    assert source.ignored == 0


# --- properties --------------------------------------------------------------------------------

_NAMES = st.sampled_from(["cat", "kitty", "dog", "tl", "traffic light", "/m/1", "liver", "wolf"])
_ROW = st.fixed_dictionaries(
    {"image": st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)},
    optional={
        "labels": st.lists(_NAMES, max_size=3),
        "positives": st.lists(_NAMES, max_size=3),
        "negatives": st.lists(_NAMES, max_size=3),
        "split": st.sampled_from(["train", "val", "test"]),
    },
)


def _write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels", "positives", "negatives", "split"])
        for row in rows:
            lists = ["|".join(row.get(name) or []) for name in ("labels", "positives", "negatives")]
            writer.writerow([row["image"], *lists, row.get("split", "")])


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = ("image", "labels", "positives", "negatives", "split")
    frame = pl.DataFrame({column: [row.get(column) for row in rows] for column in columns})
    lists = pl.col("labels", "positives", "negatives").cast(pl.List(pl.String))
    frame.with_columns(lists).write_parquet(path)


def _expected(row: dict[str, Any], folder: Path, *, empty_says_nothing: bool) -> object:
    ids = {
        name: {LABELS.find(label) for label in row[name] if label != "wolf"}
        for name in ("labels", "positives", "negatives")
        if name in row and (row[name] or not empty_says_nothing)
    }
    wolf = any("wolf" in row[name] for name in ids)
    if not row["image"].strip() or "://" in row["image"]:
        return Reject
    if "labels" in ids:
        if len(ids) > 1:
            return Reject
        if wolf and not ids["labels"]:
            return (None, None, None, row.get("split"))
        return (sorted(ids["labels"]), [], not wolf, row.get("split"))
    positives, negatives = ids.get("positives", set()), ids.get("negatives", set())
    if positives & negatives:
        return Reject
    if not ids or (wolf and not positives and not negatives):
        return (None, None, None, row.get("split"))
    return (sorted(positives), sorted(negatives), False, row.get("split"))


@pytest.mark.parametrize(
    ("name", "write", "empty_says_nothing"),
    [
        ("m.jsonl", _write_json, False),
        ("m.csv", _write_csv, True),
        ("m.parquet", _write_parquet, False),
    ],
)
def test_rows_come_back_as_written(
    tmp_path: Path,
    name: str,
    write: Callable[[Path, list[dict[str, Any]]], None],
    empty_says_nothing: bool,
) -> None:
    @settings(max_examples=60, deadline=None)
    @given(rows=st.lists(_ROW, min_size=1, max_size=6))
    @example(rows=[{"image": " "}, {"image": "a"}])
    def check(rows: list[dict[str, Any]]) -> None:
        if empty_says_nothing:
            # A line of nothing but spaces and commas is a blank one.
            rows = [row for row in rows if any(map(str.strip, map("".join, row.values())))]
            assume(rows)
        write(tmp_path / name, rows)
        items = list(ManifestSource(tmp_path / name, LABELS))
        assert len(items) == len(rows)
        for item, row in zip(items, rows, strict=True):
            expected = _expected(row, tmp_path, empty_says_nothing=empty_says_nothing)
            if isinstance(item, Reject):
                assert expected is Reject
                continue
            known = item.annotation
            if known is None:
                assert expected == (None, None, None, item.split)
            else:
                lists = list(known.positives), list(known.negatives)
                assert expected == (*lists, known.complete, item.split)

    check()


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from(["jsonl", "csv", "parquet"]),
    data=st.one_of(
        st.binary(max_size=200),
        st.text('{}[]",:\n|imagelbs\\u0', max_size=200).map(str.encode),
        st.binary(max_size=100).map(lambda tail: b"image,labels\na,cat\n" + tail),
    ),
)
def test_any_bytes_give_items_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(data)
    message, items = "", []
    try:
        items = list(ManifestSource(path, LABELS))
    except ManifestError as error:
        message = str(error)
    assert "\n" not in message
    assert message or items
    for item in items:
        if isinstance(item, Reject):
            (item.detail + item.uri).encode()
            assert "\n" not in item.detail
