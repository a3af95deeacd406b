"""Which tables a training reads, at which versions: what its run is a function of."""

from taistore.adapter.config import TrainConfig
from taistore.store.store import Store


def read_versions(store: Store, encoder_id: str, config: TrainConfig) -> dict[str, int]:
    """The newest version of each table that a training with these settings reads, by its name."""
    read = [("labels", None), ("combinations", None), ("texts", None)]
    vectors: list[tuple[str, str | None]] = [("text_vectors", encoder_id)]
    if config.uses_images:
        read.append(("images", None))
        vectors.append(("image_vectors", encoder_id))
    if config.uses_synthetic:
        vectors.append(("synthetic_vectors", encoder_id))
    return store.versions([*read, *vectors])
