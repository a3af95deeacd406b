"""The look of every picture, how it is written, and clusters of vectors drawn in the plane.

Shapes: I points, D embedding dimension, K clusters. Pictures need the extra ``[plots]``. They read
in grey: whatever a colour tells, a marker, a line style or a word tells as well.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore._extras import require
from taistore.errors import MissingExtraError, ScoringError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555", "#8B5A2B")
"""Okabe and Ito's palette, told apart with every kind of colour blindness; darkest first."""

MARKERS = ("o", "s", "^", "D", "v", "P", "h", "<")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 2, 2)))
"""One of each for a curve or cluster; together they tell eight apart without colour."""

MOST_POINTS = 3000
"""Points that a projection shows at most; t-SNE of as many takes some ten seconds on a core."""

_STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.family": "DejaVu Sans",  # Comes with matplotlib: the same picture on every machine.
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.frameon": False,
    "svg.hashsalt": "taistore",
    # Labels are names, never formulas: "$x$" is drawn as it stands.
    "text.parse_math": False,
    "text.usetex": False,
}


def require_drawing(folder: Path) -> None:
    """Raise early what would keep pictures from being written into ``folder``, which it makes."""
    require("matplotlib", extra="plots", purpose="drawing pictures")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> ScoringError:
    return ScoringError(
        f"{folder}: pictures cannot be written there ({error.strerror}): name another folder"
    )


@contextlib.contextmanager
def drawing(path: Path, *, size: tuple[float, float]) -> Iterator[Any]:
    """A matplotlib figure of ``size`` inches, written as PNG and SVG when the block ends.

    ``path`` is the files' path without suffix. Raises :class:`MissingExtraError` without
    matplotlib and :class:`ScoringError` where the files cannot be written.
    """
    matplotlib = require("matplotlib", extra="plots", purpose="drawing pictures")
    figures = require("matplotlib.figure", extra="plots", purpose="drawing pictures")
    with matplotlib.rc_context(_STYLE), _no_glyph_warnings():
        figure = figures.Figure(figsize=size, layout="constrained")
        yield figure
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for file in picture_paths(path):
                # A date in the file would make equal pictures differ.
                metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
                figure.savefig(file, metadata=metadata)
        except OSError as error:
            raise _unwritable(path.parent, error) from error


def picture_paths(path: Path) -> list[Path]:
    """The files of a picture: ``path`` with the suffixes .png and .svg."""
    return [path.with_name(path.name + suffix) for suffix in (".png", ".svg")]


@contextlib.contextmanager
def _no_glyph_warnings() -> Iterator[None]:
    """A name in a script that the font lacks is drawn as boxes, without a warning a letter."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def shown(name: str, width: int = 28) -> str:
    """A label's name as pictures and tables show it: one line, of bounded width.

    >>> shown("traffic\\nlight"), shown("a very long name", 10)
    ('traffic light', 'a very lo…')
    """
    name = "".join(c if c.isprintable() else " " for c in name)
    return name if len(name) <= width else name[: width - 1] + "…"


def legend_name(name: str) -> str:
    """As :func:`shown`, also where the name begins with the underscore that hides it."""
    return " " + shown(name) if name.startswith("_") else shown(name)


def draw_projection(
    points_ID: NDArray[Any],
    label_ids_I: NDArray[Any],
    label_names: Sequence[str],
    estimated_KD: NDArray[Any],
    true_KD: NDArray[Any],
    *,
    folder: Path,
    stem: str = "projection",
) -> list[Path]:
    """Clusters of vectors in the plane with their centroids: Fig. 7 and 10 of arXiv:2312.04160.

    ``label_ids_I`` is the cluster of each point, a position in ``label_names`` (one name for each
    of the K clusters) or -1 for a point of none, drawn in grey. Stars are the estimated centroids,
    crosses the true ones; a row that is not finite is left out. All are projected together, by
    t-SNE (scikit-learn), or by PCA where scikit-learn is not installed or the points are few; the
    title says which. Of more than :data:`MOST_POINTS` points, every n-th is drawn.

    Returns the PNG and the SVG. Raises :class:`ScoringError` where shapes do not fit or no point
    is finite, :class:`MissingExtraError` without matplotlib.
    """
    points_ID = np.asarray(points_ID, np.float64)
    label_ids_I = np.asarray(label_ids_I, np.int64)
    centroids = [np.asarray(given, np.float64) for given in (estimated_KD, true_KD)]
    _check(points_ID, label_ids_I, len(label_names), centroids)
    finite_I = np.isfinite(points_ID).all(axis=1)
    if not finite_I.any():
        raise ScoringError("no finite vector to draw: encode the images again")
    rows_I = np.flatnonzero(finite_I)
    rows_I = rows_I[:: -(-len(rows_I) // MOST_POINTS)]
    points_ID, label_ids_I = points_ID[rows_I], label_ids_I[rows_I]
    there = [np.isfinite(given_KD).all(axis=1) for given_KD in centroids]
    kept = [given_KD[k] for given_KD, k in zip(centroids, there, strict=True)]
    plane_M2, how = _projected(np.concatenate([points_ID, *kept]))
    parts = np.split(plane_M2, np.cumsum([len(points_ID), len(kept[0])]))
    with drawing(folder / stem, size=(6.4, 5.2)) as figure:
        axes = figure.add_subplot()
        _draw_points(axes, parts[0], label_ids_I, label_names)
        for plane_k2, k_there, marker in zip(parts[1:], there, ("*", "X"), strict=True):
            _draw_centroids(axes, plane_k2, np.flatnonzero(k_there), marker)
        axes.set_title(f"{how} of {len(points_ID):,} image vectors")
        axes.set(xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.legend(*_projection_legend(label_names), loc="center left", bbox_to_anchor=(1, 0.5))
    return picture_paths(folder / stem)


def _check(
    points_ID: NDArray[Any], label_ids_I: NDArray[Any], clusters: int, centroids: list[NDArray[Any]]
) -> None:
    wanted = (clusters, points_ID.shape[-1])
    if points_ID.ndim != 2 or label_ids_I.shape != (len(points_ID),):
        raise ScoringError(
            f"points {points_ID.shape} and their clusters {label_ids_I.shape} must be [I, D] and "
            "[I]: give one cluster for each point"
        )
    for given_KD in centroids:
        if given_KD.shape != wanted:
            raise ScoringError(
                f"centroids {given_KD.shape} must be {wanted}: give one for each cluster, NaN "
                "where there is none"
            )
    if len(label_ids_I) and not (label_ids_I.min() >= -1 and label_ids_I.max() < clusters):
        raise ScoringError(f"clusters of points must lie between -1 and {clusters - 1}")


def _projected(vectors_MD: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """The vectors in the plane [M, 2], and by which method."""
    few = len(vectors_MD) < 10
    manifold: ModuleType | None = None
    if not few:
        with contextlib.suppress(MissingExtraError):
            manifold = require("sklearn.manifold", extra="demo", purpose="t-SNE")
    if manifold is None:
        why = "few points" if few else "scikit-learn is not installed"
        return _pca(vectors_MD), f"PCA ({why})"
    start_M2 = _pca(vectors_MD)
    spread = float(start_M2[:, 0].std())
    plane_M2 = manifold.TSNE(
        # Starting from PCA keeps far clusters apart and makes the picture the same every time.
        init=(start_M2 * (1e-4 / spread if spread > 0 else 1.0)).astype(np.float32),
        perplexity=min(30.0, (len(vectors_MD) - 1) / 3),
        learning_rate="auto",
        random_state=0,
        n_jobs=1,
    ).fit_transform(vectors_MD.astype(np.float32))
    return np.asarray(plane_M2, np.float64), "t-SNE"


def _pca(vectors_MD: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two directions of most variance [M, 2]; zeros where there are fewer."""
    centred_MD = vectors_MD - vectors_MD.mean(axis=0)
    left_MR, sizes_R, axes_RD = np.linalg.svd(centred_MD, full_matrices=False)
    # A singular vector's sign is arbitrary: its largest entry is made positive.
    largest_R = np.take_along_axis(axes_RD, np.abs(axes_RD).argmax(1, keepdims=True), 1)[:, 0]
    plane = (left_MR * sizes_R * np.where(largest_R < 0, -1.0, 1.0))[:, :2]
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def _draw_points(
    axes: Any, plane_I2: NDArray[np.float64], label_ids_I: NDArray[Any], names: Sequence[str]
) -> None:
    none_I = label_ids_I < 0
    axes.scatter(*plane_I2[none_I].T, s=8, marker=".", color="#BBBBBB", linewidths=0)
    for k in range(len(names)):
        look = cluster_look(k)
        axes.scatter(
            *plane_I2[label_ids_I == k].T,
            s=14,
            marker=look["marker"],
            facecolor=look["color"],
            edgecolor="white",
            linewidths=0.3,
            alpha=0.75,
        )


def _draw_centroids(
    axes: Any, plane_k2: NDArray[np.float64], clusters_k: NDArray[Any], marker: str
) -> None:
    effects = require("matplotlib.patheffects", extra="plots", purpose="drawing pictures")
    outline = [effects.withStroke(linewidth=2, foreground="white")]
    for place, k in zip(plane_k2, clusters_k.tolist(), strict=True):
        axes.scatter(
            *place,
            s=260 if marker == "*" else 45,
            marker=marker,
            # White on top of the star, so that both show where they coincide.
            facecolor=cluster_look(k)["color"] if marker == "*" else "white",
            edgecolor="black",
            linewidths=1.1 if marker == "*" else 0.9,
            zorder=3 if marker == "*" else 4,
        )
        axes.annotate(
            str(k + 1),
            place,
            xytext=(8, 6),
            textcoords="offset points",
            fontsize=8,
            fontweight="bold",
            zorder=5,
            path_effects=outline,
        )


def cluster_look(number: int) -> Mapping[str, Any]:
    """Colour, marker and line style of a cluster or curve: 64 combinations."""
    turn = number % len(COLOURS)
    return {
        "color": COLOURS[turn],
        "marker": MARKERS[(turn + number // len(COLOURS)) % len(MARKERS)],
        "linestyle": LINES[turn],
    }


def _projection_legend(names: Sequence[str]) -> tuple[list[Any], list[str]]:
    lines = require("matplotlib.lines", extra="plots", purpose="drawing pictures")

    def handle(marker: str, colour: str, size: float, edge: str = "white") -> Any:
        return lines.Line2D(
            [], [], linestyle="", marker=marker, color=colour, markersize=size, markeredgecolor=edge
        )

    handles = [
        handle(cluster_look(k)["marker"], cluster_look(k)["color"], 6) for k in range(len(names))
    ]
    texts = [f"{k} {shown(name)}" for k, name in enumerate(names, start=1)]
    handles += [handle("*", "white", 12, "black"), handle("X", "white", 7, "black")]
    return handles, [*texts, "estimated centroid", "true centroid"]
