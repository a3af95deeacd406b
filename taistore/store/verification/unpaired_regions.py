"""Regions of synthetic images that are of another picture than their vector, or have none."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from taistore.printable import counted
from taistore.store.arrow import READ_AHEAD_BYTES
from taistore.store.tables.table_names import kind_and_encoder, table_name
from taistore.store.verification.finding import Finding
from taistore.store.writes.known_keys import column_hashes, is_among, key_hashes

_KEY, _OF = "synthetic_id", "content"


def unpaired_findings(
    tables: Mapping[str, Any], *, broken: Collection[str] = ()
) -> Iterator[Finding]:
    """Rows of ``synthetic_regions`` whose ``content`` no vector of their key has.

    As a job leaves them that is killed between the two, or is at work. Where the vectors are in a
    ``broken`` table nothing is said.
    """
    for name, regions in tables.items():
        kind, encoder_id = kind_and_encoder(name)
        if kind != "synthetic_regions":
            continue
        vectors = table_name("synthetic_vectors", encoder_id)
        if vectors not in broken and (found := _finding(name, regions, tables.get(vectors))):
            yield found


def _finding(name: str, regions: Any, vectors: Any) -> Finding | None:
    whole = np.empty(0, np.uint64)
    if vectors is not None:
        # Written after the regions: as it is now.
        vectors.checkout_latest()
        whole = column_hashes(vectors, (_KEY, _OF))
    count, example = 0, ""
    scanner = regions.scanner(columns=[_KEY, _OF], io_buffer_size=READ_AHEAD_BYTES)
    for batch in scanner.to_batches():
        rows = pa.Table.from_batches([batch])
        unpaired = np.flatnonzero(~is_among(key_hashes(rows), whole))
        if len(unpaired):
            count += len(unpaired)
            example = example or str(rows.column(_KEY)[int(unpaired[0])].as_py())
    if not count:
        return None
    return Finding(
        code="unpaired-regions",
        table=name,
        what=f"{counted(count, 'row is', 'rows are')} of a picture that has no vector "
        f"(such as {example})",
        remedy="run 'taistore generate-images' again, which makes both of one picture",
        severity="warning",
    )
