"""Whether there is anything to calibrate on, which is seen without torch."""

from taistore.errors import ScoringError
from taistore.scoring.labelled_images import labelled_images, splits_with_labels
from taistore.store.store import Store


def require_labels(store: Store, split: str) -> None:
    """Raise :class:`ScoringError` where no image of the split has known labels.

    It names the splits that have some, or says what scores are without any.
    """
    _, labelled = splits_with_labels(store)
    if not labelled.total():
        raise ScoringError(
            f"{store.uri}: no image has known labels, and without any scores are an order and no "
            "probability: ingest a manifest that names labels, such as "
            f'{{"image": "a.jpg", "labels": ["dog"], "split": "{split}"}}'
        )
    labelled_images(store, split)
