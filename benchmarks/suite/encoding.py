"""Photos and texts to vectors: against a plain open_clip loop, and the job against its encoder.

The other side is what open_clip's own page shows: a DataLoader that opens photos with Pillow and
open_clip's transform, ``encode_image`` and ``encode_text`` in float32, batches of 32, inference
mode. The weights are random and come from a file, through the same loading as any others. Photos
are those of ``../shared/data`` where it is, else crops of scikit-image's own.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from skimage import data as skimage_data
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.suite.rows import Row, at_least, at_most
from benchmarks.suite.turns import costs
from taistore.encoders.precision import bf16_units
from taistore.encoders.protocol import Encoder, Float32
from taistore.encoders.registry import load_encoder
from taistore.images.decoding import decode_image, read_file
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import FolderSource
from taistore.labels import Label, LabelSet
from taistore.store.store import Store

_DATA = Path("../shared/data")
_BATCH = 32
_TARGETS = {"RN50": 4.0, "ViT-B-32": 2.0}
_MOST = 1e-3  # of 1 - cosine, what a number format may turn a vector by


class _Photos(Dataset[torch.Tensor]):
    def __init__(self, paths: list[Path], transform: Any) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        pixels: torch.Tensor = self._transform(Image.open(self._paths[place]))
        return pixels


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Rows about photos and texts; ``work`` gets weights, photos and stores."""
    paths = _photos(work / "photos", 128 if full else 32)
    texts = _texts(2048 if full else 256)
    rounds = 3 if full else 1
    for model in _TARGETS:
        spec = f"open_clip:{model}/{_weights(work, model)}@224,crop"
        plain, transform = _plain(work, model)
        encoders = {name: load_encoder(spec, precision=name) for name in ("fp32", "bf16")}
        yield from _photo_rows(model, encoders, plain, transform, paths, rounds=rounds)
        if model == "RN50":
            yield from _text_rows(model, encoders, plain, texts, rounds=rounds)
            yield _pipeline_row(work, encoders["bf16"], paths, f"{model} in bf16", rounds=rounds)
            if full:
                yield _regions_row(encoders, paths)
    packaged = load_encoder("packaged:lite0@224")
    yield _pipeline_row(work, packaged, paths, "packaged:lite0@224", rounds=rounds)


def _photo_rows(
    model: str,
    encoders: dict[str, Encoder],
    plain: Any,
    transform: Any,
    paths: list[Path],
    *,
    rounds: int,
) -> Iterator[Row]:
    found: dict[str, Float32] = {}

    def loop() -> None:
        loader = DataLoader(_Photos(paths, transform), batch_size=_BATCH)
        with torch.inference_mode():
            found["plain"] = torch.cat([plain.encode_image(batch) for batch in loader]).numpy()

    def ours(name: str) -> None:
        found[name] = np.concatenate(
            [
                encoders[name].encode_images(_prepared(encoders[name], paths[i : i + _BATCH])).whole
                for i in range(0, len(paths), _BATCH)
            ]
        )

    pieces: dict[str, Callable[[], object]] = {
        "plain": loop,
        **{name: partial(ours, name) for name in encoders},
    }
    taken = costs(pieces, rounds=rounds, warm=False)
    rate = {name: len(paths) / cost.cpu for name, cost in taken.items()}
    for name in encoders:
        yield at_least(
            f"encoding: {model} {name}{_units(name)}, {len(paths)} photos from their files, photos "
            "a CPU second against a DataLoader and open_clip's encode_image in fp32",
            ours=rate[name],
            other=rate["plain"],
            ratio=rate[name] / rate["plain"],
            target=_TARGETS[model],
        )
        yield _turned(f"{model} {name}, photos (each side its own resizing)", found[name], found)


def _text_rows(
    model: str, encoders: dict[str, Encoder], plain: Any, texts: list[str], *, rounds: int
) -> Iterator[Row]:
    tokenizer = open_clip.get_tokenizer(model)
    found: dict[str, Float32] = {}

    def loop() -> None:
        with torch.inference_mode():
            parts = [
                plain.encode_text(tokenizer(texts[i : i + _BATCH]))
                for i in range(0, len(texts), _BATCH)
            ]
        found["plain"] = torch.cat(parts).numpy()

    def ours(name: str) -> None:
        found[name] = encoders[name].encode_texts(texts)

    pieces: dict[str, Callable[[], object]] = {
        "plain": loop,
        **{name: partial(ours, name) for name in encoders},
    }
    taken = costs(pieces, rounds=rounds, warm=False)
    rate = {name: len(texts) / cost.cpu for name, cost in taken.items()}
    for name in encoders:
        yield at_least(
            f"encoding: {model} {name}{_units(name)}, {len(texts)} captions, texts a CPU second "
            "against a loop of open_clip's encode_text in fp32",
            ours=rate[name],
            other=rate["plain"],
            ratio=rate[name] / rate["plain"],
            target=8,
        )
        yield _turned(f"{model} {name}, texts", found[name], found)


def _turned(what: str, ours_ND: Float32, found: dict[str, Float32]) -> Row:
    worst = _largest_turn(ours_ND, found["plain"])
    return at_most(
        f"encoding: {what}, largest 1 - cosine to open_clip's vectors",
        ours=worst,
        other=0.0,
        ratio=worst,
        target=_MOST,
    )


def _regions_row(encoders: dict[str, Encoder], paths: list[Path]) -> Row:
    pixels = _prepared(encoders["fp32"], paths[:_BATCH])
    cells = [encoders[name].encode_images(pixels, regions=7).regions for name in ("bf16", "fp32")]
    assert cells[0] is not None, "a ResNet has regions"
    assert cells[1] is not None, "a ResNet has regions"
    worst = _largest_turn(cells[0], cells[1])
    return at_most(
        "encoding: RN50 bf16, 7 x 7 regions, largest 1 - cosine to fp32",
        ours=worst,
        other=0.0,
        ratio=worst,
        target=_MOST,
    )


def _pipeline_row(
    work: Path, encoder: Encoder, paths: list[Path], name: str, *, rounds: int
) -> Row:
    pixels = _prepared(encoder, paths)
    stores = iter(range(1000))
    prefix = encoder.info.encoder_id

    def alone() -> None:
        for start in range(0, len(pixels), _BATCH):
            encoder.encode_images(pixels[start : start + _BATCH])

    def ingest() -> None:
        store = Store.create(
            work / f"store-{prefix}-{next(stores)}",
            LabelSet([Label("none", "none")]),
            default_encoder=encoder.info.spec,
        )
        source = FolderSource(paths[0].parent)
        ingest_images(store, encoder, source, regions=0, batch_size=_BATCH)

    taken = costs({"alone": alone, "ingest": ingest}, rounds=rounds)
    ours, other = (len(paths) / taken[side].cpu for side in ("ingest", "alone"))
    return at_least(
        f"encoding: {name}, ingest of {len(paths)} photos into a fresh store (listing, hashing, "
        "decoding, resizing, committing), photos a CPU second of all threads against the encoder "
        "alone on prepared pixels",
        ours=ours,
        other=other,
        ratio=ours / other,
        target=0.95,
    )


def _prepared(encoder: Encoder, paths: list[Path]) -> Any:
    return np.stack([encoder.prepare(decode_image(read_file(path))) for path in paths])


def _largest_turn(a: Float32, b: Float32) -> float:
    first, second = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    return float(1 - torch.cosine_similarity(first, second, dim=-1).min())


def _units(name: str) -> str:
    return "" if name != "bf16" or bf16_units() else " (no units for it here: fp32)"


def _plain(work: Path, model: str) -> tuple[Any, Any]:
    built, _, transform = open_clip.create_model_and_transforms(model)
    built.load_state_dict(torch.load(_weights(work, model), weights_only=True))
    return built.eval(), transform


def _weights(work: Path, model: str) -> Path:
    """A file of random weights under which photos differ: open_clip's own start has bare noise."""
    path = work / f"{model}.pt"
    if not path.exists():
        torch.manual_seed(0)
        built = open_clip.create_model(model)
        for module in built.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
        torch.save(built.state_dict(), path)
    return path.absolute()


def _photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    real = sorted((_DATA / "voc2012" / "images").glob("*.jpg"))[:count]
    for place in range(count):
        path = folder / f"{place:04}.jpg"
        if real:
            path.write_bytes(real[place].read_bytes())
        else:
            load: Callable[[], Any] = skimage_data.astronaut
            astronaut = Image.fromarray(load())
            astronaut.crop((place, 2 * place, place + 380, 2 * place + 250)).save(path)
    return sorted(folder.glob("*.jpg"))[:count]


def _texts(count: int) -> list[str]:
    path = _DATA / "captions" / "coco-val2017.jsonl"
    if not path.exists():
        return [f"a photo of {n} dogs and a red bicycle on a street at night" for n in range(count)]
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["caption"] for line, _ in zip(lines, range(count), strict=False)]
