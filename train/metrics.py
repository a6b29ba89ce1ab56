"""Top-k error and loss of averaged probabilities."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import AlexNetError

Ties = Literal["index", "shared"]


class NoProbabilitiesError(AlexNetError):
    """A network whose weights have diverged."""


def top_k_correct(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    k: int,
    *,
    ties: Ties = "index",
) -> NDArray[np.float64]:
    """Credit of each photo (N,): 1 where its label is among the `k` most probable classes.

    Args:
        probabilities: (N, classes).
        labels: (N,), 0 to classes - 1.
        k: at least 1.
        ties: `index`: of equal classes the lower index comes first. `shared`: equal classes share
            the places that are left [S layer_kernels.cu kMultiSoftmaxCost].

    Raises:
        NoProbabilitiesError: a probability is not a finite number: no credit can be given.
    """
    if not np.isfinite(probabilities).all():
        raise NoProbabilitiesError(
            "The network gives probabilities that are no numbers: its weights have diverged. Train "
            "it again with a lower recipe.lr."
        )
    own = probabilities[np.arange(len(labels)), labels][:, None]
    higher = (probabilities > own).sum(1)
    equal = probabilities == own
    if ties == "shared":
        shared: NDArray[np.float64] = np.clip((k - higher) / equal.sum(1), 0.0, 1.0)
        return shared
    before = (equal & (np.arange(probabilities.shape[1]) < labels[:, None])).sum(1)
    return np.asarray(higher + before < k, dtype=np.float64)


def cross_entropy(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """-log of the label's probability (N,); 0 is taken as the smallest positive float32.

    For several views this is the loss of their averaged probabilities, not the mean of their
    losses [S layer.cu:1804-1823].
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.maximum(own, float(np.finfo(np.float32).tiny))))
