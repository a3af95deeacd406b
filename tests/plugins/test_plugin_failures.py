"""What is wrong with a plugin is one line that names it, and what it gave before is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import taistore
from taistore import plugins
from taistore.encoders.registry import load_encoder
from taistore.errors import ImageError, PluginError, TextError
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.images.sources.source import Annotation, SourceImage
from taistore.labels import Label, LabelSet
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.writer import TextRequest, WrittenText
from taistore.texts.writers import check_options, open_writer
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.plugins.haiku_writer.haiku_writer import HaikuWriter

LABELS = LabelSet(Label(name, name) for name in COLOURS)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    kept = {group: dict(there) for group, there in plugins._registered.items()}
    monkeypatch.setattr(plugins, "_registered", kept)


def line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which is one line and says who must mend it."""
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith("registered by this program, " + message.partition("program, ")[2])
    assert message.endswith(": mend it")
    return message


class ListSource:
    """The items of a list; an exception among them is raised."""

    ignored: Any = 0
    notes: Any = ()
    name = "a list"

    def __init__(self, *items: Any) -> None:
        self._items = items

    def count(self) -> int | None:
        """Nobody knows."""
        return None

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            yield item


def opened(*items: Any) -> Any:
    """The source of a plugin that gives these items."""
    taistore.register_source("list", lambda path, labels: ListSource(*items))
    return open_source("anywhere", LABELS, layout="list")


def photos(folder: Path, count: int) -> list[SourceImage]:
    """Different pictures on disk."""
    found = []
    for n in range(count):
        path = folder / f"{n}.png"
        colour_image("red", size=(20 + n, 20)).save(path)
        found.append(SourceImage(uri=str(path)))
    return found


def test_a_source_that_cannot_be_made_is_one_line() -> None:
    def fails(path: Path, labels: LabelSet) -> ListSource:
        raise KeyError("no such\nbucket")

    taistore.register_source("bucket", fails)
    with pytest.raises(PluginError) as error:
        open_source("anywhere", LABELS, layout="bucket")
    assert line(error) == (
        "'bucket' of taistore.sources, registered by this program, cannot be loaded "
        "(KeyError: 'no such\\nbucket'): mend it"
    )
    taistore.register_source("short", lambda path: ListSource())
    with pytest.raises(PluginError, match=r"cannot be loaded \(TypeError: .*2 were given"):
        open_source("anywhere", LABELS, layout="short")


def test_what_a_plugin_says_in_our_own_errors_stays_as_it_is() -> None:
    def fails(path: Path, labels: LabelSet) -> ListSource:
        raise ImageError("s3://x: no such bucket: name another")

    taistore.register_source("bucket", fails)
    with pytest.raises(ImageError, match=r"^s3://x: no such bucket: name another$"):
        open_source("anywhere", LABELS, layout="bucket")
    source = opened(ImageError("row 7 of 9 is cut off"))
    with pytest.raises(ImageError, match=r"^row 7 of 9 is cut off$"):
        list(source)


class Half:
    """Lacks most of what it must have."""

    name = "half"


def _source() -> Any:
    return open_source("x", LABELS, layout="half")


def _encoder() -> Any:
    return load_encoder("half")


def _writer() -> Any:
    with open_writer("half", LABELS) as writer:
        return writer


KINDS: list[tuple[str, Callable[[], Any], str]] = [
    ("sources", _source, "ImageSource (it lacks ignored, notes, __iter__, count)"),
    (
        "encoders",
        _encoder,
        "Encoder (it lacks info, count_tokens, encode_texts, prepare, encode_images)",
    ),
    (
        "writers",
        _writer,
        "TextWriter (it lacks model, instructions, settings, lanes, judge, write)",
    ),
]


@pytest.mark.parametrize(("kind", "open_it", "lacks"), KINDS)
def test_what_a_plugin_gives_must_be_whole(
    kind: str, open_it: Callable[[], Any], lacks: str
) -> None:
    plugins.register(f"taistore.{kind}", "half", lambda *_: Half())
    with pytest.raises(PluginError) as error:
        open_it()
    assert f"gave a Half, which is no {lacks}: mend it" in line(error)
    plugins.register(f"taistore.{kind}", "half", lambda *_: Half)
    with pytest.raises(PluginError, match="gave the class Half instead of an object"):
        open_it()
    plugins.register(f"taistore.{kind}", "half", lambda *_: None)
    with pytest.raises(PluginError, match="gave a NoneType, which is no"):
        open_it()


def test_a_source_that_fails_half_way_keeps_what_it_gave(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    source = opened(*photos(tmp_path, 5), OSError("the line\nwas cut"))
    with pytest.raises(PluginError) as error:
        ingest_images(store, ColourEncoder(), source, batch_size=2)
    assert line(error).endswith("failed at item 6 of a list (OSError: the line was cut): mend it")
    assert store.count("images") == 5
    assert store.count("image_vectors", ColourEncoder().info.encoder_id) == 5


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("a.png", "a str, which is neither a SourceImage nor a Reject"),
        (
            SourceImage(uri="/a", annotation=Annotation(positives=(3, 1))),
            "label ids that do not ascend from 0 to 11",
        ),
        (SourceImage(uri="/a", annotation=Annotation(negatives=(12,))), "label ids that do not"),
        (SourceImage(uri="/a", annotation=Annotation(positives=(-1, 2))), "label ids that do not"),
    ],
)
def test_an_item_that_is_none_is_named(item: Any, problem: str) -> None:
    good = [
        SourceImage(uri="/b", annotation=Annotation(positives=(0, 4), negatives=(11,))),
        Reject(uri="/c", reason="odd", detail="odd"),
    ]
    items = iter(opened(*good, item))
    assert [next(items), next(items)] == good
    with pytest.raises(PluginError) as error:
        next(items)
    assert f"gave as item 3 of a list {problem}" in line(error)


def test_whatever_else_a_source_is_asked_is_one_line_too() -> None:
    class Odd(ListSource):
        notes = 3

        def count(self) -> int | None:
            raise RuntimeError("too many")

    plugins.register("taistore.sources", "odd", lambda path, labels: Odd())
    source = open_source("anywhere", LABELS, layout="odd")
    with pytest.raises(PluginError, match=r"cannot count its images .*too many"):
        source.count()
    with pytest.raises(PluginError, match="cannot give its notes"):
        _ = source.notes


def test_an_encoder_that_fails_at_work_is_named() -> None:
    class Failing(ColourEncoder):
        def encode_images(self, pixels: Any, *, regions: int = 0) -> Any:
            raise RuntimeError("no more memory")

    taistore.register_encoder("failing", Failing)
    encoder = load_encoder("failing")
    assert encoder.encode_texts(["red"]).shape == (1, 32)
    with pytest.raises(PluginError) as error:
        encoder.encode_images(encoder.prepare(colour_image("red"))[None])
    assert "'failing' of taistore.encoders" in line(error)
    assert "failed in encode_images (RuntimeError: no more memory)" in line(error)

    class Nameless(ColourEncoder):
        info: Any = "nameless"

    taistore.register_encoder("nameless", Nameless)
    with pytest.raises(PluginError, match="has a str as info, which is no EncoderInfo"):
        load_encoder("nameless")


def test_a_writer_that_fails_half_way_keeps_what_it_wrote(tmp_path: Path) -> None:
    class Tired(HaikuWriter):
        written = 0

        def write(self, requests: Any) -> Iterator[WrittenText]:
            for answer in super().write(requests):
                if self.written == 30:
                    raise ValueError("no more words")
                self.written += 1
                yield answer

    taistore.register_writer("tired", Tired)
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    config = GenerateConfig(count=100, min_per_label=0, concurrent=10, commit_rows=10)
    with pytest.raises(PluginError) as error, open_writer("tired", LABELS) as writer:
        generate_texts(store, ColourEncoder(), config, writer=writer)
    assert "failed in write, answer" in line(error)
    assert "(ValueError: no more words)" in line(error)
    assert 10 <= store.count("texts") <= 30


def test_answers_and_judges_of_a_writer_are_looked_at() -> None:
    class Careless(HaikuWriter):
        def write(self, requests: Any) -> Any:
            return ["a dog"]

        def judge(self, rules: Any) -> Any:
            raise AttributeError("no rules")

    taistore.register_writer("careless", Careless)
    request = TextRequest(combination_id=1, label_ids=(0,), turn=0, seed=0, request_id="r")
    with open_writer("careless", LABELS) as writer:
        assert (writer.name, writer.lanes) == ("haiku", 0)
        with pytest.raises(PluginError, match="answered with a str instead of a WrittenText"):
            list(writer.write([request]))
        with pytest.raises(PluginError, match=r"failed in judge \(AttributeError: no rules\)"):
            writer.judge(None)  # type: ignore[arg-type]


def test_a_writer_that_cannot_be_opened_is_one_line() -> None:
    closed = []

    @contextmanager
    def opens(labels: LabelSet, *, fail: bool = False) -> Iterator[HaikuWriter]:
        if fail:
            raise OSError("no such socket")
        try:
            yield HaikuWriter(labels)
        finally:
            closed.append("closed")

    plugins.register("taistore.writers", "socket", opens)
    said = r"cannot be opened \(OSError: no such socket\)"
    with pytest.raises(PluginError, match=said), open_writer("socket", LABELS, fail=True):
        pass
    # What the job itself raises is nobody else's mistake.
    with pytest.raises(ZeroDivisionError), open_writer("socket", LABELS):
        _ = 1 / 0
    assert closed == ["closed"]


def test_a_factory_without_a_signature_is_called_with_what_was_given() -> None:
    class Odd:
        __signature__ = "none"

        def __call__(self, labels: LabelSet, **options: Any) -> Any:
            assert options == {"temperature": 0.5}
            return HaikuWriter(labels, **options)

    taistore.register_writer("odd", Odd())
    check_options("odd", {"anything": 1})
    with open_writer("odd", LABELS, temperature=0.5) as writer:
        assert writer.settings == ("haiku", 0.5)
    # Of these Python cannot tell the signature, and they are no factories.
    plugins.register("taistore.writers", "c", dict.fromkeys)
    said = "gave a dict, which is no TextWriter"
    with pytest.raises(PluginError, match=said), open_writer("c", LABELS):
        pass
    with pytest.raises(TextError, match="mood has no meaning for writer template"):
        check_options("template", {"mood": 1})
