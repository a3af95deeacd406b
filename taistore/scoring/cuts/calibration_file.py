"""``calibration.json`` beside a run: thresholds with a stated precision, and probabilities.

It is made by :mod:`taistore.evaluation.calibration`. Labels go by their keys, so that it serves
whoever scores more labels or fewer.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from taistore.adapter.run_files.file_names import CALIBRATION, write_whole
from taistore.adapter.run_files.plain_json import STRICT, from_plain, read_object
from taistore.errors import ScoringError
from taistore.scoring.ladders.ladder import Step

CALIBRATION_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """The score from which on a label's tags have a stated precision.

    Of the ``tagged`` labelled images that score ``threshold`` or more ``right`` show the label;
    ``lower`` is the lower bound of Clopper and Pearson of their share.
    """

    precision: float
    threshold: float
    lower: float
    tagged: int
    right: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelCalibration:
    """What is known of one label's scores.

    A score s stands for the probability sigmoid(slope s + offset). ``cuts`` are those that there
    are, one a precision. ``more`` is how many labelled images the precision asked for lacks at
    least, 0 where it has a cut; None where more of the same would not help.
    """

    key: str
    known: int
    positives: int
    slope: float
    offset: float
    cuts: tuple[Cut, ...]
    more: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What labelled images told of a run's scores of one step of its ladder.

    ``weights_digest`` is that of the run's weights (of an ensemble: of its card). ``images`` of
    ``split`` were looked at, ``with_regions`` of them scored with their regions; ``learnt`` others
    were left out, as the training had read their labels. ``precisions`` are those that cuts were
    looked for, ``precision`` the one that was asked for, each with ``confidence``. ``slope`` and
    ``offset`` are those of all labels together, for labels that are not listed; ``threshold`` is
    the probability from which on tags are best on average. ``ladder`` holds the mAP of each step on
    these images, and ``step_why`` says in words why ``step`` was taken.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    run_id: str
    encoder_id: str
    weights_digest: str
    step: Step
    step_why: str
    split: str
    images: int
    with_regions: int
    learnt: int
    precision: float
    precisions: tuple[float, ...]
    confidence: float
    threshold: float
    slope: float
    offset: float
    ladder: dict[str, float]
    labels: tuple[LabelCalibration, ...]
    created: str
    calibration_version: int = CALIBRATION_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises ValueError naming the field on anything else."""
        found = from_plain(cls, values)
        if found.calibration_version != CALIBRATION_VERSION:
            raise ValueError(f"calibration_version: {found.calibration_version} is not known here")
        for place, slope in (
            ("slope", found.slope),
            *((f"labels.{n}.slope", one.slope) for n, one in enumerate(found.labels)),
        ):
            if slope <= 0:
                raise ValueError(f"{place}: {slope} is not above 0")
        if not 0 <= found.threshold <= 1:
            raise ValueError(f"threshold: {found.threshold} is outside of 0 to 1")
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(_text(self).encode()).hexdigest()


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write it into a run's folder, whole or not at all."""
    path = folder / CALIBRATION
    write_whole(path, lambda part: part.write_text(_text(calibration), encoding="utf-8"))


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration in a run's folder, None where there is none.

    Raises :class:`ScoringError` where it is damaged.
    """
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    again = "calibrate the run again with 'taistore calibrate', or delete the file"
    try:
        return Calibration.from_json(read_object(path))
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read ({error.strerror}): {again}") from error
    except ValueError as error:
        raise ScoringError(f"{path}: not a calibration ({error!s:.300}): {again}") from error


def _text(calibration: Calibration) -> str:
    return json.dumps(calibration.to_json(), sort_keys=True, ensure_ascii=False) + "\n"
