"""The job of ``taistore find``: a question to a store of photos, and its answer.

What scores labels, and torch with it, is loaded where a run is asked.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from taistore.encoders.protocol import Encoder, EncoderInfo
from taistore.finding.asked import Asked, label_ids
from taistore.finding.find_photos import Labels, Ranked, by_cosine, by_labels
from taistore.finding.findable import require_findable
from taistore.finding.found import Found, FoundPhoto, is_gone
from taistore.finding.query_vector import query_vector
from taistore.scoring.tags.image_tags import Tag
from taistore.store.store import Store
from taistore.store.writes.vector_index import has_vector_index

if TYPE_CHECKING:
    from taistore.finding.label_scores import LabelScores


def find(
    store: Store,
    asked: Asked,
    *,
    info: EncoderInfo,
    encoder: Callable[[], Encoder],
    run_id: str | None,
    tags: bool = True,
    device: str = "cpu",
) -> Found:
    """The photos that a question is about, best first.

    ``info`` says which vectors are searched, ``encoder`` loads its encoder where a text or a photo
    has to be encoded; ``run_id`` is the run that scores labels and, with ``tags``, gives the photos
    theirs (None where no label is asked: photos have no tags). Raises as :func:`require_findable`
    and :func:`taistore.scoring.loaded_run.open_run`.
    """
    photo = require_findable(store, asked, info)
    scores = labels = None
    if run_id is not None and (tags or asked.by_label):
        from taistore.finding.label_scores import LabelScores
        from taistore.scoring.loaded_run import open_run

        scores = LabelScores.of(store, open_run(store, run_id, device=device))
    if scores is not None and asked.by_label:
        labels = _labels(store, scores, asked)
    leave_out = photo.image_id if photo is not None else ""
    if asked.by_vector:
        query_D = query_vector(store, info, asked, photo, encoder)
        ranked = by_cosine(
            store, info.encoder_id, query_D, asked, labels=labels, leave_out=leave_out
        )
    else:
        assert labels is not None, "a question without a vector is about labels"
        split = asked.split or labels.scores.run.split
        ranked = by_labels(store, labels, asked, split=split)
    named = scores.tags([one.row["image_id"] for one in ranked]) if scores and tags else None
    searched = info if asked.by_vector or scores is None else store.encoder(scores.run.encoder_id)
    return Found(
        question=str(asked),
        ranked_by="cosine" if asked.by_vector else "labels",
        encoder=searched.spec,
        searched=store.count("image_vectors", searched.encoder_id),
        indexed=asked.by_vector
        and labels is None
        and asked.split is None
        and has_vector_index(store.dataset("image_vectors", info.encoder_id)),
        run_id=None if scores is None else scores.run.run_id,
        step=None if scores is None else scores.choice.step,
        photos=tuple(_photo(n, one, named) for n, one in enumerate(ranked, start=1)),
    )


def _labels(store: Store, scores: "LabelScores", asked: Asked) -> Labels:
    wanted, unwanted = label_ids(store.labels, asked.labels), label_ids(store.labels, asked.without)
    return Labels(scores, wanted, unwanted, asked.label_cut, asked.without_cut)


def _photo(rank: int, found: Ranked, tags: dict[str, tuple[Tag, ...]] | None) -> FoundPhoto:
    row = found.row
    return FoundPhoto(
        rank=rank,
        score=found.score,
        image_id=row["image_id"],
        uri=row["uri"],
        other_uris=tuple(row["other_uris"] or ()),
        split=row["split"],
        gone=is_gone(row["uri"]),
        tags=None if tags is None else tuple(tags.get(row["image_id"], ())),
    )
