"""Streaming a store's images with their vectors."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.scoring import stored_images
from taistore.scoring.stored_images import some_have_regions, stored_batches
from taistore.store.arrow import vector_column
from taistore.store.maintenance import optimize
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import PICTURES, add_images, add_pictures, image_row, new_store


@pytest.mark.parametrize("batch_rows", [256, 5])
def test_vectors_and_regions_belong_to_their_image(
    tmp_path: Path, batch_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_images, "REGION_BATCH_ROWS", batch_rows)
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    # Vectors may lie in another order than images.
    store.append("images", [image_row(n, c) for n, c in reversed(list(enumerate(PICTURES)))])
    rows = add_pictures(store, encoder, grid=2)
    colours = {row["image_id"]: row["uri"].split(" ")[1][:-4].split("-") for row in rows}
    seen = []
    for batch in stored_batches(store, encoder.info.encoder_id, columns=["uri"], regions=True):
        assert batch.regions_BRD is not None
        for image_id, whole, regions in zip(
            batch.rows.column("image_id").to_pylist(),
            batch.whole_BD,
            batch.regions_BRD,
            strict=True,
        ):
            pixels = encoder.prepare(colour_image(*colours[str(image_id)]))[None]
            expected = encoder.encode_images(pixels, regions=2)
            assert expected.regions is not None
            np.testing.assert_allclose(whole, expected.whole[0], atol=0.01)
            np.testing.assert_allclose(regions, expected.regions[0], atol=0.01)
            seen.append(image_id)
    assert sorted(map(str, seen)) == sorted(colours)


def test_images_without_a_vector_are_told_apart(tmp_path: Path) -> None:
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder)
    store.append("images", [image_row(99, ["red"])])
    batches = list(stored_batches(store, encoder.info.encoder_id, columns=["uri"], regions=False))
    without = [uri for b in batches for uri in b.without_vector.column("uri").to_pylist()]
    assert without == ["/photos/0099 red.png"]
    assert sum(b.rows.num_rows for b in batches) == sum(len(b.whole_BD) for b in batches) == 12


def test_the_store_may_be_optimized_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_images, "BATCH_ROWS", 64)
    encoder = ColourEncoder()
    encoder_id = encoder.info.encoder_id
    store = new_store(tmp_path / "store", encoder)
    vectors_ID = np.random.default_rng(0).standard_normal((600, 32)).astype(np.float16)
    for low in range(0, 600, 50):  # a dozen fragments, in another order than the images
        rows = [image_row(n, ["red"]) for n in range(low, low + 50)]
        store.append("images", rows)
        turned = {
            "image_id": [row["image_id"] for row in reversed(rows)],
            "vector": vector_column(vectors_ID[low : low + 50][::-1]),
        }
        store.append("image_vectors", turned, encoder_id=encoder_id)
    seen: dict[str, NDArray[np.float16]] = {}
    for number, batch in enumerate(
        stored_batches(store, encoder_id, columns=["uri"], regions=False)
    ):
        if number == 2:
            merged = {one.table: one for one in optimize(Store.open(store.uri))}
            assert merged["images"].fragments_before > merged["images"].fragments_after
        ids = map(str, batch.rows.column("image_id").to_pylist())
        seen |= zip(ids, batch.whole_BD, strict=True)
    assert list(seen) == [image_row(n, ["red"])["image_id"] for n in range(600)]
    assert np.array_equal(np.stack(list(seen.values())), vectors_ID)


def test_a_store_without_any_vector_gives_none(tmp_path: Path) -> None:
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    store.append("images", [image_row(1, ["red"])])
    (batch,) = stored_batches(store, encoder.info.encoder_id, columns=[], regions=True)
    assert batch.whole_BD.shape == (0, 32)
    assert batch.without_vector.num_rows == 1


def test_images_with_and_without_regions_come_apart(tmp_path: Path) -> None:
    encoder = ColourEncoder()
    encoder_id = encoder.info.encoder_id
    store = new_store(tmp_path / "store", encoder)
    assert not some_have_regions(store, encoder_id)
    add_images(store, encoder, [image_row(99, ["red"], split="train")], [["red"]])
    store.append("images", [image_row(50, ["red"])])  # no vector at all
    add_images(store, encoder, [image_row(98, ["blue"], split="val")], [["blue"]], grid=3)
    add_pictures(store, encoder, grid=2)
    assert some_have_regions(store, encoder_id)
    assert not some_have_regions(store, encoder_id, where={"split": "train"})
    found = list(stored_batches(store, encoder_id, columns=["uri"], regions=True))
    assert [
        (batch.rows.num_rows, None if batch.regions_BRD is None else batch.regions_BRD.shape[1])
        for batch in found
        if batch.rows.num_rows
    ] == [(1, None), (1, 9), (12, 4)]
    assert sum(batch.without_vector.num_rows for batch in found) == 1
    whole = list(stored_batches(store, encoder_id, columns=["uri"], regions=False))
    assert sum(batch.rows.num_rows for batch in whole) == 14
    assert all(batch.regions_BRD is None for batch in whole)


def test_whether_there_are_regions_the_first_images_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = ColourEncoder()
    encoder_id = encoder.info.encoder_id
    made = new_store(tmp_path / "store", encoder)
    add_images(made, encoder, [image_row(99, ["red"])], [["red"]])
    add_pictures(made, encoder, grid=2)
    store = Store.open(made.uri)
    assert some_have_regions(store, encoder_id)
    assert not store._writer._known_keys, "the ids of all regions were read"
    monkeypatch.setattr(stored_images, "_SINGLE", 1)  # the first read is one image without any
    assert some_have_regions(store, encoder_id)
