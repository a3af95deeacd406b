"""The commands of taistore, in groups: what each does in a line, in the order of a job."""

import importlib.util
from collections.abc import Mapping
from functools import cache

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Main job": {
        "tag": "Tag photos with your labels: the whole job at once.",
        "init": "Make a store for a file of labels.",
        "labels": "Add, rename, merge and retire labels; list them.",
        "generate-texts": "Write captions of the labels.",
        "ingest-texts": "Add captions of your own.",
        "texts": "Look at captions.",
        "ingest-images": "Add photos, and what is known of them.",
        "train": "Train an adapter, or prompts; makes a run.",
        "score": "Tag photos with a run.",
        "find": "Find photos by words, by a photo, by their labels.",
        "export": "Write tags where other programs read them.",
        "diff": "Show which tags differ between two runs.",
        "demo": "Try the whole job on photos that are here already.",
    },
    "With labelled photos": {
        "evaluate": "Measure a run: mAP and each label's AP.",
        "calibrate": "Find each label's threshold for a stated precision.",
        "compare": "Compare two runs.",
        "ensemble": "Average the scores of several runs.",
    },
    "Research": {
        "ingest-vectors": "Add vectors that were made elsewhere.",
        "generate-images": "Have images made of the texts, and embed them.",
        "synthetic": "Look at images made of texts.",
        "centroids": "Show where each label's photos lie.",
        "export-scores": "Write a run's scores for other programs.",
        "reproduce": "Run the tables of the papers.",
        "convert-checkpoint": "Take the weights out of a TorchScript file.",
    },
    "Upkeep": {
        "show": "Show what a store holds, or all about one photo.",
        "runs": "List runs, remove them.",
        "encoders": "List encoders, remove them.",
        "prune": "Take photos that are gone out of a store.",
        "optimize": "Make a store smaller and faster.",
        "verify": "Look for what is wrong in a store, and repair it.",
        "upgrade": "Bring a store of an older version up to date.",
        "doctor": "See what works on this machine.",
    },
}
"""By heading: each command's name and line; ``a-b`` lives in ``a_b.py``."""


def module_name(name: str) -> str:
    """The module of a command or of a group of commands."""
    return f"taistore_cli.{name.replace('-', '_')}"


@cache
def grouped() -> Mapping[str, Mapping[str, str]]:
    """The groups, without the commands that this version does not have."""
    return {
        heading: {
            name: line
            for name, line in commands.items()
            if importlib.util.find_spec(module_name(name)) is not None
        }
        for heading, commands in GROUPS.items()
    }


@cache
def names() -> tuple[str, ...]:
    """Commands and groups of them, as ``taistore --help`` lists them."""
    return tuple(name for commands in grouped().values() for name in commands)
