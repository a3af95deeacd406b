"""A survey of the labels' centroids, with pictures where a folder for them is given."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taistore.evaluation.drawing import draw_projection, require_drawing
from taistore.geometry.combination_clusters import combination_clusters
from taistore.geometry.diagnosis import Survey, survey

if TYPE_CHECKING:
    from taistore.project import Project

_PICTURED = 8
"""Label combinations in a picture."""


def surveyed(
    project: "Project", *, encoder: str | None, plots: str | Path | None, **settings: Any
) -> Survey:
    """What :func:`taistore.geometry.diagnosis.survey` finds with these ``settings``."""
    if plots is not None:
        require_drawing(Path(plots))
    encoder_id = project.encoder_info(encoder).encoder_id
    found = survey(project.store, encoder_id, progress=project.progress, **settings)
    if plots is None:
        return found
    drawn = _drawn(project, found, encoder_id=encoder_id, folder=Path(plots))
    return replace(found, pictures=tuple(drawn))


def _drawn(project: "Project", found: Survey, *, encoder_id: str, folder: Path) -> list[Path]:
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
