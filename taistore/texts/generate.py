"""The job ``generate-texts``: sample combinations, have them written, encode, store; resumable."""

import numpy as np
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.encoders.protocol import Encoder
from taistore.errors import TextError
from taistore.progress import Progress, no_progress
from taistore.store.rejects import listed_by
from taistore.store.store import Store
from taistore.store.writes.collector import loaded_set_aside
from taistore.texts.combinations.growth import Growth
from taistore.texts.combinations.sampling import Balance, CombinationSample, sample_combinations
from taistore.texts.generate_config import JOB, GenerateConfig, GenerateSummary
from taistore.texts.language.token_lengths import length_check, text_limit
from taistore.texts.outcomes import Outcomes
from taistore.texts.pending import Pending, Plan
from taistore.texts.request_ids import RequestIds
from taistore.texts.rows.text_rows import encode_missing_texts
from taistore.texts.schedule import Schedule
from taistore.texts.templates.template_writer import TemplateWriter
from taistore.texts.writer import JudgeRules, TextWriter
from taistore.texts.writer_threads import start_writer

__all__ = ["GenerateConfig", "GenerateSummary", "JOB", "generate_texts"]


@loaded_set_aside()
def generate_texts(
    store: Store,
    encoder: Encoder,
    config: GenerateConfig,
    *,
    writer: TextWriter | None = None,
    progress: Progress = no_progress,
) -> GenerateSummary:
    """Write ``config.count`` texts with their vectors, except those that are there already.

    ``writer`` is the ``template`` writer unless another is given;
    :func:`taistore.texts.writers.open_writer` makes one by name. Raises :class:`TextError` where
    no text at all was usable, no request can succeed, or ``max_rejects`` is exceeded; all outcomes
    until then are kept.
    """
    labels = store.labels
    text_limit(encoder)
    writer = writer or TemplateWriter(labels)
    rules = JudgeRules(
        labels=labels,
        limit=length_check(encoder),
        attempts=config.attempts,
        lost_labels=config.lost_labels,
    )
    judge = writer.judge(rules)
    sample = _sample(store, encoder, config)
    earlier = encode_missing_texts(store, encoder, progress=progress)
    ids = RequestIds(model=writer.model, settings=writer.settings, seed=config.seed)
    plan = Plan(ids, writer.instructions, config.texts_per_combination)
    pending = Pending(store, sample, plan, retry_rejects=config.retry_rejects)
    with progress("writing texts", total=pending.due, unit="texts") as bar:
        outcomes = Outcomes(store, encoder, writer, config, rules=rules, pending=pending, bar=bar)
        try:
            with start_writer(writer) as started:
                Schedule(pending, started, judge, outcomes, config).run()
        finally:
            # Also after an error or Ctrl-C: whatever was answered has been paid for.
            outcomes.flush()
        outcomes.check_rejects()
    if outcomes.present:
        # Another job may have written them a moment ago and be encoding them still.
        earlier += encode_missing_texts(store, encoder, progress=progress)
    if not (outcomes.written or outcomes.present or outcomes.repeated):
        reason = outcomes.last_reason or "all rejected by earlier runs"
        raise TextError(
            f"none of {len(sample):,} texts is usable ({reason}): {listed_by(store.uri)} "
            "lists them; or use another writer"
        )
    return GenerateSummary(
        requested=len(sample),
        present=outcomes.present,
        written=outcomes.written,
        repeated=outcomes.repeated,
        rejected=outcomes.rejected,
        encoded_earlier=earlier,
        combinations=len(sample.label_ids),
        balance=Balance.of(texts_per_label(store)),
        encoder_id=encoder.info.encoder_id,
        reduced=outcomes.reduced,
        rejected_earlier=pending.rejected_earlier,
        rejects=dict(sorted(outcomes.rejects.items())),
    )


def _sample(store: Store, encoder: Encoder, config: GenerateConfig) -> CombinationSample:
    affinity = None
    if config.combinations == "plausible":
        from taistore.texts.combinations.affinity import store_affinity

        affinity = store_affinity(store, encoder)
    sample = sample_combinations(
        store.labels,
        count=config.count,
        sizes=config.sizes,
        texts_per_combination=config.texts_per_combination,
        min_per_label=config.min_per_label,
        seed=config.seed,
        combinations=config.combinations,
        affinity=affinity,
        growth=Growth.of(store),
    )
    _check_turns(sample, len(store.labels))
    return sample


def texts_per_label(store: Store) -> NDArray[np.int64]:
    """How many of the store's texts name each label [N], whoever wrote them."""
    index = store.combination_index()
    counts = np.zeros(len(store.labels), dtype=np.int64)
    for batch in store.scan("texts", columns=["combination_id"], batch_rows=65536):
        _, named = index.positives(batch.column(0).to_numpy())
        counts += np.bincount(named, minlength=len(counts))
    return counts


def _check_turns(sample: CombinationSample, label_count: int) -> None:
    largest = np.iinfo(TABLES["texts"].schema().field("turn").type.to_pandas_dtype()).max
    if len(sample) and int(sample.turn.max()) > largest:
        raise TextError(
            f"{len(sample):,} texts of {label_count} labels repeat one combination more than "
            f"{largest:,} times: ask for fewer texts, larger combinations or another seed"
        )
