"""Vectors that people already have: every layout is read in order, every bad row is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from taistore.encoders.imported.vector_reader import (
    BadRow,
    imported_info,
    open_vectors,
)
from taistore.errors import EncoderError


def _table(rows: int, dim: int = 6, *, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def _npy(folder: Path, array: NDArray[Any], ids: list[str], name: str = "x") -> Path:
    np.save(folder / f"{name}.npy", array)
    (folder / f"{name}.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    return folder / f"{name}.npy"


def _parquet(path: Path, array: NDArray[np.float32], *, fixed: bool, **columns: list[Any]) -> Path:
    dim = array.shape[1]
    kind = pa.list_(pa.float32(), dim) if fixed else pa.list_(pa.float32())
    table = {name: pa.array(values) for name, values in columns.items()}
    pq.write_table(pa.table({**table, "vector": pa.array(list(array), kind)}), path)
    return path


def _retrieval(folder: Path, parts: list[NDArray[np.float32]]) -> Path:
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for i, array in enumerate(parts):
        paths = [f"photos/{i}-{row}.jpg" for row in range(len(array))]
        np.save(folder / "img_emb" / f"img_emb_{i}.npy", array.astype(np.float16))
        np.save(folder / "text_emb" / f"text_emb_{i}.npy", -array.astype(np.float16))
        metadata = pa.table({"image_path": paths, "caption": [f"about {p}" for p in paths]})
        pq.write_table(metadata, folder / "metadata" / f"metadata_{i}.parquet")
    return folder


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_batches_of_any_size_hold_the_rows_in_order(tmp_path: Path, size: int) -> None:
    array, ids = _table(7), [f"é{i}" for i in range(7)]
    path = _npy(tmp_path, array, ids)
    batches = list(open_vectors(path, batch_size=size))
    assert [len(b.ids) for b in batches] == [min(size, 7 - start) for start in range(0, 7, size)]
    assert [name for b in batches for name in b.ids] == ids
    np.testing.assert_array_equal(np.concatenate([b.vectors for b in batches]), array)


@pytest.mark.parametrize(
    ("stored", "read"),
    [(np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float32), (">f4", "<f4")],
)
def test_half_stays_half_and_everything_else_becomes_single(
    tmp_path: Path, stored: Any, read: Any
) -> None:
    path = _npy(tmp_path, _table(3).astype(stored), ["a", "b", "c"])
    (batch,) = open_vectors(path)
    assert batch.vectors.dtype == np.dtype(read)


def test_ids_come_from_a_list_or_a_named_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", _table(2))
    (tmp_path / "names.txt").write_text("ant\nbee")
    assert next(iter(open_vectors(tmp_path / "x.npy", tmp_path / "names.txt"))).ids == [
        "ant",
        "bee",
    ]
    assert next(iter(open_vectors(tmp_path / "x.npy", str(tmp_path / "names.txt")))).ids[1] == "bee"
    assert next(iter(open_vectors(tmp_path / "x.npy", ["one", "two"]))).ids == ["one", "two"]


def test_json_lines_bring_their_other_fields(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", _table(3))
    records = [{"image": "1.jpg", "width": 5}, {"image": "2.jpg"}, {"image": "3.jpg", "width": 7}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    (batch,) = open_vectors(tmp_path / "x.npy")
    assert batch.ids == ["1.jpg", "2.jpg", "3.jpg"]
    assert batch.rows == {"width": [5, None, 7]}


@pytest.mark.parametrize("fixed", [True, False])
def test_parquet_files_of_a_folder_are_read_by_their_numbers(tmp_path: Path, fixed: bool) -> None:
    arrays = [_table(3, seed=i) for i in range(11)]
    for i, array in enumerate(arrays):
        names = [f"{i}-{row}" for row in range(3)]
        _parquet(tmp_path / f"part-{i}.parquet", array, fixed=fixed, uri=names, width=[1, 2, 3])
    source = open_vectors(tmp_path, batch_size=2)
    assert (source.count, source.dim) == (33, 6)
    batches = list(source)
    assert [b.ids[0] for b in batches[::2]] == [f"{i}-0" for i in range(11)]
    assert batches[0].rows == {"width": [1, 2]}
    np.testing.assert_array_equal(
        np.concatenate([b.vectors for b in batches]), np.concatenate(arrays)
    )


def test_parquet_columns_can_be_named(tmp_path: Path) -> None:
    array = _table(2)
    other = pa.array(list(_table(2, 4)), pa.list_(pa.float32()))
    table = pa.table({"who": ["a", "b"], "v": pa.array(list(array)), "w": other})
    pq.write_table(table, tmp_path / "x.parquet")
    (batch,) = open_vectors(tmp_path / "x.parquet", vector_field="v", id_field="who")
    assert (batch.ids, batch.rows) == (["a", "b"], {})
    np.testing.assert_array_equal(batch.vectors, array)
    with pytest.raises(EncoderError, match=r"x\.parquet has 2 columns of vectors \(v, w\)"):
        open_vectors(tmp_path / "x.parquet")
    with pytest.raises(EncoderError, match="no field of ids among who"):
        open_vectors(tmp_path / "x.parquet", vector_field="v")
    with pytest.raises(EncoderError, match="column 'who' holds no vectors"):
        open_vectors(tmp_path / "x.parquet", vector_field="who")


def test_a_clip_retrieval_folder_gives_images_or_texts(tmp_path: Path) -> None:
    parts = [_table(3, seed=1), _table(2, seed=2)]
    folder = _retrieval(tmp_path / "laion", parts)
    images = list(open_vectors(folder))
    assert [b.ids[-1] for b in images] == ["photos/0-2.jpg", "photos/1-1.jpg"]
    assert images[1].rows == {"caption": ["about photos/1-0.jpg", "about photos/1-1.jpg"]}
    texts = list(open_vectors(folder, kind="text"))
    np.testing.assert_array_equal(images[0].vectors, -texts[0].vectors)
    assert images[0].vectors.dtype == np.float16


def test_a_bad_row_is_named_or_set_aside(tmp_path: Path) -> None:
    array = _table(8)
    array[2, 3], array[5, 0], array[6] = np.nan, np.inf, 0
    path = _npy(tmp_path, array, ["a", "b", "c", "d", "", "f", "g", "h"])
    bad: list[BadRow] = []
    batches = list(open_vectors(path, batch_size=3, on_bad=bad.append))
    assert [name for b in batches for name in b.ids] == ["a", "b", "d", "h"]
    np.testing.assert_array_equal(np.concatenate([b.vectors for b in batches]), array[[0, 1, 3, 7]])
    assert [(b.row, b.id, b.reason) for b in bad] == [
        (2, "c", "the vector holds NaN or infinity"),
        (4, "", "the id is empty"),
        (5, "f", "the vector holds NaN or infinity"),
        (6, "g", "the vector is all zeros"),
    ]
    with pytest.raises(EncoderError, match=r"x\.npy: row 2 \('c'\), counting from 0: the vector"):
        list(open_vectors(path, batch_size=3))


def test_a_value_beyond_single_precision_is_a_bad_row(tmp_path: Path) -> None:
    array = _table(2).astype(np.float64)
    array[1, 1] = 1e300
    with pytest.raises(EncoderError, match=r"row 1 .*NaN or infinity"):
        list(open_vectors(_npy(tmp_path, array, ["a", "b"])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_beyond_half_precision_is_a_bad_row(tmp_path: Path, dtype: Any) -> None:
    array = _table(4).astype(dtype)
    array[0, 0], array[2, 1] = 65504, -65520
    bad: list[BadRow] = []
    path = _npy(tmp_path, array, ["a", "b", "c", "d"])
    (batch,) = open_vectors(path, on_bad=bad.append)
    assert (batch.ids, batch.path, batch.numbers) == (["a", "b", "d"], path, [0, 1, 3])
    assert [(b.row, b.reason) for b in bad] == [(2, "the vector is too large for float16")]


def test_rows_are_numbered_within_their_file(tmp_path: Path) -> None:
    batches = list(open_vectors(_npy(tmp_path, _table(5), list("abcde")), batch_size=3))
    assert [b.numbers for b in batches] == [[0, 1, 2], [3, 4]]


def test_parquet_rows_of_another_length_or_without_a_vector_are_bad(tmp_path: Path) -> None:
    vectors = pa.array([[1.0, 2.0], [1.0], None, [3.0, None], [5.0, 6.0]], pa.list_(pa.float32()))
    table: dict[str, Any] = {
        "id": ["a", "b", "c", "d", None],
        "vector": vectors,
        "width": [1, 2, 3, 4, 5],
    }
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    bad: list[BadRow] = []
    (batch,) = open_vectors(tmp_path / "x.parquet", on_bad=bad.append)
    assert (batch.ids, batch.vectors.tolist()) == (["a"], [[1.0, 2.0]])
    assert batch.rows == {"width": [1]}
    assert [(b.row, b.reason) for b in bad] == [
        (1, "the vector has 1 values, not 2"),
        (2, "the vector has 0 values, not 2"),
        (3, "the vector holds NaN or infinity"),
        (4, "the id is empty"),
    ]


@pytest.mark.parametrize("ids", [["a", "b"], ["a", "b", "c", "d"]])
def test_ids_and_vectors_must_be_as_many(tmp_path: Path, ids: list[str]) -> None:
    path = _npy(tmp_path, _table(3), ids)
    with pytest.raises(EncoderError, match=rf"x\.npy has 3 .*x\.txt has {len(ids)} ids: row"):
        open_vectors(path)
    with pytest.raises(EncoderError, match="the list of ids has"):
        open_vectors(path, ids)


def test_blank_lines_at_the_end_of_the_ids_do_not_count(tmp_path: Path) -> None:
    path = _npy(tmp_path, _table(2), ["a", "b", "", " "])
    assert next(iter(open_vectors(path))).ids == ["a", "b"]


def test_files_of_two_dimensions_are_not_read_together(tmp_path: Path) -> None:
    for i, dim in enumerate((4, 5)):
        _parquet(tmp_path / f"{i}.parquet", _table(2, dim), fixed=True, id=["a", "b"])
    with pytest.raises(EncoderError, match=r"1\.parquet has vectors of 5 dim.*0\.parquet of 4"):
        open_vectors(tmp_path)


def test_a_missing_metadata_file_is_noticed(tmp_path: Path) -> None:
    folder = _retrieval(tmp_path / "laion", [_table(2), _table(2)])
    (folder / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(EncoderError, match="2 files in img_emb but 1 in metadata"):
        open_vectors(folder)


def test_files_that_hold_no_vectors_say_so(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(5, dtype=np.float32))
    np.save(tmp_path / "whole.npy", np.ones((2, 3), dtype=np.int64))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "junk.parquet").write_text("no")
    path = _npy(tmp_path, _table(50), [str(i) for i in range(50)], "cut")
    path.write_bytes(path.read_bytes()[:400])
    wanted = {
        "flat.npy": r"shape \[5\]",
        "whole.npy": "holds int64",
        "objects.npy": "not a readable",
        "empty.npy": "not a readable",
        "cut.npy": "not a readable",
        "junk.parquet": "not a readable",
        "none.npy": "no such file",
        "none.parquet": "no such Parquet",
        "none": "is not there",
        ".": "not a readable|has no vectors",
    }
    for name, reason in wanted.items():
        with pytest.raises(EncoderError, match=reason) as caught:
            open_vectors(tmp_path / name)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_ids_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", _table(2))
    with pytest.raises(EncoderError, match=r"comes without ids: put x\.txt"):
        open_vectors(tmp_path / "x.npy")
    (tmp_path / "ids.csv").write_text("a\nb\n")
    with pytest.raises(EncoderError, match=r"ids\.csv: ids are read from \.txt"):
        open_vectors(tmp_path / "x.npy", tmp_path / "ids.csv")
    (tmp_path / "latin.txt").write_bytes("é\nb".encode("latin-1"))
    with pytest.raises(EncoderError, match=r"latin\.txt: line 1: not UTF-8"):
        open_vectors(tmp_path / "x.npy", tmp_path / "latin.txt")
    (tmp_path / "x.jsonl").write_text('{"id": "a"}\n{"id": \n')
    with pytest.raises(EncoderError, match=r"x\.jsonl: line 2: not JSON"):
        list(open_vectors(tmp_path / "x.npy"))
    (tmp_path / "x.jsonl").write_text('["a"]\n["b"]\n')
    with pytest.raises(EncoderError, match=r"x\.jsonl: line 1: not a JSON object"):
        list(open_vectors(tmp_path / "x.npy"))


def test_imported_vectors_are_identified_by_their_name() -> None:
    info = imported_info("CLIP.b-32", dim=512, model="ViT-B-32", resolution=224)
    assert info.encoder_id.startswith("vectors_clip_b_32_512_")
    assert (info.library, info.spec, info.context_length) == ("vectors", "vectors:CLIP.b-32", None)
    others = [imported_info("CLIP-b.32", dim=512), imported_info("CLIP.b-32", dim=768)]
    assert info.encoder_id not in {other.encoder_id for other in others}
    assert info == imported_info("CLIP.b-32", dim=512, model="ViT-B-32", resolution=224)
    for name in ("", "a b", "../x", "x" * 65, "é"):
        with pytest.raises(EncoderError, match="is not a name for vectors"):
            imported_info(name, dim=512)


def test_real_clip_vectors_are_read(shared_data: Path) -> None:
    folder = shared_data / "clip-vit-b-32"
    names = folder / "lvis1203-names.txt"
    texts = next(iter(open_vectors(folder / "text-lvis1203.npy", names)))
    images = next(iter(open_vectors(folder / "image-exemplar-lvis1203.npy", names)))
    assert len(texts.ids) == 1203
    assert texts.vectors.dtype == np.float16
    text_ND = texts.vectors / np.linalg.norm(texts.vectors.astype(np.float32), axis=1)[:, None]
    image_ND = images.vectors / np.linalg.norm(images.vectors, axis=1)[:, None]
    right = (image_ND @ text_ND.T).argmax(1) == np.arange(1203)
    assert right.mean() == pytest.approx(0.629, abs=0.001)
