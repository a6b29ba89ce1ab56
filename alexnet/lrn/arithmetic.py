"""What a lane of the Triton kernels computes. Imports Triton only.

Arguments and results are tuples, one tensor (BLOCK,) in float32 for each of some maps in a row.
Windows are taken from within a tuple: its first BEFORE and last AFTER maps get no result.
"""

import triton
import triton.language as tl


@triton.jit
def normalised(
    values,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    K: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    BETA: tl.constexpr,
):
    """The responses of all values whose windows are complete."""
    results = ()
    sums = _window_sums(squares(values), BEFORE + AFTER + 1)
    for index in tl.static_range(len(sums)):
        power, _ = _inverse_powers(K + COEFFICIENT * sums[index], BETA)
        results = results + (values[index + BEFORE] * power,)
    return results


@triton.jit
def squared_responses(
    squares,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    K: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    BETA: tl.constexpr,
):
    """Squares of the responses, from the values' squares."""
    results = ()
    sums = _window_sums(squares, BEFORE + AFTER + 1)
    for index in tl.static_range(len(sums)):
        power, _ = _inverse_powers(K + COEFFICIENT * sums[index], 2 * BETA)
        results = results + (squares[index + BEFORE] * power,)
    return results


@triton.jit
def parts(
    direct,
    spread,
    values,
    slopes,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    K: tl.constexpr,
    COEFFICIENT: tl.constexpr,
    BETA: tl.constexpr,
):
    """More of a gradient's two parts: dy s^-b, and what goes to the neighbours."""
    sums = _window_sums(squares(values), BEFORE + AFTER + 1)
    for index in tl.static_range(len(sums)):
        power, reciprocal = _inverse_powers(K + COEFFICIENT * sums[index], BETA)
        slope = slopes[index] * power
        direct = direct + (slope,)
        spread = spread + (slope * values[index + BEFORE] * reciprocal,)
    return direct, spread


@triton.jit
def joined(
    values, direct, spread, REACH: tl.constexpr, COEFFICIENT: tl.constexpr, BETA: tl.constexpr
):
    """The gradient, from its two parts; the window of `spread` begins at the map of a result."""
    results = ()
    sums = _window_sums(spread, REACH + 1)
    for index in tl.static_range(len(sums)):
        strength = 2 * BETA * COEFFICIENT * values[index]
        results = results + (direct[index] - strength * sums[index],)
    return results


@triton.jit
def _window_sums(values, SIZE: tl.constexpr):
    """Sums of SIZE neighbours, from sums of 1, 2, 4 ..: 3 additions for 5 neighbours, not 4."""
    partial = values
    sums = ()
    for bit in tl.static_range(SIZE.bit_length()):
        if SIZE >> bit & 1:
            rest = partial[SIZE % (1 << bit) :]
            sums = _added(sums, rest, len(rest))
        rest = partial[1 << bit :]
        partial = _added(partial, rest, len(rest))
    return sums


@triton.jit
def _added(one, other, COUNT: tl.constexpr):
    """Sums of the first COUNT of each; `one` may be empty.

    COUNT is not redundant: Triton 3.6 tells a function's compiled forms apart by its constants and
    by the tensors of all tuples together, not by which tuple holds how many.
    """
    results = ()
    for index in tl.static_range(COUNT):
        results = results + ((one[index] + other[index]) if len(one) else other[index],)
    return results


@triton.jit
def squares(values):
    """Each value times itself."""
    results = ()
    for index in tl.static_range(len(values)):
        results = results + (values[index] * values[index],)
    return results


@triton.jit
def _inverse_powers(base, BETA: tl.constexpr):
    """base^-BETA and 1 / base."""
    if BETA == 0.75:  # two roots are cheaper than a logarithm and a power
        root = tl.rsqrt(base)
        power, reciprocal = root * tl.sqrt(root), root * root
    elif BETA == 1.5:
        root = tl.rsqrt(base)
        power, reciprocal = root * root * root, root * root
    else:
        power, reciprocal = tl.exp2(-BETA * tl.log2(base)), 1 / base
    return power, reciprocal


@triton.jit
def rectified(values):
    """ReLU; a NaN stays one."""
    results = ()
    for index in tl.static_range(len(values)):
        value = tl.maximum(values[index], 0.0, propagate_nan=tl.PropagateNan.ALL)
        results = results + (value,)
    return results


@triton.jit
def larger(one, other):
    """The larger one at each place; a NaN wins."""
    results = ()
    for index in tl.static_range(len(one)):
        value = tl.maximum(one[index], other[index], propagate_nan=tl.PropagateNan.ALL)
        results = results + (value,)
    return results


@triton.jit
def roots(values):
    """Square roots."""
    results = ()
    for index in tl.static_range(len(values)):
        results = results + (tl.sqrt(values[index]),)
    return results
