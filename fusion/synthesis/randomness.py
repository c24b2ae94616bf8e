"""Random numbers by place, not by order: each (seed, stream, index) has numbers of its own.

A generator that is drawn from in turn makes every sensor depend on what was
drawn before. Here the key of a counter-based generator is the hash of the seed
and the stream's name, and the index of the frame is its counter: frame 900 of
one sensor is the same whether or not any other frame or sensor was made.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011
(Philox), in numpy's implementation.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.random import Generator, Philox


class RandomStream:
    """Generators of one named stream.

    Args:
        seed: any integer; the same one gives the same numbers.
        name: what the numbers are for, such as ``cam1/landmarks``.
    """

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()
        self._key = np.frombuffer(digest, dtype=np.uint64).copy()

    def at(self, index: int) -> Generator:
        """The generator of one index >= 0, at its beginning."""
        # The low word counts within one index; the index sits above it.
        counter = np.array([0, index, 0, 0], dtype=np.uint64)
        return Generator(Philox(key=self._key, counter=counter))
