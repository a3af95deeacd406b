"""The main job in one process: labels and photos in, a file of tags and a page out.

Torch, the encoder and the store are loaded once for all of it. Every step does what the store
lacks, so that the job goes on where it was killed, and does little where nothing is new.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taistore import defaults
from taistore.encoders import registry
from taistore.images.sources.open_source import no_images, open_source
from taistore.jobs.tag_origin import photos_digest, tag_digest
from taistore.labels import LabelSet
from taistore.project import Labels, Project, labels_of
from taistore.scoring.page.page_head import origin, require_own_page
from taistore.scoring.tags.output_place import require_own_tags
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.images.ingest import IngestImagesSummary
    from taistore.scoring.known_cells import Known
    from taistore.scoring.score import ScoreSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class TagSummary:
    """What one job did, step by step.

    ``texts_written`` captions are new, and ``trained`` says that an adapter had to be: the run
    ``run_id`` is that of the store as it is. ``tags`` is about the file ``out``, ``html`` the page;
    None where both were there, made of the same.
    """

    store: str
    encoder: str
    labels: int
    images: "IngestImagesSummary"
    texts_written: int
    run_id: str
    trained: bool
    tags: "ScoreSummary | None"
    out: str
    html: str

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class TagJob:
    """What is tagged, with which labels, and where the tags go; :meth:`run` does it.

    The store is at ``path``. ``encoder`` None is that of the store, of a new one
    :data:`taistore.defaults.ENCODER`; ``html`` None lies beside ``out``. The rest is that of
    :meth:`taistore.project.Project.ingest_images` and :meth:`taistore.run.Run.score`.
    """

    photos: str | Path
    labels: Labels
    path: str | Path
    encoder: str | None
    out: str | Path
    html: str | Path | None
    regions: int
    top_k: int | None
    threshold: float | None
    known: "Known"
    max_rejects: int | None

    @property
    def page(self) -> Path:
        """The file of the page."""
        return Path(self.out).with_suffix(".html") if self.html is None else Path(self.html)

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
        before = origin(self.page, Path(self.out))
        if before is not None and before.digest == digest and _is_finished(project, before.run_id):
            return self._summary(project, images, run_id=before.run_id)
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
            top_k=self.top_k,
            threshold=self.threshold,
            known=self.known,
            origin=digest,
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
        tags: "ScoreSummary | None" = None,
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
            out=str(self.out),
            html=str(self.page),
        )

    def _check(self, labels: LabelSet) -> None:
        """Refuse what can be seen to be wrong before anything heavy is loaded or written."""
        require_own_tags(Path(self.out), labels)
        require_own_page(self.page, Path(self.out))
        source = open_source(self.photos, labels)
        if next(iter(source), None) is None:
            raise no_images(source)

    def _project(self, labels: LabelSet, opening: Mapping[str, Any]) -> Project:
        """The store that is there, else a new one."""
        store = Store.find(self.path)
        if store is None:
            encoder = self.encoder or defaults.ENCODER
            return Project.create(self.path, labels=labels, encoder=encoder, **opening)
        if self.encoder not in (None, store.default_encoder):
            store.require_default_encoder(registry.canonical_spec(self.encoder))
        project = Project(store, **opening)
        added = project.add_labels(labels)
        if new := len(added.added) + len(added.restored):
            project.note(f"{project.uri}: {new:,} labels added")
        return project


def _is_finished(project: Project, run_id: str) -> bool:
    return any(row.run_id == run_id and row.status == "finished" for row in project.store.runs())
