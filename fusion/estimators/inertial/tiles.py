"""The innermost loop of the network: a tile of a packed matrix times a vector, its sums held in wide registers.

A tile is ``TILE_ROWS`` rows of a matrix. It is stored column after column as 32-bit words, each of two rows'
16-bit integers: the words of a column are read at once, made floats as they are for the upper rows and shifted for
the lower ones, so that memory is read from one end to the other and nothing but words is ever loaded. Numba's own
loops keep the sums in memory or jump from column to column, which takes 1.3 times as long from the caches and
twice as long from main memory; therefore this one is spelled out for LLVM, which makes of it what the processor has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
"""Rows whose words are next to each other."""
PAIRS = 2
"""Sets of ``LANES`` words in a column, each of upper and lower rows."""
TILE_WORDS = LANES * PAIRS
"""Of a column of a tile."""
TILE_ROWS = 2 * TILE_WORDS
"""Row ``2 * LANES * pair + lane`` of a tile is the upper half of its word, row ``2 * LANES * pair + LANES + lane``
the lower."""
HALF_BITS = 16

_INDEX, _WORD, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_WORDS, _FLOATS = ir.VectorType(_WORD, LANES), ir.VectorType(_FLOAT, LANES)


def _tile_sums(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """What ``tile_sums`` does, in LLVM's terms."""
    words, vector, sums = (_data(context, builder, signature, arguments, k) for k in (0, 2, 4))
    first, columns, at = (arguments[k] for k in (1, 3, 5))
    shift = ir.Constant(_WORDS, [HALF_BITS] * LANES)
    zeros = ir.Constant(_FLOATS, [0.0] * LANES)
    kept = [cgutils.alloca_once_value(builder, zeros) for _ in range(2 * PAIRS)]  # type: ignore[no-untyped-call]
    with cgutils.for_range(builder, columns) as loop:
        value = _spread(builder, builder.load(builder.gep(vector, [loop.index])))
        column = builder.add(first, builder.mul(loop.index, ir.Constant(_INDEX, TILE_WORDS)))
        for pair in range(PAIRS):
            upper = builder.load(_lanes(builder, words, column, pair, _WORDS))
            upper.align = 4
            for half, integers in enumerate((upper, builder.shl(upper, shift))):
                total = kept[2 * pair + half]
                added = builder.fmul(builder.sitofp(integers, _FLOATS), value, flags=["contract"])
                builder.store(builder.fadd(builder.load(total), added, flags=["contract"]), total)
    for k, total in enumerate(kept):
        builder.store(builder.load(total), _lanes(builder, sums, at, k, _FLOATS)).align = 4
    return context.get_dummy_value()


def _typed(typing_context: Any, words: Any, first: Any, vector: Any, columns: Any, sums: Any, at: Any) -> Any:
    """The signature of ``tile_sums``, and what it does."""
    return types.void(words, first, vector, columns, sums, at), _tile_sums


tile_sums: Any = intrinsic(_typed)
"""A tile times a vector; called from kernels as ``tile_sums(words, first, vector, columns, sums, at)``.

Args:
    words: int32 array; those of the tile are [columns, TILE_WORDS] from ``first`` on.
    vector: float32 array of at least ``columns``.
    sums: float32 array; [TILE_ROWS] from ``at`` on are written, each 2**16 times the sum of integers times values.
"""


def _data(context: Any, builder: Any, signature: Any, arguments: Any, k: int) -> Any:
    """Where the data of an array argument begin."""
    return context.make_array(signature.args[k])(context, builder, arguments[k]).data


def _lanes(builder: Any, data: Any, first: Any, number: int, kind: Any) -> Any:
    """Where the numbered set of ``LANES`` values behind ``first`` is, as a vector."""
    place = builder.add(first, ir.Constant(_INDEX, LANES * number))
    return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())


def _spread(builder: Any, value: Any) -> Any:
    """A value in every lane."""
    one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(_WORD, 0))
    everywhere = ir.Constant(_WORDS, [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_FLOATS, ir.Undefined), everywhere)
