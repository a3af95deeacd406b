"""One thing that is wrong in a store, and what mends it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

Code = Literal[
    "damaged-manifest",
    "damaged-file",
    "damaged-index",
    "lost-version",
    "no-version",
    "orphan-file",
    "unknown-table",
    "broken-contract",
    "unknown-encoder",
    "unknown-label",
    "wrong-id",
    "doubled-key",
    "dangling-id",
    "no-vector",
    "unpaired-regions",
    "bad-vector",
    "far-norm",
    "damaged-run",
    "gone-version",
    "leftover",
    "not-checked",
]

SETTLED = timedelta(hours=1)
"""What is younger may be of a job that is at work: it is told, and never removed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What is wrong in a table, or in the run that ``table`` names, and what mends it.

    A ``warning`` is nothing that a job stumbles over: what a killed job left, what may be of one
    that is at work, what only looks odd. ``repaired`` says that it has been mended just now.
    """

    code: Code
    table: str
    what: str
    remedy: str
    severity: Literal["error", "warning"] = "error"
    repaired: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What :meth:`taistore.project.Project.verify` found, and the rows of each table it read."""

    store: str
    tables: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether no error is left."""
        return all(found.repaired or found.severity == "warning" for found in self.findings)
