"""A run of a project: trained weights, ready to be evaluated, compared and to tag with.

Shapes: N labels, D embedding dimension.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from taistore import defaults
from taistore.adapter.run_files.kept.run_labels import seen_by_run
from taistore.adapter.run_files.run_folder import run_folder
from taistore.adapter.run_files.run_lock import Liveness, liveness
from taistore.encoders.protocol import EncoderInfo
from taistore.labels import LabelSet
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.adapter.run_lifecycle import RunResult
    from taistore.evaluation.comparison import Comparison
    from taistore.evaluation.report import Evaluation
    from taistore.exporting.export_options import Format, TagExport
    from taistore.project import Project
    from taistore.scoring.known_cells import Known
    from taistore.scoring.ladders.ladder import Step
    from taistore.scoring.loaded_run import ScoringRun
    from taistore.scoring.matrices.export_scores import ExportSummary
    from taistore.scoring.photos import Photo
    from taistore.scoring.score import ScoreSummary
    from taistore.scoring.tagging import OnError
    from taistore.scoring.tags.image_tags import ImageTags
    from taistore.scoring.tags.tag_frame import TagFrame

    P = TypeVar("P", bound=Photo)


class Run:
    """A recorded run. Made by :meth:`Project.train`, :meth:`Project.run` and the like.

    ``training`` says what a training that has just ended went by; None for a run found in the
    store.
    """

    def __init__(
        self,
        project: "Project",
        row: RunRow,
        *,
        training: "RunResult[Any] | None" = None,
        encoder_gone: bool | None = None,
    ) -> None:
        self.project = project
        self.training = training
        self._row = row
        self._encoder_gone = encoder_gone

    @property
    def run_id(self) -> str:
        """What names it everywhere."""
        return self._row.run_id

    @property
    def task(self) -> str:
        """zsl, fsl, pll or ensemble."""
        return self._row.task

    @property
    def status(self) -> str:
        """Now: running, finished, failed, stopped, or unknown where another host had it last."""
        return self.liveness.status

    @property
    def liveness(self) -> Liveness:
        """Whether it is being trained now, and when it was last seen; ``str`` says it in words."""
        return liveness(self.project.store, self._row)

    @property
    def encoder_gone(self) -> bool:
        """Whether its encoder was removed from the store, so that nothing can be scored by it."""
        if self._encoder_gone is None:
            known = {info.encoder_id for info in self.project.store.encoders()}
            self._encoder_gone = self._row.encoder_id not in known
        return self._encoder_gone

    @property
    def state(self) -> str:
        """Its status in words, and that its encoder is gone where it is."""
        return f"{self.liveness}{', its encoder is gone' if self.encoder_gone else ''}"

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration that it was made with."""
        return self._row.config

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the training, and of evaluations that were recorded."""
        return self._row.metrics

    @property
    def created(self) -> datetime:
        """When it began (UTC)."""
        return self._row.created

    @property
    def folder(self) -> Path:
        """The folder of its weights and its card."""
        return run_folder(self.project.store, self.run_id)

    @property
    def encoder(self) -> EncoderInfo:
        """The encoder that it was trained for."""
        return self.project.store.encoder(self._row.encoder_id)

    @property
    def labels(self) -> LabelSet:
        """Its labels: those of the project when it was trained, or the part that it learnt."""
        return self.store.labels

    @cached_property
    def store(self) -> Store:
        """The project's store, read with the labels of the run."""
        return seen_by_run(self.project.store, self._row)

    def __repr__(self) -> str:
        return f"Run({self.run_id!r}: {self.task}, {self.state}, {self.created:%F %R})"

    def to_json(self) -> dict[str, Any]:
        """Plain values of its row in the store, its status and when it was last seen as of now."""
        now = self.liveness
        told = {"status": now.status, "last_seen": now.last_seen, "encoder_gone": self.encoder_gone}
        return {**asdict(self._row), **told}

    # --- figures --------------------------------------------------------------------------

    def evaluate(
        self,
        *,
        split: str | None = None,
        synthetic: bool = False,
        protocol: str | None = None,
        bootstrap: int = 0,
        seed: int = 0,
        plots: str | Path | None = None,
    ) -> "Evaluation":
        """Every step of the ladder on the labelled images of a split ("test" unless named).

        With ``synthetic`` on the store's synthetic images, and on no photo.
        ``protocol`` is one of :data:`taistore.evaluation.protocols.PROTOCOLS`. ``plots`` is a
        folder for pictures of the ladder, of each label's AP, and of mAP over what similar runs
        differ in; that needs the extra ``[plots]``. The rest is that of
        :func:`taistore.evaluation.evaluate.evaluate`.
        """
        from taistore.evaluation.curves import draw_evaluation
        from taistore.evaluation.drawing import require_drawing
        from taistore.evaluation.evaluate import evaluate
        from taistore.evaluation.protocols import PROTOCOLS

        if plots is not None:
            require_drawing(Path(plots))
        found = evaluate(
            self.project.store,
            self.run_id,
            split=split,
            synthetic=synthetic,
            protocol=PROTOCOLS[protocol] if protocol else None,
            bootstrap=bootstrap,
            seed=seed,
            device=self._device,
            progress=self.project.progress,
        )
        if plots is None:
            return found
        drawn = draw_evaluation(self.project.store, found, folder=Path(plots))
        return replace(found, pictures=tuple(drawn))

    def compare(
        self,
        other: "Run | str",
        *,
        split: str | None = None,
        synthetic: bool = False,
        protocol: str | None = None,
        samples: int = defaults.BOOTSTRAP,
        seed: int = 0,
    ) -> "Comparison":
        """This run against another on the same images: its figures minus the other's.

        As :func:`taistore.evaluation.comparison.compare`, the other run first.
        """
        from taistore.evaluation.comparison import compare
        from taistore.evaluation.protocols import PROTOCOLS

        return compare(
            self.project.store,
            (
                self.project.run(other).run_id if isinstance(other, str) else other.run_id,
                self.run_id,
            ),
            split=split,
            synthetic=synthetic,
            protocol=PROTOCOLS[protocol] if protocol else None,
            samples=samples,
            seed=seed,
            device=self._device,
            progress=self.project.progress,
        )

    # --- tags -----------------------------------------------------------------------------

    def load(self) -> None:
        """Read its weights now, once for all that follows: otherwise what needs them does.

        Raises what :func:`taistore.scoring.loaded_run.open_run` does where they are damaged.
        """
        _ = self._scoring

    def tag(
        self,
        photos: "Iterable[P]",
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        step: "Step | None" = None,
        regions: int = defaults.REGIONS,
        batch_size: int = 32,
        on_error: "OnError" = "raise",
    ) -> "Iterator[tuple[P, ImageTags]]":
        """Each of ``photos`` with its tags, in their order, as they come; nothing is written.

        A photo is a path, a PIL image, encoded bytes or uint8 [H, W, 3]. The rest is that of
        :func:`taistore.scoring.tagging.tag_images`.
        """
        from taistore.scoring.tagging import tag_images

        return tag_images(
            self._scoring,
            self.project.encoder(self.encoder.spec),
            photos,
            top_k=top_k,
            threshold=threshold,
            step=step,
            regions=regions,
            batch_size=batch_size,
            on_error=on_error,
        )

    def tags(
        self,
        *,
        split: str | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        step: "Step | None" = None,
        known: "Known" = "override",
    ) -> "TagFrame":
        """Tags of the store's images as a polars frame, a row a tag; ``.wide()`` turns it.

        As :func:`taistore.scoring.tagging.tag_store`.
        """
        from taistore.scoring.tagging import tag_store

        return tag_store(
            self._scoring,
            split=split,
            top_k=top_k,
            threshold=threshold,
            step=step,
            known=known,
            progress=self.project.progress,
        )

    def score(
        self,
        photos: str | Path | None = None,
        *,
        stored: bool = False,
        out: str | Path,
        html: str | Path | None = None,
        layout: Literal["long", "wide"] = "long",
        top_k: int | None = None,
        threshold: float | None = None,
        step: "Step | None" = None,
        regions: int = defaults.REGIONS,
        known: "Known" = "override",
        page_images: int = defaults.PAGE_IMAGES,
        origin: str = "",
        batch_size: int = 32,
        workers: int = 2,
        max_rejects: int | None = None,
        overwrite: bool = False,
    ) -> "ScoreSummary":
        """Tags of a folder or manifest, or of the store's images, into a file; resumable.

        With ``stored`` the photos that the store has are tagged, less those that were rejected
        when they were ingested last, and no file is read. ``html`` also writes a page of the first
        ``page_images`` images to look at, which keeps ``origin`` beside the run. The rest is that
        of :func:`taistore.scoring.score.score`.
        """
        from taistore.images.sources.open_source import open_source
        from taistore.scoring.tags.tag_file import require_suffix
        from taistore.store.places import local_path

        # What needs no model is refused before torch and the encoder are loaded, which takes
        # seconds.
        require_suffix(local_path(out, option="out"))
        if html is not None:
            from taistore.scoring.page.page_head import require_page

            require_page(Path(html), Path(out))
        project = self.project
        source = listed = encoder = shown = None
        if photos is not None:
            from taistore.images.sources.given_paths import GivenPaths
            from taistore.images.sources.usable_photos import UsablePhotos

            named = open_source(photos, self.labels)
            shown = GivenPaths.of_source(photos, named)
            if stored:
                listed = UsablePhotos(named, self.store)
            else:
                source, encoder = named, project.encoder(self.encoder.spec)
        from taistore.scoring.score import score

        summary = score(
            project.store,
            self._scoring,
            source,
            out,
            listed=listed,
            shown=shown,
            encoder=encoder,
            layout=layout,
            top_k=top_k,
            threshold=threshold,
            step=step,
            regions=regions,
            known=known,
            batch_size=batch_size,
            workers=workers,
            max_rejects=max_rejects,
            overwrite=overwrite,
            device=self._device,
            progress=project.progress,
        )
        for line in () if source is None else source.notes:
            project.note(line)
        if html is not None:
            about = f"Tagged by taistore, run {self.run_id}, encoder {self.encoder.spec}, "
            about += summary.step + _cut(threshold, summary.without_tags)
            of = (self.run_id, origin) if origin else None
            project.page(out, html, about=about, page_images=page_images, origin=of)
        return summary

    def export(
        self,
        *,
        to: "Format",
        out: str | Path | None = None,
        threshold: float | None = None,
        top_k: int | None = None,
        **options: Any,
    ) -> "TagExport":
        """Tags of the store's images, as :meth:`tags` gives them, where other tools look for them.

        The rest is that of :func:`taistore.export`; with ``retract`` nothing is scored.
        """
        from taistore.jobs.export_job import export_run

        return export_run(self, to=to, out=out, threshold=threshold, top_k=top_k, options=options)

    def export_scores(
        self,
        out: str | Path,
        *,
        split: str = defaults.SPLIT,
        step: "Step | None" = None,
        overwrite: bool = False,
    ) -> "ExportSummary":
        """The whole score matrix over a split's images into a .parquet or .npy file.

        As :func:`taistore.scoring.matrices.export_scores.export_scores`.
        """
        from taistore.scoring.matrices.export_scores import export_scores

        return export_scores(
            self.project.store,
            self.run_id,
            out,
            split=split,
            step=step,
            overwrite=overwrite,
            device=self._device,
            progress=self.project.progress,
        )

    @cached_property
    def _scoring(self) -> "ScoringRun":
        from taistore.scoring.loaded_run import open_run

        return open_run(self.project.store, self.run_id, device=self._device)

    @property
    def _device(self) -> str:
        from taistore.encoders.precision import resolve_device

        return str(resolve_device(self.project.device))


def _cut(threshold: float | None, without_tags: int) -> str:
    """The end of a page's line: from which score on there are tags, and who got none."""
    if threshold is None:
        return "."
    text = f", threshold {threshold:g}."
    if without_tags:
        whose = "1 image has" if without_tags == 1 else f"{without_tags:,} images have"
        text += f" {whose} no tag above {threshold:g}."
    return text
