"""Chance that depends on an image, a label and a seed alone, the same on every machine.

I images.
"""

import numpy as np
from numpy.typing import NDArray


def image_keys(image_ids: NDArray[np.bytes_], seed: int) -> NDArray[np.uint64]:
    """64 random bits [I] for each image and this seed."""
    # Ids are uniform hashes already: their first 16 hexadecimal digits are 64 good bits.
    first = [int(i[:16] or b"0", 16) for i in image_ids.tolist()]
    return _mixed(np.array(first, dtype=np.uint64) ^ _mixed(np.array([seed + 1], dtype=np.uint64)))


def uniform(keys: NDArray[np.uint64], label_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), of both shapes joined, that depend on key and label id alone."""
    steps = (label_ids + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = _mixed(keys + steps) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014): every input bit flips half of the output's."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
