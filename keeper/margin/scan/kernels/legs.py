"""Eight legs of one account in vector registers, written in the language of LLVM.

What LLVM makes of the same in Python's loops is as many products and minima, but twice as many instructions around
them: the sums of worth and delta one by one, minima through memory, checks whether arrays overlap. Here a vector is 16
scenarios (two registers of AVX2, one of AVX-512, four of NEON), and a leg is one broadcast of its lots, one of its cap,
a minimum and a fused product with the row of its series; worth and delta are four lanes beside it. Delta folds over
expiries as gains do, once with either sign: what is left of it after any number of the earliest.

No bounds are checked: ``Compiled._run`` is the border. No value may be NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from keeper.margin.scan.kernels.jit import compiled
from keeper.margin.scan.kernels.plain import NO_CAP

LEGS: Final = 8
LANES: Final = 16  # of one vector
FOUR: Final = 4  # lanes of a row of ``pair``, see ``Lanes.four``
FLAGS: Final = ("nnan", "nsz", "contract")
FLOAT: Final = ir.FloatType()
INT: Final = ir.IntType(32)
LONG: Final = ir.IntType(64)
BYTE: Final = ir.IntType(8)


def _signature(
    typing: Any, series: Any, lots: Any, n: Any, caps: Any, mask: Any, gain: Any, pair: Any, shock: Any, under: Any,
    value: Any, lanes: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """(lowest, worth, least, most) of block ``n``, float32: the least of all scenarios and zero, the sum of worth, and
    between what the delta can be once some of the expiries are over; ``most`` with its sign turned.

    ``series``, ``lots`` (B, 8); ``caps`` (256, 8) by the bits of ``first``; ``gain``, ``shock`` (., W); ``pair``
    (., 4); ``value`` of the collateral; ``lanes`` a tuple of W / 16. All arrays contiguous.
    """
    arrays = (series, lots, caps, gain, pair, shock)
    if any(a.layout != "C" for a in arrays):
        raise TypeError("the kernel takes contiguous arrays")
    arguments = (series, lots, n, caps, mask, gain, pair, shock, under, value, lanes)
    result: Any = types.UniTuple(types.float32, 4)  # type: ignore[no-untyped-call]
    return result(*arguments), _code


_eight: Any = intrinsic(_signature)


def _code(context: Any, b: Any, signature: Any, arguments: Sequence[Any]) -> Any:
    kinds = dict(zip(ARGUMENTS, signature.args, strict=True))
    given = dict(zip(ARGUMENTS, arguments, strict=True))
    data = {
        name: b.bitcast(context.make_array(kinds[name])(context, b, given[name]).data, BYTE.as_pointer())
        for name in ("series", "lots", "caps", "gain", "pair", "shock")
    }
    n, mask, under = (b.zext(given[x], LONG) if given[x].type.width < 64 else given[x] for x in ("n", "mask", "under"))
    number, size = context.get_data_type(kinds["series"].dtype), context.get_data_type(kinds["lots"].dtype)
    series = _moved(b, data["series"], n, LEGS * number.width // 8)
    held = _load(b, _moved(b, data["lots"], n, LEGS * 4), 0, ir.VectorType(size, LEGS))
    lots = held if size == FLOAT else b.sitofp(held, ir.VectorType(FLOAT, LEGS))
    caps, parts = _moved(b, data["caps"], mask, LEGS * 4), kinds["lanes"].count
    gains, sums = [None] * parts, None
    for k in range(LEGS):
        row = _load(b, series, k * number.width // 8, number, number.width // 8)
        row = b.zext(row, LONG) if number.width < 64 else row
        table = _moved(b, data["gain"], row, 4 * LANES * parts)
        one = _load(b, caps, 4 * k, FLOAT) if k else None
        q, cap, caps4 = _same(b, lots, k, LANES), None, None
        if one is not None:
            cap, caps4 = _splat(b, one, LANES), b.shuffle_vector(UNBOUND, _splat(b, one, FOUR), BESIDE)
        gains = [_leg(b, x, cap, q, _load(b, table, 4 * LANES * i, VECTOR)) for i, x in enumerate(gains)]
        both = _load(b, _moved(b, data["pair"], row, 4 * FOUR), 0, ir.VectorType(FLOAT, FOUR))
        sums = _leg(b, sums, caps4, _same(b, lots, k, FOUR), both)
    value, moves = _splat(b, given["value"], LANES), _moved(b, data["shock"], under, 4 * LANES * parts)
    none, lowest = ir.Constant(VECTOR, [0.0] * LANES), ir.Constant(VECTOR, [0.0] * LANES)
    for i, x in enumerate(gains):
        moved = _load(b, moves, 4 * LANES * i, VECTOR)
        lowest = _less(b, lowest, _fused(b, value, moved, _less(b, x, none)))
    found = [_halved(b, lowest), *(b.extract_element(sums, ir.Constant(INT, i)) for i in (0, 2, 3))]
    return context.make_tuple(b, signature.return_type, found)


ARGUMENTS: Final = (
    "series", "lots", "n", "caps", "mask", "gain", "pair", "shock", "under", "value", "lanes"
)  # fmt: skip
VECTOR: Final = ir.VectorType(FLOAT, LANES)
UNBOUND: Final = ir.Constant(ir.VectorType(FLOAT, FOUR), [float(NO_CAP)] * FOUR)  # worth is the sum of all
BESIDE: Final = ir.Constant(ir.VectorType(INT, FOUR), [0, 1, FOUR, FOUR])  # the first two of one, two of the other


def _leg(b: Any, carried: Any, cap: Any, lots: Any, row: Any) -> Any:
    """min(carried, cap) + lots x row; nothing is carried to the first leg."""
    if carried is None:
        return b.fmul(lots, row, flags=FLAGS)
    return _fused(b, lots, row, carried if cap is None else _less(b, carried, cap))


def _fused(b: Any, x: Any, y: Any, z: Any) -> Any:
    return b.fadd(b.fmul(x, y, flags=FLAGS), z, flags=FLAGS)


def _less(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered("<", x, y, flags=FLAGS), x, y)


def _halved(b: Any, x: Any) -> Any:
    """The least element."""
    count = x.type.count
    while count > 1:
        count //= 2
        x = _less(b, *(_picked(b, x, range(at, at + count)) for at in (0, count)))
    return b.extract_element(x, ir.Constant(INT, 0))


def _same(b: Any, x: Any, k: int, count: int) -> Any:
    """Element ``k`` in all lanes."""
    return _picked(b, x, [k] * count)


def _splat(b: Any, x: Any, count: int) -> Any:
    one = b.insert_element(ir.Constant(ir.VectorType(FLOAT, count), ir.Undefined), x, ir.Constant(INT, 0))
    return _picked(b, one, [0] * count)


def _picked(b: Any, x: Any, at: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(INT, len(at)), list(at))
    return b.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), mask)


def _moved(b: Any, pointer: Any, count: Any, size: int) -> Any:
    return b.gep(pointer, [b.mul(count, ir.Constant(LONG, size), flags=("nuw", "nsw"))], inbounds=True)


def _load(b: Any, pointer: Any, offset: int, kind: Any, align: int = 4) -> Any:
    at = b.gep(pointer, [ir.Constant(LONG, offset)], inbounds=True)
    value = b.load(b.bitcast(at, kind.as_pointer()))
    value.align = align
    return value


@compiled
def eight_legs(
    series: Any, lots: Any, first: Any, under: Any, units: Any, shorts: Any, naked: Any, gross: Any,
    gain: Any, pair: Any, doubt: Any, shock: Any, parameters: Any, caps: Any, epsilon: Any, lanes: Any, out: Any,
) -> None:  # fmt: skip
    """What each block brings, into ``out``."""
    zero = np.float32(0)
    for n in range(series.shape[0]):
        p, held = parameters[under[n]], units[n]
        price, value = p[0], held * p[0]
        lowest, worth, least, most = _eight(series, lots, n, caps, first[n], gain, pair, shock, under[n], value, lanes)
        x = max(abs(min(least, zero) + held), abs(held - min(most, zero))) * price
        charged = price * (p[4] * shorts[n] + p[5] * naked[n]) + p[6] * gross[n] + p[3] * value
        if len(doubt):
            for k in range(8):
                charged += abs(np.float32(lots[n, k])) * doubt[series[n, k]]
        off = epsilon * p[7] * (gross[n] + held) * (np.float32(1) + np.float32(2) * p[2] * x)
        out[n] = worth + value + p[1] * lowest - p[2] * x * x - charged - off
