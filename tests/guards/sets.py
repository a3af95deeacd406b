"""The two sets of real vectors: one in the repository, one made from ``../shared/data``."""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.label_files.label_file import read_labels
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.label_prompts import prompt_vectors
from tests.guards.ladders import FOLDER
from tests.guards.photos import write_photos
from tests.guards.vector_set import SPLIT, VectorSet

FIXTURE = FOLDER / "vectors.safetensors"
PACKAGED = "packages"
"""Name of the set in the repository: photos that come inside packages."""

VOC = "voc2012"
"""Name of the set of the first VOC2012 photos; its data may not be committed."""

PACKAGED_ENCODER, PACKAGED_TEXTS, PACKAGED_GRID = "packaged", 800, 3
VOC_ENCODER, VOC_TEXTS, VOC_GRID, VOC_PHOTOS = "packaged:lite0@224", 1000, 4, 150


class Prepared(NamedTuple):
    """A store to train on, with its encoder's id and the labels' prompt vectors [N, D]."""

    store: Store
    encoder_id: str
    prompts_ND: NDArray[np.float32]


def make_packaged_set(work: Path) -> VectorSet:
    """Encode photos and texts anew, in ``work``."""
    encoder = load_encoder(PACKAGED_ENCODER)
    manifest, names = write_photos(work / "photos")
    store = _ingest(work / "store", encoder, manifest, names, grid=PACKAGED_GRID)
    generate_texts(store, encoder, GenerateConfig(count=PACKAGED_TEXTS, seed=0))
    return VectorSet.of(store, encoder.info, prompt_vectors(store, encoder))


def packaged_set(work: Path) -> Prepared:
    """The committed vectors as a new store in ``work``."""
    vectors = VectorSet.load(FIXTURE)
    store = vectors.to_store(work / "store")
    return Prepared(store, vectors.info.encoder_id, vectors.prompts_ND.astype(np.float32))


def voc_set(data: Path, cache: Path, work: Path) -> Prepared:
    """The first VOC2012 photos below ``data``, their vectors from ``cache`` where it has them.

    Texts and prompts are written and encoded anew, so that a change of theirs shows too.
    """
    encoder = load_encoder(VOC_ENCODER)
    name = f"{VOC}-{VOC_PHOTOS}-{VOC_GRID}-{encoder.info.encoder_id}"
    if not (cache / name).exists():
        _encode_voc(data / VOC, cache, name, encoder)
    shutil.copytree(cache / name, work / "store")
    store = Store.open(work / "store")
    generate_texts(store, encoder, GenerateConfig(count=VOC_TEXTS, seed=0))
    return Prepared(store, encoder.info.encoder_id, prompt_vectors(store, encoder))


def _encode_voc(data: Path, cache: Path, name: str, encoder: Encoder) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        lines = (data / "labels.jsonl").read_text(encoding="utf-8").splitlines()[:VOC_PHOTOS]
        manifest = Path(made) / "first.jsonl"
        manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (Path(made) / "images").symlink_to((data / "images").resolve())
        _ingest(Path(made) / name, encoder, manifest, data / "classes.csv", grid=VOC_GRID)
        # In one step: a process that stops half-way leaves nothing that looks whole.
        (Path(made) / name).replace(cache / name)


def _ingest(path: Path, encoder: Encoder, manifest: Path, names: Path, *, grid: int) -> Store:
    labels = read_labels(names)
    store = Store.create(path, labels, default_encoder=encoder.info.spec)
    ingest_images(store, encoder, open_source(manifest, labels), regions=grid, split=SPLIT)
    return store
