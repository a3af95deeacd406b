"""The job of ``taistore show PHOTO``: all that is known of a photo, and its tags."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taistore import defaults
from taistore.encoders.protocol import Encoder, EncoderInfo
from taistore.errors import ImageError
from taistore.finding.found import is_gone
from taistore.finding.near_captions import captions_in_order
from taistore.finding.photo_report import Neighbour, PhotoReport
from taistore.finding.stored_photo import (
    PhotoRow,
    PhotoVectors,
    known_paths,
    photo_row,
    photo_vectors,
)
from taistore.store.reads.nearest import all_cosines, nearest
from taistore.store.store import Store

NEAREST = 5
"""Texts and photos beside a photo."""


def photo_report(
    store: Store,
    photo: str | Path,
    *,
    info: EncoderInfo,
    encoder: Callable[[], Encoder],
    run_id: str | None,
    device: str = "cpu",
) -> PhotoReport:
    """What the store knows of a photo, by its path or ``image_id``, and its tags by a run.

    A photo that the store does not have is encoded for this and not stored. ``info`` is the run's
    encoder, which ``encoder`` loads; without a run (None) there are no tags. Raises
    :class:`ImageError` where nothing is known of a photo that cannot be read.
    """
    try:
        found = photo_row(store, photo)
    except ImageError:
        rejects = _rejects(store, known_paths(photo))
        if not rejects:
            raise
        return replace(_bare(store, None, str(photo), info), rejects=rejects)
    return _Looking(store, found, info, encoder, run_id, device).report()


@dataclass(frozen=True, slots=True)
class _Looking:
    """One photo that is looked at."""

    store: Store
    photo: PhotoRow
    info: EncoderInfo
    encoder: Callable[[], Encoder]
    run_id: str | None
    device: str

    def report(self) -> PhotoReport:
        photo, notes = self.photo, []
        bare = _bare(self.store, photo, photo.name, self.info)
        rejects = _rejects(self.store, [*known_paths(photo.name), bare.uri, *bare.other_uris])
        if not bare.stored:
            notes.append(
                "not in the store: it was encoded for this; 'taistore ingest-images' adds it"
            )
        try:
            vectors = photo_vectors(
                self.store,
                self.info.encoder_id,
                photo,
                self.encoder,
                regions=defaults.REGIONS,
            )
        except ImageError as error:
            if not (bare.stored or rejects):
                raise
            return replace(bare, rejects=rejects, notes=(str(error),))
        return self._with_vectors(replace(bare, rejects=rejects), vectors, notes)

    def _with_vectors(
        self, report: PhotoReport, vectors: PhotoVectors, notes: list[str]
    ) -> PhotoReport:
        store, encoder_id = self.store, self.info.encoder_id
        texts = all_cosines(store, "text_vectors", encoder_id, vectors.whole_D)
        report = replace(report, photos=self._photos(vectors))
        if len(texts):
            near = _first_texts(store, texts)
            report = replace(report, texts=near)
        else:
            notes.append("no texts: 'taistore generate-texts' writes some")
        if self.run_id is None:
            notes.append("no tags: no run is finished; 'taistore train --task zsl' makes one")
            return replace(report, notes=tuple(notes))
        # Torch is loaded where a run is asked, and for no photo that nobody knows.
        from taistore.finding.label_scores import LabelScores
        from taistore.finding.photo_reasons import explained_tags
        from taistore.scoring.loaded_run import open_run

        scores = LabelScores.of(store, open_run(store, self.run_id, device=self.device))
        if vectors.regions_RD is None:
            notes.append(
                "no regions: 'taistore ingest-images --regions 7' adds them, and tags get better"
            )
        tags = explained_tags(
            scores, self.photo.image_id, vectors, texts, stored=self.photo.row is not None
        )
        return replace(
            report, step=scores.choice.step, run_id=self.run_id, tags=tags, notes=tuple(notes)
        )

    def _photos(self, vectors: PhotoVectors) -> tuple[Neighbour, ...]:
        """The photos that are most alike, without itself."""
        near = nearest(
            self.store, "image_vectors", self.info.encoder_id, vectors.whole_D, 2 * NEAREST + 1
        )
        ids, cosines_K = near.part(0, len(near))
        rows = self.store.scan("images", columns=["image_id", "uri"], where={"image_id": ids})
        uris = {row["image_id"]: row["uri"] for batch in rows for row in batch.to_pylist()}
        found = [
            Neighbour(name=uris[one], cosine=cosine, identity=one)
            for one, cosine in zip(ids, cosines_K.tolist(), strict=True)
            if one in uris and one != self.photo.image_id
        ]
        return tuple(found[:NEAREST])


def _first_texts(store: Store, near: Any) -> tuple[Neighbour, ...]:
    captions = captions_in_order(store, near.cut(2 * NEAREST))
    found = [Neighbour(name=c.text, cosine=c.cosine, identity=c.text_id) for c in captions]
    return tuple(found[:NEAREST])


def _bare(store: Store, photo: PhotoRow | None, name: str, info: EncoderInfo) -> PhotoReport:
    """What the row of ``images`` says, where there is one."""
    row = photo.row if photo is not None else None
    keys = store.labels.keys
    uri = name if row is None else row["uri"]
    return PhotoReport(
        image_id="" if photo is None else photo.image_id,
        uri=uri,
        other_uris=() if row is None else tuple(row["other_uris"] or ()),
        stored=row is not None,
        gone=is_gone(uri),
        width=None if row is None else row["width"],
        height=None if row is None else row["height"],
        split=None if row is None else row["split"],
        positives=() if row is None else tuple(keys[n] for n in row["positives"]),
        negatives=() if row is None else tuple(keys[n] for n in row["negatives"]),
        complete=row is not None and bool(row["complete"]),
        encoder=info.spec,
        run_id=None,
        step=None,
        tags=(),
        texts=(),
        photos=(),
        rejects=(),
        notes=(),
    )


def _rejects(store: Store, paths: list[str]) -> tuple[dict[str, Any], ...]:
    """What was set aside under these paths, by any job."""
    batches = store.scan("rejects", where={"uri": list(dict.fromkeys(paths))})
    return tuple(
        {"job": row["job"], "uri": row["uri"], "reason": row["reason"], "detail": row["detail"]}
        for batch in batches
        for row in batch.to_pylist()
    )
