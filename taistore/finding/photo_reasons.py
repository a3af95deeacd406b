"""Why a photo has a tag: the score of the whole, of its best region, and the nearest captions.

Shapes: D embedding dimension, N labels, R regions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import Float32
from taistore.finding.label_scores import LabelScores
from taistore.finding.near_captions import captions_in_order
from taistore.finding.photo_report import BestRegion, ExplainedTag, Neighbour
from taistore.finding.stored_photo import PhotoVectors
from taistore.scoring.choosing import Images
from taistore.scoring.known_cells import KnownCells, stored_cells
from taistore.scoring.ladders.ladder import step_for
from taistore.store.reads.nearest import Nearest
from taistore.store.store import Store

_CAPTIONS = 2


def explained_tags(
    scores: LabelScores, image_id: str, vectors: PhotoVectors, near: Nearest, *, stored: bool
) -> tuple[ExplainedTag, ...]:
    """The tags of a photo, as ``taistore score`` gives them, each with what speaks for it.

    ``near`` are the store's texts, the nearest first; what is known of a photo counts where it is
    ``stored``.
    """
    known = stored_cells(scores.store, [image_id]) if stored else None
    whole_BD = vectors.whole_D[None]
    regions_BRD = None if vectors.regions_RD is None else vectors.regions_RD[None]
    images = Images([image_id], whole_BD, regions_BRD, known)
    tags = scores.tags_of(images)[image_id]
    captions = _captions(scores.store, near, [tag.label_id for tag in tags])
    whole_N = regions_RN = None
    if scores.run.split is None:
        # Scores that were imported are those of whole photos of a split, of which no part has one.
        whole_N = _scored(scores, vectors.whole_D[None])[0]
        if vectors.regions_RD is not None:
            regions_RN = _scored(scores, vectors.regions_RD)
    shown = _known(known, len(scores.store.labels))
    return tuple(
        ExplainedTag(
            key=tag.key,
            name=tag.name,
            score=tag.score,
            known=True if tag.label_id in shown else None,
            whole=None if whole_N is None else float(whole_N[tag.label_id]),
            region=None if regions_RN is None else _best(regions_RN[:, tag.label_id]),
            captions=tuple(captions.get(tag.label_id, ())),
        )
        for tag in tags
    )


def _scored(scores: LabelScores, vectors_RD: NDArray[np.float16]) -> Float32:
    """Scores [R, N] of vectors, each as that of a whole photo."""
    ladder = scores.run.ladder
    step = step_for(scores.choice.step, regions=False)
    scores_RN = ladder.scores(vectors_RD, steps=[step])[step]
    found_RN: Float32 = ladder.confidence(step, scores_RN, regions=False).cpu().numpy()
    return found_RN


def _best(scores_R: Float32) -> BestRegion:
    grid = round(len(scores_R) ** 0.5)
    row, column = divmod(int(scores_R.argmax()), grid)
    return BestRegion(row=row + 1, column=column + 1, grid=grid, score=float(scores_R.max()))


def _known(known: KnownCells | None, labels: int) -> set[int]:
    """The labels that a photo is known to show."""
    if known is None or not labels:
        return set()
    return set(known.shown()[1].tolist())


def _captions(store: Store, near: Nearest, label_ids: Sequence[int]) -> dict[int, list[Neighbour]]:
    """The nearest texts that hold each of these labels."""
    found: dict[int, list[Neighbour]] = {label_id: [] for label_id in label_ids}
    left = set(label_ids)
    for caption in captions_in_order(store, near):
        if not left:
            break
        for label_id in left & caption.label_ids:
            found[label_id].append(
                Neighbour(name=caption.text, cosine=caption.cosine, identity=caption.text_id)
            )
        left -= {label_id for label_id in left if len(found[label_id]) == _CAPTIONS}
    return found
