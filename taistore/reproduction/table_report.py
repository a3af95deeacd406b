"""A reproduced table: our figures beside the paper's, and in what they differ."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import polars as pl

from taistore.printable import counted
from taistore.reproduction.set_stores import SetCounts
from taistore.reproduction.synthetic_tables.table_images import TableImages
from taistore.reproduction.table_texts import TableTexts
from taistore.reproduction.tables import (
    DPT_INTEGRATED,
    INTEGRATED,
    METHODS,
    T2I_INTEGRATED,
    ZERO_SHOT,
    Table,
)

NAMES = {
    ZERO_SHOT: "zero-shot",
    **METHODS,
    INTEGRATED: "the paper's, averaged with the other",
    DPT_INTEGRATED: "TaI-DPT, averaged with the other",
    T2I_INTEGRATED: "T2I-PAL, averaged with the other",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One of our methods on one set: mAP in percent of every seed [S], a list for each column.

    ``step`` of the ladder is what was read. NaN: nothing to read in that column.
    """

    method: str
    step: str
    values: tuple[tuple[float, ...], ...]

    @property
    def means(self) -> tuple[float, ...]:
        """The mean over the seeds, by column."""
        return tuple(fmean(values) if values else math.nan for values in self.values)

    @property
    def deviations(self) -> tuple[float, ...]:
        """The standard deviation over the seeds, by column; NaN of a single one."""
        return tuple(map(_deviation, self.values))

    @property
    def averages(self) -> tuple[float, ...]:
        """The mean over the columns, by seed [S]; NaN where a column has nothing to read."""
        return tuple(map(fmean, zip(*self.values, strict=True)))


@dataclass(frozen=True, kw_only=True, slots=True)
class SetResult:
    """Our figures on one set; ``published_as`` is the set whose published figures stand beside.

    ``counts`` say what its store holds and what was set aside.
    """

    name: str
    folder: str
    store: str
    split: str
    images: int
    labels: int
    counts: SetCounts
    published_as: str | None
    rows: tuple[Row, ...]
    runs: tuple[str, ...]
    trained: int
    deviations: tuple[str, ...]

    def about(self) -> dict[str, Any]:
        """Everything but the rows, as plain values."""
        fields = (field.name for field in dataclasses.fields(self))
        values = {name: getattr(self, name) for name in fields if name not in ("rows", "counts")}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return plain | dataclasses.asdict(self.counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """A table of the paper with our figures; ``missing`` says what was not there, in lines.

    ``settings`` take the place of the paper's in its method. ``images`` are the synthetic ones that
    it learns from, if any.
    """

    table: Table
    encoder: str
    texts: TableTexts
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    sets: tuple[SetResult, ...]
    missing: tuple[str, ...]
    deviations: tuple[str, ...]
    images: TableImages | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; mAP in percent."""
        headings = [column.heading for column in self.table.columns]
        return {
            "table": self.table.name,
            "title": self.table.title,
            "encoder": self.encoder,
            **self.texts.to_json(),
            **(self.images.to_json() if self.images is not None else {}),
            "settings": dict(self.settings),
            "seeds": list(self.seeds),
            "columns": headings,
            "sets": [
                {
                    **result.about(),
                    **{
                        source: {name: _all_rounded(values) for name, values in figures.items()}
                        for source, figures in self._published(result).items()
                    },
                    "here": [self._row_json(row) for row in result.rows],
                }
                for result in self.sets
            ],
            "remarks": list(self.table.remarks),
            "missing": list(self.missing),
            "deviations": list(self.deviations),
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        value: dict[str, Any] = {
            "method": row.method,
            "step": row.step,
            "beside": self.table.beside.get(row.method),
            "mAP": _all_rounded(row.means),
            "deviation": _all_rounded(row.deviations),
            "by_seed": [_all_rounded(values) for values in row.values],
        }
        if self.table.average:
            value["average"] = _rounded(fmean(row.averages))
            value["average_deviation"] = _rounded(_deviation(row.averages))
        return value

    def frame(self) -> pl.DataFrame:
        """One row a figure, mAP in percent: of published systems, and of ours by seed.

        ``source`` is paper, elsewhere or here. Ours were read at ``step``, which is null of what is
        published. ``seed`` is null of those, and of zero-shot, in which none plays a part.
        """
        headings = [column.heading for column in self.table.columns]
        rows = [
            (result.name, source, name, None, heading, None, value)
            for result in self.sets
            for source, figures in self._published(result).items()
            for name, values in figures.items()
            for heading, value in zip(headings, values, strict=True)
            if not math.isnan(value)
        ] + [
            (result.name, "here", row.method, row.step, heading, seed, value)
            for result in self.sets
            for row in result.rows
            for heading, values in zip(headings, row.values, strict=True)
            for seed, value in zip(
                (None,) if row.method == ZERO_SHOT else self.seeds, values, strict=True
            )
            if not math.isnan(value)
        ]
        schema = {
            "set": pl.String,
            "source": pl.String,
            "method": pl.String,
            "step": pl.String,
            "column": pl.String,
            "seed": pl.Int64,
            "mAP": pl.Float64,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")

    def text(self) -> str:
        """The table for people: per set the paper's rows, then ours."""
        given = f"{self.texts}" if self.images is None else f"{self.texts}, {self.images}"
        lines = [self.table.title, f"encoder {self.encoder}, {given}, seeds "]
        lines[-1] += ", ".join(map(str, self.seeds)) + "; percent"
        for result in self.sets:
            lines += ["", *self._set_lines(result)]
        quoted = any(any(self._published(result).values()) for result in self.sets)
        for title, found in (
            ("of the published figures", self.table.remarks if quoted else ()),
            ("where this differs from the paper", self.deviations),
            ("missing", self.missing),
        ):
            lines += ["", f"{title}:", *(f"  - {line}" for line in found)] if found else []
        return "\n".join(lines)

    def _set_lines(self, result: SetResult) -> list[str]:
        several = any(not math.isnan(value) for row in result.rows for value in row.deviations)
        headings = [column.heading for column in self.table.columns]
        headings += [self.table.average] if self.table.average else []
        width = max(len(heading) for heading in headings) + 2
        width = max(width, 12 if several else 7)
        lines = [
            f"{result.name}: {counted(result.images, 'image')} of split {result.split!r}, "
            f"{counted(result.labels, 'label')}",
            f"  {result.counts}",
            _line("", headings, width),
        ]
        for source, figures in self._published(result).items():
            for name, values in figures.items():
                shown = [*values, fmean(values)] if self.table.average else values
                cells = [_cell(value, math.nan) for value in shown]
                lines.append(_line(f"{source}: {name}", cells, width))
        for row in result.rows:
            pairs = list(zip(row.means, row.deviations, strict=True))
            if self.table.average:
                pairs.append((fmean(row.averages), _deviation(row.averages)))
            cells = [_cell(*pair) for pair in pairs]
            lines.append(_line(f"here:  {NAMES[row.method]}", cells, width))
        used = len(result.runs) - result.trained
        lines += [f"  {line}" for line in result.deviations]
        runs = counted(result.trained, "run")
        return [
            *lines,
            f"  {runs} trained, {used:,} used again: {result.store}",
        ]

    def _published(self, result: SetResult) -> dict[str, Mapping[str, tuple[float, ...]]]:
        """What stands beside our figures of a set, by where it is published."""
        name = result.published_as or ""
        return {
            "paper": self.table.published.get(name, {}),
            "elsewhere": self.table.elsewhere.get(name, {}),
        }


def _line(name: str, cells: Sequence[str], width: int) -> str:
    return f"  {name:44}" + "".join(f"{cell:>{width}}" for cell in cells)


def _cell(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" if math.isnan(deviation) else f"{mean:.1f} ±{deviation:.1f}"


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan


def _all_rounded(values: Sequence[float]) -> list[float | None]:
    return [_rounded(value) for value in values]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)
