"""The front door: a project is a store with everything that is done to it.

What the command line does is decided here; a command parses, calls one method and prints. Shapes:
I images, T texts, N labels, D embedding dimension.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from taistore import defaults
from taistore.encoders import registry
from taistore.encoders.protocol import EncoderInfo, Float32
from taistore.errors import EncoderError, ScoringError, StoreError
from taistore.labels import Label, LabelSet, read_labels
from taistore.progress import Note, Progress, stoppable, terminal_progress
from taistore.store.maintenance import TableReport, optimize
from taistore.store.places import cache_folder, is_remote, local_path
from taistore.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from taistore.adapter.config import Task, TrainConfig
    from taistore.adapter.run_files.run_removal import RemovedRun
    from taistore.adapter.train import RunResult
    from taistore.encoders.protocol import Encoder
    from taistore.geometry.diagnosis import Survey
    from taistore.images.ingest import IngestImagesSummary
    from taistore.images.ingest_image_vectors import IngestImageVectorsSummary
    from taistore.images.prune import PruneSummary
    from taistore.run import Run
    from taistore.scoring.ensembles.ensemble import Rule
    from taistore.scoring.ensembles.make_ensemble import EnsembleSummary
    from taistore.scoring.page.write_page import PageSummary
    from taistore.store.migrations import Upgrade
    from taistore.store.verification.finding import Verification
    from taistore.store.writes.encoder_removal import EncoderRemoval, StoredEncoder
    from taistore.texts.audit.audit_report import AuditReport
    from taistore.texts.audit.caption_audit import Lost
    from taistore.texts.combinations.dealing import Combinations
    from taistore.texts.generate_config import GenerateSummary
    from taistore.texts.ingest.ingest_text_vectors import IngestTextVectorsSummary
    from taistore.texts.ingest.ingest_texts import IngestTextsSummary
    from taistore.texts.writer import TextWriter

Labels = str | Path | LabelSet | Sequence[str]
"""A label file (.txt, .csv), a label set, or names."""

_TABLES = ("labels", "combinations", "texts", "images", "runs", "rejects")
_VECTORS = ("text_vectors", "image_vectors", "region_vectors")

_PICTURED = 8
"""Label combinations in a picture of centroids."""

_log = logging.getLogger("taistore")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a store holds: rows of each table, and of each encoder's vector tables."""

    tables: Mapping[str, int]
    encoders: tuple[tuple[EncoderInfo, Mapping[str, int]], ...]


class Project:
    """A store, the encoder that it is used with, and what can be done to it.

    Made by :func:`taistore.create` and :func:`taistore.open`. ``device`` and ``precision`` are
    those of :func:`taistore.encoders.registry.load_encoder`; an encoder is loaded when it is first
    needed, and once. ``progress`` makes bars (None: on a terminal only), ``note`` takes lines about
    what happens (None: the logger ``taistore``).
    """

    def __init__(
        self,
        store: Store,
        *,
        device: str = "auto",
        precision: str = "auto",
        progress: Progress | None = None,
        note: Note | None = None,
    ) -> None:
        self.store = store
        self.device = device
        self.precision = precision
        self.progress: Progress = stoppable(progress or terminal_progress)
        self.note: Note = note or _log.info
        self._encoders: dict[str, Encoder] = {}

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        labels: Labels,
        encoder: str = defaults.ENCODER,
        device: str = "auto",
        precision: str = "auto",
        progress: Progress | None = None,
        note: Note | None = None,
    ) -> Self:
        """A new store at a directory or object-store URI; an equal one that is there is opened.

        ``encoder`` is the store's default; it is loaded once, to see that it works here. Raises
        :class:`LabelError` on unusable labels, :class:`EncoderError` where the encoder cannot be
        loaded and :class:`StoreError` where another store is in the way.
        """
        label_set = _label_set(labels)
        spec = registry.canonical_spec(encoder)
        told = note or _log.info
        if shared := label_set.shared_names():
            example = next(iter(shared))
            told(
                f"warning: {len(shared)} names are used by several labels (such as {example!r}: "
                f"{', '.join(shared[example])}): give them synonyms to tell them apart in prompts"
            )
        loaded = None
        if not spec.startswith("vectors:"):
            told(f"loading encoder {spec}")
            loaded = registry.load_encoder(spec, device=device, precision=precision)
        store = Store.create(path, label_set, default_encoder=spec)
        project = cls(store, device=device, precision=precision, progress=progress, note=note)
        if loaded is not None:
            store.register_encoder(loaded.info)
            project._encoders[spec] = loaded
        return project

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        progress: Progress | None = None,
        note: Note | None = None,
    ) -> Self:
        """An existing store; :class:`StoreError` says what makes or upgrades one."""
        store = Store.open(path)
        return cls(store, device=device, precision=precision, progress=progress, note=note)

    @staticmethod
    def upgrade(path: str | Path, *, progress: Progress | None = None) -> "Upgrade":
        """Bring a store that an older taistore made up to date, as
        :func:`taistore.store.migrations.upgrade`."""
        from taistore.store.migrations import upgrade

        return upgrade(path, progress=stoppable(progress or terminal_progress))

    @staticmethod
    def verify(
        path: str | Path,
        *,
        repair: bool = False,
        restore: Sequence[str] = (),
        older_than: timedelta | None = None,
        progress: Progress | None = None,
    ) -> "Verification":
        """What is wrong in a store, its runs too, and what mends it; it need not be openable.

        As :func:`taistore.store.verification.verify_store.verify_store` and
        :func:`taistore.scoring.run_findings.run_findings`; ``older_than`` is an hour where None.
        """
        from taistore.scoring.run_findings import run_findings
        from taistore.store.verification.finding import SETTLED
        from taistore.store.verification.verify_store import verify_store

        shown = progress or terminal_progress
        age = SETTLED if older_than is None else older_than
        found = verify_store(path, repair=repair, restore=restore, older_than=age, progress=shown)
        if {"labels", "encoders", "runs"} <= found.tables.keys():
            runs = run_findings(Store.open(path), repair=repair, older_than=age, progress=shown)
            found = replace(found, findings=(*found.findings, *runs))
        return found

    # --- what it is -----------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """Where the store is."""
        return self.store.uri

    @property
    def labels(self) -> LabelSet:
        """The label set, in ``label_id`` order."""
        return self.store.labels

    def contents(self) -> Contents:
        """Rows of every table, and what each encoder has."""
        store = self.store
        return Contents(
            tables={kind: store.count(kind) for kind in _TABLES},
            encoders=tuple(
                (info, {kind: store.count(kind, info.encoder_id) for kind in _VECTORS})
                for info in store.encoders()
            ),
        )

    def __repr__(self) -> str:
        held = self.contents()
        counts = (f"{held.tables[kind]:,} {kind}" for kind in ("labels", "texts", "images", "runs"))
        return f"Project({self.uri!r}: {', '.join(counts)}; encoder {self.store.default_encoder})"

    # --- encoders -------------------------------------------------------------------------

    def encoder(self, spec: str | None = None) -> "Encoder":
        """The encoder of a spec, else the store's default: loaded, and registered in the store."""
        encoder = self._loaded(spec)
        self.store.register_encoder(encoder.info)
        return encoder

    def _loaded(self, spec: str | None) -> "Encoder":
        wanted = registry.canonical_spec(spec or self.store.default_encoder)
        if wanted not in self._encoders:
            self.note(f"loading encoder {wanted}")
            self._encoders[wanted] = registry.load_encoder(
                wanted, device=self.device, precision=self.precision
            )
        return self._encoders[wanted]

    def encoder_info(self, spec: str | None = None) -> EncoderInfo:
        """What identifies an encoder whose vectors the store holds, without loading it.

        Raises :class:`StoreError` where the store has none of it, or of several weights.
        """
        wanted = registry.canonical_spec(spec or self.store.default_encoder)
        known = self.store.encoders()
        found = [info for info in known if info.spec == wanted]
        if not found:
            there = ", ".join(info.spec for info in known) or "none yet"
            raise StoreError(
                f"{self.uri}: holds no vectors of encoder {wanted} (there are: {there}): add them "
                f"with 'taistore generate-texts --encoder {wanted}'"
            )
        if len(found) > 1:
            ids = ", ".join(info.encoder_id for info in found)
            remedy = "name the weights file in encoder="
            if found[0].library == "vectors":
                remedy = "remove one with 'taistore encoders rm ID'"
            raise StoreError(
                f"{self.uri}: {wanted} was used with different weights ({ids}): {remedy}"
            )
        return found[0]

    def encoders(self) -> "list[StoredEncoder]":
        """The encoders whose vectors the store holds: how many rows, and which runs need them."""
        from taistore.store.writes.encoder_removal import stored_encoders

        return stored_encoders(self.store)

    def remove_encoder(
        self, encoder: str, *, apply: bool = False, force: bool = False
    ) -> "EncoderRemoval":
        """See what an encoder's removal takes away; with ``apply`` remove it.

        ``encoder`` is its spec, the name of imported vectors or an ``encoder_id``. The rest is that
        of :func:`taistore.store.writes.encoder_removal.remove_encoder`.
        """
        from taistore.store.writes.encoder_removal import remove_encoder

        # An id is no spec, and a package that is gone leaves a spec that nobody knows.
        with suppress(EncoderError):
            encoder = registry.canonical_spec(encoder)
        return remove_encoder(self.store, encoder, apply=apply, force=force)

    def label_prompts(self, encoder: str | None = None) -> Float32:
        """Unit prompt vectors [N, D] of the labels; the encoder is loaded only where some lack."""
        from taistore.texts.label_prompts import cached_prompt_vectors, prompt_vectors

        cached = cached_prompt_vectors(self.store, self.encoder_info(encoder))
        if cached is not None:
            return cached
        return prompt_vectors(self.store, self.encoder(encoder), progress=self.progress)

    # --- texts ----------------------------------------------------------------------------

    def generate_texts(
        self,
        count: int = defaults.TEXTS,
        *,
        writer: "str | TextWriter" = "template",
        combinations: "Combinations" = "balanced",
        max_labels: int = defaults.MAX_LABELS,
        texts_per_combination: int | None = None,
        min_per_label: int = 1,
        seed: int = 0,
        lost_labels: "Lost | None" = None,
        retry_rejects: bool = False,
        max_rejects: int | None = None,
        encoder: str | None = None,
        **options: Any,
    ) -> "GenerateSummary":
        """Captions for combinations of labels, and their vectors; run again, it does what is left.

        ``writer`` is a writer or the name of one, whose ``options`` are those that
        :func:`taistore.texts.writers.open_writer` hands on, such as ``base_url`` of ``openai``.
        Captions hold 1 to ``max_labels`` labels, each number as often. The rest is that of
        :class:`taistore.texts.generate_config.GenerateConfig`.
        """
        from taistore.texts.generate import generate_texts
        from taistore.texts.generate_config import GenerateConfig
        from taistore.texts.label_prompts import prompt_vectors
        from taistore.texts.writers import open_writer

        given = {"texts_per_combination": texts_per_combination}
        config = GenerateConfig(
            count=count,
            combinations=combinations,
            sizes=dict.fromkeys(range(1, min(max_labels, len(self.labels)) + 1), 1.0),
            min_per_label=min_per_label,
            seed=seed,
            lost_labels=lost_labels,
            retry_rejects=retry_rejects,
            max_rejects=max_rejects,
            **{name: value for name, value in given.items() if value is not None},
        )
        # The writer first: a server that is not there should not cost the loading of an encoder,
        # and vLLM wants its share of the GPU's memory while that is free.
        opening: AbstractContextManager[TextWriter]
        if isinstance(writer, str):
            opening = open_writer(writer, self.labels, **options)
        else:
            opening = nullcontext(writer)
        if model := options.get("model"):
            self.note(f"opening {model}")
        with opening as opened:
            for line in getattr(opened, "notes", ()):
                self.note(line)
            loaded = self.encoder(encoder)
            summary = generate_texts(
                self.store, loaded, config, writer=opened, progress=self.progress
            )
        prompt_vectors(self.store, loaded, progress=self.progress)
        self._tidy()
        return summary

    def audit_texts(
        self,
        captions: str | Path | None = None,
        *,
        writer: str | None = None,
        encoder: str | None = None,
        examples: int = 3,
    ) -> "AuditReport":
        """What the captions of the store, or of a file before it is ingested, are worth.

        ``writer`` picks those of one writer of the store, ``encoder`` measures the lengths of a
        file's captions; ``examples`` rejected captions are shown for each reason. Nothing is
        changed. Raises :class:`TextError` where there is nothing to audit.
        """
        from taistore.texts.audit.audit_captions import audit_file, audit_store

        if captions is None:
            return audit_store(self.store, writer=writer, examples=examples, progress=self.progress)
        return audit_file(
            self.store,
            Path(captions),
            encoder=None if encoder is None else self._loaded(encoder),
            examples=examples,
            progress=self.progress,
        )

    def ingest_texts(
        self,
        captions: str | Path,
        *,
        audit: bool = False,
        encoder: str | None = None,
        max_rejects: int | None = None,
    ) -> "IngestTextsSummary":
        """Captions of your own and their vectors, as
        :func:`taistore.texts.ingest.ingest_texts.ingest_texts`."""
        from taistore.texts.ingest.ingest_texts import ingest_texts

        summary = ingest_texts(
            self.store,
            self.encoder(encoder),
            captions,
            audit=audit,
            max_rejects=max_rejects,
            progress=self.progress,
        )
        self._tidy()
        return summary

    # --- images ---------------------------------------------------------------------------

    def ingest_images(
        self,
        path: str | Path,
        *,
        regions: int | None = None,
        layout: str = "auto",
        photos: str | Path | None = None,
        crowd: Literal["positive", "ignore"] | None = None,
        difficult: Literal["ignore", "negative", "positive"] | None = None,
        split: str | None = None,
        encoder: str | None = None,
        batch_size: int = 32,
        workers: int = 2,
        max_rejects: int | None = None,
    ) -> "IngestImagesSummary":
        """Photos, what is known about them, and their vectors.

        ``path`` is a folder, a manifest or a data set's annotations
        (:func:`taistore.images.sources.open_source.open_source`, which takes ``layout``,
        ``photos``, ``crowd``, ``difficult`` and ``split``); the rest is that of
        :func:`taistore.images.ingest.ingest_images`.
        """
        from taistore.images.ingest import ingest_images
        from taistore.images.sources.open_source import open_source

        source = open_source(
            path,
            self.labels,
            layout=layout,
            photos=photos,
            crowd=crowd,
            difficult=difficult,
            split=split,
        )
        summary = ingest_images(
            self.store,
            self.encoder(encoder),
            source,
            regions=regions,
            split=split,
            batch_size=batch_size,
            workers=workers,
            max_rejects=max_rejects,
            progress=self.progress,
        )
        self._tidy()
        for line in summary.notes:
            self.note(line)
        return summary

    def prune(
        self,
        path: str | Path | None = None,
        *,
        apply: bool = False,
        lost_folders: bool = False,
        layout: str = "auto",
        photos: str | Path | None = None,
    ) -> "PruneSummary":
        """Find the photos that are gone; with ``apply`` remove them and all that is theirs.

        ``path`` is a folder, of which only what lies below is looked at, or a manifest or a data
        set's annotations, which list the photos that are to stay (``layout`` and ``photos`` as in
        :meth:`ingest_images`); None: all that the store has. The rest is that of
        :func:`taistore.images.prune.prune`.
        """
        from taistore.images.prune import prune
        from taistore.images.sources.open_source import open_source

        source = None
        if path is not None:
            source = open_source(path, self.labels, layout=layout, photos=photos)
        return prune(
            self.store, source, apply=apply, lost_folders=lost_folders, progress=self.progress
        )

    # --- vectors --------------------------------------------------------------------------

    def ingest_text_vectors(
        self,
        vectors: str | Path,
        *,
        name: str,
        ids: str | Path | None = None,
        template: str = "{}",
    ) -> "IngestTextVectorsSummary":
        """Text vectors made elsewhere, of the encoder ``vectors:<name>``, as
        :func:`taistore.texts.ingest.ingest_text_vectors.ingest_text_vectors`."""
        from taistore.texts.ingest.ingest_text_vectors import ingest_text_vectors

        return ingest_text_vectors(
            self.store, name, vectors, ids=ids, template=template, progress=self.progress
        )

    def ingest_image_vectors(
        self,
        vectors: str | Path,
        *,
        name: str,
        ids: str | Path | None = None,
        split: str | None = None,
    ) -> "IngestImageVectorsSummary":
        """Image vectors made elsewhere, of the encoder ``vectors:<name>``, as
        :func:`taistore.images.ingest_image_vectors.ingest_image_vectors`."""
        from taistore.images.ingest_image_vectors import ingest_image_vectors

        return ingest_image_vectors(
            self.store, name, vectors, ids=ids, split=split, progress=self.progress
        )

    def image_vectors(
        self, ids: Iterable[str] | None = None, *, encoder: str | None = None
    ) -> "NDArray[np.float16]":
        """Raw vectors [I, D] of images by ``image_id`` (see :meth:`images`), or of all of them.

        Raises :class:`StoreError` naming the first image without a vector of this encoder.
        """
        return self._vectors("image_vectors", ids, encoder)

    def text_vectors(
        self, ids: Iterable[str] | None = None, *, encoder: str | None = None
    ) -> "NDArray[np.float16]":
        """Raw vectors [T, D] of texts by ``text_id`` (see :meth:`texts`), or of all of them.

        Raises :class:`StoreError` naming the first text without a vector of this encoder.
        """
        return self._vectors("text_vectors", ids, encoder)

    def _vectors(
        self, kind: str, ids: Iterable[str] | None, encoder: str | None
    ) -> "NDArray[np.float16]":
        encoder_id = self.encoder_info(encoder).encoder_id
        wanted = self._ids(kind.split("_", maxsplit=1)[0]) if ids is None else map(str, ids)
        return self.store.vectors(kind, list(wanted), encoder_id=encoder_id)

    def _ids(self, what: str) -> Iterator[str]:
        for batch in self.store.scan(f"{what}s", columns=[f"{what}_id"]):
            yield from map(str, batch.column(0).to_pylist())

    # --- tables ---------------------------------------------------------------------------

    def images(self) -> "pl.DataFrame":
        """The images: image_id, uri, size, split, the keys of the labels known of each, and
        ``other_uris``, the paths of its copies."""
        frame = self._frame("images")
        keys = self.labels.keys
        named = {name: [[keys[n] for n in ids] for ids in frame[name]] for name in _KNOWN}
        return frame.with_columns(**{name: _series(name, lists) for name, lists in named.items()})

    def texts(self) -> "pl.DataFrame":
        """The texts: text_id, text, who wrote it and how."""
        return self._frame("texts")

    def rejects(self) -> "pl.DataFrame":
        """What was set aside by which job, and why."""
        return self._frame("rejects")

    def _frame(self, kind: str) -> "pl.DataFrame":
        import polars as pl
        import pyarrow as pa

        table = pa.Table.from_batches(self.store.scan(kind), schema=self.store.schema(kind))
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    # --- runs -----------------------------------------------------------------------------

    def train(
        self,
        task: "Task | None" = None,
        *,
        config: "TrainConfig | str | Path | None" = None,
        encoder: str | None = None,
        out: str | Path | None = None,
        on_start: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> "Run":
        """An adapter from the texts of the store, and from its labelled images.

        ``settings`` are fields of :class:`taistore.adapter.config.TrainConfig`, such as ``shots``,
        ``shift`` or ``seed``; ``network="paper"`` takes the paper's for all others. ``config`` is
        a configuration or a file of one (TOML, or a run's ``card.json``), whose fields task and
        settings override. The rest is that of :func:`taistore.adapter.train.train`.
        """
        from taistore.adapter.config import TrainConfig
        from taistore.adapter.train import train

        folder = None if out is None else local_path(out, option="out")
        if task is not None:
            settings["task"] = task
        if config is None:
            config = TrainConfig.of(**{"device": self.device, **settings})
        elif isinstance(config, TrainConfig):
            config = replace(config, **settings)
        else:
            config = TrainConfig.from_file(config, **settings)
        result = train(
            self.store,
            self.encoder_info(encoder).encoder_id,
            config,
            prompts_ND=self.label_prompts(encoder),
            out=folder,
            progress=self.progress,
            on_start=self._started(on_start, out),
        )
        return self._trained(result)

    def resume(
        self,
        run_id: str = "latest",
        *,
        device: str | None = None,
        on_start: Callable[[str], None] | None = None,
    ) -> "Run":
        """Continue a training that was stopped, to the weights it would have had; see
        :func:`taistore.adapter.train.resume`."""
        from taistore.adapter.train import resume

        return self._trained(
            resume(
                self.store,
                run_id,
                device=device,
                progress=self.progress,
                on_start=self._started(on_start, None),
            )
        )

    def _started(
        self, on_start: Callable[[str], None] | None, out: str | Path | None
    ) -> Callable[[str], None]:
        """``on_start``, and with an object store a line about where the run works meanwhile."""

        def started(run_id: str) -> None:
            if on_start is not None:
                on_start(run_id)
            if is_remote(self.uri):
                folder = cache_folder(self.uri, run_id) if out is None else Path(out).absolute()
                self.note(f"works in {folder}, kept at {self.uri}/runs/{run_id}")

        return started

    def _trained(self, result: "RunResult") -> "Run":
        from taistore.run import Run

        return Run(self, self.store.run(result.run_id), training=result)

    def ensemble(
        self,
        runs: "Sequence[Run | str]",
        *,
        scores: str | Path | None = None,
        ids: str | Path | None = None,
        label_keys: str | Path | None = None,
        rule: "Rule" = "scaled",
        weights: Sequence[float] | None = None,
        split: str | None = None,
        out: str | Path | None = None,
    ) -> "EnsembleSummary":
        """A run that averages the scores of several; :meth:`run` opens it by its id.

        ``scores`` is a file of another system's scores, as
        :func:`taistore.scoring.matrices.score_file.open_scores` takes it with ``ids`` and
        ``label_keys``; the rest is that of
        :func:`taistore.scoring.ensembles.make_ensemble.make_ensemble`.
        """
        from taistore.encoders.precision import resolve_device
        from taistore.scoring.ensembles.make_ensemble import make_ensemble
        from taistore.scoring.matrices.score_file import open_scores

        opened = None
        if scores is not None:
            opened = open_scores(scores, self.labels, ids=ids, label_keys=label_keys)
        elif ids is not None or label_keys is not None:
            raise ScoringError("ids= and label_keys= belong to scores=, which is not given")
        return make_ensemble(
            self.store,
            [self.run(run).run_id if isinstance(run, str) else run.run_id for run in runs],
            rule=rule,
            scores=opened,
            weights=weights,
            split=split,
            device=resolve_device(self.device),
            out=None if out is None else Path(out),
            progress=self.progress,
        )

    def centroids(
        self,
        *,
        split: str = "train",
        encoder: str | None = None,
        pseudo_counts: float = 4.0,
        neighbours: int = 0,
        known: float | None = None,
        mask_seed: int = 0,
        plots: str | Path | None = None,
    ) -> "Survey":
        """Each label's image centroid and what it rests on, as
        :func:`taistore.geometry.diagnosis.survey`.

        ``plots`` is a folder for pictures of the image vectors around the centroids of the most
        frequent labels; that needs the extra ``[plots]``.
        """
        from taistore.evaluation.drawing import require_drawing
        from taistore.geometry.diagnosis import survey

        if plots is not None:
            require_drawing(Path(plots))
        found = survey(
            self.store,
            self.encoder_info(encoder).encoder_id,
            split=split,
            pseudo_counts=pseudo_counts,
            k=neighbours,
            known=known,
            mask_seed=mask_seed,
            progress=self.progress,
        )
        if plots is None:
            return found
        return replace(found, pictures=tuple(self._draw_centroids(found, Path(plots), encoder)))

    def runs(self) -> "list[Run]":
        """All runs, oldest first."""
        from taistore.run import Run

        there = {info.encoder_id for info in self.store.encoders()}
        return [
            Run(self, row, encoder_gone=row.encoder_id not in there) for row in self.store.runs()
        ]

    def run(self, run_id: str = "latest") -> "Run":
        """A run by its id; ``latest`` is the last finished one.

        Where a newer one is not finished that is noted; where none is, :class:`StoreError` says
        what to do.
        """
        from taistore.run import Run

        if run_id == "latest" and (runs := self.runs()):
            finished = [run for run in runs if run.status == "finished"]
            newest = runs[-1]
            if not finished:
                raise StoreError(
                    f"{self.uri}: no run is finished, {newest.run_id} is {newest.liveness}: "
                    + (
                        "wait for it"
                        if newest.status == "running"
                        else f"go on with it by 'taistore train --resume {newest.run_id}'"
                    )
                )
            if finished[-1] is not newest:
                self.note(
                    f"latest: taking {finished[-1].run_id}, the last that is finished; "
                    f"{newest.run_id} is {newest.liveness}"
                )
            return finished[-1]
        return Run(self, self.store.run(run_id))

    def remove_runs(self, runs: "Iterable[Run | str]") -> "list[RemovedRun]":
        """Remove runs, their rows and the files of theirs, as
        :func:`taistore.adapter.run_files.run_removal.remove_runs`."""
        from taistore.adapter.run_files.run_removal import remove_runs

        ids = [run if isinstance(run, str) else run.run_id for run in runs]
        return remove_runs(self.store, ids)

    def _draw_centroids(self, found: "Survey", folder: Path, encoder: str | None) -> list[Path]:
        from taistore.evaluation.drawing import draw_projection
        from taistore.geometry.combination_clusters import combination_clusters

        clusters = combination_clusters(
            self.store,
            self.encoder_info(encoder).encoder_id,
            found.known,
            found.estimates_ND,
            clusters=_PICTURED,
        )
        return draw_projection(
            clusters.vectors_PD,
            clusters.clusters_P,
            [" + ".join(self.labels[n].name for n in ids) for ids in clusters.label_ids],
            clusters.estimates_KD,
            clusters.true_KD,
            folder=folder,
        )

    # --- pages ----------------------------------------------------------------------------

    def page(
        self,
        tags: str | Path,
        html: str | Path,
        *,
        about: str | None = None,
        page_images: int = defaults.PAGE_IMAGES,
    ) -> "PageSummary":
        """A page to look at, of a file of tags, as
        :func:`taistore.scoring.page.write_page.write_page`."""
        from taistore.scoring.page.write_page import write_page

        return write_page(
            tags,
            html,
            store=self.store,
            about=about or f"Tagged by taistore, from {Path(tags).name}.",
            max_images=page_images,
            progress=self.progress,
        )

    # --- upkeep ---------------------------------------------------------------------------

    def optimize(self, *, keep_days: float = defaults.KEEP_DAYS) -> list[TableReport]:
        """Merge small fragments, refresh indexes, drop versions of tables older than that.

        What killed jobs left in the folders of runs goes too; in a store on disk also the folders
        of runs that were killed before they were recorded, after a week.
        """
        from taistore.adapter.run_files.run_removal import drop_leftovers
        from taistore.adapter.run_files.unrecorded import drop_unrecorded

        reports = optimize(self.store, keep_days=keep_days, progress=self.progress)
        for path in drop_leftovers(self.store):
            self.note(f"removed what a killed job has left: {path}")
        for name in drop_unrecorded(self.store):
            self.note(f"removed what a run that was killed before it began has left: {name}")
        return reports

    def _tidy(self) -> None:
        """Compact what a large job left in many fragments; another writer may keep it from that."""
        try:
            optimize(self.store, only_due=True, progress=self.progress)
        except StoreError as error:
            self.note(f"note: not compacted ({error}); 'taistore optimize' does it later")


_KNOWN = ("positives", "negatives")


def _series(name: str, lists: list[list[str]]) -> "pl.Series":
    import polars as pl

    return pl.Series(name, lists, dtype=pl.List(pl.String))


def _label_set(labels: Labels) -> LabelSet:
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str | Path):
        return read_labels(labels)
    return LabelSet(Label(name, name) for name in map(str, labels))
