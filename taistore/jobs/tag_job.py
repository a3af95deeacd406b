"""The main job in one process: labels and photos in, a file of tags and a page out.

Torch, the encoder and the store are loaded once for all of it. Every step does what the store
lacks, so that the job goes on where it was killed, and does little where nothing is new.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from taistore import defaults
from taistore.encoders import registry
from taistore.errors import ScoringError, StoreError
from taistore.images.sources.open_source import no_images, open_source
from taistore.jobs.tag_origin import calibrated_digest, photos_digest, tag_digest
from taistore.labels import LabelSet
from taistore.printable import counted
from taistore.project import Labels, Project, labels_of
from taistore.scoring.page.page_head import origin, require_own_page
from taistore.scoring.tags.output_place import require_own_tags
from taistore.scoring.tags.read_tags import TagCounts, count_tags
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.images.ingest import IngestImagesSummary
    from taistore.scoring.known_cells import Known
    from taistore.scoring.score import ScoreSummary
    from taistore.scoring.tags.wide import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class TagSummary:
    """What one job did, step by step.

    ``texts_written`` captions are new, and ``trained`` says that an adapter had to be: the run
    ``run_id`` is that of the store as it is. ``tags`` is about the file ``out``, and counts what is
    in it where it was there already, made of the same; so was ``html``, the page ("": none).
    """

    store: str
    encoder: str
    labels: int
    images: "IngestImagesSummary"
    texts_written: int
    run_id: str
    trained: bool
    tags: "ScoreSummary | TagCounts"
    out: str
    html: str

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return {**asdict(self), "scored": self.scored, "tags": self.tags.to_json()}

    @property
    def scored(self) -> bool:
        """Whether tags were written: they are not where they would be the same."""
        return self.new_tags is not None

    @property
    def new_tags(self) -> "ScoreSummary | None":
        """What was scored, where tags were written."""
        return None if isinstance(self.tags, TagCounts) else self.tags


@dataclass(frozen=True, kw_only=True, slots=True)
class TagJob:
    """What is tagged, with which labels, and where the tags go; :meth:`run` does it.

    The store is at ``path``. ``encoder`` None is that of the store, of a new one
    :data:`taistore.defaults.ENCODER`; ``html`` None lies beside ``out``, and where that is a
    stream there is none. The rest is that of
    :meth:`taistore.project.Project.ingest_images` and :meth:`taistore.run.Run.score`.
    """

    photos: str | Path
    labels: Labels
    path: str | Path
    encoder: str | None
    out: str | Path | IO[str]
    html: str | Path | None
    layout: "Layout"
    regions: int
    top_k: int | None
    threshold: float | None
    known: "Known"
    max_rejects: int | None

    @property
    def file(self) -> Path | None:
        """The file of tags, None where they go to a stream."""
        return Path(self.out) if isinstance(self.out, str | Path) else None

    @property
    def page(self) -> Path | None:
        """The file of the page."""
        if self.html is not None:
            return Path(self.html)
        return None if self.file is None else self.file.with_suffix(".html")

    def run(self, **opening: Any) -> TagSummary:
        """All steps; ``opening`` is how :class:`Project` is opened.

        Raises, before an encoder is loaded, where labels, photos, outputs or the store that is
        there do not fit, and what the steps raise.
        """
        labels = labels_of(self.labels, note=opening.get("note"))
        self._check(labels)
        project = self._project(labels, opening)
        images = project.ingest_images(
            self.photos, regions=self.regions, max_rejects=self.max_rejects
        )
        photos = self._photos_digest(project)
        digest = self._digest(project, photos)
        before = self._before(project, digest)
        if before is not None:
            run_id, there = before
            return self._summary(project, images, run_id=run_id, tags=there)
        # Photos first: how many texts are worth their time depends on how many photos there are.
        texts = project.generate_texts()
        # Before what is made of it is read: what another job adds from now on is seen next time.
        digest = self._digest(project, photos)
        from taistore.jobs.fitting_run import fitting_run

        run, trained = fitting_run(project.seen_with(labels))
        tags = run.score(
            self.photos,
            stored=True,
            out=self.out,
            html=self.page,
            layout=self.layout,
            top_k=self.top_k,
            threshold=self.threshold,
            known=self.known,
            origin=calibrated_digest(digest, run.folder),
            overwrite=True,
        )
        return self._summary(
            project,
            images,
            run_id=run.run_id,
            texts_written=texts.written,
            trained=trained,
            tags=tags,
        )

    def _before(self, project: Project, digest: str) -> tuple[str, TagCounts] | None:
        """The run of the tags that are there and how many they are, if these would be the same."""
        if self.file is None or self.page is None:
            return None
        before = origin(self.page, self.file)
        if before is None or not _is_finished(project, before.run_id):
            return None
        if before.digest != calibrated_digest(digest, project.run(before.run_id).folder):
            return None
        return before.run_id, count_tags(self.file)

    def _photos_digest(self, project: Project) -> str:
        """Of the photos that this job's ingest could use."""
        from taistore.images.sources.usable_photos import UsablePhotos

        return photos_digest(UsablePhotos(open_source(self.photos, project.labels), project.store))

    def _digest(self, project: Project, photos: str) -> str:
        """Of all that decides the tags, at this moment."""
        settings = {
            "photos": photos,
            "labels": labels_of(self.labels).keys,
            "given": str(self.photos),
            "layout": self.layout,
            "regions": self.regions,
            "top_k": self.top_k,
            "threshold": self.threshold,
            "known": self.known,
        }
        return tag_digest(project.store, project.waiting_encoder().info.encoder_id, settings)

    def _summary(
        self,
        project: Project,
        images: "IngestImagesSummary",
        *,
        run_id: str,
        texts_written: int = 0,
        trained: bool = False,
        tags: "ScoreSummary | TagCounts",
    ) -> TagSummary:
        return TagSummary(
            store=project.uri,
            encoder=project.store.default_encoder,
            labels=len(labels_of(self.labels)),
            images=images,
            texts_written=texts_written,
            run_id=run_id,
            trained=trained,
            tags=tags,
            out="-" if self.file is None else str(self.out),
            html="" if self.page is None else str(self.page),
        )

    def _check(self, labels: LabelSet) -> None:
        """Refuse what can be seen to be wrong before anything heavy is loaded or written."""
        if self.file is not None and self.page is not None:
            require_own_tags(self.file, labels)
            require_own_page(self.page, self.file, named=self.html is not None)
        elif self.html is not None:
            raise ScoringError("a page is made of a file of tags: give out= a file for html=")
        source = open_source(self.photos, labels)
        if next(iter(source), None) is None:
            raise no_images(source)

    def _project(self, labels: LabelSet, opening: Mapping[str, Any]) -> Project:
        """The store that is there, else a new one."""
        store = Store.find(self.path)
        if store is None:
            encoder = self.encoder or defaults.ENCODER
            try:
                return Project.create(self.path, labels=labels, encoder=encoder, **opening)
            except StoreError:
                # Another process may have made one, for other labels, while the encoder was loaded.
                if (store := Store.find(self.path)) is None:
                    raise
        if self.encoder not in (None, store.default_encoder):
            store.require_default_encoder(registry.canonical_spec(self.encoder))
        project = Project(store, **opening)
        added = project.add_labels(labels)
        if new := len(added.added) + len(added.restored):
            project.note(f"{project.uri}: {counted(new, 'label')} added")
        return project


def _is_finished(project: Project, run_id: str) -> bool:
    return any(row.run_id == run_id and row.status == "finished" for row in project.store.runs())
