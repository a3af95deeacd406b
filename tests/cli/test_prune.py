"""``taistore prune``: shows first, removes when told to, as ``Project.prune`` does."""

import json
from dataclasses import asdict
from pathlib import Path

from click.testing import CliRunner, Result

import taistore
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.store.store import Store
from taistore_cli.main import main
from tests.fakes import ColourEncoder, colour_image
from tests.images.test_ingest import LABELS


def run(store: Path, *arguments: str | Path) -> Result:
    given = ["prune", *map(str, arguments), "--store", str(store)]
    return CliRunner().invoke(main, given)


def test_prune_shows_and_then_removes(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("red", "green", "blue"):
        colour_image(name).save(photos / f"{name}.png")
    ingest_images(store, ColourEncoder(), open_source(photos, LABELS))
    (photos / "red.png").unlink()
    project = taistore.open(tmp_path / "store")

    shown = run(tmp_path / "store")
    assert shown.exit_code == 0
    assert "1 of 3 images is gone (1 path), 2 rows of vectors, 0 rejects" in shown.stdout
    assert f"  {photos / 'red.png'}\n" in shown.stdout
    assert shown.stdout.endswith("nothing was removed: --apply does it\n")
    as_json = json.loads(run(tmp_path / "store", photos, "--json").stdout)
    assert as_json == json.loads(json.dumps(asdict(project.prune(photos))))
    assert (as_json["applied"], as_json["gone"], as_json["examples"]) == (
        False,
        1,
        [str(photos / "red.png")],
    )
    assert store.count("images") == 3

    done = run(tmp_path / "store", photos, "--apply")
    assert "1 of 3 images removed" in done.stdout
    assert store.count("images") == 2
    photos.rename(tmp_path / "away")
    refused = run(tmp_path / "store", "--apply", "--quiet")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "where they are gone for good, give --lost-folders" in refused.stderr
    lost = run(tmp_path / "store").stdout
    assert f"all photos of {photos} are gone: mount its disk" in lost
    assert run(tmp_path / "store", "--apply", "--lost-folders").exit_code == 0
    assert store.count("images") == 0
