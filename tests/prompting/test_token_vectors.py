"""Vectors of the tokens of texts: made once, resumed, removed, and those that the tower gives."""

import contextlib
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from taistore.encoders.open_clip.clip_prompts import ClipPrompts
from taistore.encoders.prompt_tower import prompt_tower
from taistore.errors import StoreError
from taistore.project import Project
from taistore.store.tables.ragged_vectors import in_order, stored_tokens
from taistore_cli.main import main
from tests.killing import ROOT, run_and_kill
from tests.prompting.learner_projects import make_project
from tests.prompting.token_job import ROWS, make

TEXTS = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Texts without tokens; left as it is."""
    return make_project(tmp_path_factory.mktemp("tokens"), texts=TEXTS)


@pytest.fixture
def own(whole: Project, tmp_path: Path) -> Project:
    """A copy of its store."""
    shutil.copytree(whole.uri, tmp_path / "store")
    return Project.open(tmp_path / "store", device="cpu")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each pass of the tower for tokens had."""
    passes: list[int] = []
    encode = ClipPrompts.encode_tokens

    def counting(self: ClipPrompts, embeddings_NLW: Any, prompts: Any) -> Any:
        passes.append(len(embeddings_NLW))
        return encode(self, embeddings_NLW, prompts)

    monkeypatch.setattr(ClipPrompts, "encode_tokens", counting)
    return passes


def rows(project: Project) -> list[dict[str, Any]]:
    encoder_id = project.encoder_info().encoder_id
    batches = project.store.scan("token_vectors", encoder_id=encoder_id)
    return sorted(
        (row for batch in batches for row in batch.to_pylist()), key=lambda row: row["text_id"]
    )


def versions(project: Project) -> int:
    encoder_id = project.encoder_info().encoder_id
    return int(project.store.dataset("token_vectors", encoder_id).version)


def test_each_row_holds_what_the_tower_gives(own: Project) -> None:
    """Of a text on its own: neighbours in a batch and their padding change nothing."""
    summary = own.generate_texts(TEXTS, tokens=True)
    assert (summary.written, summary.token_vectors) == (0, TEXTS)
    tower, dim = prompt_tower(own.encoder()), own.encoder_info().dim
    texts = {row["text_id"]: row for row in own.texts().iter_rows(named=True)}
    assert [row["text_id"] for row in rows(own)] == sorted(texts)
    for row in rows(own):
        text = texts[row["text_id"]]
        assert row["combination_id"] == text["combination_id"]
        prompts = tower.prompts([text["text"]])
        wanted_LD = tower.encode_tokens(prompts.embeddings_NLW, prompts)[0].detach().numpy()
        assert len(wanted_LD) == text["tokens"]
        found_LD = np.array(row["vectors"], dtype=np.float32).reshape(-1, dim)
        np.testing.assert_allclose(found_LD, wanted_LD, rtol=1e-3, atol=1e-3)
    assert not Project.verify(own.uri).findings


def test_killed_in_the_middle_it_does_what_is_left(
    own: Project, tmp_path: Path, encoded: list[int]
) -> None:
    job = ("tests.prompting.token_job", own.uri, str(tmp_path / "written"))
    assert run_and_kill(*job, cwd=tmp_path, steps=7, ahead=3)
    there = rows(own)
    # Three commits lie behind the seventh pass, and what was under way is whole or not there.
    assert 3 * ROWS <= len(there) < TEXTS
    assert len(there) % ROWS == 0
    assert make(own.uri) == sum(encoded) == TEXTS - len(there)
    done = rows(own)
    assert len({row["text_id"] for row in done}) == len(done) == TEXTS
    kept = {row["text_id"]: row for row in there}
    assert all(row == kept.get(row["text_id"], row) for row in done)
    assert not Project.verify(own.uri).findings


def test_of_two_processes_each_text_is_written_by_one(own: Project, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
    with contextlib.ExitStack() as stack:
        jobs = []
        for number in range(2):
            out = tmp_path / f"written-{number}"
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.prompting.token_job", own.uri, str(out)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd=tmp_path,
            )
            jobs.append((stack.enter_context(process), out))
        for process, _ in jobs:  # both know what is lacking before either writes
            assert process.stdout is not None
            assert process.stdout.read(1) == b"."
        for process, _ in jobs:
            assert process.stdin is not None
            process.stdin.write(b"." * TEXTS)
            process.stdin.flush()
        assert [process.wait() for process, _ in jobs] == [0, 0]
    assert sum(int(out.read_text(encoding="utf-8")) for _, out in jobs) == TEXTS
    found = [row["text_id"] for row in rows(own)]
    assert found == sorted(own.texts()["text_id"])
    assert not Project.verify(own.uri).findings


def test_of_texts_added_later_those_alone_are_made(own: Project, encoded: list[int]) -> None:
    own.generate_texts(TEXTS, tokens=True)
    before = {row["text_id"]: row for row in rows(own)}
    encoded.clear()
    own.generate_texts(TEXTS + 15)
    assert encoded == []
    summary = own.generate_texts(TEXTS + 15, tokens=True)
    assert (summary.written, summary.token_vectors, sum(encoded)) == (0, 15, 15)
    after = {row["text_id"]: row for row in rows(own)}
    assert len(after) == TEXTS + 15
    assert before.items() <= after.items()


def test_only_what_is_missing_is_made(own: Project, encoded: list[int]) -> None:
    own.generate_texts(TEXTS, tokens=True)
    made = rows(own)
    encoded.clear()
    version = versions(own)
    assert own.generate_texts(TEXTS, tokens=True).token_vectors == 0
    assert (encoded, versions(own)) == ([], version)
    gone = [row["text_id"] for row in made[::7]]
    own.store.remove("token_vectors", {"text_id": gone}, encoder_id=own.encoder_info().encoder_id)
    assert own.generate_texts(TEXTS, tokens=True).token_vectors == len(gone) == sum(encoded)
    assert [row["text_id"] for row in rows(own)] == [row["text_id"] for row in made]


def test_tokens_of_texts_that_are_gone_go_with_them(own: Project) -> None:
    own.generate_texts(TEXTS, tokens=True)
    gone = own.texts()["text_id"].to_list()[:5]
    own.store.remove("texts", {"text_id": gone})
    Project.verify(own.uri, repair=True, older_than=timedelta(0))
    left = {row["text_id"] for row in rows(own)}
    assert left == set(own.texts()["text_id"])
    assert len(left) == TEXTS - 5


def test_vectors_come_in_the_order_in_which_a_stream_asks(own: Project) -> None:
    own.generate_texts(TEXTS, tokens=True)
    encoder_id, dim = own.encoder_info().encoder_id, own.encoder_info().dim
    by_id = {row["text_id"]: row["vectors"] for row in rows(own)}
    asked = np.random.default_rng(2).permutation(sorted(by_id)).tolist()[:20]
    found = in_order(stored_tokens(own.store, encoder_id, asked), asked, what="token")
    for text_id, found_LD in zip(asked, found, strict=True):
        assert found_LD.dtype == np.float16
        assert found_LD.shape[1] == dim
        assert found_LD.reshape(-1).tolist() == by_id[text_id]
    with pytest.raises(StoreError, match="the token vectors of nobody are no longer there"):
        in_order(stored_tokens(own.store, encoder_id, ["nobody"]), ["nobody"], what="token")


def test_show_names_them_and_the_encoders_removal_takes_them(own: Project) -> None:
    def printed(*arguments: str) -> str:
        done = CliRunner().invoke(main, [*arguments, "--store", own.uri])
        assert done.exit_code == 0, done.output
        return done.stdout

    own.generate_texts(TEXTS, tokens=True)
    info = own.encoder_info()
    table = f"token_vectors__{info.encoder_id}"
    assert f"{TEXTS} token" in printed("show")
    assert f"{TEXTS} token" in printed("encoders")
    assert dict(own.contents().encoders)[info]["token_vectors"] == TEXTS
    assert table in own.store.table_names()
    printed("encoders", "rm", info.encoder_id, "--yes")
    assert table not in Project.open(own.uri).store.table_names()
    assert not (Path(own.uri) / f"{table}.lance").exists()
