"""A survey of the labels' centroids, with pictures where a folder for them is given.

Shapes: P pictured images, N labels, D embedding dimension.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taistore.evaluation.drawing import draw_projection, require_drawing
from taistore.geometry.diagnosis import Survey, pictured, survey

if TYPE_CHECKING:
    from taistore.project import Project

_PICTURED_LABELS = 8


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
    vectors_PD, clusters_P, label_ids = pictured(
        project.store, encoder_id, found, clusters=_PICTURED_LABELS
    )
    return draw_projection(
        vectors_PD,
        clusters_P,
        [project.labels[int(n)].name for n in label_ids],
        found.estimates_ND[label_ids],
        found.true_ND[label_ids],
        folder=folder,
    )
