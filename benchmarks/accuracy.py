"""How good are the tags? mAP of every step of the ladder on real photos, several seeds.

``python -m benchmarks.accuracy`` ingests ``../shared/data/voc2012`` and ``coco`` with the packaged
encoder, writes 10,000 template texts per seed, trains on them and evaluates on all photos. By
default the texts are moved towards where the photos lie, none of whose labels is read;
``texts alone`` sees no photo at all. ``--sweep`` adds the radius of the perturbation, on the
sphere and inside it (Fig. 6a of arXiv:2312.04160), for our network and the paper's.
"""

import argparse
import dataclasses
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Table, spread, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.evaluation.evaluate import evaluate
from taistore.geometry.perturbation import Where
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.label_files.label_file import read_labels
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.label_prompts import prompt_vectors

SETS = {"voc2012": "VOC2012, 1,000 photos", "coco": "COCO, 600 photos"}
STEPS = (
    *("zero_shot", "standardised", "regions", "discriminant"),
    *("adapter_logits", "adapter_global", "adapter", "ensemble"),
)
ADAPTER_STEPS = STEPS[4:]
UNLABELLED = TrainConfig(shift="neighbours")
TEXTS_ALONE = TrainConfig(shift="none")
RADII = ("0", "0.5x", "1x", "1.25x", "1.5x", "2.5x", "4x")
INSIDE = ("1x", "2.5x", "4x")
FIG_6A = ("0", "0.5x", "1x", "1.5x", "2.5x", "4x", "6x")
NETWORKS = {
    "default (with the unlabelled photos)": UNLABELLED,
    "texts alone": TEXTS_ALONE,
    # Zero-shot's own cosines, only scaled and competing: what training starts from.
    "texts alone, untrained": dataclasses.replace(TEXTS_ALONE, epochs=1, lr=1e-12),
    "default without noise": dataclasses.replace(UNLABELLED, radius="0"),
    "texts alone, network small": TrainConfig.paper(network="small"),
    "texts alone, paper's network": TrainConfig.paper(),
}
SWEEPS = ("default", "texts-alone", "paper")

Ladders = dict[str, list[dict[str, float]]]
"""Name of a setting to one ladder (step to mAP in percent) per seed."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One set of photos with one store per seed."""

    name: str
    stores: tuple[Store, ...]
    prompts_ND: np.ndarray[Any, np.dtype[np.float32]]
    encoder_id: str

    def ladders(self, settings: Mapping[str, TrainConfig]) -> Ladders:
        """Train and evaluate every setting on every seed's texts."""
        found: Ladders = {}
        for name, config in settings.items():
            for seed, store in enumerate(self.stores):
                own = TrainConfig.from_json({**config.to_json(), "seed": seed})
                run = train(store, self.encoder_id, own, prompts_ND=self.prompts_ND)
                ladder = evaluate(store, run.run_id).to_json()["ladder"]
                found.setdefault(name, []).append({s: f["mAP"] for s, f in ladder.items()})
            print(f"{self.name} {name}: {_line(found[name])}", flush=True)
        return found


def prepare(
    name: str, data: Path, work: Path, encoder: Encoder, *, seeds: int, texts: int
) -> Bench:
    """Ingest the photos once, then give every seed its own texts in a copy of that store."""
    base = work / name / "base"
    labels = read_labels(data / name / "classes.csv")
    store = Store.create(base, labels, default_encoder=encoder.info.spec)
    photos = open_source(data / name / "labels.jsonl", labels)
    ingest_images(store, encoder, photos, regions=7, split="test")
    prompts_ND = prompt_vectors(store, encoder)
    stores = []
    for seed in range(seeds):
        folder = work / name / f"{texts}-texts-seed{seed}"
        if not folder.exists():
            shutil.copytree(base, folder)
        copied = Store.open(folder)
        generate_texts(copied, encoder, GenerateConfig(count=texts, seed=seed))
        stores.append(copied)
    return Bench(name, tuple(stores), prompts_ND, encoder.info.encoder_id)


def main() -> None:
    """Run the benchmark and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the stores")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument(
        "--sweep", nargs="+", choices=SWEEPS, default=[], help="also sweep the radius of these"
    )
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    benches = [
        prepare(name, options.data, options.work, encoder, seeds=options.seeds, texts=options.texts)
        for name in options.sets
    ]
    networks = {name: NETWORKS[name] for name in options.networks}
    tables = [_ladder_table(benches, networks)]
    if options.sweep:
        tables += [_sweep_table(bench, options.sweep) for bench in benches]
    path = write_report(
        "accuracy" if set(options.sets) == set(SETS) else f"accuracy-{'-'.join(options.sets)}",
        title="mAP on real photos, no label of any read",
        text=(
            f"Encoder {encoder.info.spec}, {options.texts:,} template texts, all labelled photos "
            f"of each set, macro mAP in percent, mean ± deviation over {options.seeds} seeds "
            "(texts and training both seeded). `regions` and above use a 7 x 7 grid."
        ),
        tables=tables,
    )
    print(path)


def _ladder_table(benches: Iterable[Bench], networks: Mapping[str, TrainConfig]) -> Table:
    rows = []
    for bench in benches:
        for network, ladders in bench.ladders(networks).items():
            # A run that looks at no photo has no discriminant.
            cells = [
                spread([ladder[step] for ladder in ladders]) if step in ladders[0] else ""
                for step in STEPS
            ]
            rows.append([SETS[bench.name], network, *cells])
    return Table(["photos", "network", *STEPS], rows, "The ladder.")


def _sweep_table(bench: Bench, sweeps: Iterable[str]) -> Table:
    planned: tuple[tuple[str, TrainConfig, Where, tuple[str, ...]], ...] = (
        ("default", UNLABELLED, "surface", RADII),
        ("texts-alone", TEXTS_ALONE, "surface", RADII),
        ("texts-alone", TEXTS_ALONE, "interior", INSIDE),
        # The paper's Fig. 6a, with its own network and setting: hours on two cores.
        ("paper", TrainConfig.paper(), "surface", FIG_6A),
        ("paper", TrainConfig.paper(), "interior", FIG_6A[1:]),
    )
    settings = {
        f"{name} {where} {radius}": dataclasses.replace(config, radius=radius, where=where)
        for name, config, where, radii in planned
        if name in sweeps
        for radius in radii
    }
    rows = []
    for name, ladders in bench.ladders(settings).items():
        cells = [spread([ladder[step] for ladder in ladders]) for step in ADAPTER_STEPS]
        rows.append([*name.split(), *cells])
    columns = ["setting", "where", "radius", *ADAPTER_STEPS]
    return Table(columns, rows, f"Radius of the perturbation, {SETS[bench.name]}.")


def _line(ladders: list[dict[str, float]]) -> str:
    return ", ".join(f"{s} {spread([ladder[s] for ladder in ladders])}" for s in ladders[0])


if __name__ == "__main__":
    main()
