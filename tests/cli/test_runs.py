"""``taistore runs``: the list, and what is removed and what is not."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taistore.adapter.run_files.run_folder import folder_of
from taistore.adapter.run_files.run_lock import written_alone
from taistore.adapter.run_files.run_removal import remove_runs
from taistore.labels import Label, LabelSet
from taistore.project import Project
from taistore.store.store import Store
from taistore.texts.label_prompts import prompt_vectors
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder
from tests.scoring.runs import add_random_run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three finished runs and an ensemble of the first two, which is only a row and a card."""
    labels = LabelSet(Label(name, name) for name in list(COLOURS)[:4])
    store = Store.create(tmp_path / "s", labels, default_encoder="colour@32")
    prompts_ND = prompt_vectors(store, ColourEncoder())
    for minute, name in enumerate(("one", "two", "three")):
        add_random_run(store, name, prompts_ND, minute=minute)
    folder = Path(store.uri) / "runs" / "both"
    folder.mkdir()
    (folder / "card.json").write_text("{}", encoding="utf-8")
    row = dataclasses.replace(
        store.run("two"),
        run_id="both",
        task="ensemble",
        config={"task": "ensemble", "members": ["one", "two"]},
        checkpoint="runs/both",
    )
    store.record_run(row)
    return store


def runs(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["runs", *arguments, "--store", store.uri])


def left(store: Store) -> tuple[set[str], set[str]]:
    """Ids that have a row, and those that have a folder."""
    folders = {path.name for path in (Path(store.uri) / "runs").iterdir()}
    return {row.run_id for row in store.runs()}, folders


def test_the_list(store: Store) -> None:
    listed = runs(store)
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.splitlines()[0] == "one  zsl, finished, begun 2026-01-01 00:00"
    found: dict[str, Any] = json.loads(runs(store, "--json").stdout)
    assert {row["run_id"]: row["status"] for row in found["runs"]} == dict.fromkeys(
        ("one", "two", "three", "both"), "finished"
    )
    store.record_run(dataclasses.replace(store.run("three"), status="running"))
    assert "three  zsl, stopped, last seen 2026-01-01 00:02, begun" in runs(store).stdout
    learner = {"task": "pll", "method": "dualcoop"}
    store.record_run(dataclasses.replace(store.run("two"), task="pll", config=learner))
    assert "two  pll dualcoop, finished, begun 2026" in runs(store).stdout


def test_removing_a_run_frees_what_its_files_took(store: Store) -> None:
    folder = folder_of(store, store.run("three"))
    taken = sum(path.stat().st_size for path in folder.iterdir())
    done = runs(store, "rm", "three", "--json")
    assert done.exit_code == 0, done.output
    (removed,) = json.loads(done.stdout)["removed"]
    assert removed == {"run_id": "three", "bytes_freed": taken, "folder_left": None}
    assert left(store) == ({"one", "two", "both"},) * 2


def test_files_of_others_stay(store: Store) -> None:
    folder = folder_of(store, store.run("three"))
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    done = runs(store, "rm", "three")
    assert f"; {folder} holds other files" in done.stdout
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("three", "one"), "run one is part of the ensemble both: remove that one too, or keep"),
        (("three", "four"), "no run 'four'"),
        (("latest",), "name a run to remove by its id"),
    ],
)
def test_what_cannot_all_be_removed_is_left_whole(
    store: Store, given: tuple[str, ...], message: str
) -> None:
    before = left(store)
    refused = runs(store, "rm", *given)
    assert refused.exit_code == 1
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert left(store) == before
    assert store.run("three").status == "finished"


def test_a_live_run_stays(store: Store) -> None:
    before = left(store)
    with written_alone(folder_of(store, store.run("three")), "three"):
        refused = runs(store, "rm", "three")
    assert refused.exit_code == 1
    assert "run three is being trained (process " in refused.stderr
    assert left(store) == before


def test_an_ensemble_goes_with_its_members(store: Store) -> None:
    done = Project(store).remove_runs(["one", "both"])
    assert [run.run_id for run in done] == ["one", "both"]
    assert left(store) == ({"two", "three"},) * 2


class KilledError(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_killed_in_between_it_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    calls = 0
    unlink = Path.unlink

    def dying(self: Path, missing_ok: bool = False) -> None:
        nonlocal calls
        calls += self.parent.name == "three"
        if calls == moment:
            raise KilledError
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", dying)
    with pytest.raises(KilledError):
        remove_runs(store, ["three"])
    monkeypatch.undo()
    # Half of a run is never the last finished one.
    assert store.run("three").status == "stopped"
    assert Project(store).run("latest").run_id != "three"
    assert runs(store, "rm", "three").exit_code == 0
    assert left(store) == ({"one", "two", "both"},) * 2


def test_options_belong_after_rm(store: Store) -> None:
    refused = CliRunner().invoke(main, ["runs", "--store", store.uri, "rm", "three"])
    assert refused.exit_code == 2
    assert "give --store after the command" in refused.stderr
    assert store.run("three")
