"""Run the main job on an S3 server of this machine that fails in each way, and count what is lost.

    python -m benchmarks.object_store 420

The number is the most seconds that it takes; seeds are tried as long as there is time.
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import taistore
from benchmarks.report import Table, write_report
from taistore.adapter.config import Task
from taistore.errors import TaistoreError
from taistore.project import Project
from taistore.store.object_folder import ObjectFolder
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.faults.crash_jobs import NAMES, SPEC, SPLIT, make_given
from tests.faults.object_jobs import rows
from tests.faults.object_server import BUCKET, FAULTS, FaultProxy, Seeded, environment, s3_server

SECONDS = 420.0
SHARE = 0.06
MOST_FAULTS = 40
MOST_STARTS = 30
LONGEST_LINE = 300


@dataclass(kw_only=True, slots=True)
class Found:
    """What was counted under one kind of fault, over several seeds."""

    kind: str
    jobs: int = 0
    requests: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    reruns: int = 0
    lost: int = 0
    doubled: int = 0
    different: int = 0
    unsound: int = 0
    unclear: list[str] = field(default_factory=list)


def main_job(uri: str, given: Path, out: Path) -> None:
    """Labels to tags; what is there already is not done again."""
    project = taistore.create(uri, labels=list(NAMES[:6]), encoder=SPEC)
    project.generate_texts(60)
    project.ingest_texts(given / "captions.txt")
    project.ingest_images(given / "photos" / "all.jsonl", regions=2, split=SPLIT)
    project.ingest_image_vectors(given / "vectors.npy", name="own", split=SPLIT)
    settings: dict[Task, dict[str, Any]] = {"zsl": {}, "fsl": {"shots": 1}, "pll": {}}
    for task, given_settings in settings.items():
        runs = [run for run in project.runs() if run.task == task]
        if not runs:
            project.train(task, epochs=2, hidden=8, **given_settings)
        elif runs[-1].status != "finished":
            project.resume(runs[-1].run_id)
    if not [run for run in project.runs() if run.task == "ensemble"]:
        project.ensemble([run for run in project.runs() if run.task != "fsl"], split=SPLIT)
    project.centroids(split=SPLIT)
    if not out.exists():
        project.run().score(out=out)
    project.optimize(keep_days=0)


def disturbed(address: str, uri: str, given: Path, schedule: Seeded, found: Found) -> None:
    """Start the job behind a failing server until it ends well."""
    with FaultProxy(address, schedule) as proxy, tempfile.TemporaryDirectory() as made:
        os.environ["AWS_ENDPOINT_URL"] = proxy.address
        try:
            for _ in range(MOST_STARTS):
                try:
                    main_job(uri, given, Path(made) / "tags.csv")
                    break
                except Exception as error:
                    found.reruns += 1
                    line = str(error)
                    if not isinstance(error, TaistoreError) or len(line) > LONGEST_LINE:
                        found.unclear.append(f"{type(error).__name__}: {line[:LONGEST_LINE]}")
            else:
                found.unclear.append("the job never ended")
        finally:
            os.environ["AWS_ENDPOINT_URL"] = address


def weights(store: Store) -> list[str]:
    """Digests of the runs' weights, in the order of their tasks."""
    cards = []
    for run in sorted(store.runs(), key=lambda run: run.task):
        if run.task != "ensemble":
            project = Project(store, note=lambda line: None)
            card = json.loads((project.run(run.run_id).folder / "card.json").read_bytes())
            cards.append(f"{run.task} {card['weights_digest']}")
    return cards


def compare(uri: str, undisturbed: Store, found: Found) -> None:
    """Count how the rows of a store differ from those of the one that nothing disturbed."""
    store = Store.open(uri)
    here, there = rows(store), rows(undisturbed)
    for name in here.keys() | there.keys():
        lost = Counter(there.get(name, ())) - Counter(here.get(name, ()))
        more = Counter(here.get(name, ())) - Counter(there.get(name, ()))
        found.lost += lost.total()
        found.doubled += more.total()
    found.different += weights(store) != weights(undisturbed)
    verified = Project.verify(uri)
    found.unsound += not verified.sound


def measure(until: float) -> list[Found]:
    """Each kind of fault, and all together, with one seed after the other until then."""
    taistore.register_encoder(SPEC, ColourEncoder)
    kinds = {"all": FAULTS} | {fault: (fault,) for fault in FAULTS}
    found = {kind: Found(kind=kind) for kind in kinds}
    with s3_server() as address, tempfile.TemporaryDirectory() as made:
        os.environ.update(environment(address), TAISTORE_RUNS=str(Path(made) / "machine"))
        given = Path(made) / "given"
        make_given(given)
        whole = f"s3://{BUCKET}/undisturbed"
        main_job(whole, given, Path(made) / "tags.csv")
        undisturbed = Store.open(whole)
        for seed in range(1000):
            for kind, faults in kinds.items():
                began = time.monotonic()
                uri = f"s3://{BUCKET}/{kind}-{seed}"
                schedule = Seeded(seed, share=SHARE, most=MOST_FAULTS, faults=faults)
                one = found[kind]
                disturbed(address, uri, given, schedule, one)
                compare(uri, undisturbed, one)
                one.jobs += 1
                one.requests += schedule.requests
                one.faults = Counter(one.faults) + schedule.done
                place = ObjectFolder(uri)
                place.remove(list(place.sizes()))
                # As long again as this one took: the next may not end in time.
                if 2 * time.monotonic() - began > until:
                    return [each for each in found.values() if each.jobs]
    return list(found.values())


def main(seconds: float) -> None:
    """Run it and write the report, and a JSON file beside it."""
    began = time.monotonic()
    found = measure(began + seconds)
    counted = ("jobs", "requests", "injected", "starts that ended in a line", "rows lost",
               "rows too many", "other weights", "not sound", "unclear errors")  # fmt: skip
    columns = ("fault", *counted)
    counts = [
        [one.jobs, one.requests, sum(one.faults.values()), one.reruns, one.lost, one.doubled,
         one.different, one.unsound, len(one.unclear)]
        for one in found
    ]  # fmt: skip
    lines = [[one.kind, *row] for one, row in zip(found, counts, strict=True)]
    total = ["together", *(sum(column) for column in zip(*counts, strict=True))]
    by_kind = sum((Counter(one.faults) for one in found), Counter[str]())
    text = f"""
The main job (init, generate-texts, ingest-texts, ingest-images with regions, ingest-vectors, train
zsl, fsl and pll, ensemble, centroids, score, optimize) on moto's S3 server on loopback, behind a
proxy that fails {SHARE:.0%} of the requests by a seeded schedule, at most {MOST_FAULTS} a job:
errors 500 and 503, a connection that breaks before the request is done (reset) or after (lost), a
body that ends early (cut) or comes in drops (slow). A job that ends in a line is started again.
Afterwards all rows of all tables and the weights of all runs are held against those of a job that
nothing disturbed, and `verify` reads the store. Injected:
{", ".join(f"{kind} {count}" for kind, count in sorted(by_kind.items()))}."""
    tables = [Table(columns, [*lines, total])]
    path = write_report("faults_object-store", title="Object stores", tables=tables, text=text)
    values = {
        "seconds": round(time.monotonic() - began, 1),
        # Of a Counter asdict would count the pairs.
        "kinds": [
            dataclasses.asdict(dataclasses.replace(one, faults={**one.faults})) for one in found
        ],
    }
    path.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print(path.name)
    for one in found:
        for line in one.unclear:
            print(f"{one.kind}: {line}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
