"""What is looked for as one vector: of a text, of a photo, or of both together.

D embedding dimension.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder, EncoderInfo, Float32
from taistore.errors import ScoringError
from taistore.finding.asked import Asked
from taistore.finding.stored_photo import PhotoRow, photo_vectors
from taistore.store.reads.nearest import spread
from taistore.store.store import Store

SPREAD_ROWS = 4096
"""Photos over which the cosines of a text and those of a photo are made comparable."""


def query_vector(
    store: Store,
    info: EncoderInfo,
    asked: Asked,
    photo: PhotoRow | None,
    encoder: Callable[[], Encoder],
) -> Float32:
    """The vector [D] whose cosine ranks photos; ``encoder`` is called only where it has work.

    The text is encoded as it stands. A text and a photo have cosines of other ranges, so that each
    is weighed by how far its cosines spread over the store's photos: the sum of both weighs them
    alike. Raises :class:`ScoringError` where the encoder takes no text.
    """
    vectors = []
    if asked.text is not None:
        if info.context_length is None:
            raise ScoringError(
                f"{info.spec} has vectors that were made elsewhere and encodes no text: find with "
                "like=, or name another encoder="
            )
        vectors.append(_unit(encoder().encode_texts([asked.text.strip()])[0]))
    if photo is not None:
        vectors.append(_unit(photo_vectors(store, info.encoder_id, photo, encoder).whole_D))
    if len(vectors) == 1:
        return vectors[0]
    parts = [
        vector_D / spread(store, "image_vectors", info.encoder_id, vector_D, rows=SPREAD_ROWS)
        for vector_D in vectors
    ]
    return _unit(np.sum(parts, axis=0))


def _unit(vector_D: NDArray[Any]) -> Float32:
    found_D: Float32 = np.asarray(vector_D, np.float32)
    length = float(np.linalg.norm(found_D))
    return found_D / np.float32(length) if length else found_D
