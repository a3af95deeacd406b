"""The engine of one's own that docs/architecture.md shows."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.llm.chat import Message
from tests.fakes import COLOURS, ColourEncoder

GUIDE = Path(__file__).parents[3] / "docs" / "architecture.md"


def test_the_engine_in_the_guide_writes_texts(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)[0]
    labels = LabelSet([Label(name, name) for name in COLOURS])
    encoder = ColourEncoder()
    store = Store.create(tmp_path / "s", labels, default_encoder=encoder.info.spec)

    def answer(messages: Sequence[Message], temperature: float, tokens: int, seed: int) -> str:
        assert temperature > 0 < tokens
        asked = [name for name in COLOURS if name in messages[0].content]
        return f"A wall {seed} of {' and '.join(asked)} in house {seed % 97}"

    scope: dict[str, Any] = {"store": store, "encoder": encoder, "answer": answer}
    exec(compile(code, str(GUIDE), "exec"), scope)
    assert scope["summary"].written > 900
    row = next(store.scan("texts", columns=["writer", "model"])).to_pylist()[0]
    assert row == {"writer": "mine", "model": "my-model-1"}
