"""Quoted figures are those of the papers: their tables as printed, line by line."""

import re
from collections.abc import Iterator
from itertools import chain
from statistics import fmean

import pytest

from taistore.reproduction.published_figures import (
    FEW_SHOTS,
    FEW_SHOTS_ELSEWHERE,
    PARTIAL_LABELS,
    PARTIAL_LABELS_ELSEWHERE,
    ZERO_SHOT_ELSEWHERE,
    ZERO_SHOT_FIGURES,
)
from taistore.reproduction.tables import TABLES

TABLE_1 = """\
VOC 2007 SARB 83.5 88.6 90.7 91.4 91.9 92.2 92.6 92.8 92.9 90.7
DualCoOp 91.4 93.8 93.8 94.3 94.6 94.7 94.8 94.9 94.9 94.1
TaI-DPT* 93.3 94.6 94.8 94.9 95.1 95.0 95.1 95.3 95.5 94.8
TaI-Adapter* 93.8 94.7 95.1 95.2 95.3 95.3 95.4 95.6 95.7 95.1
MS-COCO SARB 71.2 75.0 77.1 78.3 78.9 79.6 79.8 80.5 80.5 77.9
DualCoOp 81.0 82.3 82.9 83.4 83.5 83.9 84.0 84.1 84.3 83.3
TaI-DPT* 81.5 82.6 83.3 83.7 83.9 84.0 84.2 84.4 84.5 83.6
TaI-Adapter* 82.1 82.9 83.5 84.0 84.4 84.7 84.9 85.1 85.1 84.1
NUS-WIDE DualCoOp 54.0 56.2 56.9 57.4 57.9 57.9 57.6 58.2 58.8 57.2
TaI-DPT* 56.4 57.9 57.8 58.1 58.5 58.8 58.6 59.1 59.4 58.3
TaI-Adapter* 59.5 61.9 62.8 63.2 63.2 63.1 63.5 64.2 65.0 62.9
"""

TABLE_2 = """\
CLIP 77.3 49.7 37.4
TaI-DPT 88.3 65.1 46.5
TaI-Adapter 89.0 67.7 53.3
"""

TABLE_3 = """\
CoOp 79.3 83.2 83.8 84.5 85.7
TaI-DPT* 89.7 91.1 91.2 92.4 93.1
TaI-Adapter* 90.0 91.5 92.2 93.5 93.9
CoOp 52.6 57.3 58.1 59.2 59.8
TaI-DPT* 70.0 70.1 70.8 71.2 71.8
TaI-Adapter* 70.5 70.7 71.4 72.0 72.7
"""

T2I_PAL_1 = """\
ZSCLIP 47.3 76.2 36.4
Tal-DPT 65.1 88.3 46.5
T2I-PAL 71.4 91.5 47.4
"""

T2I_PAL_2 = """\
MS-COCO SSGRL 62.5 70.5 73.2 74.5 76.3 76.5 77.1 77.9 78.4 74.1
GCN-ML 63.8 70.9 72.8 74.0 76.7 77.1 77.3 78.3 78.6 74.4
Par.BCE 61.6 70.5 74.1 76.3 77.2 77.7 78.2 78.4 78.5 74.7
SARB 71.2 75.0 77.1 78.3 78.9 79.6 79.8 80.5 80.5 77.9
DualCoOp 78.7 80.9 81.7 82.0 82.5 82.7 82.8 83.0 83.1 81.9
+Tal-DPT 81.5 82.6 83.3 83.7 83.9 84.0 84.2 84.4 84.5 83.6
+T2I-PAL 82.7 83.0 84.5 84.6 84.8 85.0 85.6 85.8 85.9 84.7
VOC 2007 SSGRL 77.7 87.6 89.9 90.7 91.4 91.8 91.9 92.2 92.2
GCN-ML 74.5 87.4 89.7 90.7 91.0 91.3 91.5 91.8 92.0 88.9
Par.BCE 80.7 88.4 89.9 90.7 91.2 91.8 92.3 92.4 92.5 90.0
SARB 83.5 88.6 90.7 91.4 91.9 92.2 92.6 92.8 92.9 90.7
DualCoOp 90.3 92.2 92.8 93.3 93.6 93.9 94.0 94.1 94.2 93.2
+Tal-DPT 93.3 94.6 94.8 94.9 95.1 95.0 95.1 95.3 95.5 94.8
+T2I-PAL 93.7 94.8 94.8 94.9 94.9 95.2 95.5 95.5 95.5 95.0
NUS DualCoOp 54.0 56.2 56.9 57.4 57.9 57.9 57.6 58.2 58.8
+Tal-DPT 56.4 57.9 57.8 58.1 58.5 58.8 58.6 59.1 59.4 58.3
+T2I-PAL 56.7 57.9 57.9 58.3 58.7 59.2 59.3 59.3 59.3 58.5
"""

T2I_PAL_4 = """\
MS-COCO ZSCLIP 47.3 — — — — —
CoOp — 52.6 57.3 58.1 59.2 59.8
TaI-DPT 65.1 — — — — —
+TaI-DPT — 65.8 66.2 67.6 68.1 68.9
T2I-PAL 71.4 — — — — —
+T2I-PAL — 71.6 71.8 73.1 73.5 74.1
VOC-2007 ZSCLIP 76.2 — — — — —
CoOp — 79.3 83.2 83.8 84.5 85.7
TaI-DPT 88.3 — — — — —
+TaI-DPT — 88.6 89.2 89.1 89.5 90.1
T2I-PAL 91.5 — — — — —
+T2I-PAL — 91.7 92.1 92.2 92.3 92.9
"""

SETS = {"VOC 2007": "voc2007", "VOC-2007": "voc2007", "MS-COCO": "coco2014"}
SETS |= {"NUS-WIDE": "nuswide", "NUS": "nuswide"}

PLACES = ("voc2007", "coco2014", "nuswide")

Printed = tuple[str, str, list[float]]


def rows(text: str, *, first: str = "") -> Iterator[Printed]:
    """Set, system and figures of each line; a set is named in its first line, or is ``first``."""
    place = first
    for line in text.splitlines():
        printed = next((printed for printed in SETS if line.startswith(printed + " ")), "")
        place = SETS.get(printed, place)
        system, *cells = line.removeprefix(printed).split()
        yield place, system, [float(cell) for cell in cells if cell != "—"]


def test_table1_and_the_column_that_is_its_mean() -> None:
    expected = list(rows(TABLE_1))
    assert len(expected) == 11
    assert [(place, system) for place, system, _ in expected] == [
        (place, system) for place, systems in PARTIAL_LABELS.items() for system in systems
    ]
    for place, system, (*values, average) in expected:
        assert PARTIAL_LABELS[place][system] == tuple(values)
        assert round(fmean(values), 1) == average


def test_table2() -> None:
    for _, system, values in rows(TABLE_2):
        assert values == [ZERO_SHOT_FIGURES[place][system][0] for place in PLACES]
    for systems in ZERO_SHOT_FIGURES.values():
        assert list(systems) == ["CLIP", "TaI-DPT", "TaI-Adapter"]


def test_table3() -> None:
    lines = TABLE_3.splitlines()
    upper, lower = "\n".join(lines[:3]), "\n".join(lines[3:])
    expected = list(chain(rows(upper, first="voc2007"), rows(lower, first="coco2014")))
    assert len(expected) == sum(map(len, FEW_SHOTS.values()))
    for place, system, values in expected:
        assert FEW_SHOTS[place][system] == tuple(values)


def test_t2i_pal_with_partial_labels() -> None:
    """Each line of its Table 2 stands in one of the two places, with the same figures."""
    ours = {"Par.BCE": "Partial-BCE", "+Tal-DPT": "TaI-DPT*", "+T2I-PAL": "T2I-PAL* (RN101)"}
    used = 0
    for place, system, values in rows(T2I_PAL_2):
        name = ours.get(system, system)
        quoted = PARTIAL_LABELS_ELSEWHERE[place]
        if name in quoted or f"{name}, in T2I-PAL" in quoted:
            figures = quoted.get(name) or quoted[f"{name}, in T2I-PAL"]
            used += 1
        else:
            figures = PARTIAL_LABELS[place][name]
        assert figures == tuple(values[:9]), (place, system)
        assert [round(fmean(figures), 1)] == (values[9:] or [round(fmean(figures), 1)])
    assert used == sum(map(len, PARTIAL_LABELS_ELSEWHERE.values())) == 11


def test_t2i_pal_zero_shot_and_with_few_shots() -> None:
    names = {"ZSCLIP": "CLIP, in T2I-PAL", "T2I-PAL": "T2I-PAL (RN101)"}
    for (_, system, values), quoted in zip(
        rows(T2I_PAL_1),
        (ZERO_SHOT_ELSEWHERE, ZERO_SHOT_FIGURES, ZERO_SHOT_ELSEWHERE),
        strict=True,
    ):
        name = names.get(system, "TaI-DPT")
        assert values == [quoted[place][name][0] for place in ("coco2014", *PLACES[::2])]
    names = {"+TaI-DPT": "TaI-DPT*, in T2I-PAL", "+T2I-PAL": "T2I-PAL* (RN101)"}
    for place, system, values in rows(T2I_PAL_4):
        if system == "CoOp":
            assert FEW_SHOTS[place][system] == tuple(values)
        elif system in names:
            assert FEW_SHOTS_ELSEWHERE[place][names[system]] == tuple(values)


def test_what_other_papers_give_without_images() -> None:
    assert {
        system: " / ".join(f"{ZERO_SHOT_ELSEWHERE[place][system][0]}" for place in PLACES)
        for system in list(ZERO_SHOT_ELSEWHERE["voc2007"])[2:]
    } == {
        "SPARC + local (RN50)": "89.9 / 68.4 / 44.5",
        "CoMC (RN50)": "nan / 68.8 / nan",
        "TagCLIP (ViT-B/16)": "92.8 / 68.8 / nan",
        "PIAA (ViT-B/16)": "92.5 / 74.6 / 50.6",
    }


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_figure_has_its_column_and_every_caveat_is_there(name: str) -> None:
    table = TABLES[name]
    for figures in (table.published, table.elsewhere):
        assert set(figures) == set(table.sets)
        for systems in figures.values():
            assert {len(values) for values in systems.values()} == {len(table.columns)}
    remarks = "\n".join(table.remarks)
    assert "the epoch that was best on (part of) the test set" in remarks
    assert "include those of most test images" in remarks
    assert "taistore itself picks nothing on a test split" in remarks
    if table.integrated:
        assert f"* averaged with {table.integrated}'s scores" in table.remarks
    quoted = {system for systems in table.published.values() for system in systems}
    assert ("CoOp" in quoted) == bool(re.search("CoOp: no public code", remarks))
    for system in ("SARB", "SSGRL", "GCN-ML", "Partial-BCE"):
        there = any(
            system in systems
            for figures in (table.published, table.elsewhere)
            for systems in figures.values()
        )
        assert there == (system in remarks)
