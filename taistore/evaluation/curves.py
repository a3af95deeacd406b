"""Pictures of evaluations: the ladder, each label's AP, and mAP over what runs differ in.

Fig. 6 of arXiv:2312.04160 comes from the recorded evaluations of runs that differ in one setting.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from taistore.adapter.config import TrainConfig, auto_radius
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_files.run_folder import run_folder
from taistore.errors import TrainingError
from taistore.evaluation.drawing import (
    COLOURS,
    cluster_look,
    drawing,
    legend_name,
    picture_paths,
    shown,
)
from taistore.evaluation.report import Evaluation
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

MOST_LABELS = 100
"""Labels with a bar each; of more, half as many of the best and of the worst are drawn."""

REPEATS = ("seed", "mask_seed", "shot_seed", "device")
"""Settings in which runs of one point may differ: it shows their mean and deviation."""

SHARED = (
    "network",
    "hidden",
    "dropout",
    "epochs",
    "batch",
    "lr",
    "weight_decay",
    "where",
)
"""Settings that a run of another task must share to be the point without images; also the radius,
which is smaller after a shift where it is what ``auto`` came to."""

Points = dict[float, list[float]]
"""mAP of runs by what they differ in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A setting that runs may differ in, and how it is drawn.

    ``lines`` is a setting with a line for each value. With a ``task`` it is drawn for runs of that
    task alone, and runs of texts alone (zsl) are the point 0.
    """

    field: str
    title: str
    axis: str
    lines: str | None = None
    task: str | None = None
    doubling: bool = False


CURVES = (
    Curve(
        field="radius",
        title="mAP over the radius of the perturbation",
        axis="radius in mean text norms",
        lines="where",
    ),
    Curve(
        field="shots",
        title="mAP over labelled images per label",
        axis="shots (0: texts alone)",
        task="fsl",
        doubling=True,
    ),
    Curve(
        field="known",
        title="mAP over the known part of the labels",
        axis="known labels, percent (0: texts alone)",
        task="pll",
    ),
)
"""Fig. 6a, 6b and 6c."""


def draw_evaluation(store: Store, evaluation: Evaluation, *, folder: Path) -> list[Path]:
    """All pictures of an evaluation that was recorded in ``store``; returns the files, PNG and SVG.

    ``ladder`` and ``labels`` always; ``radius``, ``shots`` and ``known`` where runs of the store
    differ in just that, and were evaluated on the same split. Raises
    :class:`MissingExtraError` without matplotlib and :class:`ScoringError` where nothing can be
    written.
    """
    paths = draw_ladder(evaluation, folder=folder)
    paths += draw_labels(evaluation, folder=folder)
    for curve in CURVES:
        paths += draw_curve(store, evaluation, curve, folder=folder)
    return paths


def draw_ladder(evaluation: Evaluation, *, folder: Path, stem: str = "ladder") -> list[Path]:
    """mAP of every step, from the bottom of the ladder up, with intervals where there are any."""
    steps = list(evaluation.ladder)
    values = [100 * found.mean_average_precision for found in evaluation.ladder.values()]
    with drawing(folder / stem, size=(5.2, 0.6 + 0.34 * len(steps))) as figure:
        axes = figure.add_subplot()
        axes.barh(steps, values, color="#9ecae1", edgecolor="black", linewidth=0.6)
        if evaluation.intervals:
            ends = np.array([evaluation.intervals.mean_average_precision[step] for step in steps])
            reach = np.abs(100 * ends.T - np.array(values))
            axes.errorbar(
                values, range(len(steps)), xerr=reach, fmt="none", ecolor="black", capsize=3
            )
            texts = [
                f"{value:.1f}  ({100 * low:.1f} to {100 * high:.1f})"
                for value, (low, high) in zip(values, ends.tolist(), strict=True)
            ]
        else:
            texts = [f"{value:.1f}" for value in values]
        for place, text in enumerate(texts):
            axes.text(1.5, place, text, verticalalignment="center")
        axes.set_xlim(0, 100)
        axes.set_xlabel("mAP, percent")
        axes.set_title(_about(evaluation))
    return picture_paths(folder / stem)


def draw_labels(evaluation: Evaluation, *, folder: Path, stem: str = "labels") -> list[Path]:
    """AP of every label with positives: a bar for the top step, a line for zero-shot."""
    known = [label for label in evaluation.labels if label.positives]
    ranked = sorted(known, key=lambda label: label.average_precision[evaluation.top])
    title = f"AP of {len(ranked)} labels"
    if len(ranked) > MOST_LABELS:
        half = MOST_LABELS // 2
        title = f"AP of the best and the worst {half} of {len(ranked):,} labels"
        ranked = ranked[:half] + ranked[-half:]
    places = np.arange(len(ranked))
    with drawing(folder / stem, size=(5.6, 1.1 + 0.17 * len(ranked))) as figure:
        axes = figure.add_subplot()
        axes.barh(
            places,
            [100 * label.average_precision[evaluation.top] for label in ranked],
            color="#9ecae1",
            edgecolor="black",
            linewidth=0.4,
            label=evaluation.top,
        )
        axes.plot(
            [100 * label.average_precision["zero_shot"] for label in ranked],
            places,
            linestyle="",
            marker="|",
            markersize=8,
            markeredgewidth=2,
            color=COLOURS[1],
            zorder=3,
            label="zero_shot",
        )
        names = [f"{shown(label.name)} ({label.positives:,})" for label in ranked]
        axes.set_yticks(places, names, fontsize=7)
        axes.set_ylim(-0.8, len(ranked) - 0.2)
        axes.set_xlim(0, 100)
        axes.set_xlabel("AP, percent (images with the label)")
        axes.set_title(f"{title}, {_about(evaluation)}")
        figure.legend(loc="outside lower center", ncols=2)
    return picture_paths(folder / stem)


def draw_curve(store: Store, evaluation: Evaluation, curve: Curve, *, folder: Path) -> list[Path]:
    """mAP over a setting, from runs that share everything else with the evaluated one.

    Nothing is drawn where there are fewer than two points.
    """
    lines = curve_points(store, evaluation, curve)
    if len({x for points in lines.values() for x in points}) < 2:
        return []
    with drawing(folder / curve.field, size=(4.8, 3.7)) as figure:
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(lines.items()):
            xs = sorted(points)
            spread = [stdev(points[x]) if len(points[x]) > 1 else 0.0 for x in xs]
            axes.errorbar(
                xs,
                [fmean(points[x]) for x in xs],
                yerr=spread if any(spread) else None,
                capsize=2,
                label=legend_name(name),
                **cluster_look(number),
            )
        start = 100 * evaluation.ladder["zero_shot"].mean_average_precision
        axes.axhline(start, color="#555555", linestyle=":", linewidth=1, label="zero_shot")
        if curve.doubling:
            axes.set_xscale("symlog", base=2, linthresh=1)
            axes.set_xlim(-0.25, 1.2 * max(x for points in lines.values() for x in points))
        ticks = sorted({x for points in lines.values() for x in points})
        if len(ticks) <= 12:
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axes.minorticks_off()
        axes.grid(axis="y", linewidth=0.4, color="#cccccc")
        axes.set(xlabel=curve.axis, ylabel="mAP, percent")
        axes.set_title(f"{curve.title}, {_about(evaluation)}")
        figure.legend(loc="outside lower center", ncols=2)
    return picture_paths(folder / curve.field)


def _about(evaluation: Evaluation) -> str:
    if evaluation.protocol:
        return f"{shown(evaluation.protocol.title, 40)}\n{evaluation.images:,} images"
    name = "no photos" if evaluation.synthetic else f"split {evaluation.split!r}"
    kind = "synthetic images" if evaluation.synthetic else "images"
    return f"{shown(name, 40)}\n{evaluation.images:,} {kind}"


def curve_points(store: Store, evaluation: Evaluation, curve: Curve) -> dict[str, Points]:
    """mAP in percent by line and by value of ``curve.field``; of the steps adapter and ensemble."""
    own = store.run(evaluation.run_id)
    config = _config(own)
    if config is None or curve.task not in (None, config["task"]):
        return {}
    lines: dict[str, Points] = {}
    for row, ladder in _evaluated(store.runs(), own.encoder_id, evaluation):
        other = _config(row)
        place = None if other is None else _place(store, row, config, other, curve)
        if other is None or place is None:
            continue
        for step in ("adapter", "ensemble"):
            value = ladder.get(step, {}).get("mAP")
            if value is not None:
                name = step if curve.lines is None else f"{step}, {other[curve.lines]}"
                lines.setdefault(name, {}).setdefault(place, []).append(float(value))
    return dict(sorted(lines.items()))


def _evaluated(
    rows: Iterable[RunRow], encoder_id: str, evaluation: Evaluation
) -> Iterator[tuple[RunRow, Mapping[str, Any]]]:
    """Finished runs with the ladder that was recorded of the same images."""
    for row in rows:
        found = evaluation.found_in(row.metrics)
        if row.status == "finished" and row.encoder_id == encoder_id and found is not None:
            yield row, found["ladder"]


def _config(row: RunRow) -> dict[str, Any] | None:
    """A run's settings with today's defaults for those it does not name; None of an ensemble."""
    try:
        return TrainConfig.from_json(row.config).to_json()
    except (TrainingError, TypeError):
        return None


def _place(
    store: Store,
    row: RunRow,
    config: Mapping[str, Any],
    other: Mapping[str, Any],
    curve: Curve,
) -> float | None:
    """Where a run lies on the axis; None where it differs from the evaluated one otherwise."""
    free = {curve.field, curve.lines, *REPEATS}
    if all(other[name] == value for name, value in config.items() if name not in free):
        return _VALUES.get(curve.field, _plain)(store, row, other[curve.field])
    without = (
        curve.task is not None and other["task"] == "zsl" and other.get("shift", "none") == "none"
    )
    shared = _radius(other) == _radius(config) and all(other[n] == config[n] for n in SHARED)
    if without and shared:
        return 0.0
    return None


def _radius(config: Mapping[str, Any]) -> str | float:
    radius: str | float = config["radius"]
    return "auto" if radius == auto_radius(config["task"], config["shift"]) else radius


def _plain(store: Store, row: RunRow, value: Any) -> float | None:
    del store, row
    return float(value) if isinstance(value, int | float) else None


def _percent(store: Store, row: RunRow, value: Any) -> float | None:
    plain = _plain(store, row, value)
    return None if plain is None else round(100 * plain, 6)


def _norms(store: Store, row: RunRow, value: Any) -> float | None:
    """A radius in mean text norms: what "auto" or a number came to stands in the run's card."""
    del value
    try:
        card = load_adapter(run_folder(store, row.run_id)).card
    except TrainingError:
        return None
    return round(card.radius / card.mean_text_norm, 4) if card.mean_text_norm > 0 else None


_VALUES: Mapping[str, Callable[[Store, RunRow, Any], float | None]] = {
    "radius": _norms,
    "known": _percent,
}
