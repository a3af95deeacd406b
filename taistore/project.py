"""The front door: a project is a store with everything that is done to it.

What the command line does is decided here; a command parses, calls one method and prints. Shapes:
I images, T texts, N labels, D embedding dimension.
"""

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from taistore import defaults
from taistore.encoders import registry
from taistore.encoders.protocol import EncoderInfo, Float32
from taistore.errors import EncoderError, ScoringError
from taistore.label_files.label_file import almost_equal, read_labels
from taistore.labels import Label, LabelSet
from taistore.progress import Note, Progress, stoppable, terminal_progress
from taistore.store.store import Store
from taistore.store.tables.encoder_table import encoder_of_spec, require_same_weights

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from taistore.adapter.config import Task, TrainConfig
    from taistore.adapter.run_files.run_removal import RemovedRun
    from taistore.encoders.protocol import Encoder
    from taistore.finding.found import Found
    from taistore.finding.photo_report import PhotoReport
    from taistore.geometry.diagnosis import Survey
    from taistore.images.ingest import IngestImagesSummary
    from taistore.images.ingest_image_vectors import IngestImageVectorsSummary
    from taistore.images.prune import PruneSummary
    from taistore.prompting.prompt_config import PromptConfig
    from taistore.run import Run
    from taistore.scoring.ensembles.ensemble import Rule
    from taistore.scoring.ensembles.make_ensemble import EnsembleSummary
    from taistore.scoring.page.write_page import PageSummary
    from taistore.store.maintenance import TableReport
    from taistore.store.migrations import Upgrade
    from taistore.store.tables.label_view import StoredLabel
    from taistore.store.verification.finding import Verification
    from taistore.store.writes.encoder_removal import EncoderRemoval, StoredEncoder
    from taistore.store.writes.label_edits import AddedLabels, RenamedLabel
    from taistore.synthetic.centroid_gaps import SyntheticSurvey
    from taistore.synthetic.generate_images import GenerateImagesSummary
    from taistore.synthetic.image_audit import ImageAudit
    from taistore.synthetic.image_writer import ImageWriter
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
_VECTORS = (
    "text_vectors",
    "token_vectors",
    "image_vectors",
    "region_vectors",
    "synthetic_vectors",
    "synthetic_regions",
)

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
        label_set = labels_of(labels, note=note)
        spec = registry.canonical_spec(encoder)
        told = note or _log.info
        if alike := almost_equal(label_set):
            told(alike)
        elif shared := label_set.shared_names():
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
            project._encoders[spec] = loaded
            project.encoder(spec)
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
        from taistore.jobs.upkeep import verify

        shown = progress or terminal_progress
        return verify(path, repair=repair, restore=restore, older_than=older_than, progress=shown)

    # --- what it is -----------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """Where the store is."""
        return self.store.uri

    @property
    def labels(self) -> LabelSet:
        """The labels in use, in the order in which they came."""
        return self.store.labels

    def seen_with(self, labels: Labels) -> "Project":
        """The same store and encoders with some of its labels, which trainings then are of.

        Raises :class:`StoreError` for a label that the store does not have.
        """
        view = copy.copy(self)
        view.store = self.store.seen_with(labels_of(labels).keys)
        return view

    def all_labels(self) -> "tuple[StoredLabel, ...]":
        """All labels that the store ever had, by id: what is retired, and merged into which."""
        return self.store.stored_labels

    def add_labels(self, labels: Labels) -> "AddedLabels":
        """Add labels, as :func:`taistore.store.writes.label_edits.add_labels`; photos stay.

        Captions for them come with :meth:`generate_texts`, and with :meth:`train` a run.
        """
        from taistore.store.writes.label_edits import add_labels

        return add_labels(self.store, labels_of(labels))

    def rename_label(self, old: str, new: str, *, rewrite: bool = False) -> "RenamedLabel":
        """Rename a label, as :func:`taistore.store.writes.label_edits.rename_label`.

        With ``rewrite`` its captions go, and :meth:`generate_texts` writes new ones.
        """
        from taistore.store.writes.label_edits import rename_label

        return rename_label(self.store, old, new, rewrite=rewrite)

    def merge_labels(self, old: Sequence[str], into: str) -> Label:
        """Make labels part of another, as
        :func:`taistore.store.writes.label_edits.merge_labels`."""
        from taistore.store.writes.label_edits import merge_labels

        return merge_labels(self.store, old, into)

    def retire_labels(self, labels: Sequence[str]) -> list[Label]:
        """Use labels no longer, as :func:`taistore.store.writes.label_edits.retire_labels`."""
        from taistore.store.writes.label_edits import retire_labels

        return retire_labels(self.store, labels)

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
        """The encoder of a spec, else the store's default: loaded, and registered in the store.

        Raises :class:`StoreError` where its weights are no longer those of the vectors there.
        """
        encoder = self._loaded(spec)
        require_same_weights(encoder.info, self.store.encoders(), uri=self.uri)
        self.store.register_encoder(encoder.info)
        return encoder

    def waiting_encoder(self, spec: str | None = None) -> "Encoder":
        """As :meth:`encoder`; one whose vectors the store holds is loaded once it has work."""
        from taistore.encoders.waiting_encoder import WaitingEncoder

        # A store's own spec is canonical; to find that out of another may load torch.
        wanted = self.store.default_encoder if spec is None else registry.canonical_spec(spec)
        known = [info for info in self.store.encoders() if info.spec == wanted]
        if wanted in self._encoders or len(known) != 1 or known[0].context_length is None:
            return self.encoder(wanted)
        return WaitingEncoder(known[0], lambda: self.encoder(wanted))

    def tower_encoder(self, spec: str | None = None) -> "Encoder":
        """The encoder of a spec, else the store's default, loaded: its text tower takes embeddings.

        The store need not have it. Raises :class:`EncoderError` for one without such a tower;
        imported vectors have none.
        """
        from taistore.encoders.prompt_tower import no_tower, prompt_tower

        wanted = registry.canonical_spec(spec or self.store.default_encoder)
        if wanted.startswith("vectors:"):
            raise no_tower(wanted)
        encoder = self._loaded(wanted)
        prompt_tower(encoder)
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
        return encoder_of_spec(wanted, self.store.encoders(), uri=self.uri)

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
        count: int | None = None,
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
        tokens: bool = False,
        **options: Any,
    ) -> "GenerateSummary":
        """Captions for combinations of labels, and their vectors; run again, it does what is left.

        With ``tokens`` also a vector of each token, which ``tai-dpt`` and
        ``t2i-pal`` learn from.

        ``writer`` is a writer or the name of one, whose ``options`` are those that
        :func:`taistore.texts.writers.open_writer` hands on, such as ``base_url`` of ``openai``.
        Captions hold 1 to ``max_labels`` labels, each number as often. ``count`` is
        :func:`taistore.defaults.texts` of the labels and images where None. The rest is that of
        :class:`taistore.texts.generate_config.GenerateConfig`.
        """
        from taistore.jobs.caption_job import caption_config, generate

        if count is None:
            count = defaults.texts(len(self.labels), self.store.count("images"))
        config = caption_config(
            len(self.labels),
            count=count,
            combinations=combinations,
            max_labels=max_labels,
            texts_per_combination=texts_per_combination,
            min_per_label=min_per_label,
            seed=seed,
            lost_labels=lost_labels,
            retry_rejects=retry_rejects,
            max_rejects=max_rejects,
        )
        return generate(
            self, config, writer=writer, options=options, encoder=encoder, tokens=tokens
        )

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
        from taistore.texts.ingest.caption_files import read_captions

        read_captions(captions)  # what it refuses should not cost the loading of an encoder
        from taistore.jobs.upkeep import tidy
        from taistore.texts.ingest.ingest_texts import ingest_texts

        summary = ingest_texts(
            self.store,
            self.encoder(encoder),
            captions,
            audit=audit,
            max_rejects=max_rejects,
            progress=self.progress,
        )
        tidy(self)
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
        from taistore.jobs.upkeep import tidy

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
            self.waiting_encoder(encoder),
            source,
            regions=regions,
            split=split,
            batch_size=batch_size,
            workers=workers,
            max_rejects=max_rejects,
            progress=self.progress,
        )
        tidy(self)
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

    def find(
        self,
        text: str | None = None,
        *,
        like: str | Path | None = None,
        labels: Sequence[str] = (),
        without: Sequence[str] = (),
        least: float | None = None,
        split: str | None = None,
        top_k: int | None = None,
        run: "Run | str | None" = None,
        encoder: str | None = None,
        tags: bool = True,
        out: str | Path | None = None,
        html: str | Path | None = None,
        overwrite: bool = False,
    ) -> "Found":
        """The photos of the store that a text, a photo or labels are about, best first.

        As :class:`taistore.finding.asked.Asked` and :func:`taistore.finding.find.find`; ``out`` is
        a file of them, ``html`` a page.
        """
        from taistore.finding.asked import TOP_K, Asked
        from taistore.jobs.find_job import found_photos

        asked = Asked(
            text=text,
            like=like,
            labels=tuple(labels),
            without=tuple(without),
            least=least,
            split=split,
            top_k=TOP_K if top_k is None else top_k,
        )
        run_id = run if run is None or isinstance(run, str) else run.run_id
        return found_photos(
            self,
            asked,
            run=run_id,
            encoder=encoder,
            tags=tags,
            out=None if out is None else Path(out),
            html=None if html is None else Path(html),
            overwrite=overwrite,
        )

    def photo(
        self, photo: str | Path, *, run: "Run | str | None" = None, encoder: str | None = None
    ) -> "PhotoReport":
        """All that is known of a photo, by its path or ``image_id``, and why it is tagged so.

        As :func:`taistore.finding.photo.photo_report`; tags are those of ``run``, else of the last
        that is finished.
        """
        from taistore.jobs.find_job import reported_photo

        run_id = run if run is None or isinstance(run, str) else run.run_id
        return reported_photo(self, photo, run=run_id, encoder=encoder)

    # --- images of texts ------------------------------------------------------------------

    def generate_images(
        self,
        *,
        writer: "str | ImageWriter" = "diffusers",
        regions: int | None = None,
        text_writer: str | None = None,
        max_texts: int | None = None,
        keep: str | Path | None = None,
        retry_rejects: bool = False,
        max_rejects: int | None = None,
        batch_size: int = 32,
        encoder: str | None = None,
        **options: Any,
    ) -> "GenerateImagesSummary":
        """Pictures of the store's texts, as vectors of their own kind; run again, it goes on.

        ``writer`` is a writer or the name of one, whose ``options`` are those that
        :func:`taistore.synthetic.image_writers.open_image_writer` hands on, such as ``model`` and
        ``per_text`` of ``diffusers`` or ``images`` of ``folder``. The rest is that of
        :func:`taistore.synthetic.generate_images.generate_images`.
        """
        from taistore.jobs.image_job import images_of_texts

        return images_of_texts(
            self,
            writer,
            options,
            encoder=encoder,
            keep=keep,
            regions=regions,
            text_writer=text_writer,
            max_texts=max_texts,
            retry_rejects=retry_rejects,
            max_rejects=max_rejects,
            batch_size=batch_size,
        )

    def audit_images(
        self, *, min_score: float = 0.5, set_aside: bool = False, encoder: str | None = None
    ) -> "ImageAudit":
        """Whether the synthetic images show what their captions say, as
        :func:`taistore.synthetic.image_audit.audit_images`."""
        from taistore.synthetic.image_audit import audit_images

        encoder_id = self.encoder_info(encoder).encoder_id
        return audit_images(
            self.store,
            encoder_id,
            min_score=min_score,
            set_aside=set_aside,
            progress=self.progress,
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
        from taistore.jobs.upkeep import tidy
        from taistore.texts.ingest.ingest_text_vectors import ingest_text_vectors

        summary = ingest_text_vectors(
            self.store, name, vectors, ids=ids, template=template, progress=self.progress
        )
        tidy(self)
        return summary

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
        from taistore.jobs.upkeep import tidy

        summary = ingest_image_vectors(
            self.store, name, vectors, ids=ids, split=split, progress=self.progress
        )
        tidy(self)
        return summary

    def image_vectors(
        self, ids: Iterable[str] | None = None, *, encoder: str | None = None
    ) -> "NDArray[np.float16]":
        """Raw vectors [I, D] of images by ``image_id`` (see :meth:`images`), or of all of them.

        Raises :class:`StoreError` naming the first image without a vector of this encoder.
        """
        from taistore.jobs.store_frames import vectors_of

        encoder_id = self.encoder_info(encoder).encoder_id
        return vectors_of(self.store, "image", ids, encoder_id=encoder_id)

    def text_vectors(
        self, ids: Iterable[str] | None = None, *, encoder: str | None = None
    ) -> "NDArray[np.float16]":
        """Raw vectors [T, D] of texts by ``text_id`` (see :meth:`texts`), or of all of them.

        Raises :class:`StoreError` naming the first text without a vector of this encoder.
        """
        from taistore.jobs.store_frames import vectors_of

        encoder_id = self.encoder_info(encoder).encoder_id
        return vectors_of(self.store, "text", ids, encoder_id=encoder_id)

    # --- tables ---------------------------------------------------------------------------

    def images(self) -> "pl.DataFrame":
        """The images: image_id, uri, size, split, the keys of the labels known of each, and
        ``other_uris``, the paths of its copies."""
        from taistore.jobs.store_frames import image_frame

        return image_frame(self.store)

    def synthetic(self, *, encoder: str | None = None) -> "pl.DataFrame":
        """The synthetic images of an encoder: synthetic_id, the text that each is of and its number
        among those of it, the keys of its labels, what made it and with which seed.

        They are none of :meth:`images`. ``text`` is null where the store has that text no more.
        """
        from taistore.jobs.store_frames import synthetic_frame

        return synthetic_frame(self.store, self.encoder_info(encoder).encoder_id)

    def texts(self) -> "pl.DataFrame":
        """The texts: text_id, text, who wrote it and how."""
        from taistore.jobs.store_frames import table_frame

        return table_frame(self.store, "texts")

    def rejects(self) -> "pl.DataFrame":
        """What was set aside by which job, and why."""
        from taistore.jobs.store_frames import table_frame

        return table_frame(self.store, "rejects")

    # --- runs -----------------------------------------------------------------------------

    def train(
        self,
        task: "Task | None" = None,
        *,
        method: str | None = None,
        config: "TrainConfig | PromptConfig | str | Path | None" = None,
        labels: Labels | None = None,
        encoder: str | None = None,
        out: str | Path | None = None,
        name: str | None = None,
        on_start: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> "Run":
        """An adapter from the texts of the store, and from its labelled images; or prompts.

        ``labels`` are some of the store's, and all that the run will know; None: those in use.

        ``settings`` are fields of :class:`taistore.adapter.config.TrainConfig`, such as ``shots``,
        ``shift`` or ``seed``; ``paper=True`` takes what was published for all others. With
        ``method`` ``coop``, ``dualcoop``, ``tai-dpt`` or ``t2i-pal`` they are those of
        :class:`taistore.prompting.prompt_config.PromptConfig`. ``config`` is a configuration or a
        file of one (TOML, or a run's ``card.json``), whose fields task and settings override.
        ``name`` is what the run is called, in place of an id made of its task and the time. The
        rest is that of :func:`taistore.adapter.train.train` and
        :func:`taistore.prompting.prompt_training.train_prompts`.
        """
        from taistore.store.places import local_path

        # Refused before torch is loaded.
        if out is not None:
            local_path(out, option="out")
        if name is not None:
            from taistore.adapter.run_files.run_names import require_new_name

            require_new_name(self.store, name)
        if method is None and config is None:
            from taistore.adapter.known_labels import require_texts

            require_texts(self.store, self.encoder_info(encoder).encoder_id)
        from taistore.jobs.training_job import train_config, trained_run

        if task is not None:
            settings["task"] = task
        given = train_config(config, settings, method=method, device=self.device)
        view = self if labels is None else self.seen_with(labels)
        return trained_run(view, given, encoder=encoder, out=out, on_start=on_start, name=name)

    def resume(
        self,
        run_id: str = "latest",
        *,
        device: str | None = None,
        on_start: Callable[[str], None] | None = None,
    ) -> "Run":
        """Continue a training that was stopped, to the weights it would have had; see
        :func:`taistore.adapter.train.resume`."""
        if run_id != "latest":
            self.store.run(run_id)  # refused before torch is loaded
        from taistore.jobs.training_job import resumed_run

        return resumed_run(self, run_id, device=device, on_start=on_start)

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
        from taistore.jobs.survey_job import surveyed

        return surveyed(
            self,
            encoder=encoder,
            plots=plots,
            split=split,
            pseudo_counts=pseudo_counts,
            k=neighbours,
            known=known,
            mask_seed=mask_seed,
        )

    def synthetic_centroids(
        self, *, split: str = "train", encoder: str | None = None
    ) -> "SyntheticSurvey":
        """Each label's centroid of synthetic images, and how far it is from the photos of ``split``
        and from the texts, as :func:`taistore.synthetic.centroid_gaps.synthetic_survey`."""
        from taistore.synthetic.centroid_gaps import synthetic_survey

        encoder_id = self.encoder_info(encoder).encoder_id
        return synthetic_survey(self.store, encoder_id, split=split, progress=self.progress)

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
        from taistore.jobs.latest_run import latest_finished
        from taistore.run import Run

        if run_id == "latest" and (runs := self.runs()):
            return latest_finished(runs, uri=self.uri, note=self.note)
        return Run(self, self.store.run(run_id))

    def remove_runs(self, runs: "Iterable[Run | str]") -> "list[RemovedRun]":
        """Remove runs, their rows and the files of theirs, as
        :func:`taistore.adapter.run_files.run_removal.remove_runs`."""
        from taistore.adapter.run_files.run_removal import remove_runs

        ids = [run if isinstance(run, str) else run.run_id for run in runs]
        return remove_runs(self.store, ids)

    # --- pages ----------------------------------------------------------------------------

    def page(
        self,
        tags: str | Path,
        html: str | Path,
        *,
        about: str | None = None,
        page_images: int = defaults.PAGE_IMAGES,
        origin: tuple[str, str] | None = None,
    ) -> "PageSummary":
        """A page to look at, of a file of tags, as
        :func:`taistore.scoring.page.write_page.write_page`.

        ``origin`` is the run that gave them and a digest of what decided them.
        """
        from taistore.scoring.page.page_head import Origin
        from taistore.scoring.page.write_page import write_page

        return write_page(
            tags,
            html,
            store=self.store,
            about=about or f"Tagged by taistore, from {Path(tags).name}.",
            origin=None if origin is None else Origin(*origin),
            max_images=page_images,
            progress=self.progress,
        )

    # --- upkeep ---------------------------------------------------------------------------

    def optimize(self, *, keep_days: float = defaults.KEEP_DAYS) -> "list[TableReport]":
        """Merge small fragments, refresh indexes, drop versions of tables older than that.

        What killed jobs left in the folders of runs goes too; in a store on disk also the folders
        of runs that were killed before they were recorded, after a week.
        """
        from taistore.jobs.upkeep import optimize_project

        return optimize_project(self, keep_days=keep_days)


def labels_of(labels: Labels, *, note: Note | None = None) -> LabelSet:
    """The label set of a file, or of names; raises :class:`LabelError` where it is unusable."""
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str | Path):
        return read_labels(labels, note=note)
    return LabelSet(Label(name, name) for name in map(str, labels))
