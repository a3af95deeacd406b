"""Finding over real vectors and photos: in the order of plain cosines, and what is meant.

N classes, D embedding dimension.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import taistore
from taistore.errors import ScoringError
from taistore.project import Project
from taistore.store.reads.nearest import nearest
from taistore.store.writes.vector_index import make_vector_index

CLIP = "vectors:clip-b32"
PHOTOS = 40

Vectors = NDArray[np.float32]


def plain_order(vectors: Vectors, query: Vectors) -> NDArray[np.int64]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.argsort(-(unit @ query), kind="stable")


@pytest.fixture(scope="module")
def clip(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Vectors]:
    """CLIP's vectors of 1,203 classes' exemplars as photos, and their text vectors [N, D]."""
    folder = tmp_path_factory.mktemp("clip")
    source = shared_data / "clip-vit-b-32"
    images = np.load(next(source.glob("image-exemplar-lvis1203*.npy")))
    names = folder / "images.jsonl"
    names.write_text(
        "".join(f'{{"image": "lvis/{n:04d}.jpg"}}\n' for n in range(len(images))), encoding="utf-8"
    )
    np.save(folder / "images.npy", images)
    project = taistore.create(folder / "store", labels=["any"], encoder=CLIP)
    project.ingest_image_vectors(folder / "images.npy", name="clip-b32", ids=names)
    texts = np.load(next(source.glob("text-lvis1203*.npy"))).astype(np.float32)
    return project, texts


def test_clip_order_is_that_of_plain_cosines_and_an_index_keeps_it(
    clip: tuple[Project, Vectors],
) -> None:
    project, texts_ND = clip
    store, encoder_id = project.store, project.encoder_info().encoder_id
    frame = project.images()
    ids = frame["image_id"].to_list()
    vectors_ND = project.image_vectors(ids).astype(np.float32)
    asked = range(0, len(texts_ND), 40)
    true = {n: [ids[row] for row in plain_order(vectors_ND, texts_ND[n])[:20]] for n in asked}
    for n in asked:
        found, _ = nearest(store, "image_vectors", encoder_id, texts_ND[n], 20).part(0, 20)
        assert found == true[n]
    # Each class's own exemplar is among the first five for most texts: README has 87.8 of 100.
    named = {uri.rsplit("/", 1)[-1]: one for one, uri in zip(ids, frame["uri"], strict=True)}
    assert np.mean([named[f"{n:04d}.jpg"] in true[n][:5] for n in asked]) > 0.7
    make_vector_index(store.dataset("image_vectors", encoder_id), min_rows=1)
    shared = []
    for n in asked:
        found, _ = nearest(store, "image_vectors", encoder_id, texts_ND[n], 20).part(0, 20)
        shared.append(len(set(found) & set(true[n])))
    assert np.mean(shared) >= 0.95 * 20


def test_a_store_of_imported_vectors_finds_by_photo_alone(clip: tuple[Project, Vectors]) -> None:
    project, _ = clip
    with pytest.raises(ScoringError, match="encodes no text: find with like="):
        project.find("a dog")
    like = project.images()["image_id"][7]
    ids = project.images()["image_id"].to_list()
    vectors_ND = project.image_vectors(ids).astype(np.float32)
    order = [ids[row] for row in plain_order(vectors_ND, vectors_ND[ids.index(like)])]
    found = project.find(like=like, top_k=10)
    assert [photo.image_id for photo in found] == order[1:11]


def test_a_label_typed_as_text_finds_its_photos(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "voc2012"
    lines = (source / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    known = {Path(row["image"]).name: set(row["labels"]) for row in rows[:PHOTOS]}
    manifest = tmp_path / "photos.jsonl"
    manifest.write_text(
        "".join(f'{{"image": "{source / row["image"]}"}}\n' for row in rows[:PHOTOS]),
        encoding="utf-8",
    )
    project = taistore.create(
        tmp_path / "store", labels=source / "classes.csv", encoder="packaged:lite0@128"
    )
    project.ingest_images(manifest, regions=0)
    (vector,) = project.encoder().encode_texts(["a person"])
    ids = project.images()["image_id"].to_list()
    order = plain_order(project.image_vectors(ids).astype(np.float32), vector)
    found = project.find("a person", top_k=PHOTOS)
    assert [photo.image_id for photo in found] == [ids[row] for row in order]
    shown = [{"person"} <= known[Path(photo.uri).name] for photo in found]
    assert np.mean(shown[:10]) > 1.5 * np.mean(shown)
