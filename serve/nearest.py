"""Exact nearest neighbours by Euclidean distance, from an index that is seen block by block.

A matrix product in float32 tells which rows may be among the nearest; their distances are then
computed anew in float64. How far a product can be off is known, so no row is missed: a sum of d
products in float32, in any order, errs by at most d u / (1 - d u) times the sum of their absolute
values, u = 2^-24 [Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.5].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_UNIT = 2.0**-24
# The bound itself is computed from rounded norms.
_CAUTION = 1.05


@dataclass(frozen=True, eq=False)
class Found:
    """The nearest rows of one query, nearest first; of equally near ones the earlier row first."""

    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]


class Nearest:
    """The nearest rows of several queries among all that were added."""

    def __init__(self, queries: npt.NDArray[np.float32], count: int) -> None:
        """Begin a search.

        Args:
            queries: (queries, units).
            count: neighbours of each.
        """
        self._single = np.ascontiguousarray(queries, dtype=np.float32)
        self._double = self._single.astype(np.float64)
        self._squares = np.square(self._double).sum(1)
        self._count = count
        self._rows = [np.empty(0, dtype=np.int64) for _ in queries]
        self._distances = [np.empty(0) for _ in queries]
        self._limits = np.full(len(queries), np.inf)
        terms = queries.shape[1] * _UNIT
        self._error = _CAUTION * terms / (1 - terms)

    def add(self, rows: npt.NDArray[np.int64], features: npt.NDArray[np.float32]) -> None:
        """Look through a block of the index.

        Rows with a NaN or an infinity are nobody's neighbours.

        Args:
            rows: (N,), larger than all before, rising.
            features: (N, units).
        """
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.einsum("nu,nu->n", features, features).astype(np.float64)
            near = features @ self._single.T
            lengths = np.sqrt(np.outer(norms, self._squares))
            middle = norms[:, None] + self._squares - 2.0 * near.astype(np.float64)
            margin = self._error * (norms[:, None] + 2.0 * lengths)
            limits = self._limits
            if len(rows) >= self._count:
                # So many rows are surely no farther than this.
                nth = self._count - 1
                limits = np.fmin(limits, np.partition(middle + margin, nth, axis=0)[nth])
            # Where a product overflowed, nothing is known: the row is looked at.
            possible = ~(middle - margin > limits)
        for query in np.flatnonzero(possible.any(0)).tolist():
            some = np.flatnonzero(possible[:, query])
            self._merge(query, rows[some], features[some])

    def found(self) -> list[Found]:
        """What is nearest to each query."""
        return [
            Found(rows, np.sqrt(squares))
            for rows, squares in zip(self._rows, self._distances, strict=True)
        ]

    def _merge(
        self, query: int, rows: npt.NDArray[np.int64], features: npt.NDArray[np.float32]
    ) -> None:
        with np.errstate(invalid="ignore"):
            squares = np.square(features.astype(np.float64) - self._double[query]).sum(1)
        finite = np.isfinite(squares)
        rows = np.concatenate([self._rows[query], rows[finite]])
        squares = np.concatenate([self._distances[query], squares[finite]])
        best = np.lexsort((rows, squares))[: self._count]
        self._rows[query], self._distances[query] = rows[best], squares[best]
        if len(best) == self._count:
            self._limits[query] = squares[best[-1]]
