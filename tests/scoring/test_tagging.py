"""Tags in memory: those of the file job, in order, as they come; one bad photo is its own."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from taistore.encoders.protocol import ImageVectors
from taistore.errors import ImageError, ScoringError
from taistore.images.sources.open_source import open_source
from taistore.scoring.ladders.ladder import ADAPTER_LADDER, Step
from taistore.scoring.loaded_run import ScoringRun, open_run
from taistore.scoring.photos import Photo
from taistore.scoring.score import score
from taistore.scoring.tagging import tag_images, tag_store
from taistore.scoring.tags.image_tags import ImageTags
from taistore.scoring.tags.read_tags import read_tags
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import (
    NAMES,
    PICTURES,
    add_images,
    add_pictures,
    add_run,
    image_row,
    new_store,
)
from tests.scoring.tag_frames import read_tag_frame

PLAIN_LADDER = tuple(step for step in ADAPTER_LADDER if step != "discriminant")


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def store(tmp_path: Path, encoder: ColourEncoder) -> Store:
    store = new_store(tmp_path / "store", encoder)
    add_run(store, encoder)
    return store


@pytest.fixture
def run(store: Store) -> ScoringRun:
    return open_run(store, "run-1")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """All pictures as files."""
    paths = []
    for n, colours in enumerate(PICTURES):
        paths.append(tmp_path / "photos" / f"{n:04d}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        colour_image(*colours).save(paths[-1])
    return paths


def values(tags: ImageTags) -> list[tuple[int, str, float]]:
    return [(tag.rank, tag.key, tag.score) for tag in tags]


@pytest.mark.parametrize("step", [None, *PLAIN_LADDER])
def test_memory_and_file_give_the_same_tags(
    store: Store, encoder: ColourEncoder, photos: list[Path], tmp_path: Path, step: Step | None
) -> None:
    options: dict[str, Any] = {"step": step, "top_k": 3, "regions": 2, "batch_size": 5}
    out = tmp_path / "tags.parquet"
    source = open_source(photos[0].parent, store.labels)
    score(store, "run-1", source, out, encoder=encoder, **options)
    run = open_run(store, "run-1")
    tagged = list(tag_images(run, encoder, photos, **options))
    assert [photo for photo, _ in tagged] == photos
    expected = [(row["rank"], row["label_key"], row["score"]) for row in read_tags(out)]
    found = [value for _, tags in tagged for value in values(tags)]
    assert [value[:2] for value in found] == [value[:2] for value in expected]
    np.testing.assert_allclose([v[2] for v in found], [v[2] for v in expected], atol=1e-6, rtol=0)
    for _, tags in tagged:
        assert [store.labels[tag.label_id].name for tag in tags] == [tag.name for tag in tags]


def test_every_way_to_hold_a_photo_gives_the_same_tags(
    encoder: ColourEncoder, run: ScoringRun, photos: list[Path]
) -> None:
    path = photos[6]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    forms: list[Photo] = [
        path,
        str(path),
        path.read_bytes(),
        Image.open(path),
        Image.open(path).convert("RGBA"),
        pixels,
    ]
    tagged = list(tag_images(run, encoder, forms, regions=2))
    assert all(photo is form for (photo, _), form in zip(tagged, forms, strict=True))
    first = values(tagged[0][1])
    for _, tags in tagged:
        assert [value[:2] for value in values(tags)] == [value[:2] for value in first]
        # Rows of one batch differ in rounding.
        assert [value[2] for value in values(tags)] == pytest.approx([v[2] for v in first])


def test_a_photo_on_its_side_is_tagged_upright_once(
    encoder: ColourEncoder, run: ScoringRun
) -> None:
    upright = colour_image("red", "blue", "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    lying = Image.open(io.BytesIO(buffer.getvalue()))
    tagged = tag_images(run, encoder, [upright, lying], regions=2)
    first, second = (values(tags) for _, tags in tagged)
    assert [value[:2] for value in first] == [value[:2] for value in second]
    assert [value[2] for value in first] == pytest.approx([value[2] for value in second])


def test_photos_without_end_are_tagged_as_they_come(
    encoder: ColourEncoder, run: ScoringRun
) -> None:
    taken = itertools.count()

    def forever() -> Iterator[Image.Image]:
        for n in taken:
            yield colour_image(*PICTURES[n % len(PICTURES)])

    tagged = tag_images(run, encoder, forever(), batch_size=2, regions=0)
    assert next(taken) == 0
    found = [tags[0].name for _, tags in itertools.islice(tagged, 6)]
    assert len(found) == 6
    assert next(taken) < 20
    assert encoder.encoded == 6


def test_how_many_tags_there_are(encoder: ColourEncoder, run: ScoringRun) -> None:
    picture = colour_image("red")

    def count(**options: Any) -> int:
        ((_, tags),) = tag_images(run, encoder, [picture], regions=0, **options)
        return len(tags)

    assert (count(), count(top_k=2), count(threshold=0), count(threshold=1)) == (
        5,
        2,
        len(NAMES),
        0,
    )
    assert count(top_k=2, threshold=0) == 2


def test_a_bad_photo_is_named_after_the_good_ones_before_it(
    encoder: ColourEncoder, run: ScoringRun, photos: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no")
    given = [*photos[:3], bad, photos[3]]
    found: list[Any] = []
    tagged = tag_images(run, encoder, given, batch_size=8)
    with pytest.raises(ImageError, match=r"bad.png: not an image") as caught:
        found.extend(photo for photo, _ in tagged)
    assert found == photos[:3]
    assert caught.value.reason == "not_an_image"
    tagged = tag_images(run, encoder, given, on_error="skip")
    assert [photo for photo, _ in tagged] == photos[:4]
    assert list(tag_images(run, encoder, [bad], on_error="skip")) == []
    assert list(tag_images(run, encoder, [])) == []


def test_a_photo_that_the_encoder_chokes_on_is_named(run: ScoringRun, photos: list[Path]) -> None:
    class Choking(ColourEncoder):
        def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
            # The first pixel of the third picture, blue.
            if (pixels[:, 2, 0, 0] == 210).any():
                raise RuntimeError("cannot multiply")
            return super().encode_images(pixels, regions=regions)

    skipped = tag_images(run, Choking(), photos[:5], on_error="skip")
    assert [photo for photo, _ in skipped] == [*photos[:2], *photos[3:5]]
    found: list[Any] = []
    with pytest.raises(ImageError, match=r"0002\.png: .*cannot multiply"):
        found.extend(p for p, _ in tag_images(run, Choking(), photos[:5]))
    assert found == photos[:2]


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (b"", r"0 bytes \(photo 2\): the file is empty"),
        (np.zeros((2, 3, 3)), r"array 3 x 2 \(photo 2\): an array float64 \[2, 3, 3\]: give uint8"),
        (np.zeros((2, 3), np.uint8), r"\[2, 3\]: give uint8 \[height, width, 3\]"),
        (7, r"a int \(photo 2\): a int is no photo"),
        ("gone.jpg", r"gone.jpg: no such file"),
    ],
)
def test_what_is_no_photo_is_said(
    encoder: ColourEncoder, run: ScoringRun, photo: Any, message: str
) -> None:
    given = [colour_image("red"), photo]
    with pytest.raises(ImageError, match=message):
        list(tag_images(run, encoder, given))


def test_an_encoder_that_fails_with_one_photo_names_it(run: ScoringRun) -> None:
    class Fussy(ColourEncoder):
        def prepare(self, image: Image.Image) -> Any:
            if image.width < 10:
                raise ValueError("too small for me")
            return super().prepare(image)

    given = [colour_image("red"), Image.new("RGB", (4, 4)), colour_image("blue")]
    tagged = tag_images(run, Fussy(), given, on_error="skip")
    assert [photo for photo, _ in tagged] == [given[0], given[2]]
    with pytest.raises(ImageError, match=r"image 4 x 4 \(photo 2\): .*too small for me"):
        list(tag_images(run, Fussy(), given))


def test_wrong_options_are_refused_at_once(encoder: ColourEncoder, run: ScoringRun) -> None:
    def refusal(photos: Any = (), encoder: ColourEncoder = encoder, **options: Any) -> str:
        with pytest.raises(ScoringError) as caught:
            tag_images(run, encoder, photos, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "give a list of photos" in refusal("a.jpg")
    assert "on_error is 'ignore': use 'raise' or 'skip'" in refusal(on_error="ignore")
    assert "for the encoder colour_32_32, not for other" in refusal(
        encoder=ColourEncoder(name="other")
    )
    assert "threshold is 2" in refusal(threshold=2)
    assert "step 'regions' cannot be scored here" in refusal(step="regions", regions=0)
    assert "batch_size 0" in refusal(batch_size=0)


def test_the_stores_images_as_a_frame_are_those_of_the_file(
    store: Store, encoder: ColourEncoder, run: ScoringRun, tmp_path: Path
) -> None:
    add_pictures(store, encoder, grid=2)
    out = tmp_path / "tags.parquet"
    asked: list[dict[str, Any]] = [
        {"top_k": 2},
        {"threshold": 0.3},
        {"top_k": 1, "step": "adapter"},
    ]
    for options in asked:
        score(store, "run-1", None, out, overwrite=True, **{"top_k": None, **options})
        frame = tag_store(run, **options)
        assert isinstance(frame, pl.DataFrame)
        assert frame.equals(read_tag_frame(out)), options


def test_a_frame_is_of_one_split_and_of_images_with_a_vector(
    store: Store, encoder: ColourEncoder, run: ScoringRun
) -> None:
    add_pictures(store, encoder)
    add_images(store, encoder, [image_row(90, ["red"], split="train")], [["red"]])
    store.append("images", [image_row(77, ["red"])])
    assert tag_store(run)["image_id"].n_unique() == len(PICTURES) + 1
    assert tag_store(run, split="train", top_k=1)["label_name"].to_list() == ["red"]
    empty = tag_store(run, split="none")
    assert empty.height == 0
    assert empty.columns == tag_store(run).columns
    assert empty.wide().columns == ["image_id", "uri", *NAMES]


def test_tags_say_what_they_are(encoder: ColourEncoder, run: ScoringRun, tmp_path: Path) -> None:
    path = tmp_path / "<b>.png"
    colour_image("red", "green").save(path)
    ((_, tags),) = tag_images(run, encoder, [path], top_k=2)
    first, second = tags
    assert tags[0] == first
    assert tags[:1] == (first,)
    assert len(tags) == 2
    assert repr(tags) == (
        f"ImageTags({str(path)!r}: {first.name} {first.score:.2f}, "
        f"{second.name} {second.score:.2f})"
    )
    shown = tags._repr_html_()
    assert "data:image/jpeg;base64," in shown
    assert "<b>" not in shown
    assert "&lt;b&gt;.png" in shown
    assert f">{first.name}<" in shown
