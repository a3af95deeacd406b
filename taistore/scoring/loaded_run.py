"""A recorded run, ready to score with: its adapter, or its members, inside the ladder.

Shapes: D embedding dimension, N labels.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from taistore.adapter.run_files.checkpoint import (
    AGAIN,
    Adapter,
    AdapterCard,
    check_fits,
    load_adapter,
)
from taistore.adapter.run_files.file_names import CARD
from taistore.adapter.run_files.kept.kept_discriminant import read_discriminant
from taistore.adapter.run_files.kept.run_labels import seen_by_run
from taistore.adapter.run_files.run_folder import run_folder
from taistore.adapter.run_files.run_lock import liveness
from taistore.encoders.precision import resolve_device
from taistore.encoders.protocol import EncoderInfo, Float32
from taistore.errors import ScoringError, StoreError, TrainingError
from taistore.geometry.unlabelled.discriminant import Discriminant
from taistore.prompting.learner_files import load_learner
from taistore.prompting.prompt_config import METHODS
from taistore.scoring.ensembles.ensemble import (
    TASK,
    EnsembleLadder,
    load_ensemble,
    mixes_runs_alone,
)
from taistore.scoring.ensembles.imported_scores import KeptScores
from taistore.scoring.ensembles.probabilities import ProbabilityLadder
from taistore.scoring.ladders.competition import Competition
from taistore.scoring.ladders.ladder import AdapterLogits, Ladder
from taistore.scoring.ladders.last_layer import last_layer
from taistore.scoring.ladders.prompt_ladder import PromptLadder
from taistore.store.lance_errors import UnreachableError
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from taistore.texts.label_prompts import cached_prompt_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringRun:
    """A run, the encoder that it was trained for, its adapter's digest and its ladder.

    ``logits`` are those of its adapter; None of an ensemble or a prompt learner. ``split`` names
    the only images that it can score, where imported scores are a part of it. ``plain`` says that
    it may be a member of an ensemble: it averages nothing but adapters. ``store`` is read with the
    labels of the run.
    """

    store: Store
    run_id: str
    encoder_id: str
    weights_digest: str
    ladder: Ladder
    logits: AdapterLogits | None = None
    split: str | None = None
    plain: bool = True


def open_run(
    store: Store,
    run_id: str,
    *,
    device: str | torch.device = "cpu",
) -> ScoringRun:
    """Load the adapter of a run and set up its ladder with the label prompts kept with it.

    Of an ensemble, those of its members, which must be as they were when it was made. A run from
    before prompts were kept takes the store's. ``device`` may be ``auto``. Raises
    :class:`StoreError` on an unknown run or encoder, :class:`TrainingError` where the checkpoint is
    gone, damaged or of other labels, and :class:`ScoringError` where there are no prompts, or an
    ensemble or a member of it is no longer what it was.
    """
    place, row = resolve_device(str(device)), store.run(run_id)
    opening = _Opening(seen_by_run(store, row), place)
    return opening.run(row, above=())


@dataclass(frozen=True, slots=True)
class _Opening:
    """What opening a run takes, for its members as for itself."""

    store: Store
    device: torch.device

    def run(self, row: RunRow, *, above: tuple[str, ...]) -> ScoringRun:
        """The run of a row; ``above`` are the ensembles that it is opened for."""
        encoder = self.store.encoder(row.encoder_id)
        if row.status != "finished":
            now = liveness(self.store, row)
            raise TrainingError(
                f"run {row.run_id} is not finished ({now}): "
                + (
                    "wait for it"
                    if now.status == "running"
                    else f"finish it with 'taistore train --resume {row.run_id}'"
                )
            )
        if row.task == TASK:
            return self._ensemble(row, above)
        if row.config.get("method") in METHODS:
            return self._learner(row)
        folder = run_folder(self.store, row.run_id)
        adapter = load_adapter(folder)
        check_fits(adapter.card, self.store, encoder.encoder_id)
        adapter.to(self.device)
        card = adapter.card
        of_images = card.logits_of == "images"
        measured = Competition.over_images if of_images else Competition.over_texts
        prompts_ND = functional.normalize(torch.from_numpy(self._prompts(adapter, encoder)), dim=1)
        ladder = Ladder(
            prompts_ND,
            adapter.logits,
            competition=measured(spread=card.logit_spread, energy=card.logit_energy),
            discriminant=_discriminant(folder, card),
            layer=last_layer(adapter.network, prompts_ND.to(self.device)),
            device=self.device,
        )
        return ScoringRun(
            store=self.store,
            run_id=row.run_id,
            encoder_id=encoder.encoder_id,
            weights_digest=card.weights_digest,
            ladder=ladder,
            logits=adapter.logits,
        )

    def _learner(self, row: RunRow) -> ScoringRun:
        """A run of a prompt learner, from its label vectors."""
        folder = run_folder(self.store, row.run_id)
        learner = load_learner(folder)
        if learner.card.run_id != row.run_id:
            raise TrainingError(f"{folder / CARD}: is that of run {learner.card.run_id}: {AGAIN}")
        check_fits(learner.card, self.store, row.encoder_id)
        return ScoringRun(
            store=self.store,
            run_id=row.run_id,
            encoder_id=row.encoder_id,
            weights_digest=learner.card.learner_digest,
            ladder=PromptLadder(learner, device=self.device),
        )

    def _prompts(self, adapter: Adapter, encoder: EncoderInfo) -> Float32:
        """The label prompts kept with the run, else those of the store."""
        if adapter.prompts_ND is not None:
            return adapter.prompts_ND
        cached_ND = cached_prompt_vectors(self.store, encoder)
        if cached_ND is None:
            raise ScoringError(
                f"run {adapter.card.run_id} is from before runs kept their label prompts, and "
                f"{self.store.uri} has none of {encoder.spec}: make them with "
                "'taistore generate-texts', or train a new run"
            )
        return cached_ND

    def _ensemble(self, row: RunRow, above: tuple[str, ...]) -> ScoringRun:
        run_id = row.run_id
        folder = run_folder(self.store, run_id)
        card = load_ensemble(folder)
        again = "make the ensemble again with 'taistore ensemble'"
        if run_id in above or card.run_id != run_id:
            raise ScoringError(f"run {run_id}: its {CARD} is that of {card.run_id}: {again}")
        if list(card.label_keys) != self.store.labels.keys or card.encoder_id != row.encoder_id:
            raise ScoringError(
                f"run {run_id} was made for other labels or another encoder than {self.store.uri} "
                f"says: use the store that it came from, or {again}"
            )
        ladders: list[Ladder] = []
        for member in card.members:
            try:
                opened = self.run(self.store.run(member.run_id), above=(*above, run_id))
            except UnreachableError:
                raise  # nothing is known to be wrong with it
            except (StoreError, TrainingError, ScoringError) as error:
                raise ScoringError(
                    f"run {run_id} is an ensemble, and its member {member.run_id} cannot be used "
                    f"({error}): restore that, or {again}"
                ) from error
            if (opened.weights_digest, opened.encoder_id) != (
                member.weights_digest,
                card.encoder_id,
            ):
                raise ScoringError(
                    f"run {run_id} is an ensemble, and its member {member.run_id} has other "
                    f"weights than when it was made: {again}"
                )
            ladders.append(opened.ladder)
            if card.rule_name == "paper" and len(ladders) == 1:
                ladders = [probability_ladder(opened, device=self.device)]
        imported, kept = card.imported, None
        if imported is not None:
            kept = KeptScores.open(folder, imported, labels=len(card.label_keys))
        return ScoringRun(
            store=self.store,
            run_id=run_id,
            encoder_id=card.encoder_id,
            weights_digest=card.digest,
            ladder=EnsembleLadder(card, ladders, kept=kept, device=self.device),
            split=card.split if imported is not None else None,
            plain=mixes_runs_alone(card) and all(one.has_own_scale for one in ladders),
        )


def _discriminant(folder: Path, card: AdapterCard) -> Discriminant | None:
    """What unlabelled images told the run; None where it went by none."""
    if not card.discriminant_digest:
        return None
    size = (card.shape.labels, card.shape.dim)
    return read_discriminant(folder, card.discriminant_digest, size)


def probability_ladder(run: ScoringRun, *, device: str | torch.device = "cpu") -> Ladder:
    """The ladder of a run with its adapter's probabilities; ScoringError for an ensemble."""
    if run.logits is None:
        raise ScoringError(
            f"run {run.run_id} is no adapter, and the paper's rule begins with one: name a trained "
            "adapter first"
        )
    return ProbabilityLadder(run.ladder.prompts_ND, run.logits, device=device)
