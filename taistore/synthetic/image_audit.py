"""The audit of synthetic images: does a picture show what its caption says, and is it a new one.

Shapes: B pictures of a block, M other captions, S sampled pictures, D embedding dimension, N
labels.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from taistore.errors import SyntheticError
from taistore.progress import Progress, no_progress
from taistore.store.arrow import vector_array
from taistore.store.combination_rows import CombinationIndex
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.synthetic.image_pending import JOB, UNFAITHFUL, require_synthetic_images
from taistore.synthetic.made_image import ALIKE_BITS, BITS, fingerprint_signs

SAMPLE = 1_000
"""Captions, and pictures, that the others are compared with."""

LEAST_OTHERS = 20
"""Captions of other labels without which nothing is said of a picture."""

_BLOCK = 2048

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFigures:
    """Of the ``images`` whose captions name a label: their mean ``score``, and how many are
    ``low``; None where none was scored."""

    images: int
    score: float | None
    low: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageAudit:
    """What the synthetic images of an encoder are worth.

    ``scores`` are quantiles of the score of :func:`audit_images`, by percent. ``scored`` pictures
    have one, ``low`` ones lie below ``min_score`` and are ``set_aside`` where the audit was to.
    ``repeated`` pictures are those of another text or number, ``alike`` nearly so. ``rejects`` are
    those of the job that made them, by reason.
    """

    encoder: str
    images: int
    texts: int
    writers: Mapping[str, int]
    scored: int
    scores: Mapping[str, float]
    min_score: float
    low: int
    set_aside: int
    repeated: int
    alike: int
    labels: tuple[tuple[str, str, LabelFigures], ...]
    rejects: Mapping[str, int] = field(default_factory=dict)


def audit_images(
    store: Store,
    encoder_id: str,
    *,
    min_score: float = 0.5,
    set_aside: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> ImageAudit:
    """Hold each synthetic image against its caption, in one pass.

    A picture's score is the share of captions of quite other labels that fit it less well than its
    own: 1 is best, 0.5 chance. A caption fits by its cosine, measured in deviations over a sample
    of the pictures, as some captions are near all pictures. With ``set_aside`` pictures that score
    less than ``min_score`` leave the store; ``generate-images`` makes them again only where it is
    told to retry rejects. Raises :class:`SyntheticError` where there is no synthetic image, or no
    vector of its text.
    """
    count = require_synthetic_images(store, encoder_id)
    if not store.count("text_vectors", encoder_id):
        raise SyntheticError(
            f"{store.uri}: {store.encoder(encoder_id).spec} has no vector of a text to hold images "
            "against: run 'taistore generate-texts' with this encoder"
        )
    judge = _Judge.of(store, encoder_id, count, seed)
    tally = _Tally(len(store.labels), min_score)
    repeats = _Repeats()
    low: list[tuple[str, float, str]] = []
    with progress("audit", total=count, unit="images") as bar:
        for rows, vectors_BD in _blocks(store, encoder_id):
            scores_B = judge.scores(rows, vectors_BD)
            tally.add(rows, scores_B, judge.index)
            repeats.add(rows)
            low += [
                (row["synthetic_id"], float(score), row["writer"])
                for row, score in zip(rows, scores_B.tolist(), strict=True)
                if score < min_score
            ]
            bar.advance(len(rows))
    removed = _set_aside(store, encoder_id, low, min_score) if set_aside else 0
    return tally.audit(store, encoder_id, removed=removed, repeats=repeats)


def _blocks(store: Store, encoder_id: str) -> Iterator[tuple[list[dict[str, Any]], Float32]]:
    """Rows, and unit vectors [B, D], of all synthetic images."""
    columns = ["synthetic_id", "text_id", "combination_id", "content", "writer", "fingerprint"]
    columns.append("vector")
    for batch in store.scan(
        "synthetic_vectors", columns=columns, encoder_id=encoder_id, batch_rows=_BLOCK
    ):
        rows = batch.select(columns[:-1]).to_pylist()
        yield rows, _unit(vector_array(batch.column("vector")))


class _Judge:
    """Scores pictures against a sample of captions."""

    def __init__(
        self,
        store: Store,
        encoder_id: str,
        *,
        index: CombinationIndex,
        mean_D: Float32,
        covariance_DD: Float32,
        others_MD: Float32,
        other_labels_MN: Any,
    ) -> None:
        self.index = index
        self._store, self._encoder_id = store, encoder_id
        self._mean_D, self._covariance_DD = mean_D, covariance_DD
        self._others_MD, self._labels_MN = others_MD, other_labels_MN
        self._place_M, self._scale_M = self._fit(others_MD)

    @classmethod
    def of(cls, store: Store, encoder_id: str, count: int, seed: int) -> "_Judge":
        generator = np.random.default_rng(seed)
        index = store.combination_index()
        places = np.sort(generator.choice(count, min(count, SAMPLE), replace=False))
        pictures_SD = _unit(store.vectors_at("synthetic_vectors", places, encoder_id=encoder_id))
        mean_D = pictures_SD.mean(axis=0)
        centred_SD = pictures_SD - mean_D
        texts = store.count("text_vectors", encoder_id)
        chosen = np.sort(generator.choice(texts, min(texts, SAMPLE), replace=False))
        combinations = _column_at(store, encoder_id, "combination_id", chosen)
        return cls(
            store,
            encoder_id,
            index=index,
            mean_D=mean_D,
            covariance_DD=centred_SD.T @ centred_SD / len(centred_SD),
            others_MD=_unit(store.vectors_at("text_vectors", chosen, encoder_id=encoder_id)),
            other_labels_MN=_labels(index, combinations, len(store.labels)),
        )

    def scores(self, rows: Sequence[Mapping[str, Any]], vectors_BD: Float32) -> Float64:
        """The share of other captions [B] that fit less well; NaN where there are too few."""
        ids = list(dict.fromkeys(str(row["text_id"]) for row in rows))
        texts_TD = _unit(self._store.vectors("text_vectors", ids, encoder_id=self._encoder_id))
        place_T, scale_T = self._fit(texts_TD)
        text = {text_id: place for place, text_id in enumerate(ids)}
        own = np.array([text[str(row["text_id"])] for row in rows])
        cosine_B = np.einsum("bd,bd->b", vectors_BD, texts_TD[own])
        own_B = (cosine_B - place_T[own]) / scale_T[own]
        others_BM = (vectors_BD @ self._others_MD.T - self._place_M) / self._scale_M
        combinations = np.array([row["combination_id"] for row in rows], np.int64)
        labels_BN = _labels(self.index, combinations, self._labels_MN.shape[1])
        apart_BM = (labels_BN @ self._labels_MN.T).toarray() == 0
        found_B = apart_BM.sum(axis=1)
        lower_B = ((others_BM < own_B[:, None]) & apart_BM).sum(axis=1)
        share_B = lower_B / np.maximum(found_B, 1)
        found: Float64 = np.where(found_B >= LEAST_OTHERS, share_B, np.nan)
        return found

    def _fit(self, texts_TD: Float32) -> tuple[Float32, Float32]:
        """Mean and deviation [T] of the cosines of texts to the sampled pictures."""
        variance_T = np.einsum("td,td->t", texts_TD @ self._covariance_DD, texts_TD)
        return texts_TD @ self._mean_D, np.sqrt(np.maximum(variance_T, 1e-12))


class _Repeats:
    """Finds pictures of one content, and near-duplicates among those of a combination."""

    def __init__(self) -> None:
        self.repeated = self.alike = 0
        self._contents: set[int] = set()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Look at a block of pictures, which are clustered by combination."""
        groups: dict[int, list[int]] = {}
        for row in rows:
            content = int(row["content"][:16], 16)
            if content in self._contents:
                self.repeated += 1
                continue
            self._contents.add(content)
            if row["fingerprint"] is not None:
                groups.setdefault(row["combination_id"], []).append(row["fingerprint"])
        for found in groups.values():
            signs_GF = fingerprint_signs(np.array(found, np.int64))
            differing_GG = (BITS - signs_GF @ signs_GF.T) / 2
            before_GG = np.tri(len(found), k=-1, dtype=bool)
            self.alike += int(((differing_GG <= ALIKE_BITS) & before_GG).any(axis=1).sum())


class _Tally:
    """Figures of all pictures, and of each label's."""

    def __init__(self, labels: int, min_score: float) -> None:
        self._min_score = min_score
        self._scores: list[Float64] = []
        self._writers: Counter[str] = Counter()
        self._texts: set[int] = set()
        self._images_N = np.zeros(labels, np.int64)
        self._scored_N = np.zeros(labels, np.int64)
        self._low_N = np.zeros(labels, np.int64)
        self._sum_N = np.zeros(labels)

    def add(
        self, rows: Sequence[Mapping[str, Any]], scores_B: Float64, index: CombinationIndex
    ) -> None:
        """Count a block."""
        self._scores.append(scores_B)
        self._writers.update(str(row["writer"]) for row in rows)
        self._texts.update(int(row["text_id"][:16], 16) for row in rows)
        counts, label_ids = index.positives(np.array([r["combination_id"] for r in rows], np.int64))
        score_P = np.repeat(scores_B, counts)
        there_P = ~np.isnan(score_P)
        labels = len(self._images_N)
        self._images_N += np.bincount(label_ids, minlength=labels)
        self._scored_N += np.bincount(label_ids[there_P], minlength=labels)
        self._sum_N += np.bincount(label_ids[there_P], score_P[there_P], minlength=labels)
        self._low_N += np.bincount(label_ids[score_P < self._min_score], minlength=labels)

    def audit(
        self, store: Store, encoder_id: str, *, removed: int, repeats: _Repeats
    ) -> ImageAudit:
        """All that was found."""
        scores = np.concatenate(self._scores)
        scored = scores[~np.isnan(scores)]
        quantiles = (5, 25, 50, 75, 95)
        found = np.percentile(scored, quantiles).tolist() if len(scored) else []
        return ImageAudit(
            encoder=store.encoder(encoder_id).spec,
            images=len(scores),
            texts=len(self._texts),
            writers=dict(sorted(self._writers.items())),
            scored=len(scored),
            scores={str(q): float(v) for q, v in zip(quantiles, found, strict=False)},
            min_score=self._min_score,
            low=int((scored < self._min_score).sum()),
            set_aside=removed,
            repeated=repeats.repeated,
            alike=repeats.alike,
            labels=tuple(
                (label.key, label.name, self._label(n)) for n, label in enumerate(store.labels)
            ),
            rejects=_rejects(store),
        )

    def _label(self, n: int) -> LabelFigures:
        scored = int(self._scored_N[n])
        return LabelFigures(
            images=int(self._images_N[n]),
            score=float(self._sum_N[n]) / scored if scored else None,
            low=int(self._low_N[n]),
        )


def _set_aside(
    store: Store, encoder_id: str, low: Sequence[tuple[str, float, str]], min_score: float
) -> int:
    """Reject pictures, then remove them: one that is both is no more than removed again."""
    for start in range(0, len(low), _BLOCK):
        block = low[start : start + _BLOCK]
        store.reject(
            JOB,
            [
                Reject(
                    key,
                    UNFAITHFUL,
                    f"its score {score:.3f} is below {min_score:g}: it does not show its caption",
                    writer,
                )
                for key, score, writer in block
            ],
        )
        where = {"synthetic_id": [key for key, *_ in block]}
        for kind in ("synthetic_regions", "synthetic_vectors"):
            if store.has(kind, encoder_id):
                store.remove(kind, where, encoder_id=encoder_id)
    return len(low)


def _rejects(store: Store) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for batch in store.scan("rejects", columns=["reason"], where={"job": JOB}):
        counts.update(map(str, batch.column(0).to_pylist()))
    return dict(sorted(counts.items()))


def _column_at(
    store: Store, encoder_id: str, column: str, places: NDArray[np.int64]
) -> NDArray[np.int64]:
    """A column of ``text_vectors`` at ascending positions of a scan."""
    found, seen = [np.empty(0, np.int64)], 0
    for batch in store.scan("text_vectors", columns=[column], encoder_id=encoder_id):
        low, high = np.searchsorted(places, (seen, seen + batch.num_rows))
        found.append(batch.column(0).to_numpy()[places[low:high] - seen])
        seen += batch.num_rows
    return np.concatenate(found)


def _labels(index: CombinationIndex, combinations: NDArray[np.int64], labels: int) -> Any:
    """Which labels combinations hold, as compressed rows [., N] of 1."""
    counts, label_ids = index.positives(combinations)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ones = np.ones(len(label_ids), np.float32)
    return sp.csr_matrix((ones, label_ids, offsets), shape=(len(combinations), labels))


def _unit(vectors: NDArray[Any]) -> Float32:
    found: Float32 = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    found = found / np.maximum(norms, 1e-12)
    return found
