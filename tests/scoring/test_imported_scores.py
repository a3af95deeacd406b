"""Another system's scores: integrated by both rules, exported, imported, refused."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

import taistore
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_files.run_removal import remove_runs
from taistore.errors import ScoringError
from taistore.evaluation.comparison import compare
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.labelled_scores import Scope, labelled_split
from taistore.evaluation.metrics import metrics
from taistore.images.sources.open_source import open_source
from taistore.project import Project
from taistore.scoring.ensembles.ensemble import load_ensemble
from taistore.scoring.ensembles.imported_scores import IDS, SCORES
from taistore.scoring.ensembles.make_ensemble import EnsembleSummary
from taistore.scoring.ladders.ladder import ZERO_SHOT_STEPS
from taistore.scoring.loaded_run import open_run
from taistore.scoring.matrices import export_scores as export_module
from taistore.scoring.matrices import score_file as file_module
from taistore.scoring.run_findings import run_findings
from taistore.scoring.score import score
from taistore.scoring.stored_images import stored_batches
from taistore.scoring.tagging import tag_images
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import NAMES, PICTURES, add_pictures, add_run, new_store, run_path

IMAGES = len(PICTURES)
KEYS = [name.upper() for name in NAMES]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Pictures of a test and of a train split, and two runs that differ."""
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder, grid=2)
    add_pictures(store, encoder, grid=2, first=100, split="train")
    torch.manual_seed(5)
    add_run(store, encoder, run_id="first")
    add_run(store, encoder, run_id="second", network="paper")
    return store


@pytest.fixture
def project(store: Store) -> Project:
    return taistore.open(store.uri, device="cpu")


def images(store: Store, split: str = "test") -> tuple[list[str], list[str]]:
    """Ids and paths, in the order of the table."""
    (batch,) = store.scan("images", columns=["image_id", "uri"], where={"split": split})
    ids, uris = (list(map(str, batch.column(n).to_pylist())) for n in range(2))
    return ids, uris


def others(seed: int = 0) -> NDArray[np.float32]:
    """Scores of a system that taistore knows nothing of."""
    return (30 * np.random.default_rng(seed).standard_normal((IMAGES, len(KEYS)))).astype("f4")


def write_parquet(path: Path, ids: list[str], scores: NDArray[Any], **changes: Any) -> Path:
    keys = changes.get("keys", KEYS)
    columns = [pa.array(ids), *(pa.array(column) for column in scores.T)]
    named = [changes.get("named", "image_id"), *keys]
    pq.write_table(pa.Table.from_arrays(columns, names=named), path, row_group_size=5)
    return path


def write_npy(path: Path, ids: list[str], scores: NDArray[Any], keys: list[str] = KEYS) -> Path:
    np.save(path, scores)
    path.with_suffix(".ids.txt").write_text("".join(f"{i}\n" for i in ids))
    path.with_suffix(".labels.txt").write_text("".join(f"{key}\n" for key in keys))
    return path


def logits(store: Store, run_id: str, *, regions: bool) -> NDArray[np.float64]:
    """The adapter's logits of the test images; with regions the mean with their maximum."""
    adapter = load_adapter(run_path(store, run_id))
    (batch,) = stored_batches(
        store, store.run(run_id).encoder_id, columns=(), regions=True, where={"split": "test"}
    )
    whole = adapter.logits(torch.from_numpy(batch.whole_BD.astype("f4"))).numpy()
    found: NDArray[np.float64] = whole.astype(np.float64)
    if regions:
        cells = torch.from_numpy(np.asarray(batch.regions_BRD, "f4"))
        found = (found + np.stack([adapter.logits(c).numpy().max(axis=0) for c in cells])) / 2
    return found


def of_ensemble(store: Store, run_id: str) -> dict[str, NDArray[np.float32]]:
    """Its scores of the test images, by the way that evaluations go."""
    (batch,) = labelled_split(store, run_id, Scope(split="test")).batches()
    return {str(step): scores for step, scores in batch.scores.items()}


def papers_rule(probabilities: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Suppl. 8 of arXiv:2312.04160: scale to the interval from 0 to 1, and average."""
    scaled = (other - other.min()) / (other.max() - other.min())
    average: NDArray[Any] = (probabilities + scaled) / 2
    return average


@pytest.mark.parametrize("network", ["first", "second"])
def test_the_papers_rule_is_exact(
    store: Store, project: Project, tmp_path: Path, network: str
) -> None:
    ids, _ = images(store)
    other = others()
    made = project.ensemble(
        [network], scores=write_parquet(tmp_path / "s.parquet", ids, other), rule="paper"
    )
    found = of_ensemble(store, made.run_id)
    assert list(found) == [*ZERO_SHOT_STEPS, "adapter_global", "adapter"]
    for step, regions in (("adapter_global", False), ("adapter", True)):
        probabilities = 1 / (1 + np.exp(-logits(store, network, regions=regions)))
        expected = papers_rule(probabilities, other.astype(np.float64))
        np.testing.assert_allclose(found[step], expected, atol=1e-6)
    truth = np.array([[name in colours for name in NAMES] for colours in PICTURES], np.int8)
    ladder = evaluate(store, made.run_id).ladder
    for step in ("adapter_global", "adapter"):
        figures = metrics(found[step], truth)
        assert ladder[step].mean_average_precision == figures.mean_average_precision


def test_the_papers_rule_scales_another_run_over_the_test_split(
    store: Store, project: Project
) -> None:
    made = project.ensemble(["first", "second"], rule="paper")
    assert made.split == "test"
    shares = of_ensemble(store, "second")["adapter_global"].astype(np.float64)
    probabilities = 1 / (1 + np.exp(-logits(store, "first", regions=False)))
    found = of_ensemble(store, made.run_id)["adapter_global"]
    np.testing.assert_allclose(found, papers_rule(probabilities, shares), atol=1e-6)


def test_our_rule_scales_all_of_them(store: Store, project: Project, tmp_path: Path) -> None:
    ids, _ = images(store)
    other = others()
    path = write_parquet(tmp_path / "s.parquet", ids, other)
    made = project.ensemble(["first", "second"], scores=path, weights=[1, 2, 5])
    parts = [of_ensemble(store, run_id) for run_id in ("first", "second")]
    found = of_ensemble(store, made.run_id)
    for step in ("adapter_global", "adapter", "ensemble"):
        matrices = [*(part[step] for part in parts), other]
        scaled = [(m - m.min()) / (m.max() - m.min()) for m in matrices]
        expected = scaled[0] / 8 + scaled[1] / 4 + 5 * scaled[2] / 8
        np.testing.assert_allclose(found[step], expected, atol=1e-5)


def test_the_card_and_the_run_say_what_was_averaged(
    store: Store, project: Project, tmp_path: Path
) -> None:
    ids, _ = images(store)
    other = others()
    path = write_parquet(tmp_path / "dualcoop.parquet", ids, other)
    made = project.ensemble(["first"], scores=path, rule="paper", weights=[1, 9])
    card = load_ensemble(made.checkpoint)
    assert card.rule_name == "paper"
    assert card.rule.startswith("Supplementary 8 of arXiv:2312.04160: the first member's")
    assert card.members[0].weight == pytest.approx(0.1)
    assert card.members[0].whole["adapter_global"] == (0, 1)
    imported = card.imported
    assert imported is not None
    assert (imported.source, imported.images, card.split) == ("dualcoop.parquet", IMAGES, "test")
    assert (imported.low, imported.high) == (other.min(), other.max())
    assert imported.weight == pytest.approx(0.9)
    config = store.run(made.run_id).config
    assert (config["rule"], config["members"], config["scores"]) == (
        "paper",
        ["first"],
        "dualcoop.parquet",
    )
    path.unlink()
    assert of_ensemble(store, made.run_id)


@pytest.mark.parametrize("layout", ["parquet", "npy", "npy of doubles", "fortran", "integers"])
@pytest.mark.parametrize("named", ["image_id", "uri"])
def test_every_layout_comes_to_the_same(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    named: str,
) -> None:
    """Rows and columns in any order, with rows of another split, read a few at a time."""
    monkeypatch.setattr(file_module, "BLOCK_CELLS", 20)
    project = taistore.open(store.uri, device="cpu")
    names = images(store)[named == "uri"] + images(store, "train")[named == "uri"]
    other = np.concatenate([others(), 100 + others(1)])
    if layout == "integers":
        other = np.round(other)
    random = np.random.default_rng(3)
    rows, columns = random.permutation(2 * IMAGES), random.permutation(len(KEYS))
    shuffled = other[rows][:, columns]
    ids, keys = [names[row] for row in rows], [KEYS[column] for column in columns]
    if layout == "parquet":
        path = write_parquet(tmp_path / "s.parquet", ids, shuffled, keys=keys, named=named)
    else:
        kinds = {"npy of doubles": np.float64, "integers": np.int16}
        kept = shuffled.astype(kinds.get(layout, np.float32))
        kept = np.asfortranarray(kept) if layout == "fortran" else kept
        path = write_npy(tmp_path / "s.npy", ids, kept, keys)
    made = project.ensemble(["first"], scores=path, rule="paper")
    probabilities = 1 / (1 + np.exp(-logits(store, "first", regions=False)))
    expected = papers_rule(probabilities, other[:IMAGES].astype(np.float64))
    found = of_ensemble(store, made.run_id)["adapter_global"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("suffix", ["parquet", "npy"])
def test_what_is_exported_is_the_steps_matrix_and_comes_back(
    store: Store,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    monkeypatch.setattr(export_module, "GROUP_CELLS", 30)
    out = tmp_path / f"scores.{suffix}"
    found = project.run("second").export_scores(out, step="adapter")
    assert (found.images, found.labels, found.step) == (IMAGES, len(KEYS), "adapter")
    expected = of_ensemble(store, "second")["adapter"]
    ids, uris = images(store)
    if suffix == "parquet":
        table = pq.read_table(out)
        assert table.column_names == ["image_id", "uri", *KEYS]
        assert table.column("image_id").to_pylist() == ids
        assert table.column("uri").to_pylist() == uris
        matrix = np.stack([table.column(key).to_numpy() for key in KEYS], axis=1)
    else:
        matrix = np.load(out, allow_pickle=False)
        assert matrix.dtype == np.float32
        assert (tmp_path / "scores.ids.txt").read_text().split() == ids
        assert (tmp_path / "scores.labels.txt").read_text().split() == KEYS
    np.testing.assert_array_equal(matrix, expected)
    assert not list(tmp_path.glob("*.part"))
    by_file = project.ensemble(["first"], scores=out, rule="paper")
    by_run = project.ensemble(["first", "second"], rule="paper")
    np.testing.assert_allclose(
        of_ensemble(store, by_file.run_id)["adapter"],
        of_ensemble(store, by_run.run_id)["adapter"],
        atol=1e-6,
    )


def test_an_export_stays_whole_and_is_not_replaced_unasked(
    store: Store, project: Project, tmp_path: Path
) -> None:
    run = project.run("first")
    out = tmp_path / "s.npy"
    run.export_scores(out)
    before = out.read_bytes()
    with pytest.raises(ScoringError, match=r"s\.npy: is there already: name another file"):
        run.export_scores(out, step="zero_shot")
    assert out.read_bytes() == before
    run.export_scores(out, step="zero_shot", overwrite=True)
    assert out.read_bytes() != before
    with pytest.raises(ScoringError, match="no image of split 'none' has a vector"):
        run.export_scores(tmp_path / "none.parquet", split="none")
    with pytest.raises(ScoringError, match=r"end its name in \.parquet or \.npy"):
        run.export_scores(tmp_path / "s.csv")
    with pytest.raises(ScoringError, match="cannot be written"):
        run.export_scores(tmp_path / "nowhere" / "s.npy")
    names = {path.name for path in tmp_path.iterdir()} - {"store"}
    assert names == {"s.npy", "s.ids.txt", "s.labels.txt"}


def integrated(project: Project, tmp_path: Path) -> EnsembleSummary:
    ids, _ = images(project.store)
    path = write_parquet(tmp_path / "dualcoop.parquet", ids, others())
    return project.ensemble(["first"], scores=path, rule="paper")


def test_it_is_evaluated_compared_and_tags_the_images_of_its_split(
    store: Store, project: Project, tmp_path: Path
) -> None:
    made = integrated(project, tmp_path)
    run = project.run(made.run_id)
    assert run.evaluate(bootstrap=100).images == IMAGES
    found = compare(store, ("first", made.run_id), samples=100)
    assert found.top == "adapter"
    assert found.images == IMAGES
    out = tmp_path / "tags.jsonl"
    assert run.score(out=out, known="ignore", top_k=6).images == IMAGES
    ids, _ = images(store)
    values = of_ensemble(store, made.run_id)["adapter"]
    for line in out.read_text().splitlines():
        tag = json.loads(line)
        score = values[ids.index(tag["image_id"]), KEYS.index(tag["label_key"])]
        assert tag["score"] == pytest.approx(score, abs=1e-6)
    assert run.tags(known="ignore").height > 0


def test_other_photos_cannot_be_scored(store: Store, project: Project, tmp_path: Path) -> None:
    made = integrated(project, tmp_path)
    run, encoder = open_run(store, made.run_id), ColourEncoder()
    photos = tmp_path / "photos"
    photos.mkdir()
    colour_image("red").save(photos / "new.png")
    with pytest.raises(ScoringError, match="which photos have not: tag them with a member of it"):
        tag_images(run, encoder, [photos / "new.png"])
    source = open_source(photos, store.labels)
    with pytest.raises(ScoringError, match=r"1 image \('.*'\) without imported scores") as caught:
        score(store, made.run_id, source, tmp_path / "tags.jsonl", encoder=encoder, regions=2)
    assert "\n" not in str(caught.value)
    with pytest.raises(ScoringError, match=r"12 images \(.*, …\) without imported scores"):
        evaluate(store, made.run_id, split="train")
    (batch, *_) = stored_batches(store, run.encoder_id, columns=(), regions=False)
    with pytest.raises(ScoringError, match=r"averages the scores in dualcoop\.parquet"):
        run.ladder.scores(batch.whole_BD)


def test_it_is_no_member_of_another(project: Project, tmp_path: Path) -> None:
    made = integrated(project, tmp_path)
    with pytest.raises(ScoringError, match="which is no member of another: name its members"):
        project.ensemble(["second", made.run_id])
    plain = project.ensemble(["first", "second"])
    with pytest.raises(ScoringError, match="is no adapter, and the paper's rule begins with one"):
        project.ensemble([plain.run_id, "first"], rule="paper")


def test_it_is_whole_and_goes_whole(store: Store, project: Project, tmp_path: Path) -> None:
    made = integrated(project, tmp_path)
    files = {path.name for path in made.checkpoint.iterdir()}
    assert files >= {"card.json", SCORES, IDS}
    assert np.load(made.checkpoint / SCORES, allow_pickle=False).shape == (IMAGES, len(KEYS))
    assert not list(run_findings(store))
    kept = (made.checkpoint / SCORES).read_bytes()
    for name in (SCORES, IDS):
        path = made.checkpoint / name
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(ScoringError, match="not what the ensemble's card says: make the"):
            open_run(store, made.run_id)
        assert [finding.code for finding in run_findings(store)] == ["damaged-run"]
        path.write_bytes(before)
    (made.checkpoint / IDS).unlink()
    with pytest.raises(ScoringError, match="cannot be read"):
        open_run(store, made.run_id)
    (removed,) = remove_runs(store, [made.run_id])
    assert removed.bytes_freed > len(kept)
    assert not made.checkpoint.exists()


class StoppedError(BaseException):
    """Not an Exception, as a signal's is not."""


def test_an_import_that_ends_early_leaves_nothing(
    store: Store, project: Project, tmp_path: Path
) -> None:
    class Bar:
        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def advance(self, amount: int = 1, **figures: float) -> None:
            raise StoppedError

    ids, _ = images(store)
    path = write_parquet(tmp_path / "s.parquet", ids, others())
    plain = project.progress

    def progress(description: str, *, total: int | None, unit: str) -> Any:
        return (
            Bar() if description == "import scores" else plain(description, total=total, unit=unit)
        )

    project.progress = progress
    before = {p.name for p in (Path(store.uri) / "runs").iterdir()}
    with pytest.raises(StoppedError):
        project.ensemble(["first"], scores=path)
    bad = others()
    bad[-1, 2] = np.nan
    project.progress = plain
    with pytest.raises(ScoringError, match="1 scores are no finite number"):
        project.ensemble(["first"], scores=write_parquet(path, ids, bad))
    assert {p.name for p in (Path(store.uri) / "runs").iterdir()} == before
    assert len(store.runs()) == 2


def test_what_cannot_be_kept_is_one_line_and_leaves_no_scores(
    store: Store, project: Project, tmp_path: Path
) -> None:
    path = write_parquet(tmp_path / "s.parquet", images(store)[0], others())
    (tmp_path / "out" / IDS).mkdir(parents=True)
    with pytest.raises(ScoringError, match=r"out: the scores cannot be kept \(Is a directory\)"):
        project.ensemble(["first"], scores=path, out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [IDS]
    assert len(store.runs()) == 2


def _parquet(tmp_path: Path, ids: list[str], scores: NDArray[Any], **changes: Any) -> Path:
    return write_parquet(tmp_path / "s.parquet", ids, scores, **changes)


IMPORT = """
import sys
from pathlib import Path
import numpy as np
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.labels import Label, LabelSet
from taistore.scoring.ensembles.imported_scores import keep_scores
from taistore.scoring.matrices import score_file
from taistore.scoring.matrices.score_file import open_scores

score_file.BLOCK_CELLS = 2**20
path, folder, labels = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
before = peak_bytes()
file = open_scores(path, LabelSet(Label(f"l{n}", f"l{n}") for n in range(labels)))
part = keep_scores(file, np.array(file.ids, "S32"), folder, weight=0.5)
print(peak_bytes() - before, part.images)
"""


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_a_large_matrix_comes_in_by_blocks(tmp_path: Path, suffix: str) -> None:
    """120 MB of scores, of which a block of 4 MB and a row group of 5 MB are held at a time."""
    labels, images, group = 500, 60_000, 2_500
    keys, ids = [f"l{n}" for n in range(labels)], [f"{n:032x}" for n in range(images)]
    path = tmp_path / f"s.{suffix}"
    if suffix == "npy":
        write_npy(path, ids, np.empty((0, 0)), keys)
        matrix: NDArray[Any] = np.lib.format.open_memmap(path, "w+", np.float32, (images, labels))
        matrix[:, 0] = np.arange(images)
        del matrix
    else:
        fields: list[tuple[str, pa.DataType]] = [("image_id", pa.string())]
        schema = pa.schema([*fields, *((key, pa.float32()) for key in keys)])
        zeros = pa.array(np.zeros(group, np.float32))
        with pq.ParquetWriter(path, schema) as writer:
            for low in range(0, images, group):
                columns: list[pa.Array[Any]] = [pa.array(ids[low : low + group])]
                columns += [zeros] * labels
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    (tmp_path / "run").mkdir()
    job = [sys.executable, "-c", IMPORT, str(path), str(tmp_path / "run"), str(labels)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(job, env=env, capture_output=True, text=True, check=True)
    peak, kept = map(int, done.stdout.split())
    assert kept == images
    assert (tmp_path / "run" / SCORES).stat().st_size > 4 * labels * images
    assert peak < 90 * 2**20


REFUSED: dict[str, tuple[Any, str]] = {
    "label missing": (
        lambda t, i: _parquet(t, i, others()[:, 1:], keys=KEYS[1:]),
        r"1 label \('RED'\) missing: write a column for each of the 6 labels",
    ),
    "labels unknown": (
        lambda t, i: _parquet(t, i, np.tile(others(), 2), keys=[*KEYS, *map(str, range(6))]),
        r"6 labels \('0', '1', '2', …\) that the store has not",
    ),
    "label doubled": (
        lambda t, i: _parquet(t, i, np.tile(others(), 2)[:, :7], keys=[*KEYS, "RED"]),
        r"1 label \('RED'\) there more than once",
    ),
    "no id column": (
        lambda t, i: _parquet(t, i, others(), named="photo"),
        "no column image_id or uri",
    ),
    "words for scores": (
        lambda t, i: _parquet(t, i, others().astype(str)),
        r"6 columns \('RED', 'GREEN', 'BLUE', …\) without numbers",
    ),
    "image missing": (
        lambda t, i: _parquet(t, i[2:], others()[2:]),
        r"2 images \('/photos/0000 red.png', '/photos/0001 green.png'\) of split 'test' without",
    ),
    "image unknown": (
        lambda t, i: _parquet(t, [*i, "f" * 32], np.tile(others(), (2, 1))[: IMAGES + 1]),
        rf"1 image \('{'f' * 32}'\) not in the store",
    ),
    "image doubled": (
        lambda t, i: _parquet(t, [*i, i[0]], np.tile(others(), (2, 1))[: IMAGES + 1]),
        "1 image .* there more than once",
    ),
    "image doubled by its path": (
        lambda t, i: _parquet(
            t, [*i, "/photos/0003 yellow.png"], np.tile(others(), (2, 1))[: IMAGES + 1]
        ),
        "1 image .*there more than once: give each image of the store one row",
    ),
    "not finite": (
        lambda t, i: _parquet(t, i, np.where(others() > 20, np.inf, others())),
        r"\d+ scores are no finite number \(first: image '[0-9a-f]{32}'\)",
    ),
    "too large for float32": (
        lambda t, i: _parquet(t, i, 1e300 * others().astype(np.float64)),
        "72 scores are no finite number",
    ),
    "empty": (lambda t, i: _parquet(t, [], others()[:0]), "12 images"),
    "not there": (lambda t, i: t / "gone.parquet", r"gone\.parquet: cannot be read"),
    "no parquet": (lambda t, i: _text(t / "s.parquet"), r"s\.parquet: cannot be read"),
    "no npy": (lambda t, i: _text(t / "s.npy"), r"s\.npy: cannot be read"),
    "another file": (lambda t, i: _text(t / "s.csv"), r"give scores as a \.parquet or a \.npy"),
    "pickled": (lambda t, i: _pickled(t / "s.npy"), r"s\.npy: cannot be read .*pickle"),
    "cube": (lambda t, i: write_npy(t / "s.npy", i, others()[None]), "give numbers"),
    "strings": (lambda t, i: write_npy(t / "s.npy", i, others().astype("U8")), "give numbers"),
    "ids short": (
        lambda t, i: write_npy(t / "s.npy", i[1:], others()),
        r"s\.ids\.txt: 11 lines for the 12 rows of s\.npy",
    ),
    "keys short": (
        lambda t, i: write_npy(t / "s.npy", i, others(), KEYS[1:]),
        r"s\.labels\.txt: 5 lines for the 6 columns",
    ),
    "no ids": (lambda t, i: _npy_alone(t / "s.npy"), r"s\.ids\.txt: cannot be read"),
}


def _text(path: Path) -> Path:
    path.write_text("scores")
    return path


def _pickled(path: Path) -> Path:
    with path.open("wb") as file:
        pickle.dump({"scores": 1}, file)
    return path


def _npy_alone(path: Path) -> Path:
    np.save(path, others())
    return path


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_does_not_fit_is_one_line(
    store: Store, project: Project, tmp_path: Path, wrong: str
) -> None:
    made, message = REFUSED[wrong]
    with pytest.raises(ScoringError, match=message) as caught:
        project.ensemble(["first"], scores=made(tmp_path, images(store)[0]))
    assert "\n" not in str(caught.value)
    assert len(store.runs()) == 2


def test_parts_that_do_not_go_together_are_refused(
    store: Store, project: Project, tmp_path: Path
) -> None:
    path = write_parquet(tmp_path / "s.parquet", images(store)[0], others())
    with pytest.raises(ScoringError, match="name two runs or more, or one and scores="):
        project.ensemble(["first"])
    with pytest.raises(ScoringError, match="1 weights for 1 runs and the scores"):
        project.ensemble(["first"], scores=path, weights=[1])
    with pytest.raises(ScoringError, match=r"go with a \.npy file"):
        project.ensemble(["first"], scores=path, ids=path)
    with pytest.raises(ScoringError, match="belong to scores="):
        project.ensemble(["first", "second"], ids=path)
