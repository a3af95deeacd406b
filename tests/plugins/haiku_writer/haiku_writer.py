"""A text writer as another package offers it: an entry point is all that taistore knows of it."""

from collections.abc import Iterator, Sequence

from taistore.labels import LabelSet
from taistore.texts.judge import PlainJudge
from taistore.texts.writer import Judge, JudgeRules, TextRequest, WrittenText

SEASONS = ("spring rain", "summer heat", "autumn wind", "first snow", "the new year")


class HaikuWriter:
    """Labels in a season; ``temperature`` says how often there is a second line."""

    name = "haiku"
    model = "1"
    instructions = ("",)
    lanes = 0

    def __init__(self, labels: LabelSet, *, temperature: float = 0.0) -> None:
        self._names = [label.name for label in labels]
        self._temperature = temperature

    @property
    def settings(self) -> tuple[object, ...]:
        """Its name, since another writer's texts are no haiku, and what they depend on."""
        return self.name, self._temperature

    def judge(self, rules: JudgeRules) -> Judge:
        """Whatever is new and fits."""
        return PlainJudge(rules)

    def write(self, requests: Sequence[TextRequest]) -> Iterator[WrittenText]:
        """A line for each request."""
        for request in requests:
            names = " and ".join(self._names[i] for i in request.label_ids)
            season = SEASONS[(request.turn + request.attempt) % len(SEASONS)]
            more = f", line {request.turn}" if self._temperature else ""
            yield WrittenText(
                request=request, text=f"{season}, {names}{more}", temperature=self._temperature
            )
