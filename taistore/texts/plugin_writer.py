"""A text writer of another package: what it raises while it writes names the plugin."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from taistore import plugins
from taistore.texts.writer import (
    Judge,
    Judgement,
    JudgeRules,
    TextRequest,
    TextWriter,
    WrittenText,
)

GROUP = "taistore.writers"
"""Entry points of this group are writers; :mod:`taistore.texts.writer` says what they are."""


class PluginWriter:
    """The writer of the plugin ``plugin``, in all else that writer itself."""

    def __init__(self, plugin: str, writer: TextWriter) -> None:
        self._plugin, self._writer = plugin, writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def judge(self, rules: JudgeRules) -> Judge:
        """As the plugin's; raises :class:`PluginError` where that fails."""
        with plugins.blame(GROUP, self._plugin, "failed in judge"):
            return _PluginJudge(self._plugin, self._writer.judge(rules))

    def write(self, requests: Sequence[TextRequest]) -> Iterator[WrittenText]:
        """As the plugin's; raises :class:`PluginError` where that fails or gives something else."""
        with plugins.blame(GROUP, self._plugin, "failed in write"):
            answers = iter(self._writer.write(requests))
        for number in itertools.count(1):
            # Only the plugin's own code is blamed, not what is done with an answer.
            with plugins.blame(GROUP, self._plugin, f"failed in write, answer {number}"):
                answer = next(answers, None)
            if answer is None:
                return
            if not isinstance(answer, WrittenText):
                kind = type(answer).__name__
                raise plugins.wrong(
                    GROUP, self._plugin, f"answered with a {kind} instead of a WrittenText"
                )
            yield answer


class _PluginJudge:
    def __init__(self, plugin: str, judge: Judge) -> None:
        self._plugin, self._judge = plugin, judge

    def judge(self, answer: WrittenText, known: Collection[str]) -> Judgement:
        with plugins.blame(GROUP, self._plugin, "failed to judge a text"):
            return self._judge.judge(answer, known)
