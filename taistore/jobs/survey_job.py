"""A survey of the labels' centroids, with pictures where a folder for them is given."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taistore.errors import StoreError
from taistore.store.partial_labels import PartialLabels, split_counts
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.geometry.diagnosis import Survey
    from taistore.project import Project

_PICTURED = 8
"""Label combinations in a picture."""


def surveyed(
    project: "Project",
    *,
    encoder: str | None,
    plots: str | Path | None,
    split: str,
    **settings: Any,
) -> "Survey":
    """What :func:`taistore.geometry.diagnosis.survey` finds with these ``settings``.

    Raises :class:`StoreError` where the split has no labelled images, before torch is loaded.
    """
    if plots is not None:
        from taistore.evaluation.drawing import require_drawing

        require_drawing(Path(plots))
    encoder_id = project.encoder_info(encoder).encoder_id
    labels = PartialLabels.read(project.store, split=split)
    if not labels.known.any():
        raise StoreError(_nothing_known(project.store, split))
    from taistore.geometry.diagnosis import survey

    found = survey(
        project.store, encoder_id, labels, split=split, progress=project.progress, **settings
    )
    if plots is None:
        return found
    drawn = _drawn(project, found, encoder_id=encoder_id, folder=Path(plots))
    return replace(found, pictures=tuple(drawn))


def _nothing_known(store: Store, split: str) -> str:
    counts = split_counts(store)
    there = ", ".join(f"{name!r} ({count:,})" for name, count in sorted(counts.items()))
    return (
        f"{store.uri}: no image of split {split!r} has known labels (images by split: "
        f"{there or 'none yet'}): name another split=, or ingest a manifest with labels"
    )


def _drawn(project: "Project", found: "Survey", *, encoder_id: str, folder: Path) -> list[Path]:
    from taistore.evaluation.drawing import draw_projection
    from taistore.geometry.combination_clusters import combination_clusters

    clusters = combination_clusters(
        project.store, encoder_id, found.known, found.estimates_ND, clusters=_PICTURED
    )
    return draw_projection(
        clusters.vectors_PD,
        clusters.clusters_P,
        [" + ".join(project.labels[n].name for n in ids) for ids in clusters.label_ids],
        clusters.estimates_KD,
        clusters.true_KD,
        folder=folder,
    )
