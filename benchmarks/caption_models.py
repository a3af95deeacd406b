"""Captions by several models and instructions: mAP by the number of texts (Fig. 5b and 5c).

    python -m benchmarks.caption_models --work FOLDER --models a.gguf b.gguf http://127.0.0.1:8000/v1
        --instructions 1 2 --texts 10000 --sizes 100 300 1000 3000 10000

A model is a ``.gguf`` file, which is served here, or the base URL of a server with one model;
without ``--models`` it is the small one that comes as a package. ``--instructions`` are those of
arXiv:2312.04160: 1 "Please briefly caption an image that contains ...", 2 "Please organize the
words ... into a sentence to describe an image."; combinations are uniform, templates stand beside.
Every answer is kept in ``FOLDER``, and what is there is not done again.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.accuracy import SETS, prepare
from benchmarks.caption_answers import write_captions
from benchmarks.captions import PAPER, STEPS, Bench, Pool, Trial, results
from benchmarks.report import Table, spread, write_report
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.label_files.label_file import read_labels
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.llm.engines.llama_server import local_server, small_model
from taistore.texts.llm.instructions import Instructions, load_instructions

SIZES = (100, 300, 1000, 3000, 10_000)
TEMPLATE = "template"


def instruction(number: int) -> Instructions:
    """The paper's conversation with its first or second instruction alone."""
    prompts = load_instructions("paper")
    chosen = prompts.instruction[number - 1]
    return prompts.model_copy(update={"name": f"paper-{number}", "instruction": (chosen,)})


def is_url(model: str) -> bool:
    """Whether a model is a server's, not a file."""
    return model.startswith(("http://", "https://"))


@contextmanager
def served(model: str) -> Iterator[str]:
    """The base URL of a model, which is served meanwhile where it is a file."""
    if is_url(model):
        yield model
        return
    with local_server(Path(model)) as url:
        yield url


def compare(
    name: str,
    data: Path,
    work: Path,
    encoder: Encoder,
    *,
    models: Sequence[str],
    instructions: Sequence[int],
    texts: int,
    sizes: Sequence[int],
    seeds: int,
) -> Table:
    """mAP of the paper's network on one set, a row for each model, instruction and size."""
    if not (work / name / "base").exists():
        prepare(name, data, work, encoder, seeds=0, texts=0)
    labels = read_labels(data / name / "classes.csv")
    encoder_id = encoder.info.encoder_id
    pools: dict[str, Pool] = {}
    for place, model in enumerate(models, start=1):
        # A server's address is nobody's business.
        called = f"server {place}" if is_url(model) else Path(model).stem
        with served(model) as url:
            for number in instructions:
                arm = f"{called}, instruction {number}"
                store = write_captions(
                    work / name / arm.replace(", ", "-").replace(" ", "-"),
                    labels,
                    encoder,
                    url=url,
                    prompts=instruction(number),
                    config=GenerateConfig(count=texts, combinations="uniform", min_per_label=0),
                )
                pools[arm] = Pool.read(store, encoder_id)
    templates = []
    for seed in range(seeds):
        uri = work / name / f"uniform-template{seed}"
        store = Store.create(uri, labels, default_encoder=encoder.info.spec)
        config = GenerateConfig(count=texts, combinations="uniform", min_per_label=0, seed=seed)
        generate_texts(store, encoder, config)
        templates.append(Pool.read(store, encoder_id))
    bench = Bench(name, work, encoder, pools, templates)
    arms = {TEMPLATE: templates[0], **pools}
    trials = [
        Trial({arm: size}, PAPER, seed)
        for arm, pool in arms.items()
        for size in dict.fromkeys(min(size, len(pool.rows)) for size in sizes)
        for seed in range(seeds)
    ]
    done = results(bench, trials)
    rows = []
    for trial in trials:
        if trial.seed == 0:
            ((arm, size),) = trial.texts.items()
            own = [done[Trial(trial.texts, PAPER, seed).key] for seed in range(seeds)]
            rows.append([arm, f"{size:,}", *(spread([row[s] for row in own]) for s in STEPS)])
    caption = f"Writers of captions by their number, {SETS[name]}."
    return Table(["texts by", "number", *STEPS], rows, caption)


def main() -> None:
    """Write the captions, train on them and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and answers")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["coco"])
    parser.add_argument("--models", nargs="+", help=".gguf files or base URLs")
    parser.add_argument("--instructions", nargs="+", type=int, choices=(1, 2), default=[1, 2])
    parser.add_argument("--texts", type=int, default=10_000, help="captions of each")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    tables = [
        compare(
            name,
            options.data,
            options.work,
            encoder,
            models=options.models or [str(small_model())],
            instructions=options.instructions,
            texts=options.texts,
            sizes=options.sizes,
            seeds=options.seeds,
        )
        for name in options.sets
    ]
    path = write_report(
        "caption-models",
        title="Captions by several models and instructions",
        text=(
            "Uniform combinations of 1 to 3 labels, the paper's network and setting, texts alone; "
            f"encoder {encoder.info.spec}; macro mAP in percent on all labelled photos, mean ± "
            f"deviation over {options.seeds} seeds (draw of texts and training). A row holds no "
            "more texts than the audit left of a writer's."
        ),
        tables=tables,
    )
    print(path)


if __name__ == "__main__":
    main()
