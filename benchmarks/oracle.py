"""What are images made from the texts worth? Real photos of the captions stand for them.

``python -m benchmarks.oracle --work FOLDER``: of the photos in ``../shared/data/coco`` those that
have captions in ``captions/coco-val2017.jsonl`` become synthetic images of their captions, the
others are the test. No text-to-image model is run: this is a bound from above, for images that are
as faithful and as like the test photos as can be. Degraded oracles swap captions, blur the photos
or add noise. With ``--part tune`` half of the captioned photos, drawn at random, are the test
instead: settings are tried there, and the test photos stay unseen. Figures are kept in
``FOLDER/<part>/oracle.jsonl``: a rerun goes on where it stopped, ``--report`` writes what is there.
"""

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.labelled import kept_rows
from benchmarks.report import Table, spread, write_report
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.label_files.label_file import read_labels
from taistore.project import Project
from taistore.store.store import Store
from taistore.synthetic.image_audit import audit_images
from taistore.synthetic.image_writer import synthetic_id
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.ingest.ingest_texts import ingest_texts
from taistore.texts.label_prompts import prompt_vectors

SWAPPED = {"faithful": 0.0, "10 % swapped": 0.1, "25 % swapped": 0.25, "50 % swapped": 0.5}
"""Share of the captions that get the photo of another caption."""

BLUR, NOISE = 4.0, 40.0
DEGRADED = {
    f"blurred (radius {BLUR:g} px)": "blurred",
    f"noise (deviation {NOISE:g} of 255)": "noisy",
}
ORACLES = (*SWAPPED, *DEGRADED)

METHODS: Mapping[str, Mapping[str, Any]] = {
    "texts alone": {"shift": "none"},
    "texts, moved by the test photos": {"shift": "neighbours"},
    "texts+synthetic": {"learn_from": "texts+synthetic", "shift": "none"},
    "synthetic alone": {"learn_from": "synthetic", "shift": "none"},
    "shift synthetic": {"shift": "synthetic"},
    "texts+synthetic, shift synthetic": {"learn_from": "texts+synthetic", "shift": "synthetic"},
    "texts+synthetic, moved by the test photos": {
        "learn_from": "texts+synthetic",
        "shift": "neighbours",
    },
}
"""Settings of :meth:`Project.train`; of another learner they begin with its ``method``."""

WORDS: Mapping[str, Any] = {
    "method": "t2i-pal",
    "context": 4,
    "context_init": "a photo of a",
    "temperature": 4.0,
    "batch": 512,
    "epochs": 20,
    "lr": 0.01,
}
"""T2I-PAL as the packaged encoder wants it: contexts that begin as words, with TaI-DPT's scale,
batch and epochs. Of its rate 0.01 and 0.1 were tried on the photos of tune; at the published 1e-4
nothing moved."""

LEARNERS: Mapping[str, Mapping[str, Any]] = {
    "T2I-PAL": WORDS,
    "T2I-PAL, gamma 0.8": {**WORDS, "gamma": 0.8},
    "T2I-PAL, texts alone": {**WORDS, "learn_from": "texts"},
    "T2I-PAL, synthetic alone": {**WORDS, "learn_from": "synthetic"},
    "T2I-PAL, no prototypes": {**WORDS, "prototypes": "none"},
    "T2I-PAL, global prototypes too": {**WORDS, "prototypes": "global"},
    "TaI-DPT": {**WORDS, "method": "tai-dpt"},
    "T2I-PAL, as published": {"method": "t2i-pal"},
}
"""Prompt learners and the ablations of T2I-PAL's Tables 5 and 6, on faithful images."""

PUBLISHED_SEEDS = 1
"""Of T2I-PAL as published: a quarter of an hour each."""

LEARNER_STEPS = ("prompts_global", "prompts_local", "prompts")

_SWEEP: Mapping[str, Sequence[Any]] = {
    "image_batch": (16, 256),
    "image_radius": ("0", "0.5x", "1x", "4x"),
}
TUNED: Mapping[str, Mapping[str, Any]] = {
    **METHODS,
    **{
        f"{name}, {setting} {value}": {**METHODS[name], setting: value}
        for name in ("texts+synthetic", "synthetic alone")
        for setting, values in _SWEEP.items()
        for value in values
    },
    **{
        f"shift synthetic, radius {radius}": {**METHODS["shift synthetic"], "radius": radius}
        for radius in ("0.5x", "0.75x", "2.5x")
    },
}
"""What is tried with ``--part tune``."""

PARTS = ("test", "tune")
AUDITED = (0.5, 0.8, 0.95)
"""Scores below which the audit sets aside."""

STEPS = ("adapter_logits", "adapter_global", "adapter", "ensemble")
BASE = ("zero_shot", "standardised", "regions")
GRID = 7
READY = "ready"


@dataclass(frozen=True, slots=True)
class Trial:
    """One training; ``seed`` draws its texts, its swaps and all that is random in it."""

    method: str
    oracle: str
    seed: int


@dataclass(frozen=True, slots=True)
class Photos:
    """Whole and region vectors of photos, by the photo's number."""

    whole: Mapping[int, NDArray[np.float16]]
    regions: Mapping[int, NDArray[np.float16]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Oracle:
    """The halves of one part, and where its stores lie."""

    data: Path
    work: Path
    encoder: Encoder
    captions: Mapping[int, list[str]]
    tested: frozenset[int]
    templates: int

    @classmethod
    def of(cls, data: Path, work: Path, encoder: Encoder, *, part: str, templates: int) -> "Oracle":
        """``test``: photos without captions; ``tune``: half of those with captions."""
        every = {number_of(row["image"]) for row in labelled_photos(data)}
        captions: dict[int, list[str]] = defaultdict(list)
        for line in (data / "captions" / "coco-val2017.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            if row["image_id"] in every:
                captions[row["image_id"]].append(row["caption"].strip())
        tested = every - set(captions)
        if part == "tune":
            order = np.random.default_rng(0).permutation(sorted(captions))
            tested = {int(number) for number in order[: len(order) // 2]}
        shown = {number: texts for number, texts in captions.items() if number not in tested}
        return cls(
            data=data,
            work=work / part,
            encoder=encoder,
            captions=shown,
            tested=frozenset(tested),
            templates=templates,
        )

    def store(self, oracle: str, seed: int) -> Path:
        """The texts, the test photos, and the captions' photos as their synthetic images."""
        name, _, _ = oracle.partition(" (")

        def build(folder: Path) -> None:
            copied(self._texts(seed), folder)
            self._add_synthetic(Store.open(folder), oracle, seed)

        return whole(self.work / f"{name.replace(' ', '-')}-seed{seed}", build)

    def _texts(self, seed: int) -> Path:
        """Captions, template texts of this seed, and the test photos."""

        def build(folder: Path) -> None:
            copied(self._base(), folder)
            config = GenerateConfig(count=self.templates, seed=seed)
            generate_texts(Store.open(folder), self.encoder, config)

        return whole(self.work / f"texts-seed{seed}", build)

    def _base(self) -> Path:
        def build(folder: Path) -> None:
            store = self._encoded(folder, self.data / "coco" / "images", self.tested)
            lines = [json.dumps({"text": t}) for texts in self.captions.values() for t in texts]
            path = self.work / "captions.jsonl"
            path.write_text("\n".join(lines), encoding="utf-8")
            print(ingest_texts(store, self.encoder, path), flush=True)
            prompt_vectors(store, self.encoder)

        return whole(self.work / "base", build)

    def _encoded(self, folder: Path, photos: Path, numbers: frozenset[int]) -> Store:
        """A new store of some photos with their labels, all of the split test."""
        labels = read_labels(self.data / "coco" / "classes.csv")
        store = Store.create(folder, labels, default_encoder=self.encoder.info.spec)
        there = {number_of(path.name): path for path in photos.iterdir()}
        rows = [
            {"image": str(there[number].resolve()), "labels": row["labels"], "split": "test"}
            for row in labelled_photos(self.data)
            if (number := number_of(row["image"])) in numbers
        ]
        manifest = folder.with_suffix(".jsonl")
        manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        ingest_images(store, self.encoder, open_source(manifest, labels), regions=GRID)
        return store

    def _photos(self, kind: str) -> Photos:
        """Vectors of the captioned photos, as they are or degraded."""

        def build(folder: Path) -> None:
            images = self.data / "coco" / "images"
            if kind != "faithful":
                images = self._degraded(images, kind)
            self._encoded(folder, images, frozenset(self.captions))

        folder = whole(self.work / f"photos-{kind}", build)
        store, encoder_id = Store.open(folder), self.encoder.info.encoder_id
        uris = {row["image_id"]: row["uri"] for b in store.scan("images") for row in b.to_pylist()}
        found, regions = {}, {}
        for batch in store.scan("image_vectors", encoder_id=encoder_id):
            for row in batch.to_pylist():
                vector = np.array(row["vector"], dtype=np.float16)
                found[number_of(uris[row["image_id"]])] = vector
        for batch in store.scan("region_vectors", encoder_id=encoder_id):
            for row in batch.to_pylist():
                vector = np.array(row["vectors"], dtype=np.float16)
                regions[number_of(uris[row["image_id"]])] = vector
        return Photos(found, regions)

    def _degraded(self, images: Path, kind: str) -> Path:
        folder = self.work / kind
        folder.mkdir(parents=True, exist_ok=True)
        for path in images.iterdir():
            if (number := number_of(path.name)) in self.captions:
                with Image.open(path) as photo:
                    degraded(photo.convert("RGB"), kind, number).save(folder / f"{path.stem}.png")
        return folder

    def _add_synthetic(self, store: Store, oracle: str, seed: int) -> None:
        photos = self._photos(DEGRADED.get(oracle, "faithful"))
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, texts in self.captions.items():
            for text in texts:
                numbers[text].append(number)
        rows = [
            (row["text_id"], row["combination_id"], place, photo)
            for batch in store.scan("texts", where={"writer": "captions"})
            for row in batch.to_pylist()
            for place, photo in enumerate(numbers[row["text"]])
        ]
        shown = np.array([photo for *_, photo in rows])
        chosen = np.random.default_rng(seed).permutation(len(rows))
        chosen = chosen[: round(SWAPPED.get(oracle, 0.0) * len(rows))]
        shown[chosen] = np.roll(shown[chosen], 1)
        encoder_id = self.encoder.info.encoder_id
        common = [
            {
                "synthetic_id": synthetic_id(text_id, place),
                "text_id": text_id,
                "number": place,
                "combination_id": combination_id,
                "content": f"{photo:032x}",
            }
            for (text_id, combination_id, place, _), photo in zip(rows, shown, strict=True)
        ]
        print(f"{oracle}: {len(rows):,} synthetic images", flush=True)
        store.append(
            "synthetic_vectors",
            [
                {**row, "writer": "oracle", "vector": photos.whole[int(photo)]}
                for row, photo in zip(common, shown, strict=True)
            ],
            encoder_id=encoder_id,
        )
        store.append(
            "synthetic_regions",
            [
                {**row, "grid": GRID, "vectors": photos.regions[int(photo)]}
                for row, photo in zip(common, shown, strict=True)
            ],
            encoder_id=encoder_id,
        )


def audited(oracle: Oracle, share: str, seeds: int) -> Table:
    """Which pictures of other captions, and which of their own, the audit sets aside."""
    lines = []
    for bound in AUDITED:
        found: dict[str, list[float]] = defaultdict(list)
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "store"
                copied(oracle.store(share, seed), copy)
                store = Store.open(copy)
                before = _own(store, oracle)
                audit_images(store, oracle.encoder.info.encoder_id, min_score=bound, set_aside=True)
                gone = before.keys() - _own(store, oracle).keys()
            swapped = {key for key, own in before.items() if not own}
            found["swapped"].append(100 * len(gone & swapped) / len(swapped))
            found["own"].append(100 * len(gone - swapped) / len(before.keys() - swapped))
            found["right"].append(100 * len(gone & swapped) / len(gone))
        lines.append([f"{bound:g}", *(spread(values) for values in found.values())])
    heads = ["--min-score", "of swapped, %", "of those of their own caption, %", "swapped in it, %"]
    return Table(heads, lines, f"What the audit sets aside, {share}, {seeds} seeds.")


def _own(store: Store, oracle: Oracle) -> dict[str, bool]:
    """Of each synthetic image whether it is the photo of its caption."""
    texts = {row["text_id"]: row["text"] for b in store.scan("texts") for row in b.to_pylist()}
    photos: dict[str, set[int]] = defaultdict(set)
    for number, captions in oracle.captions.items():
        for caption in captions:
            photos[caption].add(number)
    columns = ["synthetic_id", "text_id", "content"]
    encoder_id = oracle.encoder.info.encoder_id
    return {
        row["synthetic_id"]: int(row["content"], 16) in photos[texts[row["text_id"]]]
        for batch in store.scan("synthetic_vectors", columns=columns, encoder_id=encoder_id)
        for row in batch.to_pylist()
    }


def whole(folder: Path, build: Callable[[Path], None]) -> Path:
    """The folder, built anew unless it was built to its end before."""
    if not (folder / READY).exists():
        shutil.rmtree(folder, ignore_errors=True)
        build(folder)
        (folder / READY).touch()
    return folder


def copied(source: Path, folder: Path) -> None:
    """A copy of a store, which is yet to be changed."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(READY))


def number_of(path: str) -> int:
    """The COCO image id in a photo's name."""
    return int(Path(path).stem)


def labelled_photos(data: Path) -> list[dict[str, Any]]:
    """Photos and their labels."""
    lines = (data / "coco" / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def degraded(photo: Image.Image, kind: str, seed: int) -> Image.Image:
    """Blurred, or with Gaussian noise on every pixel."""
    if kind == "blurred":
        return photo.filter(ImageFilter.GaussianBlur(BLUR))
    pixels = np.asarray(photo, dtype=np.float32)
    noise = NOISE * np.random.default_rng(seed).standard_normal(pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).round().astype(np.uint8))


def trials(part: str, methods: Sequence[str], oracles: Sequence[str], seeds: int) -> list[Trial]:
    """Every trial, seed by seed; what reads no synthetic image runs once a seed."""
    settings = settings_of(part)
    return [
        Trial(method, oracle, seed)
        for seed in range(seeds)
        for oracle in oracles
        for method in methods or settings
        if oracle == "faithful"
        or (method not in LEARNERS and "synthetic" in json.dumps(dict(settings[method])))
        if seed < PUBLISHED_SEEDS or "as published" not in method
    ]


def settings_of(part: str) -> Mapping[str, Mapping[str, Any]]:
    """What is trained on a part, by name."""
    return {**METHODS, **LEARNERS} if part == "test" else TUNED


def run_trial(folder: Path, settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    """mAP in percent by step of the ladder, on the photos of the split test."""
    run = Project.open(folder, device="cpu").train(task="zsl", seed=seed, **settings)
    ladder = run.evaluate(split="test").to_json()["ladder"]
    return {step: figures["mAP"] for step, figures in ladder.items()}


def results(oracle: Oracle, part: str, wanted: Sequence[Trial]) -> list[dict[str, Any]]:
    """Every trial's figures, those of earlier runs read back."""
    path = oracle.work / "oracle.jsonl"
    settings = settings_of(part)
    done = {Trial(**row["trial"]): row for row in kept_rows(path)}
    with path.open("a", encoding="utf-8") as file:
        for trial in wanted:
            if trial in done:
                continue
            folder = oracle.store(trial.oracle, trial.seed)
            figures = run_trial(folder, settings[trial.method], trial.seed)
            done[trial] = {"trial": asdict(trial), "mAP": figures}
            print(json.dumps(done[trial]), file=file, flush=True)
            print(part, json.dumps(done[trial]), flush=True)
    return [done[trial] for trial in wanted]


def cell(rows: Sequence[Mapping[str, Any]], method: str, oracle: str, step: str) -> str:
    """Mean and deviation over the seeds; empty where nothing was run."""
    values = [
        row["mAP"][step]
        for row in rows
        if (row["trial"]["method"], row["trial"]["oracle"]) == (method, oracle)
    ]
    return spread(values) if values else ""


def base_table(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """What needs no training, on the photos of each part."""
    lines = []
    for part, found in rows.items():
        if found:
            cells = [f"{found[0]['mAP'][step]:.1f}" for step in BASE]
            lines.append([f"the photos of {part}", *cells])
    return Table(["", *BASE], lines, "Without training.")


def learners_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Prompt learners down, steps across, in brackets the seeds."""
    lines = []
    for method in LEARNERS:
        seeds = sum(row["trial"]["method"] == method for row in rows)
        cells = [cell(rows, method, "faithful", step) for step in LEARNER_STEPS]
        if seeds:
            lines.append([f"{method} ({seeds})", *cells])
    about = "Prompt learners and the ablations of T2I-PAL, faithful images, on the test photos."
    return Table(["", *LEARNER_STEPS], lines, about)


def methods_table(rows: Sequence[Mapping[str, Any]], caption: str) -> Table:
    """Methods down, steps across, with faithful images; the last column is paired by seed."""
    methods = dict.fromkeys(row["trial"]["method"] for row in rows)
    lines = []
    for method in methods:
        cells = [cell(rows, method, "faithful", step) for step in STEPS]
        lines.append([method, *cells, _gain(rows, method)])
    return Table(["", *STEPS, "`adapter` against texts alone"], lines, caption)


def _gain(rows: Sequence[Mapping[str, Any]], method: str) -> str:
    by_seed = {
        name: {
            row["trial"]["seed"]: row["mAP"]["adapter"]
            for row in rows
            if (row["trial"]["method"], row["trial"]["oracle"]) == (name, "faithful")
        }
        for name in (method, "texts alone")
    }
    both = by_seed[method].keys() & by_seed["texts alone"].keys()
    gains = [by_seed[method][seed] - by_seed["texts alone"][seed] for seed in sorted(both)]
    return spread(gains) if gains and method != "texts alone" else ""


def faithfulness_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Methods down, oracles across."""
    oracles = list(dict.fromkeys(row["trial"]["oracle"] for row in rows))
    methods = dict.fromkeys(row["trial"]["method"] for row in rows)
    for step in ("adapter", "ensemble"):
        lines = [[m, *(cell(rows, m, oracle, step) for oracle in oracles)] for m in methods]
        yield Table(["", *oracles], lines, f"How much faithfulness matters, step `{step}`.")


def report(work: Path, encoder: Encoder, data: Path) -> Path:
    """Write what was measured."""
    rows = {part: kept_rows(work / part / "oracle.jsonl") for part in PARTS}
    learners = [row for row in rows["test"] if row["trial"]["method"] in LEARNERS]
    rows["test"] = [row for row in rows["test"] if row["trial"]["method"] not in LEARNERS]
    oracle = Oracle.of(data, work, encoder, part="test", templates=0)
    seeds = len({row["trial"]["seed"] for row in rows["test"]})
    tables = [
        base_table(rows),
        methods_table(rows["test"], "Faithful images, on the test photos."),
        *([learners_table(learners)] if learners else []),
        *faithfulness_tables(rows["test"]),
        audited(oracle, "25 % swapped", seeds),
    ]
    if rows["tune"]:
        about = "Settings, tried on half of the captioned photos with the other half as images."
        tables.append(methods_table(rows["tune"], about))
    return write_report(
        "oracle",
        title="What images made from the texts could be worth",
        text=(
            "No text-to-image model was run. Real COCO photos stand for images that are made of "
            f"captions: each of {len(oracle.captions)} photos is the synthetic image of its own "
            "human captions, whose labels are those that the captions name; the "
            f"{len(oracle.tested)} other photos are the test. So the images are perfectly "
            "faithful, and of the same kind as the test photos: a bound from above of what a "
            "text-to-image model could bring, not a measurement of one. A model's images differ "
            "from photos in ways that none of this shows; swapped captions, blur and noise say "
            "how much two of them, unfaithful and unlike images, would cost. All methods learn "
            "from the same texts, the captions and 2,000 templates, but for `synthetic alone`. "
            "`moved by the test photos` reads these photos, though none of their labels. Encoder "
            f"{encoder.info.spec}, macro mAP in percent, mean ± deviation over {seeds} seeds "
            "of texts, swaps and training; other test photos would move all figures by more."
        ),
        tables=tables,
    )


def main() -> None:
    """Run the benchmark, or write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and results")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--part", choices=PARTS, default="test")
    parser.add_argument("--methods", nargs="+", choices=[*TUNED, *LEARNERS], default=[])
    parser.add_argument("--oracles", nargs="+", choices=ORACLES, default=list(ORACLES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2_000, help="template texts")
    parser.add_argument("--report", action="store_true", help="write what is there, run nothing")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    if options.report:
        print(report(options.work, encoder, options.data))
        return
    oracle = Oracle.of(
        options.data, options.work, encoder, part=options.part, templates=options.texts
    )
    oracle.work.mkdir(parents=True, exist_ok=True)
    results(
        oracle, options.part, trials(options.part, options.methods, options.oracles, options.seeds)
    )


if __name__ == "__main__":
    main()
