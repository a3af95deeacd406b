"""An image writer of another package: it is found by name, and named where it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taistore import plugins
from taistore.errors import PluginError, SyntheticError
from taistore.synthetic.generate_images import generate_images
from taistore.synthetic.image_writers import check_image_options, open_image_writer
from tests.fakes import ColourEncoder
from tests.synthetic.painting import Painter, captioned_store, rows

GROUP = "taistore.image_writers"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    kept = {group: dict(there) for group, there in plugins._registered.items()}
    monkeypatch.setattr(plugins, "_registered", kept)


def _run(path: Path, **options: Any) -> Any:
    store = captioned_store(path, 6)
    with open_image_writer("mine", **options) as writer:
        return generate_images(store, ColourEncoder(), writer), store


def _line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"'mine' of {GROUP}, registered by this program, ")
    assert message.endswith(": mend it")
    return message


def test_it_paints(tmp_path: Path) -> None:
    assert GROUP in plugins.GROUPS
    plugins.register(GROUP, "mine", lambda per_text=1: Painter(per_text))
    done, store = _run(tmp_path / "s", per_text=2)
    assert (done.writer, done.model, done.written) == ("painter", "oils", 12)
    assert len(rows(store, "synthetic_vectors")) == 12
    with pytest.raises(SyntheticError, match="style has no meaning for writer mine: it takes per_"):
        check_image_options("mine", {"style": 1})
    with pytest.raises(SyntheticError, match=r"no image writer 'other': there are .*folder, mine"):
        check_image_options("other", {})


def test_what_it_gives_must_be_whole() -> None:
    plugins.register(GROUP, "mine", object)
    with pytest.raises(PluginError) as error, open_image_writer("mine"):
        pass
    assert "gave a object, which is no ImageWriter (it lacks name, model" in _line(error)


def test_one_that_cannot_be_opened() -> None:
    @contextmanager
    def opened() -> Iterator[Painter]:
        raise RuntimeError("no\ncanvas")
        yield Painter()

    plugins.register(GROUP, "mine", opened)
    with (
        pytest.raises(PluginError, match=r"cannot be opened \(RuntimeError: no canvas\)") as error,
        open_image_writer("mine"),
    ):
        pass
    _line(error)


class Failing(Painter):
    """Fails where it is told to."""

    def __init__(self, at: str, gives: Any = None) -> None:
        super().__init__(1, batch=3)
        self._at, self._gives = at, gives

    def _fail(self, at: str) -> None:
        if self._at == at:
            raise KeyError("no\npaint")

    def wanted(self, texts: int) -> int:
        """Or fails."""
        self._fail("wanted")
        return super().wanted(texts)

    def requests(self, texts: Any) -> Any:
        """Or fails."""
        self._fail("requests")
        if self._at == "other requests":
            return iter([self._gives])
        return super().requests(texts)

    def write(self, requests: Any) -> Any:
        """Or fails with the second batch."""
        if len(self.drawn) >= 3:
            self._fail("write")
        for answer in super().write(requests):
            yield self._gives if self._at == "other answers" else answer


@pytest.mark.parametrize(
    ("at", "gives", "message"),
    [
        ("wanted", None, r"failed in wanted \(KeyError: 'no\\npaint'\)"),
        ("requests", None, r"failed in requests \(KeyError"),
        ("write", None, r"failed in write, item 1 \(KeyError"),
        ("other requests", 3, "gave a int in requests instead of ImageRequest or Reject"),
        ("other answers", "x", "gave a str in write instead of WrittenImage"),
    ],
)
def test_a_writer_that_fails_is_named(tmp_path: Path, at: str, gives: Any, message: str) -> None:
    plugins.register(GROUP, "mine", lambda: Failing(at, gives))
    store = captioned_store(tmp_path / "s", 6)
    with (
        pytest.raises(PluginError, match=message) as error,
        open_image_writer("mine") as writer,
    ):
        generate_images(store, ColourEncoder(), writer)
    _line(error)
    # What came before is kept.
    assert len(rows(store, "synthetic_vectors")) == (3 if at == "write" else 0)


def test_what_it_says_in_our_own_errors_stays_as_it_is(tmp_path: Path) -> None:
    class Telling(Painter):
        def write(self, requests: Any) -> Any:
            raise SyntheticError("the easel is gone: buy one")

    plugins.register(GROUP, "mine", Telling)
    with pytest.raises(SyntheticError, match=r"^the easel is gone: buy one$"):
        _run(tmp_path / "s")
