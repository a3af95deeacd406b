"""Texts, photos, labels and their vectors in one small file, and a store made of them again.

Shapes: M texts, I photos, N labels, R regions per photo, D embedding dimension.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from taistore.encoders.protocol import EncoderInfo
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.store import Store
from taistore.texts.rows.text_rows import text_id

WRITER = "template"
SPLIT = "test"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VectorSet:
    """All that a training and an evaluation read; vectors are float16, labels 0 or 1 in uint8."""

    info: EncoderInfo
    names: tuple[str, ...]
    prompts_ND: NDArray[np.float16]
    texts: tuple[str, ...]
    text_labels_MN: NDArray[np.uint8]
    text_vectors_MD: NDArray[np.float16]
    image_labels_IN: NDArray[np.uint8]
    image_vectors_ID: NDArray[np.float16]
    region_vectors_IRD: NDArray[np.float16]

    def save(self, path: Path) -> None:
        """Write the set as one safetensors file; names and texts are in its header."""
        header = {
            "encoder": json.dumps(dataclasses.asdict(self.info)),
            "names": json.dumps(self.names),
            "texts": json.dumps(self.texts),
        }
        arrays = {
            "prompts": self.prompts_ND,
            "text_labels": np.packbits(self.text_labels_MN, axis=1),
            "text_vectors": self.text_vectors_MD,
            "image_labels": np.packbits(self.image_labels_IN, axis=1),
            "image_vectors": self.image_vectors_ID,
            "region_vectors": self.region_vectors_IRD,
        }
        tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        save_file(tensors, path, metadata=header)

    @classmethod
    def load(cls, path: Path) -> "VectorSet":
        """A set as :meth:`save` wrote it."""
        with safe_open(path, framework="numpy") as file:
            header = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        names = tuple(json.loads(header["names"]))

        def labels(name: str) -> NDArray[np.uint8]:
            bits: NDArray[np.uint8] = np.unpackbits(arrays[name], axis=1, count=len(names))
            return bits

        return cls(
            info=EncoderInfo(**json.loads(header["encoder"])),
            names=names,
            prompts_ND=arrays["prompts"],
            texts=tuple(json.loads(header["texts"])),
            text_labels_MN=labels("text_labels"),
            text_vectors_MD=arrays["text_vectors"],
            image_labels_IN=labels("image_labels"),
            image_vectors_ID=arrays["image_vectors"],
            region_vectors_IRD=arrays["region_vectors"],
        )

    @classmethod
    def of(cls, store: Store, info: EncoderInfo, prompts_ND: NDArray[Any]) -> "VectorSet":
        """The texts and completely labelled images of a store, in the order of their ids."""
        labels = store.labels
        texts = sorted(_rows(store, "texts"), key=lambda row: str(row["text_id"]))
        images = sorted(_rows(store, "images"), key=lambda row: str(row["uri"]))
        label_ids = {
            row["combination_id"]: row["label_ids"] for row in _rows(store, "combinations")
        }
        image_ids = [str(row["image_id"]) for row in images]
        regions = {
            str(row["image_id"]): np.array(row["vectors"], np.float16)
            for row in _rows(store, "region_vectors", info.encoder_id)
        }
        named = [label_ids[row["combination_id"]] for row in texts]
        shown = [row["positives"] for row in images]
        text_ids = [str(row["text_id"]) for row in texts]
        return cls(
            info=info,
            names=tuple(label.name for label in labels),
            prompts_ND=prompts_ND.astype(np.float16),
            texts=tuple(str(row["text"]) for row in texts),
            text_labels_MN=_one_hot(named, len(labels)),
            text_vectors_MD=store.vectors("text_vectors", text_ids, encoder_id=info.encoder_id),
            image_labels_IN=_one_hot(shown, len(labels)),
            image_vectors_ID=store.vectors("image_vectors", image_ids, encoder_id=info.encoder_id),
            region_vectors_IRD=np.stack([regions[i].reshape(-1, info.dim) for i in image_ids]),
        )

    def to_store(self, path: Path) -> Store:
        """A new store of everything, all photos in the split ``test``."""
        store = Store.create(
            path,
            LabelSet(Label(name, name) for name in self.names),
            default_encoder=self.info.spec,
        )
        store.register_encoder(self.info)
        self._add_texts(store)
        self._add_images(store)
        return store

    def _add_texts(self, store: Store) -> None:
        named = [np.flatnonzero(row).tolist() for row in self.text_labels_MN]
        combinations = [store.labels.combination_id(ids) for ids in named]
        ids = [text_id(text, c) for text, c in zip(self.texts, combinations, strict=True)]
        none = [None] * len(ids)
        store.append("combinations", {"combination_id": combinations, "label_ids": named})
        store.append(
            "texts",
            {
                "text_id": ids,
                "combination_id": combinations,
                "text": list(self.texts),
                "writer": [WRITER] * len(ids),
                "model": none,
                "instruction": none,
                "turn": [0] * len(ids),
                "seed": none,
                "tokens": none,
            },
        )
        column = vector_column(self.text_vectors_MD)
        vectors = {"text_id": ids, "combination_id": combinations, "vector": column}
        store.append("text_vectors", vectors, encoder_id=self.info.encoder_id)

    def _add_images(self, store: Store) -> None:
        shown = [np.flatnonzero(row).tolist() for row in self.image_labels_IN]
        count, regions, _ = self.region_vectors_IRD.shape
        # A hash's bits are well mixed, which masks and shots rely on; so are those of these ids.
        ids = [f"{(i + 1) * 0x9E3779B97F4A7C15F39CC060 % 2**128:032x}" for i in range(count)]
        store.upsert(
            "images",
            {
                "image_id": ids,
                "uri": [f"{i:03d}.png" for i in range(count)],
                "width": [1] * count,
                "height": [1] * count,
                "positives": shown,
                "negatives": [[] for _ in shown],
                "complete": [True] * count,
                "combination_id": [store.labels.combination_id(ids) for ids in shown],
                "split": [SPLIT] * count,
            },
        )
        encoder_id = self.info.encoder_id
        whole = {"image_id": ids, "vector": vector_column(self.image_vectors_ID)}
        store.append("image_vectors", whole, encoder_id=encoder_id)
        parts = {
            "image_id": ids,
            "grid": [round(regions**0.5)] * count,
            "vectors": list(self.region_vectors_IRD.reshape(count, -1)),
        }
        store.append("region_vectors", parts, encoder_id=encoder_id)


def _rows(store: Store, kind: str, encoder_id: str | None = None) -> list[dict[str, Any]]:
    scanned = store.scan(kind, encoder_id=encoder_id)
    return [row for batch in scanned for row in batch.to_pylist()]


def _one_hot(label_ids: list[list[int]], count: int) -> NDArray[np.uint8]:
    found = np.zeros((len(label_ids), count), np.uint8)
    for row, ids in zip(found, label_ids, strict=True):
        row[ids] = 1
    return found
