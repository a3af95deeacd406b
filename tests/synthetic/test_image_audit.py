"""Whether pictures show what their captions say is seen, counted, and acted on."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError, SyntheticError
from taistore.project import Project
from taistore.store.store import Store
from taistore.synthetic import image_audit
from taistore.synthetic.generate_images import generate_images
from taistore.synthetic.image_audit import audit_images
from taistore.synthetic.image_pending import UNFAITHFUL
from taistore.synthetic.image_writer import ImageRequest, StoredText
from taistore.synthetic.made_image import ALIKE_BITS, made_image
from tests.fakes import ColourEncoder, colour_image
from tests.synthetic.painting import (
    ENCODER,
    LABELS,
    NAMES,
    TABLES,
    Painter,
    captioned_store,
    named_store,
    pair,
    rejects,
    require_pairs,
    rows,
    shown,
)

COUNT = 132
SWAPPED = 0.25


class Swapping(Painter):
    """Paints one picture in so many of quite other colours."""

    def swaps(self, text: StoredText) -> bool:
        """Whether the picture of a text shows something else."""
        return int(text.text_id[:4], 16) < SWAPPED * 2**16

    def paint(self, request: ImageRequest) -> Image.Image:
        """As the caption says, or not."""
        if not self.swaps(request.text):
            return super().paint(request)
        names = [NAMES[(NAMES.index(name) + 5) % len(NAMES)] for name in shown(request.text.text)]
        return colour_image(*names, size=(50 + request.number, 40))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return captioned_store(tmp_path / "s", COUNT)


def run(store: Store, writer: Painter, **options: Any) -> Any:
    return generate_images(store, ColourEncoder(), writer, **options)


def swapped_ids(store: Store) -> set[str]:
    writer = Swapping(1)
    texts = [row for batch in store.scan("texts") for row in batch.to_pylist()]
    return {
        f"{row['text_id']}-0"
        for row in texts
        if writer.swaps(StoredText(row["text_id"], row["combination_id"], row["text"]))
    }


def test_pictures_of_something_else_score_low(store: Store) -> None:
    run(store, Painter(1))
    good = audit_images(store, ENCODER.encoder_id)
    assert (good.images, good.texts, good.scored) == (COUNT, COUNT, COUNT)
    assert good.writers == {"painter": COUNT}
    assert good.scores["50"] > 0.95
    assert good.low == 0
    assert good.encoder == "colour@32"


def test_what_scores_low_is_set_aside_and_not_made_again(store: Store) -> None:
    wrong = swapped_ids(store)
    assert 15 < len(wrong) < 60
    run(store, Swapping(1), regions=2)
    found = audit_images(store, ENCODER.encoder_id, min_score=0.8)
    assert found.set_aside == 0
    assert len(rows(store, "synthetic_vectors")) == COUNT
    found = audit_images(store, ENCODER.encoder_id, min_score=0.8, set_aside=True)
    assert found.low == found.set_aside
    gone = set(rejects(store))
    assert len(gone & wrong) > 0.8 * len(wrong)
    assert len(gone - wrong) < 0.1 * len(wrong)
    assert set(rejects(store).values()) == {UNFAITHFUL}
    require_pairs(store)
    assert len(rows(store, "synthetic_vectors")) == COUNT - len(gone)
    again = Painter(1)
    done = run(store, again)
    assert (done.rejected_earlier, done.written, again.drawn) == (len(gone), 0, [])
    done = run(store, Painter(1), retry_rejects=True)
    assert done.written == len(gone)
    assert rejects(store) == {}
    require_pairs(store)
    assert audit_images(store, ENCODER.encoder_id).low == 0


def test_an_audit_that_was_killed_is_finished_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store, Swapping(1), regions=2)
    calm = audit_images(store, ENCODER.encoder_id, min_score=0.8)
    remove = Store.remove
    for kind in TABLES:

        def killed(self: Store, of: str, *rest: Any, before: str = kind, **options: Any) -> int:
            if of == before:
                raise KeyboardInterrupt
            return remove(self, of, *rest, **options)

        monkeypatch.setattr(Store, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            audit_images(store, ENCODER.encoder_id, min_score=0.8, set_aside=True)
        monkeypatch.undo()
        # A run in between, which finds the pictures there, changes nothing of that.
        run(store, Painter(1))
        assert len(rejects(store)) == calm.low
    found = audit_images(store, ENCODER.encoder_id, min_score=0.8, set_aside=True)
    assert found.set_aside == calm.low
    assert len(rows(store, "synthetic_vectors")) == COUNT - calm.low
    require_pairs(store)


def test_figures_of_each_label(store: Store) -> None:
    run(store, Swapping(1))
    found = audit_images(store, ENCODER.encoder_id, min_score=0.8)
    assert [key for key, *_ in found.labels] == [label.key for label in LABELS]
    holding = [sum(name in pair(n) for n in range(COUNT)) for name in NAMES]
    assert [figures.images for *_, figures in found.labels] == holding
    scored = [figures for *_, figures in found.labels if figures.score is not None]
    mean = sum(f.score * f.images for f in scored if f.score is not None) / sum(
        f.images for f in scored
    )
    assert 0.5 < mean < 0.98
    assert sum(figures.low for figures in scored) == 2 * found.low


def test_the_bound_itself_is_not_below(store: Store) -> None:
    """What is counted and what is set aside are the same pictures."""
    run(store, Swapping(1))
    scores = sorted(_scores(store))
    for bound in {scores[3], scores[7], scores[20]}:
        found = audit_images(store, ENCODER.encoder_id, min_score=bound)
        assert found.low == sum(score < bound for score in scores)
    bound = scores[7]
    found = audit_images(store, ENCODER.encoder_id, min_score=bound, set_aside=True)
    assert found.set_aside == found.low == len(rejects(store))


def _scores(store: Store) -> list[float]:
    judge = image_audit._Judge.of(
        store, ENCODER.encoder_id, store.count("synthetic_vectors", ENCODER.encoder_id), 0
    )
    blocks = image_audit._blocks(store, ENCODER.encoder_id)
    return [score for found in blocks for score in judge.scores(*found).tolist()]


def test_too_few_other_captions_say_nothing(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "few", image_audit.LEAST_OTHERS)
    run(store, Swapping(1))
    found = audit_images(store, ENCODER.encoder_id, min_score=1.0, set_aside=True)
    assert (found.images, found.scored, found.low, found.set_aside) == (20, 0, 0, 0)
    assert found.scores == {}
    assert all(figures.score is None for *_, figures in found.labels)
    assert len(rows(store, "synthetic_vectors")) == 20


def test_no_synthetic_images_is_one_line(store: Store) -> None:
    with pytest.raises(SyntheticError, match=r"holds no synthetic images of colour@32: make") as e:
        audit_images(store, ENCODER.encoder_id)
    assert "\n" not in str(e.value)


def test_pictures_whose_text_has_no_vector_are_one_line(store: Store) -> None:
    run(store, Painter(1), max_texts=40)
    some = [row["text_id"] for row in rows(store, "synthetic_vectors").values()][:3]
    store.remove("text_vectors", {"text_id": some}, encoder_id=ENCODER.encoder_id)
    with pytest.raises((SyntheticError, StoreError), match="lacks") as error:
        audit_images(store, ENCODER.encoder_id)
    assert "\n" not in str(error.value)


def test_another_encoder_without_texts_is_one_line(store: Store) -> None:
    other = ColourEncoder(name="other")
    generate_images(store, other, Painter(1))
    with pytest.raises(SyntheticError, match="other@32 has no vector of a text") as e:
        audit_images(store, other.info.encoder_id)
    assert "\n" not in str(e.value)


def _saved(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


def _photos() -> list[Image.Image]:
    data: Any = skimage.data
    return [Image.fromarray(of()) for of in (data.astronaut, data.coffee, data.chelsea)]


def test_a_photo_that_is_saved_anew_is_nearly_the_same() -> None:
    def bits(data: bytes) -> int:
        return made_image(data).fingerprint

    whole = [bits(_saved(photo, format="PNG")) for photo in _photos()]
    for photo, one in zip(_photos(), whole, strict=True):
        width, height = photo.size
        for near in (
            _saved(photo, format="JPEG", quality=30),
            _saved(photo.resize((width // 2, height // 2)), format="PNG"),
            _saved(photo.filter(ImageFilter.GaussianBlur(2)), format="PNG"),
        ):
            assert (bits(near) ^ one).bit_count() <= ALIKE_BITS
    assert min((a ^ b).bit_count() for a in whole for b in whole if a != b) > 2 * ALIKE_BITS


def test_real_photos_differ(shared_data: Path) -> None:
    photos = sorted((shared_data / "coco" / "images").iterdir())[:60]
    found = [made_image(path.read_bytes()).fingerprint for path in photos]
    near = [(a ^ b).bit_count() for n, a in enumerate(found) for b in found[:n]]
    assert min(near) > ALIKE_BITS


def test_repeats_and_near_duplicates_are_counted(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 2)
    photo, other, _ = _photos()
    again = _saved(photo, format="PNG")
    answers = {
        0: again,
        1: again,
        2: _saved(photo, format="JPEG", quality=50),
        3: _saved(other, format="PNG"),
    }
    run(store, Painter(4, answers=answers))
    found = audit_images(store, ENCODER.encoder_id)
    # The second text has all four of the first anew.
    assert (found.repeated, found.alike) == (5, 1)


def test_rejects_are_told(store: Store) -> None:
    run(store, Painter(2, answers={1: b"none"}))
    assert audit_images(store, ENCODER.encoder_id).rejects == {"not_an_image": COUNT}


def test_through_the_front_door(tmp_path: Path) -> None:
    store = named_store(tmp_path / "named", COUNT)
    run(store, Swapping(1))
    project = Project.open(store.uri)
    found = project.audit_images(encoder="colour", min_score=0.8)
    assert found == audit_images(store, ENCODER.encoder_id, min_score=0.8)
    assert re.fullmatch(r"[\d.]+", str(found.scores["5"]))


def _vectors(count: int, seed: int, dim: int) -> NDArray[np.float16]:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float16)


def large_store(path: Path, count: int) -> tuple[Store, EncoderInfo]:
    """Many pictures, rows alone."""
    from taistore.store.arrow import vector_column

    store = captioned_store(path, COUNT)
    texts = [row for batch in store.scan("texts") for row in batch.to_pylist()]
    numbers = list(range(count))
    of = [texts[n % COUNT] for n in numbers]
    store.append(
        "synthetic_vectors",
        {
            "synthetic_id": [f"{text['text_id']}-{n}" for n, text in enumerate(of)],
            "text_id": [text["text_id"] for text in of],
            "number": numbers,
            "combination_id": [text["combination_id"] for text in of],
            "content": [f"{n * 2**32:016x}{n:016x}" for n in numbers],
            "writer": ["painter"] * count,
            "model": ["m"] * count,
            "seed": numbers,
            "fingerprint": [n * 0x9E3779B97F4A7C15 % 2**63 for n in numbers],
            "vector": vector_column(_vectors(count, 3, ENCODER.dim)),
        },
        encoder_id=ENCODER.encoder_id,
    )
    return store, ENCODER


def test_many_pictures_in_bounded_memory(tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.killing import ROOT

    large_store(tmp_path / "large", 20_000)
    large_store(tmp_path / "small", 3_000)
    code = """
import sys
from taistore.store.store import Store
from taistore.synthetic.image_audit import audit_images
from taistore.reproduction.without_data.peak_memory import peak_bytes
import time
figures = []
for path in sys.argv[2:]:
    began = time.process_time()
    found = audit_images(Store.open(path), sys.argv[1])
    figures += [found.images, peak_bytes(), time.process_time() - began]
sys.stdout.write(" ".join(map(str, figures)))
"""
    small, large = str(tmp_path / "small"), str(tmp_path / "large")
    done = subprocess.run(
        [sys.executable, "-c", code, ENCODER.encoder_id, small, large],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    few, before, quick, many, after, slow = map(float, done.stdout.split())
    assert (few, many) == (3_000, 20_000)
    assert after - before < 60e6
    # Seven times as many; a time that grew with the square would be some fifty times as long.
    assert slow < 20 * quick
