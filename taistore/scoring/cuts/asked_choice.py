"""What a caller's options mean for one run: the step that ranks, and which labels become tags."""

from dataclasses import dataclass
from typing import Any

from taistore import defaults
from taistore.errors import ScoringError
from taistore.scoring.cuts.calibration_file import Calibration, read_calibration
from taistore.scoring.cuts.label_scale import LabelScale
from taistore.scoring.cuts.step_choice import ChosenStep, evaluated_step
from taistore.scoring.ladders.ladder import HALVES, Step
from taistore.scoring.loaded_run import ScoringRun
from taistore.scoring.selection import Choice


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedChoice:
    """A choice and what is to be said of it.

    ``cut`` and ``step_why`` are words. ``labels_without_cut`` get no tag at the ``precision`` that
    was asked for. ``calibration`` is the digest of the one in use, whose probabilities the scores
    of tags are; without one they are an order. ``least_score`` is the lowest that passes the cut;
    None where it looks at no score.
    """

    choice: Choice
    cut: str
    step_why: str
    precision: float | None = None
    labels_without_cut: int | None = None
    calibration: str | None = None
    least_score: float | None = None

    def told(self) -> dict[str, Any]:
        """What a summary says of it."""
        return {
            "step": self.choice.step,
            "step_why": self.step_why,
            "cut": self.cut,
            "least_score": self.least_score,
            "precision": self.precision,
            "labels_without_cut": self.labels_without_cut,
            "scores": "order" if self.calibration is None else "probability",
        }


def asked_choice(
    run: ScoringRun,
    *,
    regions: bool,
    step: Step | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    precision: float | None = None,
) -> AskedChoice:
    """The choice that these options stand for, by the calibration that is kept with the run.

    ``step`` None is that of the run's calibration, else the one that was best on the validation
    split, else the top of the ladder. ``precision`` tags by the cuts of a calibration, at most
    ``top_k`` labels an image. Without ``precision``, ``top_k`` and ``threshold`` tags are cut where
    they are best on average: by the calibration's probability, else by
    :mod:`taistore.scoring.cuts.image_share`; scores that these know nothing of give
    :data:`taistore.defaults.TOP_K` tags. With a threshold alone there is no bound (0: every label).

    Raises :class:`ScoringError` where an option is out of range, or ``precision`` is asked of a run
    whose calibration is missing, does not fit or holds no cuts for it.
    """
    if precision is not None and threshold is not None:
        raise ScoringError("precision= has thresholds of its own: leave out threshold=")
    found = None if run.folder is None else read_calibration(run.folder)
    unfit = None if found is None else why_unfit(found, run, step, regions=regions)
    steps = run.ladder.steps(regions=regions)
    if found is None or unfit is not None:
        if precision is not None:
            raise ScoringError(unfit or _not_calibrated(run, precision))
        return _uncalibrated_choice(run, steps, step, top_k, threshold, note=unfit)
    if precision is not None and precision not in found.precisions:
        known = ", ".join(f"{one:g}" for one in found.precisions)
        raise ScoringError(
            f"run {run.run_id} was not calibrated for precision {precision:g} (but for {known}): "
            f"{_command(run, precision, found)}"
        )
    device = run.ladder.prompts_ND.device
    scale = LabelScale.of(found, run.store.labels, precision=precision, device=device)
    cut = _words(top_k, threshold)
    if precision is not None:
        cut = f"precision {precision:g} with {found.confidence:.0%} confidence a label" + (
            f", at most {top_k}" if top_k is not None else ""
        )
    elif not cut:
        threshold = found.threshold
        cut = f"probability {threshold:.2f}, best on average on split {found.split!r}"
    why = "asked for" if step is not None else f"calibrated: {found.step_why}"
    return AskedChoice(
        choice=Choice(
            step=found.step,
            top_k=top_k,
            threshold=threshold,
            steps=steps,
            scale=scale,
        ),
        cut=cut,
        step_why=why,
        precision=precision,
        labels_without_cut=None if precision is None else scale.labels_without_cut,
        calibration=found.digest,
        least_score=threshold if precision is None else scale.least_probability,
    )


def why_unfit(
    calibration: Calibration, run: ScoringRun, step: Step | None, *, regions: bool
) -> str | None:
    """Why a calibration says nothing of these scores of a run, and what to do; None: it does."""
    again = f"'taistore calibrate {run.run_id}"
    of_run = (calibration.run_id, calibration.weights_digest, calibration.encoder_id)
    if of_run != (run.run_id, run.weights_digest, run.encoder_id):
        return (
            f"run {run.run_id} has other weights than when it was calibrated: calibrate it again "
            f"with {again}'"
        )
    if step is not None and step != calibration.step:
        return (
            f"run {run.run_id} was calibrated for step {calibration.step}, not for {step}: leave "
            f"out step=, or calibrate it again with {again} --step {step}'"
        )
    if calibration.step not in run.ladder.steps(regions=regions):
        return (
            f"run {run.run_id} was calibrated for step {calibration.step}, which is not scored "
            f"here: calibrate it again with {again}'"
        )
    whole = calibration.with_regions == 0
    if (whole and regions) or (calibration.with_regions == calibration.images and not regions):
        how = ("whole images", "with regions") if whole else ("images with regions", "without")
        return (
            f"run {run.run_id} was calibrated on {how[0]}, and these are scored {how[1]}: score "
            f"them alike, or calibrate it again with {again}'"
        )
    return None


def _uncalibrated_choice(
    run: ScoringRun,
    steps: tuple[Step, ...],
    step: Step | None,
    top_k: int | None,
    threshold: float | None,
    *,
    note: str | None,
) -> AskedChoice:
    chosen = evaluated_step(steps, run.metrics) if step is None else ChosenStep(step, "asked for")
    cut, share = _words(top_k, threshold), False
    if not cut and chosen.step in HALVES and run.ladder.has_own_scale:
        share, top_k = True, defaults.MOST_TAGS
        cut = (
            f"best on average: confidence {defaults.CUT_CONFIDENCE:g} and a share of "
            f"{defaults.CUT_SHARE:g}"
        )
    elif not cut:
        top_k = defaults.TOP_K
        cut = f"the best {top_k}: {chosen.step} has no scale to cut by"
    if note is not None:
        cut += f"; the calibration is not in use: {note}"
    choice = Choice(step=chosen.step, top_k=top_k, threshold=threshold, steps=steps, share=share)
    least = defaults.CUT_CONFIDENCE if share else threshold
    return AskedChoice(choice=choice, cut=cut, step_why=chosen.why, least_score=least)


def _words(top_k: int | None, threshold: float | None) -> str:
    parts = [] if top_k is None else [f"the best {top_k}"]
    return ", ".join(parts if threshold is None else [*parts, f"threshold {threshold:g}"])


def _not_calibrated(run: ScoringRun, precision: float) -> str:
    return (
        f"run {run.run_id} is not calibrated, so that its scores are an order and no probability: "
        f"{_command(run, precision, None)}"
    )


def _command(run: ScoringRun, precision: float, found: Calibration | None) -> str:
    split = "" if found is None or found.split == defaults.VALIDATION else f" --split {found.split}"
    return f"run 'taistore calibrate {run.run_id} --precision {precision:g}{split}'"
