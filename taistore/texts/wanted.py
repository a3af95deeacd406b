"""Resume: which texts of a sample the store does not hold yet, as requests to a writer."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.store import Store
from taistore.texts.combinations.sampling import CombinationSample
from taistore.texts.writer import TextRequest, TextWriter


def missing_requests(
    store: Store, sample: CombinationSample, writer: TextWriter, *, seed: int, batch_texts: int
) -> Iterator[tuple[list[TextRequest], int]]:
    """Batches of at most ``batch_texts`` requests that are to be written, in the sample's order.

    With each batch comes how many texts of the same stretch the store holds already. A batch
    keeps conversations whole (and so holds at least one), and is sorted by combination, so that
    the rows of the vector table lie together.
    """
    labels, n = store.labels, sample.texts_per_combination
    combination_ids = np.array(
        [labels.combination_id(ids) for ids in sample.combinations()], dtype=np.int64
    )
    wanted = _request_keys(combination_ids[sample.combination], sample.turn)
    absent = ~np.isin(wanted, _present_keys(store, writer, seed))
    instructions = writer.instructions
    step = max(1, batch_texts // n) * n
    for start in range(0, len(sample), step):
        block = np.arange(start, min(start + step, len(sample)))
        block = block[absent[block]]
        order = np.lexsort((sample.turn[block], combination_ids[sample.combination[block]]))
        requests = []
        for t in block[order]:
            combination, turn = int(sample.combination[t]), int(sample.turn[t])
            requests.append(
                TextRequest(
                    combination_id=int(combination_ids[combination]),
                    label_ids=sample.labels_of(combination),
                    turn=turn,
                    seed=seed,
                    conversation=turn // n,
                    instruction=instructions[(turn // n) % len(instructions)],
                )
            )
        yield requests, min(step, len(sample) - start) - len(requests)


def _request_keys(
    combination_ids: NDArray[np.int64], turns: NDArray[np.int32]
) -> NDArray[np.uint64]:
    """64 bits that name a text of one writer and seed: 8 bytes each, whatever the store's size."""
    spread = turns.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return combination_ids.view(np.uint64) ^ spread


def _present_keys(store: Store, writer: TextWriter, seed: int) -> NDArray[np.uint64]:
    blocks = [np.empty(0, dtype=np.uint64)]
    for batch in store.scan(
        "texts",
        columns=["combination_id", "turn"],
        where={"writer": writer.name, "model": writer.model, "seed": seed},
        batch_rows=65536,
    ):
        combination_ids = batch.column("combination_id").to_numpy()
        turns = batch.column("turn").cast(pa.int32()).to_numpy()
        blocks.append(_request_keys(combination_ids, turns))
    return np.unique(np.concatenate(blocks))
