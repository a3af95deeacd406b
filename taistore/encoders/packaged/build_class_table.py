"""Rebuild the packaged encoder's class table.

``python -m taistore.encoders.packaged.build_class_table``. Needs the extra
``[offline]``; takes a minute on one core. The file is shipped because building it at every start
would cost that. Prints the digest to put into ``installed_files.CLASS_TABLE``.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from taistore._extras import require
from taistore.encoders.packaged.imagenet_classes import CLASSES, ClassTexts, class_texts
from taistore.encoders.packaged.installed_files import CLASS_TABLE, locate
from taistore.encoders.packaged.minilm import PackagedTokenizer, SentenceTower
from taistore.encoders.packaged.shared_space import principal_map

_PURPOSE = "rebuilding the class table"


def all_class_texts() -> list[ClassTexts]:
    """The texts of all 1,000 classes, by class index."""
    info = require("timm.data", extra="offline", purpose=_PURPOSE).ImageNetInfo("imagenet-1k")
    metadata = require("open_clip.zero_shot_metadata", extra="offline", purpose=_PURPOSE)
    texts = []
    for index in range(CLASSES):
        detailed = str(info.index_to_description(index, detailed=True))
        names, _, definition = detailed.partition(":")
        texts.append(
            class_texts(
                index,
                clean_name=metadata.IMAGENET_CLASSNAMES[index],
                names=names,
                definition=definition.strip(),
            )
        )
    return texts


@torch.inference_mode()
def mean_texts(classes: Sequence[ClassTexts]) -> torch.Tensor:
    """Mean text vector of each class, [N, 384] float16.

    Names and definition weigh alike; where a person belongs to the photo, that text weighs as much
    as both together.
    """
    texts = [text for one in classes for text in _flat(one)]
    ids = PackagedTokenizer().checked_ids(texts)
    vectors = iter(SentenceTower(torch.device("cpu")).encode(ids))
    rows = []
    for one in classes:
        named = torch.stack([next(vectors) for _ in one.named]).mean(dim=0)
        row = (named + next(vectors)) / 2
        rows.append((row + next(vectors)) / 2 if one.with_person else row)
    return torch.stack(rows).half()


def _flat(texts: ClassTexts) -> list[str]:
    person = [texts.with_person] if texts.with_person else []
    return [*texts.named, texts.defined, *person]


def main() -> None:
    """Write the table to the path given, by default to where the package reads it."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else locate(CLASS_TABLE)
    texts = mean_texts(all_class_texts())
    content = save({"class_texts": texts, "principal_map": principal_map(texts.float()).half()})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{path}: sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
