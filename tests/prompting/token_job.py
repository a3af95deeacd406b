"""Run by test_token_vectors.py in a process of its own: make token vectors until it is killed."""

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from taistore.encoders.open_clip.clip_prompts import ClipPrompts
from taistore.project import Project
from taistore.texts.rows import token_vectors
from tests.encoders import small_models
from tests.killing import step

assert small_models.MEAN.size  # the configurations of its models are known from here on

ROWS = 8
"""Texts in a commit, and half of it in a pass of the tower: a kill falls into one of them."""


def make(uri: str) -> int:
    """What the job does, in small commits; returns how many texts it wrote."""
    project = Project.open(uri, device="cpu")
    return token_vectors.write_token_vectors(project.store, project.encoder())


def _with_steps() -> None:
    encode = ClipPrompts.encode_tokens

    def stepping(self: ClipPrompts, *arguments: Any) -> Tensor:
        step()
        return encode(self, *arguments)

    setattr(ClipPrompts, "encode_tokens", stepping)  # noqa: B010


if __name__ == "__main__":
    token_vectors._COMMIT_ROWS, token_vectors._ENCODE_ROWS = ROWS, ROWS // 2
    _with_steps()
    Path(sys.argv[2]).write_text(str(make(sys.argv[1])), encoding="utf-8")
