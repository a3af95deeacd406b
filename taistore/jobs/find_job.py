"""Which encoder and which run a question is answered by."""

from pathlib import Path
from typing import TYPE_CHECKING

from taistore.errors import ScoringError
from taistore.finding.asked import Asked
from taistore.finding.findable import require_findable

if TYPE_CHECKING:
    from taistore.finding.found import Found
    from taistore.finding.photo_report import PhotoReport
    from taistore.project import Project
    from taistore.run import Run


def found_photos(
    project: "Project",
    asked: Asked,
    *,
    run: str | None,
    encoder: str | None,
    tags: bool,
    out: Path | None,
    html: Path | None,
    overwrite: bool,
) -> "Found":
    """The answer, written to the files that are named.

    The encoder is loaded only where a text, or a photo of no vector, is asked for. Labels are
    scored by ``run``, else by the last that is finished, and tags given by it where there is one.
    """
    _refuse_files(out, html, overwrite=overwrite)
    info = project.encoder_info(encoder)
    require_findable(project.store, asked, info)
    run_id = _run(project, asked, run, tags=tags)
    from taistore.finding.find import find

    found = find(
        project.store,
        asked,
        info=info,
        encoder=lambda: project.encoder(info.spec),
        run_id=run_id,
        tags=tags,
        device=project.device,
    )
    if out is not None or html is not None:
        from taistore.finding.found_file import write_found, write_found_page

        if out is not None:
            write_found(found, out)
        if html is not None:
            write_found_page(found, html, store=project.store, progress=project.progress)
    return found


def reported_photo(
    project: "Project", photo: str | Path, *, run: str | None, encoder: str | None
) -> "PhotoReport":
    """What is known of a photo; a run looks at it with its own encoder."""
    chosen = _finished(project) if run is None else project.run(run)
    info = project.encoder_info(encoder) if encoder or chosen is None else chosen.encoder
    if chosen is not None and chosen.encoder.encoder_id != info.encoder_id:
        raise ScoringError(
            f"run {chosen.run_id} was trained for {chosen.encoder.spec}, not for {info.spec}: "
            "leave encoder= out, or name another run="
        )
    from taistore.finding.photo import photo_report

    return photo_report(
        project.store,
        photo,
        info=info,
        encoder=lambda: project.encoder(info.spec),
        run_id=None if chosen is None else chosen.run_id,
        device=project.device,
    )


def _refuse_files(out: Path | None, html: Path | None, *, overwrite: bool) -> None:
    if out is None and html is None:
        return
    from taistore.finding.found_file import require_new_file, require_new_page

    if out is not None:
        require_new_file(out, overwrite=overwrite)
    if html is not None:
        require_new_page(html)


def _run(project: "Project", asked: Asked, run: str | None, *, tags: bool) -> str | None:
    """The run that is needed or, for tags alone, the last finished one where there is one."""
    if run is not None or asked.by_label:
        return project.run(run or "latest").run_id
    if not tags:
        return None
    finished = _finished(project)
    return None if finished is None else finished.run_id


def _finished(project: "Project") -> "Run | None":
    """The last run that is finished and can be scored with."""
    runs = [one for one in project.runs() if one.status == "finished" and not one.encoder_gone]
    return runs[-1] if runs else None
