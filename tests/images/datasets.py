"""Small data sets in the genuine layouts of COCO, Pascal VOC, NUS-WIDE and OpenImages.

Contents are our own: pictures in the colours of ``tests/fakes.py``, annotated by colour.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taistore.images.sources.source import Annotation, ImageSource, SourceImage
from taistore.store.rejects import Reject
from tests.fakes import colour_image


def photo(path: Path, *colours: str) -> Path:
    """A picture of these colours; its size depends on its name, so that no two are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour_image(*colours, size=(40 + sum(path.name.encode()) % 97, 32)).save(path)
    return path


def known(source: ImageSource) -> dict[str, Annotation | None]:
    """Annotations by file name, of the items that are no rejects."""
    items = [item for item in source if isinstance(item, SourceImage)]
    return {Path(item.uri).name: item.annotation for item in items}


def splits(source: ImageSource) -> dict[str, str | None]:
    """Splits by file name."""
    return {Path(item.uri).name: item.split for item in source if isinstance(item, SourceImage)}


def rejected(source: ImageSource) -> list[Reject]:
    """The rejects, in order."""
    return [item for item in source if isinstance(item, Reject)]


def coco_text(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[str] = ("red", "green", "blue"),
    *,
    order: Sequence[str] = ("info", "licenses", "images", "annotations", "categories"),
) -> str:
    """An ``instances_*.json``; categories are numbered from 1 in steps of 2, as COCO has gaps."""
    sections = {
        "info": {"year": 2017, "description": "our own"},
        "licenses": [{"id": 1, "name": "ours", "url": ""}],
        "images": [{"height": 32, "width": 40, "license": 1, **image} for image in images],
        "annotations": [
            {
                "id": 900 + number,
                "segmentation": [[1.5, 2.0, 3.25, 4.0, 5.0, 6.5]],
                "area": 12.5,
                "bbox": [1.0, 2.5, 3.0, 4.0],
                "iscrowd": 0,
                **annotation,
            }
            for number, annotation in enumerate(annotations)
        ],
        "categories": [
            {"supercategory": "colour", "id": 1 + 2 * number, "name": name}
            for number, name in enumerate(categories)
        ],
    }
    return json.dumps({name: sections[name] for name in order})


def voc_xml(filename: str, objects: Sequence[tuple[str, int]]) -> str:
    """A VOC annotation; ``objects`` are pairs of class and difficult."""
    found = "".join(
        f"""
  <object>
    <name>{name}</name>
    <pose>Left</pose>
    <truncated>1</truncated>
    <difficult>{difficult}</difficult>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>2</ymin></bndbox></part>
  </object>"""
        for name, difficult in objects
    )
    return f"""<annotation>
  <folder>VOC2007</folder>
  <filename>{filename}</filename>
  <source><database>our own</database><annotation>ours</annotation></source>
  <size><width>40</width><height>32</height><depth>3</depth></size>
  <segmented>0</segmented>{found}
</annotation>
"""


def voc_folder(root: Path, annotations: Mapping[str, Sequence[tuple[str, int]]]) -> Path:
    """``VOC2007`` below ``root`` with a photo and an annotation for each name."""
    folder = root / "VOCdevkit" / "VOC2007"
    (folder / "Annotations").mkdir(parents=True)
    for name, objects in annotations.items():
        photo(folder / "JPEGImages" / f"{name}.jpg", *[c for c, _ in objects] or ["grey"])
        xml = voc_xml(f"{name}.jpg", objects)
        (folder / "Annotations" / f"{name}.xml").write_text(xml, encoding="utf-8")
    return folder


def voc_list(folder: Path, name: str, images: Sequence[str]) -> None:
    """A list of ``ImageSets/Main``."""
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{name}.txt").write_text("".join(f"{i}\n" for i in images), encoding="utf-8")


def nuswide_list(root: Path, name: str, images: Sequence[str]) -> None:
    """A list of ``ImageList`` with the line ends and backslashes of the original."""
    (root / "ImageList").mkdir(parents=True, exist_ok=True)
    lines = "".join(image.replace("/", "\\") + "\r\n" for image in images)
    (root / "ImageList" / f"{name}.txt").write_bytes(lines.encode())


def nuswide_labels(root: Path, name: str, values: Sequence[int | str]) -> None:
    """A file of ``Groundtruth``: such as ``AllLabels/Labels_red``."""
    path = root / "Groundtruth" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{value}\n" for value in values), encoding="utf-8")


def openimages_text(rows: Sequence[tuple[str, str, str]]) -> str:
    """Image-level labels; ``rows`` are image, label and confidence."""
    lines = [f"{image},verification,{label},{value}\n" for image, label, value in rows]
    return "ImageID,Source,LabelName,Confidence\n" + "".join(lines)
