"""Which encoder and which run a question is answered by."""

from pathlib import Path
from typing import TYPE_CHECKING

from taistore.finding.asked import Asked
from taistore.finding.findable import require_findable

if TYPE_CHECKING:
    from taistore.finding.found import Found
    from taistore.project import Project


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
    finished = [one for one in project.runs() if one.status == "finished" and not one.encoder_gone]
    return finished[-1].run_id if finished else None
