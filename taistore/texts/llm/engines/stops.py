"""What stops a whole job, each in one line: what the server does and what to do about it."""

from dataclasses import dataclass

from taistore.errors import TextError
from taistore.texts.llm.engines.completions import ServerError
from taistore.texts.llm.engines.endpoint import KEY_VARIABLE

TRIAL = 50
"""Requests that may be refused, or answered with nothing, before the first that goes well."""

_ON_TRIAL = {
    "refused_request": "refused each of the first {count} requests ({detail}): change what the "
    "server objects to and run the same command again",
    "empty_reply": "answered {count} requests and gave no text ({detail}): the model may spend its "
    "tokens on reasoning, raise max_tokens= or turn thinking off at the server",
    "no_image": "answered {count} requests and gave no image ({detail}): is it a server of a model "
    "that draws?",
    "elsewhere": "gives its images at other addresses ({detail}), where nothing is fetched from: "
    "have it answer with b64_json",
}


@dataclass(frozen=True, slots=True)
class Stops:
    """The errors of one endpoint; ``where`` is its base URL, ``what`` should answer there."""

    where: str
    what: str = "language model"

    def answer(self, status: int, said: ServerError, *, model: str) -> TextError | None:
        """For an answer that every request would get; None for any other."""
        start = f"{self.where} answers {status} ({said.message})"
        if status in (401, 403):
            return TextError(f"{start}: check the key in {KEY_VARIABLE}")
        if status == 402 or said.no_credit:
            return TextError(f"{start}: the account has no credit")
        if 300 <= status < 400:
            return TextError(f"{start}: redirects are not followed, give the final base URL")
        if status == 404:
            return TextError(
                f"{start}: check the base URL (most end in /v1) and the model {model!r}"
            )
        return None

    def on_trial(self, reason: str, detail: str) -> TextError | None:
        """For such a reply :data:`TRIAL` times from the start on; None when it may be chance."""
        if reason not in _ON_TRIAL:
            return None
        what = _ON_TRIAL[reason].format(count=TRIAL, detail=detail)
        return TextError(f"{self.where} {what}")

    def down(self, detail: str) -> TextError:
        """Nobody answered at the start."""
        return TextError(
            f"no {self.what} answers at {self.where} ({detail}): "
            "start the server or mend the base URL"
        )

    def silent(self, detail: str) -> TextError:
        """Nobody answers any more."""
        return TextError(
            f"{self.where} answers no more ({detail}): when it is back, run the same command "
            "again, it goes on where it stopped"
        )

    def limited(self, detail: str) -> TextError:
        """Nothing but rate limits comes."""
        return TextError(
            f"{self.where} answers nothing but rate limits ({detail}): run the same command again "
            "later, with a smaller concurrency= perhaps; it goes on where it stopped"
        )

    def asked_to_wait(self, seconds: float) -> TextError:
        """The server names a time that no job should sit out."""
        return TextError(
            f"{self.where} asks to wait {seconds / 60:,.0f} minutes: "
            "run the same command again then"
        )
