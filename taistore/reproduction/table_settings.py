"""The methods and settings that a table is run with: refused early, and told where they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taistore.errors import ScoringError
from taistore.reproduction.tables import PAPER, T2I_PAL, Table

_UNSTATED = ("hidden", "dropout")
"""Settings that the paper does not give."""


def check_settings(table: Table, methods: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Refuse what would only fail once everything is encoded.

    ``settings`` are fields of :class:`~taistore.adapter.config.TrainConfig` for the method
    ``paper``. Raises :class:`ScoringError` where a method is not the table's or the settings are
    nobody's, :class:`TrainingError` where a setting is not allowed.
    """
    known = (*table.methods, *table.learners)
    for method in methods:
        if method not in known:
            raise ScoringError(f"{table.name} has no method={method}: it has {', '.join(known)}")
    if settings and PAPER not in methods:
        raise ScoringError(
            f"{min(settings)}= changes method={PAPER}, which is not run: leave it out, or add "
            f"method={PAPER}"
        )
    for column in table.columns:
        for method in (one for one in methods if one not in table.learners):
            table.config(method, column, seed=0, split=None, device="cpu", changes=settings)


def check_scores(table: Table, methods: Sequence[str], scores: Path | None) -> None:
    """Refuse scores of another system where the table has no place for them."""
    if scores is None:
        return
    if not table.integrated:
        raise ScoringError(f"{table.name} averages with no other system: leave scores= out")
    if table.other in methods:
        raise ScoringError(
            f"scores= and method={table.other} are the same system twice: leave one of them out"
        )
    lead = T2I_PAL if table.with_images else PAPER
    if lead not in methods:
        raise ScoringError(
            f"scores= are averaged with method={lead}, which is not run: leave them out, or add "
            f"method={lead}"
        )
    if not scores.is_dir():
        raise ScoringError(f"{scores}: no such folder: name the one that holds the scores")


def check_learners(table: Table, methods: Sequence[str], regions: int) -> None:
    """Refuse a learner of images without the regions that it learns from."""
    needs = [method for method in (table.other, T2I_PAL) if method in methods]
    if needs and not regions:
        raise ScoringError(
            f"method={needs[0]} learns from regions of images: give regions=7, or 14 at a "
            "resolution of 448"
        )


def check_images(table: Table, images: object) -> None:
    """Refuse synthetic images where the table has no use for them, and their absence where it has.

    Raises :class:`ScoringError`.
    """
    if table.with_images and images is None:
        raise ScoringError(
            f"{table.name} learns from synthetic images: give images= a manifest of them, or "
            "image_model= what makes them"
        )
    if images is not None and not table.with_images:
        raise ScoringError(f"{table.name} learns from no synthetic image: leave images= out")


def setting_deviations(
    table: Table, methods: Sequence[str], settings: Mapping[str, Any]
) -> list[str]:
    """In what the method ``paper`` is not, or may not be, as the paper has it, a line each."""
    if PAPER not in methods:
        return []
    config = table.config(
        PAPER, table.columns[0], seed=0, split=None, device="cpu", changes=settings
    )
    found = [
        f"the paper states neither the network's width nor its dropout: {config.hidden:,} (its "
        f"Table 4 implies 2,048) and {config.dropout:g} here"
    ]
    changed = {name: value for name, value in settings.items() if name not in _UNSTATED}
    if changed:
        listed = ", ".join(f"{name} {value}" for name, value in sorted(changed.items()))
        found.append(f"settings of the paper's method are others here: {listed}")
    return found
