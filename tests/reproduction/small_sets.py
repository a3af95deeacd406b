"""Small sets of colour pictures in the layouts that ``reproduce`` reads."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.fakes import colour_image

COLOUR_NAMES = ("red", "green", "blue", "yellow")


def own_form(data: Path, name: str = "colours", *, splits: Sequence[str] = ()) -> Path:
    """``data/name`` with 12 pictures of four labels; ``splits`` are given in turn."""
    folder = data / name
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(12):
        shown = [COLOUR_NAMES[number % 4], COLOUR_NAMES[(number // 3) % 4]]
        shown = list(dict.fromkeys(shown))
        path = folder / "images" / f"{number}.png"
        colour_image(*shown, size=(40 + number, 30)).save(path)
        row: dict[str, object] = {"image": f"images/{number}.png", "labels": shown}
        if splits:
            row["split"] = splits[number % len(splits)]
        rows.append(json.dumps(row))
    (folder / "labels.jsonl").write_text("\n".join(rows) + "\n")
    lines = [f"{colour},{colour}" for colour in COLOUR_NAMES]
    (folder / "classes.csv").write_text("\n".join(["key,name", *lines]) + "\n")
    return folder


def voc2007(data: Path, *, trainval: bool = True) -> Path:
    """``data/VOCdevkit/VOC2007`` with 4 pictures to train on and 4 to test on."""
    root = data / "VOCdevkit" / "VOC2007"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    classes = ("aeroplane", "dog", "diningtable", "person")
    for number in range(8):
        colour_image(COLOUR_NAMES[number % 4], size=(40 + number, 30)).save(
            root / "JPEGImages" / f"00000{number}.jpg"
        )
        objects = f"<object><name>{classes[number % 4]}</name><difficult>0</difficult></object>"
        objects += "<object><name>sofa</name><difficult>1</difficult></object>"
        (root / "Annotations" / f"00000{number}.xml").write_text(
            f"<annotation><filename>00000{number}.jpg</filename><size><width>40</width>"
            f"<height>30</height><depth>3</depth></size>{objects}</annotation>"
        )
    lists = {"test": range(4, 8), **({"trainval": range(4)} if trainval else {})}
    for split, numbers in lists.items():
        text = "".join(f"00000{number}\n" for number in numbers)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
    return root
