"""Which encoder's tower makes tokens and learns prompts: the one that was named, or a refusal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import taistore
from taistore.encoders.open_clip.encoder import load_open_clip
from taistore.encoders.prompt_tower import prompt_tower
from taistore.errors import EncoderError, StoreError
from taistore.project import Project
from taistore.store.tables.ragged_vectors import stored_tokens
from taistore_cli.main import main
from tests.encoders import small_models
from tests.encoders.test_prompt_tower import transformers_model
from tests.fakes import ColourEncoder
from tests.prompting.learner_projects import make_project

SMALL: dict[str, Any] = {"context": 2, "epochs": 1, "batch": 8}


@pytest.fixture
def own(tmp_path: Path) -> Project:
    """A project of its own, for tests that change it."""
    return make_project(tmp_path, texts=20)


def saved(folder: Path, *, seed: int) -> str:
    """The spec of an encoder that no store knows."""
    path = small_models.save("small-resnet", folder, seed=seed, filename=f"other-{seed}.pt")
    return f"open_clip:small-resnet/{path}"


def refused(project: Project, *arguments: str | Path) -> str:
    """The one line on stderr of a refused command."""
    given = [*map(str, arguments), "--store", project.uri, "--device", "cpu", "--quiet"]
    done = CliRunner().invoke(main, given)
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    lines = [line for line in done.stderr.splitlines() if not line.startswith("loading encoder")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def assert_tokens_of(project: Project, encoder: str, text_ids: Sequence[str]) -> None:
    """The store's tokens are those of this encoder's own tower."""
    loaded = load_open_clip(encoder, device="cpu")
    texts = {row["text_id"]: row["text"] for row in project.texts().iter_rows(named=True)}
    tower = prompt_tower(loaded)
    found = stored_tokens(project.store, loaded.info.encoder_id, text_ids)
    assert set(found) == set(text_ids)
    for text_id in text_ids:
        prompts = tower.prompts([texts[text_id]])
        wanted_LD = tower.encode_tokens(prompts.embeddings_NLW, prompts)[0].detach().numpy()
        np.testing.assert_allclose(found[text_id], wanted_LD, rtol=1e-3, atol=1e-3)


def test_tokens_are_those_of_the_encoder_that_is_named(own: Project, tmp_path: Path) -> None:
    """Also of one that the store has nothing of yet, in one command."""
    other = saved(tmp_path, seed=1)
    arguments = ["generate-texts", "--count", "20", "--tokens", "--encoder", other]
    done = CliRunner().invoke(main, [*arguments, "--store", own.uri, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "token vectors of 20 texts written" in done.stdout
    default, named = own.encoder_info(), own.encoder_info(other)
    assert default.encoder_id != named.encoder_id
    assert own.store.count("token_vectors", named.encoder_id) == 20
    assert own.store.count("token_vectors", default.encoder_id) == 0
    text_ids = own.texts()["text_id"].to_list()
    assert_tokens_of(own, other, text_ids)
    own.generate_texts(20, tokens=True)
    assert_tokens_of(own, own.store.default_encoder, text_ids)


def test_an_encoder_is_given_the_tokens_of_its_own_texts(own: Project, tmp_path: Path) -> None:
    """tai-dpt of another encoder goes through that one's tower."""
    other = saved(tmp_path, seed=1)
    own.generate_texts(20, encoder=other)
    run = own.train("zsl", method="tai-dpt", encoder=other, **SMALL)
    assert run.encoder.spec == own.encoder_info(other).spec
    assert own.store.count("token_vectors", run.encoder.encoder_id) == 20
    assert_tokens_of(own, other, own.texts()["text_id"].to_list()[:3])
    one = own.train("zsl", method="tai-dpt", **SMALL)
    assert one.encoder.encoder_id != run.encoder.encoder_id


def test_an_encoder_without_a_tower_is_refused_before_a_text_is_written(
    own: Project, tmp_path: Path
) -> None:
    before = own.contents()
    foreign = transformers_model(tmp_path).info.spec
    taistore.register_encoder("towerless", ColourEncoder)
    told = {
        "vectors:clip": "encoder vectors:clip has no text tower that takes embeddings",
        foreign: "has a text tower of transformers",
        "towerless": "encoder towerless has no text tower that takes embeddings",
    }
    for spec, message in told.items():
        line = refused(own, "generate-texts", "--count", "50", "--tokens", "--encoder", spec)
        assert message in line
        with pytest.raises(EncoderError, match=message):
            own.generate_texts(50, tokens=True, encoder=spec)
    assert own.contents() == before


def test_prompts_are_not_learnt_of_an_encoder_that_the_store_has_not(
    own: Project, tmp_path: Path
) -> None:
    other = saved(tmp_path, seed=1)
    with pytest.raises(StoreError, match=r"holds no vectors of encoder .*other-1\.pt"):
        own.train("zsl", method="tai-dpt", encoder=other)
    assert [one.spec for one in own.store.encoders()] == [own.encoder_info().spec]
    own.store.register_encoder(ColourEncoder(name="clip").info)
    with pytest.raises(StoreError, match=r"vectors:clip .*add them with 'taistore ingest-vectors'"):
        own.train("zsl", method="tai-dpt", encoder="vectors:clip")


def test_other_weights_in_the_same_file_are_told(own: Project, tmp_path: Path) -> None:
    """Nothing is learnt through a tower whose images the store does not have, nor kept of it."""
    before = own.contents()
    small_models.save("small-resnet", tmp_path, seed=3)
    later = Project.open(own.uri, device="cpu")
    with pytest.raises(StoreError, match=r"and the vectors here are of open_clip_small_resnet"):
        later.train("pll", method="dualcoop", **SMALL)
    assert later.contents() == before
