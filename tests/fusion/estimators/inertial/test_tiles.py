"""A tile times a vector, in wide registers and word by word."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from fusion.estimators.inertial.packing import Int32
from fusion.estimators.inertial.tiles import LANES, TILE_ROWS, TILE_WORDS, tile_sums
from fusion.records import Float32, Float64


@njit
def call(words: Any, first: Any, vector: Any, columns: Any, sums: Any, at: Any) -> None:
    tile_sums(words, first, vector, columns, sums, at)


kernel: Any = call


def twin(words: Int32, vector: Float32) -> Float64:
    """The sentence: sums [TILE_ROWS] of words [columns, TILE_WORDS]."""
    sums = np.zeros(TILE_ROWS)
    for column, value in zip(words.tolist(), vector.tolist(), strict=True):
        for place, word in enumerate(column):
            row = place // LANES * 2 * LANES + place % LANES
            lower = (word + 0x8000) % 0x10000 - 0x8000
            sums[row] += word * value
            sums[row + LANES] += lower * 0x10000 * value
    return sums


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(0, 40), first=st.integers(0, 3), at=st.integers(0, 3))
def test_a_tile_is_as_the_plain_sentence_has_it(seed: int, columns: int, first: int, at: int) -> None:
    rng = np.random.default_rng(seed)
    words: Int32 = rng.integers(-(2**31), 2**31, first + columns * TILE_WORDS).astype(np.int32)
    vector = rng.standard_normal(columns + 2).astype(np.float32)
    sums: Float32 = np.full(at + TILE_ROWS + 1, 7.0, dtype=np.float32)
    kernel(words, first, vector, columns, sums, at)
    expected = twin(words[first:].reshape(columns, TILE_WORDS), vector[:columns])
    # Float32 adds up to as many terms of up to 2**31 each.
    np.testing.assert_allclose(sums[at : at + TILE_ROWS], expected, rtol=0.0, atol=2.0**31 * 1e-6 * (columns + 1))
    assert (sums[:at] == 7.0).all()
    assert sums[-1] == 7.0


def test_extreme_words() -> None:
    for word in (-(2**31), 2**31 - 1, 0x7FFF8000, -0x8000, 0x8000, -1):
        words: Int32 = np.full(TILE_WORDS, word, dtype=np.int64).astype(np.int32)
        sums: Float32 = np.zeros(TILE_ROWS, dtype=np.float32)
        kernel(words, 0, np.ones(1, dtype=np.float32), 1, sums, 0)
        np.testing.assert_allclose(sums, twin(words[None], np.ones(1, dtype=np.float32)), rtol=1e-7)
