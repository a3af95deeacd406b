"""``taistore demo``: the main job on real photos, by the commands that a user would type."""

import hashlib
import shlex
import time
from pathlib import Path
from typing import Any

import click

from taistore.errors import ScoringError
from taistore_cli.options import common_options
from taistore_cli.output import Output

ENCODER = "packaged:lite0@320"
"""A third of the default's cost, so that the demo stays under three minutes on two cores."""


@click.command()
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    help="Folder for stores, photos and pages.",
)
@click.option(
    "--photos",
    type=click.Path(exists=True, path_type=Path),
    help="Also run on this folder or manifest of photos; needs --labels.",
)
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The labels for --photos.",
)
@click.option("--encoder", default=ENCODER, help="Encoder of the demo.")
@common_options
def command(
    *, folder: Path, photos: Path | None, labels_file: Path | None, encoder: str, out: Output
) -> dict[str, Any]:
    """Run the main job offline: labels and photos in, tagged photos out.

    Trains an adapter that reads no label of a photo, tags photos that come inside installed
    packages, prints how good each step of the ladder is and writes a page to look at. Prints the
    commands that it runs. A second run finds its vectors in the store and takes seconds.

    \b
    Example:
      taistore demo --photos photos/ --labels labels.txt
    """
    from taistore_cli.demo_photos import demo_labels, write_demo_photos

    if (photos is None) != (labels_file is None):
        raise click.UsageError("--photos and --labels go together")
    started = time.monotonic()
    packaged = folder / "packaged-photos"
    manifest = write_demo_photos(packaged)
    label_list = packaged / "labels.txt"
    label_list.write_text("\n".join(demo_labels()) + "\n", encoding="utf-8")
    wanted = [("packaged", manifest, label_list)]
    if photos is not None and labels_file is not None:
        whole = photos.resolve()
        wanted.append(((whole.parent if whole.is_file() else whole).name, photos, labels_file))
    jobs = []
    for name, source, labels in wanted:
        # Other photos, labels or encoder: another store, so that nothing is mixed up.
        identity = f"{source.resolve()}\0{labels.resolve()}\0{encoder}".encode()
        digest = hashlib.blake2b(identity, digest_size=3).hexdigest()
        jobs.append(_run_job(folder / f"{name}-{digest}", labels, source, encoder, out))
    seconds = time.monotonic() - started
    lines = [f"\ndone in {seconds:.0f} s"]
    for job in jobs:
        lines.append(f"  {job['photos']}: {_ladder_line(job['ladder'])}")
        lines.append(f"    page: {job['page']}   tags: {job['tags']}")
    return out.result({"seconds": seconds, "jobs": jobs}, "\n".join(lines))


def _run_job(
    folder: Path, labels_file: Path, photos: Path, encoder: str, out: Output
) -> dict[str, Any]:
    tags, page = folder / "tags.parquet", folder / "tags.html"
    at = ["--store", str(folder / "store")]
    given = ["--labels", str(labels_file), "--encoder", encoder, "--out", str(tags)]
    chosen = ["--threshold", "0.2", "--known", "ignore"]
    run = str(_run(["tag", str(photos), *given, *chosen, *at], out)["run_id"])
    ladder = {}
    try:
        ladder = _run(["evaluate", run, "--split", "test", *at], out)["ladder"]
    except ScoringError as error:
        out.note(f"not evaluated: {error}")
    return {"photos": str(photos), "run_id": run, "ladder": ladder, "tags": tags, "page": page}


def _run(arguments: list[str], out: Output) -> dict[str, Any]:
    from taistore_cli.main import main

    out.note(f"\n$ taistore {shlex.join(arguments)}")
    with out.nested():
        result: dict[str, Any] = main.main(
            [*arguments, *out.flags()], prog_name="taistore", standalone_mode=False
        )
    return result


def _ladder_line(ladder: dict[str, dict[str, float]]) -> str:
    steps = ", ".join(f"{step} {figures['mAP']:.1f}" for step, figures in ladder.items())
    return f"mAP {steps}" if steps else "no labels to compare with"
