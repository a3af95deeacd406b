"""What tests of object stores do: commands, texts, trainings, also behind a failing proxy."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taistore.adapter.config import Task, TrainConfig
from taistore.adapter.train import resume, train
from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.scoring.loaded_run import open_run
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.label_prompts import prompt_vectors
from taistore.texts.templates.template_writer import TemplateWriter
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder
from tests.faults.object_server import SECRET, FaultProxy, Schedule

ENCODER = ColourEncoder()
LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])
_SETTINGS: dict[Task, dict[str, Any]] = {
    "zsl": {"shift": "none"},
    "fsl": {"shots": 1},
    "pll": {},
}
MOST = 250
"""Characters of a line that tells of a failure."""


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def done(*arguments: object) -> dict[str, Any]:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def fill(uri: str, *, count: int = 120) -> Store:
    """A store with texts, by the library."""
    store = Store.create(uri, LABELS, default_encoder=ENCODER.info.spec)
    store.register_encoder(ENCODER.info)
    writer = TemplateWriter(store.labels)
    generate_texts(store, ENCODER, GenerateConfig(count=count), writer=writer)
    return store


def rows(store: Store) -> dict[str, list[str]]:
    """What a store holds, without what depends on the clock."""
    return {
        name: sorted(
            repr({k: v for k, v in row.items() if k not in ("created", "when")})
            for batch in store.scan(kind, encoder_id=encoder_id or None)
            for row in batch.to_pylist()
        )
        for name in store.table_names()
        for kind, _, encoder_id in [name.partition("__")]
        if kind != "runs"
    }


def started(store: Store, task: Task = "zsl", **options: Any) -> Any:
    return train(
        store,
        ENCODER.info.encoder_id,
        TrainConfig.of(task=task, epochs=4, device="cpu", **_SETTINGS[task]),
        prompts_ND=prompt_vectors(store, ENCODER),
        **options,
    )


def assert_one_line(found: Result, *words: str) -> None:
    [line] = [line for line in found.stderr.splitlines() if line.startswith("taistore: ")]
    assert len(line) <= MOST, line
    assert not [word for word in words if word not in line], line
    assert not [word for word in (".rs:", "LanceError", "unexpected ", SECRET) if word in line]


def disturbed(address: str, uri: str, schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the job behind a proxy until it ends well; how many starts failed, each in one line."""
    failed = 0
    with FaultProxy(address, schedule) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        for _ in range(50):
            try:
                store = fill(uri)
                unfinished = [run for run in store.runs() if run.status != "finished"]
                if unfinished:
                    resume(store, unfinished[-1].run_id)
                elif not store.runs():
                    started(store, checkpoint_seconds=0.0)
                break
            except StoreError as error:
                failed += 1
                text = str(error)
                assert len(text) <= MOST, text
                assert "\n" not in text
                assert not [w for w in (".rs:", "LanceError", SECRET) if w in text], text
        else:
            pytest.fail("the job never ended")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    return failed


def check_equal(uri: str, undisturbed: Store) -> None:
    store = Store.open(uri)
    assert rows(store) == rows(undisturbed)
    digests = {open_run(s, "latest").weights_digest for s in (store, undisturbed)}
    assert len(digests) == 1
