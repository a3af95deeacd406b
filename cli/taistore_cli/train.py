"""``taistore train``: an adapter, or prompts, from the texts and labelled images of a store."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from taistore.stopping import StopRequested
from taistore_cli.opening import open_project
from taistore_cli.options import (
    common_options,
    device_option,
    encoder_option,
    given_options,
    precision_option,
    store_option,
)
from taistore_cli.output import Output

WITH_RESUME = {"--resume", "--store", "--device", "--json", "--quiet", "--debug"}
"""Options that do not change what a run computes."""


@click.command()
@click.option(
    "--method",
    type=click.Choice(["adapter", "coop", "dualcoop", "tai-dpt", "t2i-pal"]),
    help="adapter learns from vectors alone; the others learn prompts through the text tower: coop "
    "(fsl, pll) and dualcoop (pll, fsl) from images, tai-dpt (zsl) from texts, t2i-pal (zsl, fsl, "
    "pll) from texts and images made of them.  [default: adapter]",
)
@click.option(
    "--task",
    type=click.Choice(["zsl", "fsl", "pll"]),
    help="zsl: no labelled image; fsl: a few of them; pll: images of which some labels are known."
    "  [default: zsl, coop fsl, dualcoop pll]",
)
@click.option(
    "--shots",
    type=click.IntRange(min=1),
    help="fsl: labelled images per label, such as 1 to 16; it has no default.",
)
@click.option(
    "--known",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="pll: for experiments, hide all but this share of the known labels.  [default: 1]",
)
@click.option("--split", help="The images to use, or all.  [default: train, zsl all]")
@click.option(
    "--shift",
    type=click.Choice(["none", "plain", "neighbours", "synthetic"]),
    help="Where texts are moved: plain is the paper's, synthetic (zsl) goes by images made from "
    "the texts.  [default: neighbours, zsl with under 200 images and paper's zsl and fsl none, "
    "paper's pll plain]",
)
@click.option(
    "--paper",
    is_flag=True,
    default=None,
    help="What was published, for all that is not said: of the adapter --network paper; prompt "
    "learners have it anyway.",
)
@click.option(
    "--network",
    type=click.Choice(["residual", "paper", "small"]),
    help="residual starts as zero-shot; paper is TaI-Adapter's own, with its settings, small a "
    "twentieth of it.  [default: residual]",
)
@click.option(
    "--loss",
    type=click.Choice(["bce", "partial-bce", "asymmetric", "ranking"]),
    help="What is lowered: adapter bce or partial-bce, which weighs images by how much of them is "
    "known; the other methods bce, asymmetric or ranking.  [default: bce, dualcoop asymmetric, "
    "tai-dpt and t2i-pal ranking]",
)
@click.option(
    "--radius",
    metavar="R",
    help="Noise: auto, a multiple of the mean text norm (2.5x), or absolute units.  "
    "[default: auto: 2.5x, after a shift 1x, zsl 1.25x]",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Passes over the texts.  [default: 20, paper 60]"
)
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Some of the store's labels, which the run is for.  [default: all in use]",
)
@click.option(
    "--from",
    "from_run",
    metavar="RUN",
    help="Begin with the weights of a finished run (an id, or latest); labels that it lacks begin "
    "as zero-shot.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of all that is random.  [default: 0]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings from a TOML file, or a run's card.json; options here take their place.",
)
@click.option(
    "--resume", "resume_run", metavar="RUN", help="Continue a stopped run (an id, or latest)."
)
@click.option(
    "--name",
    metavar="NAME",
    help="What the run is called, such as garden-1, by which every command takes it.  [default: "
    "its task and the time]",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for the checkpoint; default: inside the store.",
)
@click.option(
    "--context", type=click.IntRange(min=1), metavar="M", help="Learnt tokens.  [default: 16]"
)
@click.option(
    "--context-init", metavar="TEXT", help="Words that they begin as.  [default: drawn at random]"
)
@click.option(
    "--class-specific/--class-shared",
    default=None,
    help="A context for each label, or one for all.  [default: shared, dualcoop and t2i-pal "
    "specific]",
)
@click.option(
    "--variant",
    type=click.Choice(["official", "in-tai-dpt", "plus"]),
    help="dualcoop: its authors' form, the one in TaI-DPT's tables, or DualCoOp++.  [default: "
    "in-tai-dpt]",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    help="What cosines are multiplied by.  [default: coop 100, dualcoop 50, tai-dpt 4, t2i-pal 1]",
)
@click.option(
    "--spatial",
    type=click.FloatRange(min=0, min_open=True),
    help="Sharpness of the softmax over regions or tokens.  [default: coop 50, dualcoop 20, "
    "tai-dpt 50 and 40 on images, t2i-pal 50]",
)
@click.option(
    "--prototypes",
    type=click.Choice(["local", "none", "global"]),
    help="t2i-pal: learnt prototypes of the labels for regions, none, or for whole images too.  "
    "[default: local]",
)
@click.option(
    "--alpha",
    type=click.FloatRange(min=0),
    help="t2i-pal: what nearness to a prototype counts beside a cosine.  [default: 1]",
)
@click.option(
    "--beta",
    type=click.FloatRange(min=0, min_open=True),
    help="t2i-pal: sharpness of that nearness.  [default: 3.5]",
)
@click.option(
    "--gamma",
    type=click.FloatRange(min=0, max=1),
    help="t2i-pal: share of images in the loss, texts have the rest.  [default: 0.2]",
)
@click.option("--shot-seed", type=click.IntRange(min=0), help="fsl: which images.  [default: 0]")
@click.option(
    "--mask-seed", type=click.IntRange(min=0), help="pll: which labels to hide.  [default: 0]"
)
@click.option(
    "--learn-from",
    type=click.Choice(
        ["texts", "images", "both", "synthetic", "texts+synthetic", "texts+synthetic+images"]
    ),
    help="What enters the loss; synthetic are images made from the texts, see generate-images.  "
    "[default: both, zsl texts; t2i-pal texts+synthetic, fsl and pll texts+synthetic+images]",
)
@click.option(
    "--text-weights",
    metavar="W",
    help="What a text counts by its writer, such as openai=3,template=0.5; others count 1.",
)
@click.option(
    "--pseudo-counts",
    type=click.FloatRange(min=0),
    metavar="K",
    help="Images that a label's expected place is worth beside its known ones.  [default: 4]",
)
@click.option(
    "--neighbours",
    type=click.IntRange(min=1),
    metavar="K",
    help="Nearest images that give a label's expected place.  [default: 1 in 25, 20 to 100]",
)
@click.option(
    "--neighbour-index",
    type=click.Choice(["auto", "torch", "faiss", "ivf"]),
    help="What looks them up: torch and faiss exactly, ivf nearly.  [default: auto, by size]",
)
@click.option(
    "--image-radius",
    metavar="R",
    help="Noise on images: a multiple (0.1x) or absolute.  "
    "[default: 1x, paper 0.1x; synthetic 2.5x]",
)
@click.option(
    "--image-where",
    type=click.Choice(["surface", "interior"]),
    help="Noise on images likewise.  [default: surface, paper interior]",
)
@click.option("--image-batch", type=click.IntRange(min=1), help="Images per step.  [default: 64]")
@click.option(
    "--where",
    type=click.Choice(["surface", "interior"]),
    help="Noise on texts: on the sphere of that radius, or inside it.  [default: surface]",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Texts per step.  [default: 128, with a sample of the labels and texts alone 1024, "
    "paper 64]",
)
@click.option(
    "--sampled-labels",
    type=click.IntRange(min=0),
    metavar="S",
    help="Labels a step takes as negatives; 0 takes all.  [default: all up to 1,000, 80 of more]",
)
@click.option(
    "--lr",
    type=click.FloatRange(min=0, min_open=True),
    help="Top of the 1-cycle.  [default: 1e-3; 2e-3 with 1,024 texts a step; paper 1e-4]",
)
@click.option(
    "--hidden",
    type=click.IntRange(min=0),
    help="Width of the hidden layers; 0 leaves them out.  [default: 0, paper 2048, small 512]",
)
@click.option(
    "--dropout",
    type=click.FloatRange(min=0, max=1, max_open=True),
    help="Share of a hidden layer's values that is dropped.  [default: 0.5]",
)
@click.option("--weight-decay", type=click.FloatRange(min=0), help="Of AdamW.  [default: 0.01]")
@encoder_option
@store_option
@device_option
@precision_option
@common_options
def command(
    *,
    config_file: Path | None,
    resume_run: str | None,
    folder: Path | None,
    labels_file: Path | None,
    name: str | None,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    out: Output,
    **settings: Any,
) -> dict[str, Any]:
    """Train an adapter on perturbed text vectors, or prompts; prints the run's id.

    zsl learns from texts alone, moved towards where the store's images lie (their labels are not
    read), and if you say so from images made from the texts; fsl and pll also learn from the
    labelled images of a split. Labels that are unknown
    count neither for nor against. A run that was stopped goes on with --resume and ends with the
    same weights.

    \b
    Example:
      taistore train --task zsl
      taistore train --task zsl --shift none
      taistore train --task zsl --learn-from texts+synthetic
      taistore train --task fsl --shots 4 --name garden-4
      taistore train --task pll
      taistore train --method dualcoop --task pll
      taistore train --method t2i-pal
      taistore train --from latest
      taistore train --labels subset.txt
      taistore train --config settings.toml --seed 3
    """
    given = given_options()
    if resume_run is not None and given - WITH_RESUME:
        raise click.UsageError(
            f"{min(given - WITH_RESUME)} cannot change with --resume: a run goes on with its own "
            "settings; leave it out, or train a new run"
        )
    project = open_project(store_uri, out, device=device, precision=precision)
    started: list[str] = []

    def on_start(run_id: str) -> None:
        started.append(run_id)
        out.note(f"run {run_id}")

    try:
        if resume_run is not None:
            chosen_device = device if "--device" in given else None
            run = project.resume(resume_run, device=chosen_device, on_start=on_start)
        else:
            chosen = {name: value for name, value in settings.items() if value is not None}
            if "--device" in given:
                chosen["device"] = device
            run = project.train(
                config=config_file,
                labels=labels_file,
                encoder=encoder_spec,
                out=folder,
                name=name,
                on_start=on_start,
                **chosen,
            )
    except StopRequested as stop:
        for run_id in started:
            stop.kept = f"run {run_id} is saved"
            stop.go_on = ("train", "--resume", run_id, *_again(store_uri))
        raise
    result = run.training
    assert result is not None
    figures = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    state = " is finished already" if result.finished_before else ""
    return out.result(
        {
            "run_id": result.run_id,
            "checkpoint": str(result.checkpoint),
            "config": result.config.to_json(),
            "metrics": result.metrics,
            "known": dict(result.known),
            "shift": dict(result.shift),
        },
        f"run {result.run_id}{state} ({figures})\n{_learnt(result.known, result.shift)}"
        f"next: taistore evaluate {result.run_id}, taistore score {result.run_id} photos/ "
        "--out tags.parquet",
    )


def _learnt(known: Mapping[str, int], shift: Mapping[str, float | str]) -> str:
    """Lines about the images, where the task uses any."""
    lines = [*_seen(known)]
    if shift:
        lines.append(
            f"texts shifted by {shift['mean_offset_norm']:.3g} on average; of "
            f"{shift['labels']:,.0f} labels {shift['labels_with_images']:,.0f} go by their images, "
            f"{shift['labels_from_targets_alone']:,.0f} by what is expected, "
            f"{shift['labels_without_shift']:,.0f} stay"
        )
    return "".join(f"{line}\n" for line in lines)


def _seen(known: Mapping[str, int]) -> Iterator[str]:
    if "synthetic_images" in known:
        without = known["labels_without_synthetic_image"]
        yield (
            f"went by {known['synthetic_images']:,} synthetic images"
            + (f"; of {without:,} labels there is none" if without else "")
        )
    if "images" not in known:
        return
    if not known["known_cells"]:
        yield f"went by {known['images']:,} images, none of whose labels were read"
        return
    yield (
        f"learnt from {known['images_with_known_labels']:,} of {known['images']:,} images: "
        f"{known['known_positives']:,} labels known to be there, "
        f"{known['known_cells'] - known['known_positives']:,} known not to be"
    )
    if known["labels_without_known_positive"]:
        yield (
            f"{known['labels_without_known_positive']:,} labels have no image known to show "
            "them: they learn from their texts"
        )
    if known.get("labels_below_shots"):
        yield f"{known['labels_below_shots']:,} labels have fewer images than --shots"


def _again(store_uri: str) -> tuple[str, ...]:
    return ("--store", store_uri) if "--store" in given_options() else ()
