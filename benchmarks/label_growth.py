"""Fig. 1 on this machine: a training step's time and memory against the number of labels.

``python -m benchmarks.label_growth`` runs what ``taistore reproduce fig1`` runs and writes it down.
Minutes: a step of a prompt learner at 1,000 labels takes the text tower some minutes of one core.
"""

import argparse

from benchmarks.report import Table, write_report
from taistore.reproduction.without_data.label_growth import (
    LABELS,
    OPENIMAGES,
    REMARKS,
    TITLE,
    LabelGrowth,
    measure_growth,
)


def tables(curves: LabelGrowth) -> list[Table]:
    """Seconds and MiB by method and labels."""
    labels = sorted({cost.labels for cost in curves.costs})
    found = {(cost.method, cost.labels): cost for cost in curves.costs}
    drawn = curves.drawn_out()
    seconds, memory = [], []
    for name in dict.fromkeys(cost.method for cost in curves.costs):
        own = [found.get((name, count)) for count in labels]
        cells = [f"{one.seconds:.3g}" if one else "" for one in own]
        if name in drawn:
            cells[-1] = f"({drawn[name]:.3g})"
        seconds.append([name, *cells])
        memory.append([name, *(f"{one.bytes / 2**20:,.0f}" if one else "" for one in own)])
    heads = ["", *(f"{count:,} labels" for count in labels)]
    return [
        Table(heads, seconds, "Processor seconds a step (on a GPU, of the clock)."),
        Table(heads, memory, "MiB above what the process held before."),
    ]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", nargs="+", type=int, default=list(LABELS))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    curves = measure_growth(options.labels, device=options.device)
    path = write_report(
        "label-growth",
        title=TITLE,
        text=(
            f"{'; '.join(REMARKS)}. In brackets: not measured, the last figure in proportion to "
            f"{OPENIMAGES:,} labels. On {curves.device}, {curves.threads} threads."
        ),
        tables=tables(curves),
    )
    print(path)


if __name__ == "__main__":
    main()
