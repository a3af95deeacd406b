"""Upgrading a genuine store of version 1: what was kept, what a killed upgrade leaves."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from taistore.contracts import DEFAULT_ENCODER_KEY, PRIMARY_KEY, STORE_VERSION, TABLES, VERSION_KEY
from taistore.errors import StoreError
from taistore.store import migrations
from taistore.store.arrow import vector_array, vector_column
from taistore.store.lance_errors import writing
from taistore.store.migrations import MIGRATIONS, upgrade
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.label_prompts import cached_prompt_vectors, prompt_vectors
from taistore.texts.request_ids import RequestIds
from taistore.texts.rows.text_rows import TextRow, write_texts
from taistore.texts.templates.template_writer import TemplateWriter
from tests.fakes import ColourEncoder
from tests.texts.test_label_prompts import LABELS

ENCODER = ColourEncoder()
ID = ENCODER.info.encoder_id
IDS = RequestIds(model="v1", settings=TemplateWriter.settings, seed=0)
KEY_3 = IDS.key(7, "", 3)
"""Names the request of :data:`TEXT`."""

TEXT = TextRow(
    text_id="c" * 32,
    combination_id=7,
    label_ids=(0,),
    text="a red box",
    writer="template",
    model="v1",
    instruction="",
    turn=3,
    seed=0,
    tokens=5,
)


def centroids_1(dim: int) -> pa.Schema:
    """``centroids`` as version 1 wrote it."""
    key = {PRIMARY_KEY: b"true"}
    fields: list[pa.Field[Any]] = [
        pa.field("kind", pa.string(), nullable=False, metadata=key),
        pa.field("id", pa.int64(), nullable=False, metadata=key),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float16(), dim), nullable=False),
    ]
    return pa.schema(fields, metadata={VERSION_KEY: b"1"})


def texts_2() -> pa.Schema:
    """``texts`` as versions 1 and 2 wrote it."""
    fields: list[pa.Field[Any]] = [
        pa.field("text_id", pa.string(), nullable=False, metadata={PRIMARY_KEY: b"true"}),
        pa.field("combination_id", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("writer", pa.string(), nullable=False),
        pa.field("model", pa.string()),
        pa.field("instruction", pa.string()),
        pa.field("turn", pa.int32(), nullable=False),
        pa.field("seed", pa.int64()),
        pa.field("tokens", pa.int32()),
    ]
    return pa.schema(fields, metadata={VERSION_KEY: b"1"})


def rejects_3() -> pa.Schema:
    """``rejects`` as versions 1 to 3 wrote it."""
    key = {PRIMARY_KEY: b"true"}
    fields: list[pa.Field[Any]] = [
        pa.field("job", pa.string(), nullable=False, metadata=key),
        pa.field("uri", pa.string(), nullable=False, metadata=key),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("when", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
    return pa.schema(fields, metadata={VERSION_KEY: b"1"})


def images_4() -> pa.Schema:
    """``images`` as versions 1 to 4 wrote it."""
    ids = pa.list_(pa.field("item", pa.int32(), nullable=False))
    fields: list[pa.Field[Any]] = [
        pa.field("image_id", pa.string(), nullable=False, metadata={PRIMARY_KEY: b"true"}),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("positives", ids, nullable=False),
        pa.field("negatives", ids, nullable=False),
        pa.field("complete", pa.bool_(), nullable=False),
        pa.field("combination_id", pa.int64()),
        pa.field("split", pa.string(), nullable=False),
    ]
    return pa.schema(fields, metadata={VERSION_KEY: b"1"})


IMAGE: dict[str, Any] = {
    "image_id": "a" * 32,
    "uri": "/a.jpg",
    "width": 4,
    "height": 3,
    "positives": [0],
    "negatives": [],
    "complete": True,
    "combination_id": 7,
    "split": "train",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as version 1 wrote it."""
    return version_1(tmp_path / "s")


def version_1(path: Path) -> Path:
    """Make a store as version 1 wrote it, with prompts, images and image vectors."""
    store = Store.create(path, LABELS, default_encoder="colour@32")
    prompt_vectors(store, ENCODER)
    store.append(
        "image_vectors",
        {"image_id": ["a" * 32], "vector": vector_column(np.ones((1, ENCODER.info.dim)))},
        encoder_id=ID,
    )
    images = pa.Table.from_pylist([IMAGE], schema=images_4())
    lancedb.connect(path).create_table("images", images, mode="overwrite")
    store.reject("job", [Reject("a.jpg", "unreadable", "")])
    store.reject("generate-texts", [Reject("combination 7 turn 4 seed 0", "too_long", "")])
    store.reject("ingest-texts", [Reject("mine.txt:3", "empty", "")])
    without_writer(store)
    write_texts(store, ENCODER, [TEXT])
    texts = pa.concat_tables(map(_table, store.scan("texts")))
    kept = texts.select(list(texts_2().names)).cast(texts_2())
    lancedb.connect(path).create_table("texts", kept, mode="overwrite")
    batch = pa.concat_tables(map(_table, store.scan("centroids", encoder_id=ID)))
    rows = batch.select(["kind", "id", "count", "source", "vector"])
    schema = centroids_1(ENCODER.info.dim)
    rows = rows.set_column(4, schema.field("vector"), _halved(rows))
    lancedb.connect(path).create_table(f"centroids__{ID}", rows.cast(schema), mode="overwrite")
    for name in store.table_names():
        dataset = lancedb.connect(path).open_table(name).to_lance()
        dataset.update_schema_metadata({VERSION_KEY.decode(): "1"})
    return path


def without_writer(store: Store) -> None:
    """Make ``rejects`` what it was before version 4."""
    rows = pa.concat_tables(map(_table, store.scan("rejects"))).drop_columns(["writer"])
    lancedb.connect(store.uri).create_table(
        "rejects", rows.cast(rejects_3()), schema=rejects_3(), mode="overwrite"
    )


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _halved(rows: pa.Table) -> "pa.FixedSizeListArray[Any]":
    return vector_column(vector_array(rows.column("vector").combine_chunks()))


def test_an_old_store_names_the_command(old: Path) -> None:
    with pytest.raises(StoreError, match=rf"version 1.*'taistore upgrade --store {old}'"):
        Store.open(old)


def test_upgrading_keeps_prompts_and_everything_else(old: Path) -> None:
    done = upgrade(old)
    assert (done.before, done.after, len(done.steps)) == (1, STORE_VERSION, STORE_VERSION - 1)
    store = Store.open(old)
    assert store.labels == LABELS
    assert store.default_encoder == "colour@32"
    for name in store.table_names():
        kind, _, encoder_id = name.partition("__")
        found = store.dataset(kind, encoder_id or None).schema
        wanted = store.schema(kind, encoder_id or None)
        assert found.equals(wanted), name
        metadata = dict(found.metadata)
        metadata.pop(DEFAULT_ENCODER_KEY, None)
        assert metadata == wanted.metadata, name
        for field in wanted:
            assert found.field(field.name).metadata == field.metadata, (name, field.name)
    kept = cached_prompt_vectors(store, ENCODER.info)
    assert kept is not None
    fresh = prompt_vectors(Store.create(old.parent / "new", LABELS, default_encoder="x"), ENCODER)
    np.testing.assert_array_equal(kept, fresh)


def test_an_upgraded_store_takes_new_rows_in_every_table(old: Path) -> None:
    upgrade(old)
    store = Store.open(old)
    more = {"image_id": ["b" * 32], "vector": vector_column(np.ones((1, ENCODER.info.dim)))}
    assert store.append("image_vectors", more, encoder_id=ID) == 1
    of_all = {"covered": len(LABELS)}
    copies = {**IMAGE, **of_all, "image_id": "b" * 32, "uri": "/b.jpg", "other_uris": ["/c.jpg"]}
    store.upsert("images", [copies])
    images = [row for batch in store.scan("images") for row in batch.to_pylist()]
    assert sorted(images, key=lambda row: str(row["uri"])) == [
        IMAGE | of_all | {"other_uris": None},
        copies,
    ]
    store.reject("job", [Reject("b.jpg", "unreadable", "")])
    assert store.count("rejects") == 4
    store.register_encoder(ColourEncoder(dim=64).info)
    assert len(store.encoders()) == 2
    asked = replace(TEXT, text_id="d" * 32, request_id="r.0", temperature=0.5, mentions=(1,))
    assert write_texts(store, ENCODER, [TEXT, asked]) == 1
    rows = [row for batch in store.scan("texts") for row in batch.to_pylist()]
    assert [row["turn"] for row in rows] == [3, 3]
    assert [row["request_id"] for row in rows] == [f"{KEY_3}.0", "r.0"]
    assert [row["mentions"] for row in rows] == [None, [1]]
    prompt_vectors(store, ColourEncoder(dim=64))


def test_upgrading_twice_changes_nothing(old: Path) -> None:
    upgrade(old)
    store = Store.open(old)
    parts = [name.partition("__") for name in store.table_names()]
    kinds = [(kind, one or None) for kind, _, one in parts]
    before = store.versions(kinds)
    assert len(before) == len(parts) > 1
    assert upgrade(old).steps == ()
    assert Store.open(old).versions(kinds) == before


@pytest.mark.parametrize("place", ["in the step", "before the tables", "before labels"])
def test_a_killed_upgrade_is_done_again(
    old: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL."""

    def dying(function: Callable[..., object], *, calls: int) -> Callable[..., object]:
        left = [calls]

        def wrapped(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        if place == "in the step":
            patch.setattr(Store, "overwrite", dying(Store.overwrite, calls=0))
        elif place == "before the tables":
            patch.setattr(migrations, "_set_version", dying(migrations._set_version, calls=0))
        else:
            tables = len(Store.open(old, any_version=True).table_names())
            patch.setattr("taistore.store.migrations.writing", dying(writing, calls=tables - 1))
        with pytest.raises(Killed):
            upgrade(old)
    with pytest.raises(StoreError, match="taistore upgrade"):
        Store.open(old)
    assert upgrade(old).before == 1
    assert cached_prompt_vectors(Store.open(old), ENCODER.info) is not None


def test_a_newer_store_is_left_alone(old: Path) -> None:
    labels = lancedb.connect(old).open_table("labels").to_lance()
    labels.update_schema_metadata({VERSION_KEY.decode(): str(STORE_VERSION + 1)})
    with pytest.raises(StoreError, match="install a newer taistore"):
        upgrade(old)


def test_there_is_a_step_to_every_version() -> None:
    assert [step.to for step in MIGRATIONS] == list(range(2, STORE_VERSION + 1))


def test_the_last_step_leads_to_the_contract() -> None:
    wanted = TABLES["centroids"].schema(8)
    made = migrations._centroids_2(8)
    assert made.equals(wanted)
    assert [field.metadata for field in made] == [field.metadata for field in wanted]
    assert [*texts_2(), *migrations._TEXTS_3] == list(TABLES["texts"].schema())
    images = [*images_4(), migrations._OTHER_URIS, pa.field("covered", pa.int32())]
    assert images == list(TABLES["images"].schema())
    writer = pa.field("writer", pa.string())
    assert [*rejects_3(), writer] == list(TABLES["rejects"].schema())


def test_template_texts_and_rejects_get_the_requests_that_the_job_asks_for(old: Path) -> None:
    upgrade(old)
    store = Store.open(old)
    assert [row["request_id"] for b in store.scan("texts") for row in b.to_pylist()] == [
        f"{KEY_3}.0"
    ]
    rejects = {row["uri"]: row["writer"] for b in store.scan("rejects") for row in b.to_pylist()}
    assert rejects == {"a.jpg": None, IDS.key(7, "", 4): "template", "mine.txt:3": "captions"}


def _version_3(path: Path, writers: Sequence[str]) -> Store:
    """A store of version 3 with template texts, and rejects by the models of ``writers``."""
    store = Store.create(path, LABELS, default_encoder="colour@32")
    generate_texts(store, ENCODER, GenerateConfig(count=60))
    rows = [
        replace(TEXT, text_id=f"{n:032x}", writer=writer, model="m", request_id=f"{'a' * 32}.{n}")
        for n, writer in enumerate(writers)
    ]
    write_texts(store, ENCODER, rows)
    store.reject("generate-texts", [Reject("b" * 32, "refusal", "I'm sorry")])
    without_writer(store)
    dataset = store.dataset("texts")
    dataset.update({"request_id": "NULL", "attempt": "NULL"}, where="writer = 'template'")
    for name in store.table_names():
        table = lancedb.connect(path).open_table(name).to_lance()
        table.update_schema_metadata({VERSION_KEY.decode(): "3"})
    return store


def test_a_store_of_version_3_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = _rows(_version_3(path, ["openai"]))
    assert not any(row["request_id"] for row in before if row["writer"] == "template")
    upgrade(path)
    store = Store.open(path)
    again = generate_texts(store, ENCODER, GenerateConfig(count=60))
    assert (again.present, again.written) == (60, 0)
    assert [row["text_id"] for row in _rows(store)] == [row["text_id"] for row in before]
    more = generate_texts(store, ENCODER, GenerateConfig(count=90))
    assert (more.present, more.written + more.repeated) == (60, 30)


@pytest.mark.parametrize(
    ("writers", "whose"), [(["vllm"], "vllm"), (["vllm", "openai"], None), ([], None)]
)
def test_a_rejected_answer_belongs_to_the_only_model_there_is(
    tmp_path: Path, writers: list[str], whose: str | None
) -> None:
    path = tmp_path / "s"
    _version_3(path, writers)
    upgrade(path)
    found = [row["writer"] for b in Store.open(path).scan("rejects") for row in b.to_pylist()]
    assert found == [whose]


def _rows(store: Store) -> list[dict[str, Any]]:
    rows = [row for batch in store.scan("texts") for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: str(row["text_id"]))
