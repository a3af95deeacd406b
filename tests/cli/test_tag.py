"""The main job as one command: it does what its steps do, once, and goes on where it was."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result

import taistore
from taistore.adapter.run_files.file_names import CARD, STATE, WEIGHTS
from taistore.encoders.protocol import Float32
from taistore.jobs.fitting_run import fitting_run
from taistore.project import Project
from taistore.run import Run
from taistore_cli.demo_photos import demo_labels, write_demo_photos
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.killing import ROOT, run_and_kill
from tests.quiet_bar import QuietBar

NAMES = list(COLOURS)


class CountingEncoder(ColourEncoder):
    """Counts texts as well as photos."""

    texts = 0

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """As that of the colours."""
        self.texts += len(texts)
        return super().encode_texts(texts)


class Loads:
    """The encoder ``colours``, which is made anew each time that it is loaded."""

    def __init__(self) -> None:
        self.made: list[CountingEncoder] = []

    def __call__(self) -> CountingEncoder:
        self.made.append(CountingEncoder())
        return self.made[-1]

    def since(self, loads: int) -> tuple[int, int, int]:
        """Loads, photos and texts encoded, from a number of loads on."""
        made = self.made[loads:]
        return len(made), sum(one.encoded for one in made), sum(one.texts for one in made)


@pytest.fixture
def colours() -> Loads:
    loads = Loads()
    taistore.register_encoder("colours", loads)
    return loads


def photo(folder: Path, number: int) -> Path:
    """A picture of two colours; each number shows others, in another size."""
    pair = NAMES[number % 12], NAMES[(number * 5 + 1 + number // 12) % 12]
    path = folder / f"{number:03d}.png"
    colour_image(*pair, size=(40 + number % 7, 30 + number // 7)).save(path)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``photos/``, 24 of them, and ``labels.txt``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(24):
        photo(tmp_path / "photos", number)
    (tmp_path / "labels.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return tmp_path


def invoked(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def tagged(*arguments: str | Path) -> dict[str, Any]:
    """What ``taistore tag photos/`` says it did."""
    given = ("tag", "photos", "--labels", "labels.txt", *arguments, "--json")
    value: dict[str, Any] = json.loads(invoked(*given).stdout)
    return value


def rows(path: str | Path) -> list[dict[str, Any]]:
    """All tags, whatever the order of the photos."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return sorted(found, key=lambda row: (row["uri"], row["rank"]))


def counts(path: str | Path = "taistore-store") -> dict[str, int]:
    """Rows of every table of a store."""
    store = taistore.open(path).store
    counted = {}
    for name in store.table_names():
        kind, _, encoder_id = name.partition("__")
        counted[name] = store.count(kind, encoder_id or None)
    return counted


def test_real_photos_to_tags_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo_photos(tmp_path, pairs=4, fours=2)
    Path("labels.txt").write_text("\n".join(demo_labels()), encoding="utf-8")
    given = ("--encoder", "packaged:lite0@224", "--top-k", "1", "--out", "tags.csv")
    done = invoked("tag", "photos", "--labels", "labels.txt", *given)
    assert done.stdout.splitlines()[-1] == "tags.html"
    assert "14 photos: 14 encoded, 0 rejected" in done.stdout
    with Path("tags.csv").open(newline="", encoding="utf-8") as lines:
        best = {Path(row["uri"]).stem[3:]: row["label_key"] for row in csv.DictReader(lines)}
    assert len(best) == 14
    assert (best["chelsea"], best["motorcycle_left"]) == ("cat", "motorcycle")
    assert Path("tags.html").read_text(encoding="utf-8").count("data:image/jpeg;base64,") >= 14


def test_it_does_what_its_steps_do(here: Path, colours: Loads) -> None:
    told = tagged("--encoder", "colours")
    at = ("--store", here / "steps")
    invoked("init", "labels.txt", "--encoder", "colours", *at)
    invoked("ingest-images", "photos", *at)
    invoked("generate-texts", *at)
    invoked("train", "--task", "zsl", *at)
    invoked("score", "latest", "--out", "steps.jsonl", *at)
    # Paths as they were given, and as the store has them.
    given = [{**row, "uri": str(here / row["uri"])} for row in rows("tags.jsonl")]
    assert given == rows("steps.jsonl")
    assert counts() == counts(here / "steps")
    files = [
        taistore.open(store).run().folder / "adapter.safetensors"
        for store in ("taistore-store", here / "steps")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert told["images"]["encoded"] == 24
    assert told["tags"]["with_regions"] == 24
    assert told["trained"]


def test_again_nothing_is_done_twice(here: Path, colours: Loads) -> None:
    first = tagged("--encoder", "colours")
    assert colours.since(0)[:2] == (1, 24)
    before, tags = counts(), rows("tags.jsonl")
    written = [Path(name).stat().st_mtime_ns for name in ("tags.jsonl", "tags.html")]
    again = tagged()
    assert colours.since(1) == (0, 0, 0)
    assert counts() == before
    assert before["runs"] == 1
    assert rows("tags.jsonl") == tags
    assert written == [Path(name).stat().st_mtime_ns for name in ("tags.jsonl", "tags.html")]
    assert (again["run_id"], again["trained"]) == (first["run_id"], False)
    assert (again["images"]["encoded"], again["texts_written"], again["tags"]) == (0, 0, None)


@pytest.mark.parametrize("what", ["tags gone", "tags changed", "page gone", "run gone", "texts"])
def test_tags_that_are_not_those_any_more_are_written_again(
    here: Path, colours: Loads, what: str
) -> None:
    first = tagged("--encoder", "colours")
    before = rows("tags.jsonl")
    tags, page, project = Path("tags.jsonl"), Path("tags.html"), taistore.open()
    match what:
        case "tags gone":
            tags.unlink()
        case "tags changed":
            tags.write_text("".join(tags.read_text(encoding="utf-8").splitlines(True)[1:]))
        case "page gone":
            page.unlink()
        case "run gone":
            project.remove_runs([first["run_id"]])
        case "texts":
            project.generate_texts(300)
    again = tagged()
    assert again["tags"]["images"] == 24
    assert page.is_file()
    assert {row["uri"] for row in rows("tags.jsonl")} == {row["uri"] for row in before}
    if what != "texts":
        assert rows("tags.jsonl") == before
        assert again["trained"] == (what == "run gone")
    assert colours.since(2)[1] == 0
    assert tagged()["tags"] is None


def test_optimize_gives_nothing_to_learn(here: Path, colours: Loads) -> None:
    for count in (100, 150, 200):
        tagged("--encoder", "colours")
        taistore.open().generate_texts(count)
    taistore.open().generate_texts(300)
    first, before = tagged(), rows("tags.jsonl")
    texts = taistore.open().store.dataset("texts").version
    taistore.open().optimize()
    assert taistore.open().store.dataset("texts").version > texts
    again = tagged()
    assert (again["run_id"], again["trained"]) == (first["run_id"], False)
    assert rows("tags.jsonl") == before
    taistore.open().generate_texts(350)
    assert tagged()["trained"]


def test_an_evaluation_leaves_tags_as_they_are(here: Path, colours: Loads) -> None:
    manifest = here / "photos.jsonl"
    known = ((f"photos/{n:03d}.png", NAMES[n % 12]) for n in range(24))
    lines = [{"image": path, "positives": [name], "split": "test"} for path, name in known]
    manifest.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    given = ("tag", manifest, "--labels", "labels.txt", "--encoder", "colours", "--json")
    invoked(*given)
    invoked("evaluate", "latest")
    assert json.loads(invoked(*given).stdout)["tags"] is None


def test_a_photo_that_is_gone_has_no_tags(here: Path, colours: Loads) -> None:
    tagged("--encoder", "colours")
    (here / "photos" / "005.png").unlink()
    again = tagged()
    assert again["tags"]["images"] == 23
    assert not any(row["uri"].endswith("005.png") for row in rows("tags.jsonl"))
    assert counts()["images"] == 24


def test_other_settings_are_other_tags(here: Path, colours: Loads) -> None:
    first = tagged("--encoder", "colours")
    one = tagged("--top-k", "1")
    assert (one["run_id"], one["trained"]) == (first["run_id"], False)
    assert one["tags"]["tags"] == 24
    assert tagged("--top-k", "1")["tags"] is None
    assert tagged()["tags"]["tags"] == first["tags"]["tags"]


def test_a_new_photo_is_the_only_one_that_is_encoded(here: Path, colours: Loads) -> None:
    first = tagged("--encoder", "colours")
    before = rows("tags.jsonl")
    new = photo(here / "photos", 24)
    again = tagged()
    assert colours.since(1) == (1, 1, 0)
    assert (again["run_id"], again["trained"]) == (first["run_id"], False)
    after = rows("tags.jsonl")
    name = f"photos/{new.name}"
    assert [row for row in after if row["uri"] != name] == before
    assert {row["uri"] for row in after} == {row["uri"] for row in before} | {name}


def test_where_photos_count_a_new_one_is_learnt_from(here: Path, colours: Loads) -> None:
    for number in range(24, 204):
        photo(here / "photos", number)
    first = tagged("--encoder", "colours")
    Path("tags.html").unlink()
    again = tagged()
    assert (again["run_id"], again["trained"]) == (first["run_id"], False)
    photo(here / "photos", 204)
    more = tagged()
    assert more["trained"]
    assert more["run_id"] != first["run_id"]
    assert more["texts_written"] == 0
    assert colours.since(1) == (1, 1, 0)


def test_only_the_photos_that_are_named_are_tagged(here: Path, colours: Loads) -> None:
    tagged("--encoder", "colours")
    (here / "few").mkdir()
    copy = here / "few" / "copy.png"
    copy.write_bytes((here / "photos" / "003.png").read_bytes())
    new = photo(here / "few", 30)
    done = invoked("tag", "few", "--labels", "labels.txt", "--out", "few.jsonl", "--json")
    assert json.loads(done.stdout)["tags"]["images"] == 2
    assert {row["uri"] for row in rows("few.jsonl")} == {f"few/{copy.name}", f"few/{new.name}"}
    assert colours.since(1)[:2] == (1, 1)


def test_what_cannot_be_read_is_set_aside(here: Path, colours: Loads) -> None:
    (here / "photos" / "broken.jpg").write_bytes(b"no photo")
    done = invoked("tag", "photos", "--labels", "labels.txt", "--encoder", "colours")
    assert "25 photos: 24 encoded, 1 rejected (taistore show --rejects)" in done.stdout
    assert len({row["uri"] for row in rows("tags.jsonl")}) == 24


def test_a_photo_that_can_no_longer_be_read_has_no_tags(here: Path, colours: Loads) -> None:
    tagged("--encoder", "colours")
    bad = here / "photos" / "003.png"
    whole = bad.read_bytes()
    bad.write_bytes(b"no photo")
    again = tagged()
    assert (again["images"]["rejected"], again["tags"]["images"]) == (1, 23)
    assert f"photos/{bad.name}" not in {row["uri"] for row in rows("tags.jsonl")}
    assert tagged()["tags"] is None
    bad.write_bytes(whole)
    assert tagged()["tags"]["images"] == 24


class Meanwhile(QuietBar):
    """Progress bars; in the middle of the first training something else happens, once."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = [happens]
        self._training = False

    def __call__(self, description: str, *, total: int | None, unit: str) -> Self:
        """The next bar."""
        self._training = description == "train"
        return self

    def advance(self, amount: int = 1, **figures: float) -> None:
        """It happens after the first steps."""
        if self._training and self._happens:
            self._happens.pop()()


def interrupt() -> None:
    """Somebody presses Ctrl-C."""
    raise KeyboardInterrupt


@pytest.fixture
def stopped(here: Path, colours: Loads) -> Run:
    """A run that was interrupted, of a job whose tags would have been those of ``calm.jsonl``."""
    tagged("--encoder", "colours", "--store", "calm", "--out", "calm.jsonl")
    with pytest.raises(KeyboardInterrupt):
        taistore.tag(
            "photos", labels="labels.txt", encoder="colours", progress=Meanwhile(interrupt)
        )
    (run,) = taistore.open().runs()
    assert run.status == "stopped"
    return run


def test_a_training_that_was_stopped_is_brought_to_its_end(stopped: Run) -> None:
    told = tagged()
    assert (told["run_id"], told["trained"]) == (stopped.run_id, True)
    assert rows("tags.jsonl") == rows("calm.jsonl")
    assert counts() == counts("calm")


def test_a_stopped_training_that_is_damaged_is_left(stopped: Run) -> None:
    (stopped.folder / STATE).write_bytes(b"damaged")
    done = invoked("tag", "photos", "--labels", "labels.txt")
    assert f"note: run {stopped.run_id} is left as it is: " in done.stderr
    assert rows("tags.jsonl") == rows("calm.jsonl")
    assert [run.status for run in taistore.open().runs()] == ["stopped", "finished"]


def test_what_comes_during_the_training_is_learnt_from_next_time(
    here: Path, colours: Loads
) -> None:
    happens = Meanwhile(lambda: taistore.open().generate_texts(300))
    first = taistore.tag("photos", labels="labels.txt", encoder="colours", progress=happens)
    again = tagged()
    assert again["trained"]
    assert again["run_id"] != first.run_id
    assert tagged()["tags"] is None


def test_a_training_of_another_job_is_noted(here: Path, colours: Loads) -> None:
    notes: list[str] = []
    others = Meanwhile(
        lambda: taistore.tag("photos", labels="labels.txt", out="two.jsonl", note=notes.append)
    )
    first = taistore.tag("photos", labels="labels.txt", encoder="colours", progress=others)
    said = [note for note in notes if "training the same" in note]
    assert len(said) == 1
    assert first.run_id in said[0]
    assert rows("tags.jsonl") == rows("two.jsonl")


@pytest.mark.parametrize("what", ["weights", "card", "folder"])
def test_a_finished_run_that_is_damaged_is_left(here: Path, colours: Loads, what: str) -> None:
    first, before = tagged("--encoder", "colours"), rows("tags.jsonl")
    folder = taistore.open().run().folder
    match what:
        case "weights":
            (folder / WEIGHTS).write_bytes(b"damaged")
        case "card":
            (folder / CARD).write_text("{", encoding="utf-8")
        case "folder":
            shutil.rmtree(folder)
    Path("tags.html").unlink()
    done = invoked("tag", "photos", "--labels", "labels.txt")
    assert f"note: run {first['run_id']} is left as it is: " in done.stderr
    assert rows("tags.jsonl") == before
    assert counts()["runs"] == 2
    Path("tags.html").unlink()
    assert not tagged()["trained"]


def test_a_finished_run_that_is_taken_is_read_once(here: Path, colours: Loads) -> None:
    tagged("--encoder", "colours")
    run, trained = fitting_run(taistore.open())
    assert not trained
    shutil.rmtree(run.folder)
    run.score("photos", stored=True, out="again.jsonl")
    assert rows("again.jsonl") == rows("tags.jsonl")


@pytest.mark.parametrize(("steps", "ahead"), [(2, 2), (4, 1), (8, 1), (10, 1), (12, 9)])
def test_killed_and_run_again_it_ends_with_the_same_tags(
    here: Path, colours: Loads, steps: int, ahead: int
) -> None:
    tagged("--encoder", "colours", "--store", "calm", "--out", "calm.jsonl")
    module = "tests.cli.tag_until_killed"
    arguments = ("photos", "labels.txt", "killed", "killed.jsonl")
    assert run_and_kill(module, *arguments, cwd=here, steps=steps, ahead=ahead)
    tagged("--encoder", "colours", "--store", "killed", "--out", "killed.jsonl")
    assert rows("killed.jsonl") == rows("calm.jsonl")
    assert counts("killed") == counts("calm")


def test_two_at_once_lose_nothing(here: Path) -> None:
    for name, numbers in (("one", range(12)), ("two", range(6, 18))):
        (here / name).mkdir()
        for number in numbers:
            photo(here / name, number)
    jobs = []
    for name in ("one", "two"):
        given = ("--labels", "labels.txt", "--encoder", "packaged:lite0@64", "--quiet")
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-m", "taistore_cli", "tag", name, *given, "--out", f"{name}.csv"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])},
                cwd=here,
                stderr=subprocess.PIPE,
            )
        )
    ended = [(job.communicate()[1].decode(), job.returncode) for job in jobs]
    assert [code for _, code in ended] == [0, 0], ended
    counted = counts()
    assert counted["images"] == 18
    (encoder,) = taistore.open().store.encoders()
    assert counted[f"image_vectors__{encoder.encoder_id}"] == 18
    assert counted[f"region_vectors__{encoder.encoder_id}"] == 18
    assert counted["texts"] == counted[f"text_vectors__{encoder.encoder_id}"] <= 250
    for name in ("one", "two"):
        with Path(f"{name}.csv").open(newline="", encoding="utf-8") as lines:
            assert len({row["uri"] for row in csv.DictReader(lines)}) == 12
    found = Project.verify("taistore-store").findings
    assert not [one for one in found if one.severity == "error"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--encoder", "packaged:lite0"],
            "default encoder is 'colours', not 'packaged:lite0@448': give its own as --encoder, or "
            "choose another --store",
        ),
        (["--regions", "3"], "regions of a 7 x 7 grid"),
    ],
    ids=["encoder", "regions"],
)
def test_a_store_of_something_else_is_refused(
    here: Path, colours: Loads, given: list[str], said: str
) -> None:
    tagged("--encoder", "colours")
    before, tags = counts(), Path("tags.jsonl").read_bytes()
    done = invoked("tag", "photos", "--labels", "labels.txt", *given, code=1)
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert (counts(), Path("tags.jsonl").read_bytes()) == (before, tags)
    assert colours.since(1) == (0, 0, 0)
