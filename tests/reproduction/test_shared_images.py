"""Stores of one set that differ in their texts encode its images once."""

import json
from pathlib import Path
from typing import Any

import pytest

from taistore.reproduction import set_stores
from taistore.reproduction.data_sets import FoundSet, find_set
from taistore.reproduction.set_stores import ready_store, store_folder
from taistore.reproduction.table_texts import TableTexts
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.killing import run_and_kill
from tests.reproduction.share_me import share
from tests.reproduction.small_sets import own_form

FEW, MORE = TableTexts(count=40), TableTexts(count=60)


def found(data: Path) -> FoundSet:
    one = find_set(data, "colours", training=True)
    assert isinstance(one, FoundSet)
    return one


def ready(tmp_path: Path, encoder: ColourEncoder, texts: TableTexts, regions: int = 0) -> Store:
    one = found(tmp_path / "data")
    path = store_folder(one, encoder, work=tmp_path / "work", texts=texts, regions=regions)
    return ready_store(path, one, encoder, texts=texts, regions=regions).store


def rows(store: Store, kind: str, encoder_id: str | None = None) -> list[dict[str, Any]]:
    batches = store.scan(kind, encoder_id=encoder_id)
    return sorted((row for batch in batches for row in batch.to_pylist()), key=repr)


def test_other_texts_do_not_encode_the_images_again(tmp_path: Path) -> None:
    own_form(tmp_path / "data")
    encoder = ColourEncoder()
    first = ready(tmp_path, encoder, FEW, regions=2)
    assert encoder.encoded == 12
    second = ready(tmp_path, encoder, MORE, regions=2)
    assert encoder.encoded == 12
    assert first.uri != second.uri
    assert (first.count("texts"), second.count("texts")) == (40, 60)
    encoder_id = encoder.info.encoder_id
    for kind in ("image_vectors", "region_vectors"):
        assert rows(second, kind, encoder_id) == rows(first, kind, encoder_id)
        assert second.count(kind, encoder_id) == 12
    assert rows(second, "images") == rows(first, "images")
    # Regions of another grid are other vectors; of none, no store with some will do to score.
    ready(tmp_path, encoder, FEW, regions=3)
    assert encoder.encoded == 24
    plain = ready(tmp_path, encoder, FEW)
    assert encoder.encoded == 24
    assert plain.count("region_vectors", encoder_id) == 0


def test_what_is_copied_is_what_the_set_has_now(tmp_path: Path) -> None:
    folder = own_form(tmp_path / "data", splits=("train", "test"))
    encoder = ColourEncoder()
    first = ready(tmp_path, encoder, FEW)
    manifest = folder / "labels.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines[0] = {"image": lines[0]["image"], "positives": ["blue"], "split": "test"}
    manifest.write_text("\n".join(map(json.dumps, lines[:-1])) + "\n")
    colour_image("yellow", "red", "blue", size=(50, 31)).save(folder / "images" / "1.png")
    second = ready(tmp_path, encoder, MORE)
    assert encoder.encoded == 13
    assert (first.count("images"), second.count("images")) == (12, 11)
    at = {Path(row["uri"]).name: row for row in rows(second, "images")}
    assert "11.png" not in at
    assert (at["0.png"]["positives"], at["0.png"]["negatives"]) == ([2], [])
    assert (at["0.png"]["complete"], at["0.png"]["split"]) == (False, "test")
    before = {Path(row["uri"]).name: row["image_id"] for row in rows(first, "images")}
    assert {name for name, row in at.items() if row["image_id"] != before[name]} == {"1.png"}
    assert (at["1.png"]["width"], at["1.png"]["height"]) == (50, 31)


def test_copying_killed_and_run_again_gives_the_same_rows(tmp_path: Path) -> None:
    own_form(tmp_path / "data")
    encoder = ColourEncoder()
    other = Path(ready(tmp_path, encoder, FEW, regions=2).uri)
    labels = found(tmp_path / "data").labels

    def new(name: str) -> Store:
        store = Store.create(tmp_path / name, labels, default_encoder=encoder.info.spec)
        store.register_encoder(encoder.info)
        return store

    calm = new("calm")
    assert share(calm, other) == 12
    killed = new("killed")
    there = [0]
    for steps in (4, 5):  # of three commits for each two images
        job = ("tests.reproduction.share_me", killed.uri, str(other))
        assert run_and_kill(*job, cwd=tmp_path, steps=steps, ahead=2)
        there.append(Store.open(killed.uri).count("images"))
    assert there[0] < there[1] <= there[2] < 12
    again = Store.open(killed.uri)
    assert share(again, other) == 12 - there[-1]
    assert share(again, other) == 0
    encoder_id = encoder.info.encoder_id
    for kind, owner in (
        ("images", None),
        ("image_vectors", encoder_id),
        ("region_vectors", encoder_id),
    ):
        assert rows(again, kind, owner) == rows(calm, kind, owner)
        assert len(rows(again, kind, owner)) == 12


def test_a_copy_that_was_stopped_goes_on_without_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_form(tmp_path / "data")
    encoder = ColourEncoder()
    ready(tmp_path, encoder, FEW)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(set_stores, "ingest_images", stop)
        with pytest.raises(KeyboardInterrupt):
            ready(tmp_path, encoder, MORE)
    (tmp_path / "work" / "no-store").mkdir()
    store = ready(tmp_path, encoder, MORE)
    assert encoder.encoded == 12
    known = [row["positives"] for row in rows(store, "images")]
    assert len(known) == 12
    assert all(known)
    assert {row["split"] for row in rows(store, "images")} == {"train", "test"}
