"""Pictures of texts become vectors: their rows, what is asked for again, what is set aside."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taistore.errors import EncoderError, StoreError, SyntheticError
from taistore.store.store import Store
from taistore.synthetic import image_store
from taistore.synthetic.generate_images import GenerateImagesSummary, generate_images
from taistore.synthetic.image_pending import StoredTexts
from taistore.synthetic.image_writer import StoredText, numbered
from taistore.synthetic.made_image import fingerprint, made_image
from tests.fakes import ColourEncoder, colour_image
from tests.synthetic.painting import (
    ENCODER,
    TABLES,
    Painter,
    PickyEncoder,
    add_captions,
    captioned_store,
    combinations_of_commits,
    everything,
    framed,
    is_clustered,
    rejects,
    require_pairs,
    rows,
)


def run(store: Store, writer: Painter, **options: Any) -> GenerateImagesSummary:
    encoder = options.pop("encoder", None) or ColourEncoder()
    return generate_images(store, encoder, writer, **options)


def test_ids_and_seeds_are_the_same_on_every_machine() -> None:
    text = StoredText("0123456789abcdef0123456789abcdef", 5, "a red thing")
    first, second = numbered([text], 2, seed=7)
    assert first.synthetic_id == "0123456789abcdef0123456789abcdef-0"
    assert first.seed == 6059371895352687933
    assert second.seed == 9028921922270532353
    (other,) = numbered([text], 1, seed=8)
    assert other.seed not in (first.seed, second.seed)


def test_what_the_rows_say(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 30)
    writer = Painter(2)
    done = run(store, writer, regions=2)
    assert (done.texts, done.requested, done.written, done.present) == (30, 60, 60, 0)
    assert (done.writer, done.model, done.encoder) == ("painter", "oils", "colour@32")
    texts = {row["text_id"]: row for batch in store.scan("texts") for row in batch.to_pylist()}
    vectors, regions = (rows(store, kind) for kind in TABLES)
    assert len(vectors) == len(regions) == 60
    encoder = ColourEncoder()
    for text in texts.values():
        stored = StoredText(text["text_id"], text["combination_id"], text["text"])
        for request in numbered([stored], 2, seed=7):
            picture = writer.paint(request)
            made = made_image(picture)
            found = encoder.encode_images(encoder.prepare(picture)[None], regions=2)
            row, cells = vectors[request.synthetic_id], regions[request.synthetic_id]
            assert row.pop("vector") == found.whole[0].astype(np.float16).tolist()
            assert found.regions is not None
            assert cells["vectors"] == found.regions[0].astype(np.float16).ravel().tolist()
            identity = {
                "synthetic_id": f"{text['text_id']}-{request.number}",
                "text_id": text["text_id"],
                "number": request.number,
                "combination_id": text["combination_id"],
                "content": made.content,
            }
            assert row == {
                **identity,
                "writer": "painter",
                "model": "oils",
                "seed": request.seed,
                "fingerprint": fingerprint(np.asarray(picture.convert("L"), np.float32)),
            }
            assert {key: cells[key] for key in identity} == identity
            assert cells["grid"] == 2
    for kind in TABLES:
        assert all(map(is_clustered, combinations_of_commits(store, kind)))


def test_commits_are_clustered_by_combination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_store, "COMMIT_ROWS", 40)
    store = captioned_store(tmp_path / "s", 5)
    # Texts of one combination in places that are far apart.
    add_captions(
        store, [(f"a {name} box {n}", [name]) for n in range(9) for name in ("red", "blue")]
    )
    run(store, Painter(4, batch=5), regions=2)
    for kind in TABLES:
        commits = combinations_of_commits(store, kind)
        assert len(commits) > 1
        assert all(map(is_clustered, commits))


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 12)
    run(store, Painter(1))
    before = everything(store)
    more = Painter(3)
    done = run(store, more)
    assert (done.requested, done.present, done.written) == (36, 12, 24)
    assert len(more.drawn) == 24
    assert {id_.rpartition("-")[2] for id_ in more.drawn} == {"1", "2"}
    after = everything(store)
    for kind in TABLES:
        assert before[kind].items() <= after[kind].items()
    again = Painter(3)
    assert run(store, again).written == 0
    assert again.drawn == []


def test_regions_are_added_later_and_only_one_grid_is_kept(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 10)
    run(store, Painter(2))
    assert rows(store, "synthetic_regions") == {}
    plain = rows(store, "synthetic_vectors")
    done = run(store, Painter(2), regions=2)
    assert (done.requested, done.written, done.present, done.regions) == (20, 20, 0, 2)
    require_pairs(store)
    assert rows(store, "synthetic_vectors") == plain
    with pytest.raises(StoreError, match=r"2 x 2 grid .* not 3 x 3: use regions=2$"):
        run(store, Painter(2), regions=3)
    # The grid that is there is the one that is meant.
    done = run(store, Painter(3))
    assert (done.regions, done.written, done.present) == (2, 10, 20)
    require_pairs(store)


def test_regions_are_added_by_a_writer_that_never_draws_the_same_twice(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 6)
    run(store, Painter(2, unstable=True))
    # One picture cannot be had the second time: the others are worth keeping.
    writer = Painter(2, unstable=True, answers={1: framed(13)})
    done = run(store, writer, regions=2, encoder=PickyEncoder())
    assert (done.written, done.rejected) == (6, 6)
    run(store, Painter(2, unstable=True), regions=2, retry_rejects=True)
    require_pairs(store)
    assert rejects(store) == {}


def test_regions_without_their_vector_are_mended(tmp_path: Path) -> None:
    """As a kill between the two leaves them."""
    store = captioned_store(tmp_path / "s", 6)
    run(store, Painter(2, unstable=True), regions=2)
    lost = sorted(rows(store, "synthetic_vectors"))[:5]
    store.remove("synthetic_vectors", {"synthetic_id": lost}, encoder_id=ENCODER.encoder_id)
    writer = Painter(2, unstable=True)
    assert run(store, writer).written == 5
    assert sorted(writer.drawn) == lost
    require_pairs(store)


def test_regions_of_another_picture_are_mended(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 6)
    run(store, Painter(1, unstable=True), regions=2)
    changed = list(rows(store, "synthetic_regions").values())[:3]
    table = [{**row, "content": "0" * 32} for row in changed]
    store.upsert("synthetic_regions", table, encoder_id=ENCODER.encoder_id)
    assert run(store, Painter(1, unstable=True)).written == 3
    require_pairs(store)


BAD: list[tuple[Any, str]] = [
    (Image.new("RGB", (40, 40), (0, 0, 0)), "blank"),
    (Image.new("RGB", (40, 40), (90, 120, 90)), "blank"),
    (b"\x89PNG\r\n\x1a\nno", "truncated"),
    (b"", "empty"),
    (framed(13), "failed"),
    (framed(14), "not_finite"),
    (("unsafe", "the safety checker refused it"), "unsafe"),
]


@pytest.mark.parametrize(("answer", "reason"), BAD)
def test_what_cannot_be_used_is_final_until_it_is_retried(
    tmp_path: Path, answer: Any, reason: str
) -> None:
    store = captioned_store(tmp_path / "s", 5)
    done = run(store, Painter(2, answers={1: answer}), encoder=PickyEncoder(), regions=2)
    assert (done.written, done.rejected, done.requested) == (5, 5, 10)
    (found,) = done.rejects
    assert set(rejects(store).values()) == {found}
    assert found == reason
    assert {key.rpartition("-")[2] for key in rejects(store)} == {"1"}
    (writers,) = ({row["writer"] for b in store.scan("rejects") for row in b.to_pylist()},)
    assert writers == {"painter"}
    later = Painter(2)
    done = run(store, later, encoder=PickyEncoder())
    assert (done.present, done.rejected_earlier, done.written) == (5, 5, 0)
    assert later.drawn == []
    done = run(store, Painter(2), retry_rejects=True)
    assert (done.present, done.rejected_earlier, done.written) == (5, 0, 5)
    assert rejects(store) == {}
    require_pairs(store)


def test_what_got_no_answer_is_asked_for_again(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 5)
    done = run(store, Painter(2, answers={0: ("unanswered:timeout", "no answer in time")}))
    assert done.rejects == {"unanswered:timeout": 5}
    done = run(store, Painter(2))
    assert (done.present, done.rejected_earlier, done.written) == (5, 0, 5)
    assert rejects(store) == {}


def test_rejects_that_a_kill_left_beside_their_picture_are_forgotten(tmp_path: Path) -> None:
    from taistore.store.rejects import Reject
    from taistore.synthetic.image_pending import JOB, UNFAITHFUL

    store = captioned_store(tmp_path / "s", 4)
    run(store, Painter(1))
    first, second, *_ = sorted(rows(store, "synthetic_vectors"))
    store.reject(JOB, [Reject(first, "unanswered:timeout", "late"), Reject(second, UNFAITHFUL, "")])
    run(store, Painter(1))
    # What an audit found may be of another encoder.
    assert rejects(store) == {second: UNFAITHFUL}


def test_where_nothing_is_usable_it_is_an_error(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 5)
    with pytest.raises(
        SyntheticError, match=r"^none of 5 images is usable \(first: .*-0: it is all"
    ):
        run(store, Painter(1, answers={0: Image.new("RGB", (9, 9))}))
    assert len(rejects(store)) == 5


def test_too_many_rejects_stop_it_and_the_rest_is_kept(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 30)
    writer = Painter(2, answers={1: b"no picture"})
    with pytest.raises(
        SyntheticError, match=r"^stopped at 4 rejected images, at most 3 are"
    ) as error:
        run(store, writer, max_rejects=3)
    assert "\n" not in str(error.value)
    assert len(rows(store, "synthetic_vectors")) == 4
    assert len(writer.drawn) == 8
    done = run(store, Painter(2, answers={1: b"no picture"}), max_rejects=26)
    assert (done.present, done.rejected_earlier, done.rejected) == (4, 4, 26)


def test_an_encoder_that_fails_for_every_picture_ends_the_job(tmp_path: Path) -> None:
    class Broken(ColourEncoder):
        def encode_images(self, pixels: Any, *, regions: int = 0) -> Any:
            raise EncoderError("out of memory: use a smaller batch")

    store = captioned_store(tmp_path / "s", 5)
    with pytest.raises(EncoderError, match="out of memory"):
        run(store, Painter(1), encoder=Broken())
    assert rejects(store) == {}
    assert rows(store, "synthetic_vectors") == {}


def test_a_writer_that_stops_keeps_what_came_before(tmp_path: Path) -> None:
    class Stopping(Painter):
        def write(self, requests: Any) -> Any:
            if len(self.drawn) >= 8:
                raise SyntheticError("the server is gone: start it")
            yield from super().write(requests)

    store = captioned_store(tmp_path / "s", 10)
    with pytest.raises(SyntheticError, match="the server is gone"):
        run(store, Stopping(2), regions=2)
    assert len(rows(store, "synthetic_vectors")) == 8
    require_pairs(store)


def test_a_sample_is_held_by_a_larger_one(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 60)
    found = [{t.text_id for t in StoredTexts(store, most=n)} for n in (1, 10, 25, 60, 100)]
    assert [len(ids) for ids in found] == [1, 10, 25, 60, 60]
    assert all(a <= b for a, b in itertools.pairwise(found))
    done = run(store, Painter(1), max_texts=10)
    assert (done.texts, done.written) == (10, 10)
    assert {row["text_id"] for row in rows(store, "synthetic_vectors").values()} == found[1]
    done = run(store, Painter(1), max_texts=25)
    assert (done.present, done.written) == (10, 15)


def test_texts_of_one_writer(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 20, writers=("template", "captions"))
    done = run(store, Painter(1), text_writer="captions", max_texts=7)
    assert (done.texts, done.written) == (7, 7)
    by = {r["text_id"]: r["writer"] for b in store.scan("texts") for r in b.to_pylist()}
    assert {by[row["text_id"]] for row in rows(store, "synthetic_vectors").values()} == {"captions"}
    with pytest.raises(
        SyntheticError, match=r"holds no texts by 'nobody' to make images of: write"
    ):
        run(store, Painter(1), text_writer="nobody")


def test_a_store_without_texts_is_one_line(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 0)
    with pytest.raises(
        SyntheticError, match=r"holds no texts to make images of: write some"
    ) as error:
        run(store, Painter(1))
    assert "\n" not in str(error.value)
    assert len(store.encoders()) == 1


def test_jobs_begin_at_different_texts(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 100)
    orders = [[text.text_id for text in StoredTexts(store)] for _ in range(6)]
    assert len({order[0] for order in orders}) > 1
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(orders[0]))}


def test_a_picture_of_the_writer_is_seen_as_it_is(tmp_path: Path) -> None:
    """Whatever the mode: transparent, grey, with a palette."""
    store = captioned_store(tmp_path / "s", 3)
    striped = colour_image("red", "white")
    answers = {0: striped.convert("RGBA"), 1: striped.convert("L"), 2: striped.convert("P")}
    assert run(store, Painter(3, answers=answers)).written == 9


def test_what_is_no_picture_is_set_aside(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 2)
    done = run(store, Painter(2, answers={1: 3.5}))
    assert (done.written, done.rejected) == (2, 2)
    (detail,) = {row["detail"] for b in store.scan("rejects") for row in b.to_pylist()}
    assert re.fullmatch(r"cannot be prepared: [^\n]+", detail)
