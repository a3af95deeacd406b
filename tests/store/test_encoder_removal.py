"""Imported vectors of one name have one dimension, and an encoder goes whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lance.fragment import write_fragments

from taistore.encoders.imported.vector_reader import imported_info
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError, TextError
from taistore.project import Project
from taistore.store.maintenance import optimize
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from taistore.store.tables.lance_tables import LanceTables
from taistore.store.writes.encoder_removal import KINDS
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, new_store, prompts
from tests.scoring.runs import add_random_run

NAMES = ("red", "green", "blue")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Labels red, green and blue; images, texts and prompts of the encoder of colours."""
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder)
    return Project(store)


def vectors(folder: Path, dim: int, *, count: int = 3, first: int = 0) -> Path:
    """A file of random vectors with their ids beside it: labels' names, then numbers."""
    path = folder / f"v{dim}-{first}.npy"
    np.save(path, np.random.default_rng(dim).standard_normal((count, dim)).astype(np.float32))
    ids = [NAMES[n] if n < len(NAMES) else f"number {n}" for n in range(first, first + count)]
    path.with_suffix(".txt").write_text("\n".join(ids), encoding="utf-8")
    return path


def ingest(project: Project, kind: str, path: Path, name: str = "v0") -> Any:
    if kind == "text":
        return project.ingest_text_vectors(path, name=name)
    return project.ingest_image_vectors(path, name=name)


def written(store: Store) -> dict[str, int]:
    """The version of every table: what is written makes a new one."""
    parts = [name.partition("__") for name in store.table_names()]
    return store.versions([(kind, encoder_id or None) for kind, _, encoder_id in parts])


@pytest.mark.parametrize(
    ("first", "second"),
    [("image", "image"), ("image", "text"), ("text", "image"), ("text", "text")],
)
def test_another_dimension_of_a_name_is_refused_before_anything_is_written(
    project: Project, tmp_path: Path, first: str, second: str
) -> None:
    ingest(project, first, vectors(tmp_path, 4))
    before = written(project.store)
    with pytest.raises(StoreError, match="vectors:v0 has vectors of 4 dimensions, these have 6: "):
        ingest(project, second, vectors(tmp_path, 6))
    assert written(project.store) == before
    ingest(project, second, vectors(tmp_path, 4))
    ingest(project, second, vectors(tmp_path, 6), name="v1")
    assert project.encoder_info("vectors:v0").dim == 4
    assert project.encoder_info("vectors:v1").dim == 6


def test_texts_of_which_none_is_usable_leave_no_encoder(project: Project, tmp_path: Path) -> None:
    path = vectors(tmp_path, 4, first=7)
    with pytest.raises(TextError, match="names a label of the store"):
        ingest(project, "text", path)
    ingest(project, "text", vectors(tmp_path, 6))
    assert project.encoder_info("vectors:v0").dim == 6


def test_of_two_jobs_that_bring_one_name_at_once_one_is_refused(project: Project) -> None:
    class Slow(Store):
        """Another job comes between its look and its write."""

        beaten = False

        def encoders(self) -> list[EncoderInfo]:
            found = super().encoders()
            if not self.beaten:
                self.beaten = True
                project.store.register_encoder(imported_info("v0", dim=4))
            return found

    late = Slow(LanceTables(project.uri))
    with pytest.raises(StoreError, match="vectors:v0 has vectors of 4 dimensions, these have 6"):
        late.register_encoder(imported_info("v0", dim=6))
    assert [i.dim for i in project.store.encoders() if i.spec == "vectors:v0"] == [4]


def _both(project: Project, folder: Path, dim: int = 4) -> str:
    for kind in ("text", "image"):
        ingest(project, kind, vectors(folder, dim))
    return project.encoder_info("vectors:v0").encoder_id


def test_its_vectors_go_and_all_else_stays(project: Project, tmp_path: Path) -> None:
    kept = dict(project.contents().tables)
    encoder_id = _both(project, tmp_path)
    with_texts = dict(project.contents().tables)
    seen = project.remove_encoder("v0")
    assert not seen.applied
    assert dict(seen.encoder.rows) == {
        "text_vectors": 3,
        "image_vectors": 3,
        "region_vectors": 0,
        "token_vectors": 0,
        "synthetic_vectors": 0,
        "synthetic_regions": 0,
        "centroids": 3,
    }
    assert [one.info.spec for one in project.encoders()] == ["colour@32", "vectors:v0"]
    assert project.remove_encoder("vectors:v0", apply=True).applied
    assert [one.info.spec for one in project.encoders()] == ["colour@32"]
    assert not [name for name in project.store.table_names() if encoder_id in name]
    assert not list(Path(project.uri).glob(f"*{encoder_id}*"))
    assert dict(project.contents().tables) == with_texts != kept
    with pytest.raises(StoreError, match=r"no encoder 'v0' \(there are: colour@32\)"):
        project.remove_encoder("v0", apply=True)
    _both(project, tmp_path, dim=6)
    assert project.encoder_info("vectors:v0").dim == 6


def test_a_store_that_was_open_all_the_while_doubles_nothing(
    project: Project, tmp_path: Path
) -> None:
    many = vectors(tmp_path, 4, count=9, first=3)
    for part in range(3):  # three commits, so that fragments of the first table have numbers
        ingest(project, "image", vectors(tmp_path, 4, count=1, first=part))
    other = Project(Store.open(project.uri))
    other.remove_encoder("v0", apply=True)
    for _ in range(2):
        ingest(other, "image", many)
    ingest(other, "image", vectors(tmp_path, 4, count=1, first=20))
    ingest(other, "image", vectors(tmp_path, 4, count=1, first=21))
    encoder_id = other.encoder_info("vectors:v0").encoder_id
    assert ingest(project, "image", many).written == 0
    assert project.store.count("image_vectors", encoder_id) == 11


class KilledError(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("moment", [1, 2, 6, 10])
def test_killed_half_way_it_is_no_encoder_and_the_rest_goes_the_next_time(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    encoder_id = _both(project, tmp_path)
    drop, calls = Store.drop, 0

    def dying(store: Store, kind: str, encoder_id: str) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise KilledError
        drop(store, kind, encoder_id)

    monkeypatch.setattr(Store, "drop", dying)
    with pytest.raises(KilledError):
        project.remove_encoder("v0", apply=True)
    monkeypatch.undo()
    assert [info.spec for info in project.store.encoders()] == ["colour@32"]
    with pytest.raises(StoreError, match="holds no vectors of encoder vectors:v0"):
        project.encoder_info("vectors:v0")
    with pytest.raises(StoreError, match="is being removed: 'taistore encoders rm vectors:v0'"):
        ingest(project, "image", vectors(tmp_path, 4))
    optimize(project.store)
    going = project.encoders()[-1]
    assert (going.info.spec, going.going) == ("vectors:v0", True)
    told = [one.remedy for one in Project.verify(project.uri).findings if encoder_id in one.table]
    assert all(f"'taistore encoders rm {encoder_id}'" in remedy for remedy in told)
    assert bool(told) == (moment <= len(KINDS))
    assert project.remove_encoder("v0", apply=True).applied
    assert len(project.encoders()) == 1
    assert not list(Path(project.uri).glob(f"*{encoder_id}*"))


@pytest.mark.parametrize("there", [False, True], ids=["making the table", "adding to it"])
def test_a_commit_at_the_very_moment_leaves_nothing_behind(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    info = imported_info("v0", dim=4)
    project.store.register_encoder(info)
    if there:
        ingest(project, "image", vectors(tmp_path, 4))

    def removed_meanwhile(*given: Any, **options: Any) -> Any:
        """Files are written, and no manifest names them yet."""
        monkeypatch.undo()
        written = write_fragments(*given, **options)
        other = Project(Store.open(project.uri))
        assert other.remove_encoder("v0", apply=True).applied
        return written

    monkeypatch.setattr("taistore.store.writes.commits.write_fragments", removed_meanwhile)
    rows = {"image_id": [f"{7:032x}"], "vector": [[1.0] * 4]}
    with pytest.raises(StoreError, match="holds no vectors of encoder 'vectors_v0_4_"):
        project.store.append("image_vectors", rows, encoder_id=info.encoder_id)
    assert not list(Path(project.uri).glob(f"*{info.encoder_id}*"))
    assert Project.verify(project.uri).sound
    # The name is free, and what comes next is whole.
    ingest(project, "image", vectors(tmp_path, 4))
    assert project.store.count("image_vectors", info.encoder_id) == 3
    assert Project.verify(project.uri).sound


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_looks_while_files_go_finds_no_rows(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    encoder_id = _both(project, tmp_path)
    other, found = Store.open(project.uri), dict[str, int]()
    drop = LanceTables.drop

    def looked_at(self: LanceTables, name: str) -> None:
        if name == f"{kind}__{encoder_id}" and name not in found:
            found[name] = other.count(kind, encoder_id)
        drop(self, name)

    monkeypatch.setattr(LanceTables, "drop", looked_at)
    project.remove_encoder("v0", apply=True)
    assert found == {f"{kind}__{encoder_id}": 0}


def test_two_of_one_name_from_before_are_told_apart_by_their_ids(project: Project) -> None:
    infos = [imported_info("v0", dim=dim) for dim in (4, 6)]
    for info in infos:
        rows = [{name: getattr(info, name) for name in info.__slots__}]
        project.store.append("encoders", rows)
    with pytest.raises(StoreError, match="remove one with 'taistore encoders rm ID'"):
        project.encoder_info("vectors:v0")
    with pytest.raises(StoreError, match="is several encoders: name one by its id: vectors_v0_4_"):
        project.remove_encoder("v0", apply=True)
    project.remove_encoder(infos[0].encoder_id, apply=True)
    assert project.encoder_info("vectors:v0").dim == 6


@pytest.fixture
def with_runs(project: Project) -> Project:
    """Runs one and two of the encoder of colours."""
    for minute, name in enumerate(("one", "two")):
        add_random_run(project.store, name, prompts(ColourEncoder()), minute=minute)
    return project


def test_runs_that_need_it_keep_it(with_runs: Project) -> None:
    before = written(with_runs.store)
    message = r"colour@32 is needed by run one, two: .* or give force= to leave them without"
    for apply in (False, True):
        with pytest.raises(StoreError, match=message):
            with_runs.remove_encoder("colour@32", apply=apply)
    assert written(with_runs.store) == before


def test_by_force_its_runs_stay_and_say_that_it_is_gone(with_runs: Project) -> None:
    (encoder,) = with_runs.encoders()
    assert encoder.default
    assert encoder.runs == ("one", "two")
    removal = with_runs.remove_encoder("colour@32", apply=True, force=True)
    assert removal.encoder.runs == ("one", "two")
    for run in (*with_runs.runs(), with_runs.run("one")):
        assert run.encoder_gone
        assert run.state == "finished, its encoder is gone"
        assert run.to_json()["encoder_gone"]
    with pytest.raises(StoreError, match=r"encoder 'colour_32_32' .* was removed or never used"):
        with_runs.run().evaluate(split="test")
    assert with_runs.store.count("images")
    assert Project.verify(with_runs.uri).sound
    with_runs.store.register_encoder(ColourEncoder().info)
    add_pictures(with_runs.store, ColourEncoder())
    assert not any(run.encoder_gone for run in with_runs.runs())


def test_a_run_that_is_not_finished_is_not_left_without_it(with_runs: Project) -> None:
    row = {**with_runs.store.run("two").to_table(), "status": "stopped"}
    with_runs.store.record_run(RunRow.from_table(row))
    with pytest.raises(StoreError, match="run two is not finished and needs colour@32"):
        with_runs.remove_encoder("colour@32", apply=True, force=True)
    assert len(with_runs.store.encoders()) == 1
