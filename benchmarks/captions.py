"""What are captions by a language model worth? Audit figures and mAP of several kinds of texts.

    python -m benchmarks.captions write --work FOLDER
    python -m benchmarks.captions report --work FOLDER

``write`` has 2,000 captions written for each label set by the small real model (SmolLM2-135M, see
README) behind its own server on loopback, with ``generate-texts`` as it is, and keeps every raw
answer. ``report`` audits the answers before and after, and trains on the captions, on template
texts, on human ones (``../shared/data/captions``, labelled by ``ingest-texts``, without those of
the test photos) and on mixtures. Both go on where they stopped. The measure is macro mAP on all
labelled photos, none of whose labels is read.
"""

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import SETS, UNLABELLED, prepare
from benchmarks.caption_answers import read_replies, write
from benchmarks.report import Table, spread, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.evaluation.evaluate import evaluate
from taistore.label_files.label_file import read_labels
from taistore.store.store import Store
from taistore.texts.audit.audit_captions import audit_store
from taistore.texts.audit.audit_report import distinct
from taistore.texts.audit.caption_audit import Audit
from taistore.texts.combinations.sampling import sample_combinations
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.ingest.ingest_texts import ingest_texts
from taistore.texts.label_prompts import prompt_vectors
from taistore.texts.language.token_lengths import length_check
from taistore.texts.request_ids import combination_of
from taistore.texts.rows.text_rows import TextRow, write_texts

TEMPLATES = 10_000
STEPS = ("adapter_global", "adapter", "ensemble")
ALONE, SMALL = "texts alone", "texts alone, network small"
PAPER = "texts alone, paper's network"
SETTINGS = {
    ALONE: TrainConfig(shift="none"),
    "with the unlabelled photos": UNLABELLED,
    SMALL: TrainConfig.paper(network="small"),
    PAPER: TrainConfig.paper(),
}
SIZES = (100, 300, 1000, 2000, 5000, 10_000)
KINDS = {"model": "language model", "template": "template", "human": "human"}

Vectors = NDArray[np.float16]


def audit_tables(name: str, work: Path, encoder: Encoder, *, count: int) -> list[Table]:
    """Figures of first answers as they came, and of what the store holds after the audit."""
    folder = work / name
    store = Store.open(folder / "model")
    labels = store.labels
    sample = sample_combinations(labels, count=count, seed=0)
    asked = {labels.combination_id(ids): ids for ids in sample.combinations()}
    replies = read_replies(folder / "answers.jsonl")
    first = [reply for reply in replies if reply.request_id.endswith(".0")]
    audit = Audit(labels, limit=length_check(encoder))
    reasons: Counter[str] = Counter()
    found = whole = wanted = mentioned = wrapped = 0
    for reply in first:
        text, label_ids = reply.text or "", asked[combination_of(reply.request_id)]
        own, _ = audit.mentions(text, label_ids)
        verdict = audit.check(text, label_ids, truncated=reply.truncated)
        reasons[verdict.reason or "usable"] += 1
        wrapped += bool(verdict.text) and verdict.text != text.strip()
        wanted += len(label_ids)
        mentioned += len(own)
        found += len(own) > 0
        whole += len(own) == len(label_ids)
    one, two = distinct([reply.text or "" for reply in first[:50]])
    after = audit_store(store).total
    rows: list[tuple[object, ...]] = [
        (
            SETS[name],
            "first answers, as they came",
            len(first),
            f"{mentioned / wanted:.1%}",
            f"{whole / len(first):.1%}",
            f"{one:.2f} / {two:.2f}",
            f"{reasons['usable'] / len(first):.1%}",
            "",
        ),
        (
            SETS[name],
            "in the store, after the audit",
            after.texts,
            f"{after.coverage:.1%}",
            f"{after.complete:.1%}",
            f"{after.distinct_1:.2f} / {after.distinct_2:.2f}",
            "100 %",
            f"{after.tokens_mean:.1f} / {after.tokens_p95}",
        ),
    ]
    columns = ["labels of", "captions", "number", "labels mentioned", "all labels mentioned"]
    columns += ["distinct-1 / -2 (of 50)", "usable", "tokens mean / p95"]
    faults = ", ".join(f"{reason} {n:,}" for reason, n in reasons.most_common())
    caption = (
        f"{SETS[name]}: {len(replies):,} answers for {count:,} texts. First answers: {faults}; "
        f"{wrapped:,} were unwrapped. A caption that lost labels is kept for those that it "
        "mentions."
    )
    return [Table(columns, rows, caption)]


@dataclass(frozen=True, slots=True)
class Pool:
    """Texts of one kind with their vectors [T, D]."""

    rows: list[TextRow]
    vectors: Vectors

    @classmethod
    def read(cls, store: Store, encoder_id: str) -> Self:
        """All texts of a store, ordered by id: the same ones wherever they lie."""
        index = store.combination_index()
        rows: list[TextRow] = []
        for batch in store.scan("texts"):
            counts, flat = index.positives(batch.column("combination_id").to_numpy())
            lists = np.split(flat, np.cumsum(counts)[:-1])
            for row, label_ids in zip(batch.to_pylist(), lists, strict=True):
                rows.append(TextRow(label_ids=tuple(label_ids.tolist()), **row))
        rows.sort(key=lambda row: row.text_id)
        ids = [row.text_id for row in rows]
        return cls(rows, store.vectors("text_vectors", ids, encoder_id=encoder_id))

    def draw(self, count: int, *, seed: int) -> "Pool":
        """``count`` of the texts at random; larger draws hold smaller ones of the same seed."""
        chosen = np.random.default_rng(seed).permutation(len(self.rows))[:count]
        return Pool([self.rows[i] for i in chosen], self.vectors[chosen])

    def balanced(self, count: int, labels: int, *, seed: int) -> "Pool":
        """``count`` texts, label by label in turn as long as one has texts left."""
        order = np.random.default_rng(seed).permutation(len(self.rows)).tolist()
        waiting: list[list[int]] = [[] for _ in range(labels)]
        for i in order:
            for label in self.rows[i].label_ids:
                waiting[label].append(i)
        taken: dict[int, None] = {}
        while len(taken) < count and any(waiting):
            for own in waiting:
                while own and own[-1] in taken:
                    own.pop()
                if own and len(taken) < count:
                    taken[own.pop()] = None
        chosen = list(taken)
        return Pool([self.rows[i] for i in chosen], self.vectors[chosen])


def human_pool(name: str, data: Path, work: Path, encoder: Encoder) -> Store:
    """A store with the human captions that name a label, but for those of the test photos."""
    folder = work / name
    labels = read_labels(data / name / "classes.csv")
    store = Store.create(folder / "human", labels, default_encoder=encoder.info.spec)
    photos = (data / "coco" / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    tested = {int(Path(json.loads(line)["image"]).stem) for line in photos}
    captions = (data / "captions" / "coco-val2017.jsonl").read_text(encoding="utf-8").splitlines()
    own = folder / "coco-captions.jsonl"
    kept = [line for line in captions if json.loads(line)["image_id"] not in tested]
    own.write_text("\n".join(kept) + "\n", encoding="utf-8")
    for path in (own, data / "captions" / "flickr8k.tsv"):
        ingest_texts(store, encoder, path)
    return store


@dataclass(frozen=True, slots=True)
class Trial:
    """One training: how many texts of each kind, what they weigh, and with which setting."""

    texts: Mapping[str, int]
    setting: str
    seed: int
    balanced: bool = True
    weights: str = ""

    @property
    def key(self) -> str:
        """What tells trials apart in the log."""
        return json.dumps([dict(self.texts), self.setting, self.seed, self.balanced, self.weights])


@dataclass(frozen=True, slots=True)
class Bench:
    """One set of photos: its store, the pools by kind, those of templates by seed."""

    name: str
    work: Path
    encoder: Encoder
    pools: Mapping[str, Pool]
    templates: Sequence[Pool]

    def texts(self, trial: Trial) -> Pool:
        """The texts of a trial."""
        drawn = []
        for kind, count in trial.texts.items():
            pool = self.templates[trial.seed] if kind == "template" else self.pools[kind]
            if kind == "human" and trial.balanced:
                labels = len(Store.open(self.work / self.name / "base").labels)
                drawn.append(pool.balanced(count, labels, seed=trial.seed))
            else:
                drawn.append(pool.draw(count, seed=trial.seed))
        rows = [row for pool in drawn for row in pool.rows]
        return Pool(rows, np.concatenate([pool.vectors for pool in drawn]))

    def run(self, trial: Trial) -> dict[str, float]:
        """mAP in percent by step, in a store of its own that is removed again."""
        folder = self.work / self.name / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.work / self.name / "base", folder)
        store = Store.open(folder)
        pool = self.texts(trial)
        encoded = {row.text: v for row, v in zip(pool.rows, pool.vectors, strict=True)}
        write_texts(store, self.encoder, pool.rows, encoded=encoded)
        config = replace(SETTINGS[trial.setting], seed=trial.seed, text_weights=trial.weights)
        prompts_ND = prompt_vectors(store, self.encoder)
        run = train(store, self.encoder.info.encoder_id, config, prompts_ND=prompts_ND)
        ladder = evaluate(store, run.run_id).to_json()["ladder"]
        shutil.rmtree(folder)
        return {"texts": len(pool.rows)} | {step: ladder[step]["mAP"] for step in STEPS}


def open_bench(name: str, data: Path, work: Path, encoder: Encoder, *, seeds: int) -> Bench:
    """Ingest photos, templates and human captions, where that is not done yet."""
    encoder_id = encoder.info.encoder_id
    if not (work / name / "base").exists():
        prepare(name, data, work, encoder, seeds=0, texts=0)
    templates = []
    labels = read_labels(data / name / "classes.csv")
    for seed in range(seeds):
        uri = work / name / f"template{seed}"
        store = Store.create(uri, labels, default_encoder=encoder.info.spec)
        generate_texts(store, encoder, GenerateConfig(count=TEMPLATES, seed=seed))
        templates.append(Pool.read(store, encoder_id))
    pools = {
        "model": Pool.read(Store.open(work / name / "model"), encoder_id),
        "human": Pool.read(human_pool(name, data, work, encoder), encoder_id),
    }
    return Bench(name, work, encoder, pools, templates)


def arms(budget: int) -> dict[str, Trial]:
    """What is compared at the same number of texts, and what a user would do with all of them."""
    half = budget // 2

    def trial(*, balanced: bool = True, weights: str = "", **texts: int) -> Trial:
        return Trial(texts, "", 0, balanced, weights)

    return {
        "templates": trial(template=budget),
        "language model": trial(model=budget),
        "human captions": trial(human=budget, balanced=False),
        "human captions, labels in turn": trial(human=budget),
        "half language model, half templates": trial(model=half, template=half),
        "half language model, half human": trial(model=half, human=half),
        "half templates, half human": trial(template=half, human=half),
        "10,000 templates": trial(template=TEMPLATES),
        "10,000 templates and all by the model": trial(template=TEMPLATES, model=budget),
        "the same, --text-weights openai=3": trial(
            template=TEMPLATES, model=budget, weights="openai=3"
        ),
    }


def results(bench: Bench, trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Every trial's figures by key, those of earlier runs read back."""
    log = bench.work / bench.name / "captions.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    done: dict[str, dict[str, float]] = dict(json.loads(line) for line in lines)
    for trial in trials:
        if trial.key not in done:
            done[trial.key] = bench.run(trial)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps([trial.key, done[trial.key]]) + "\n")
            print(bench.name, trial.key, done[trial.key], flush=True)
    return done


def map_tables(bench: Bench, *, seeds: int) -> list[Table]:
    """mAP by kind of text (Fig. 5b of arXiv:2312.04160) and by their number (Fig. 5a)."""
    budget = len(bench.pools["model"].rows)
    chosen = arms(budget)
    sized = [
        Trial({kind: size}, setting, 0)
        for setting in (ALONE, SMALL)
        for kind in KINDS
        for size in SIZES
        if size <= (TEMPLATES if kind == "template" else len(bench.pools[kind].rows))
    ]
    by_seed = [
        *(replace(t, setting=s) for s in SETTINGS for t in chosen.values()),
        *sized,
    ]
    done = results(bench, [replace(t, seed=seed) for seed in range(seeds) for t in by_seed])

    def cells(trial: Trial) -> list[object]:
        found = [done[replace(trial, seed=seed).key] for seed in range(seeds)]
        return [f"{found[0]['texts']:,}", *(spread([row[s] for row in found]) for s in STEPS)]

    kinds = [
        [setting, arm, *cells(replace(trial, setting=setting))]
        for setting in SETTINGS
        for arm, trial in chosen.items()
    ]
    numbers = [[t.setting, KINDS[next(iter(t.texts))], *cells(t)] for t in sized]
    return [
        Table(
            ["training", "texts", "number", *STEPS], kinds, f"Kinds of texts, {SETS[bench.name]}."
        ),
        Table(
            ["training", "texts", "number", *STEPS],
            numbers,
            f"Number of texts, {SETS[bench.name]}, drawn at random (human ones label by label).",
        ),
    ]


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("write", "report"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and answers")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    tables: list[Table] = []
    for name in options.sets:
        if options.step == "write":
            write(name, options.data, options.work, encoder, count=options.texts)
            continue
        tables += audit_tables(name, options.work, encoder, count=options.texts)
        bench = open_bench(name, options.data, options.work, encoder, seeds=options.seeds)
        tables += map_tables(bench, seeds=options.seeds)
    if options.step == "write":
        return
    path = write_report(
        "captions" if set(options.sets) == set(SETS) else f"captions-{'-'.join(options.sets)}",
        title="Captions by a language model: audit and mAP",
        text=(
            "Captions by SmolLM2-135M-Instruct, the few-shot profile, temperature 0.9, balanced "
            f"combinations of 1 to 3 labels. Encoder {encoder.info.spec}; macro mAP in percent "
            f"on all labelled photos, mean ± deviation over {options.seeds} seeds (draw of texts "
            "and training; the model's captions were written once)."
        ),
        tables=tables,
    )
    print(path)


if __name__ == "__main__":
    main()
