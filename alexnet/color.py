"""Principal components of the RGB values of a set of photos, for the colour noise of training.

Paper section 4.1. What the 2012 code called the component's strength is a standard deviation, not
the variance that the paper's text suggests: see docs/fidelity.md, "Colour noise".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alexnet.errors import AlexNetError


@dataclass(frozen=True, eq=False)
class ColorPCA:
    """The axes along which the colours of a set of photos vary, the weakest first."""

    stds: NDArray[np.float64]
    """(3,): standard deviations along the components, ascending, on the scale 0-255."""
    components: NDArray[np.float64]
    """(3, 3): its columns are the unit eigenvectors, its rows are R, G, B."""

    def __post_init__(self) -> None:
        """Check shapes and values, whatever file they came from."""
        if np.shape(self.stds) != (3,) or np.shape(self.components) != (3, 3):
            raise AlexNetError(
                "A colour PCA has 3 standard deviations and 3 x 3 components, not "
                f"{np.shape(self.stds)} and {np.shape(self.components)}."
            )
        if not (np.isfinite(self.stds).all() and np.isfinite(self.components).all()):
            raise AlexNetError("A colour PCA has finite values only.")


def color_pca_from_moments(count: int, sums: ArrayLike, products: ArrayLike) -> ColorPCA:
    """The PCA of `count` RGB pixels from their sums and the sums of their products.

    Args:
        count: number of pixels, at least 1.
        sums: (3,) integers, the sum of each channel over all pixels.
        products: (3, 3) integers, the sum of the outer product of each pixel with itself.

    Returns:
        Components in ascending order. An eigenvector's sign means nothing; here its largest entry
        is positive, so that equal data gives equal files.
    """
    total = [int(value) for value in np.asarray(sums).tolist()]
    second = [[int(value) for value in row] for row in np.asarray(products).tolist()]
    # The covariance is a small difference of large numbers; count^2 times it is a whole number, and
    # Python's integers lose nothing, however many pixels there are.
    exact = [[count * second[i][j] - total[i] * total[j] for j in range(3)] for i in range(3)]
    covariance = np.array([[value / count**2 for value in row] for row in exact], dtype=np.float64)
    variances, components = np.linalg.eigh(covariance)
    largest = components[np.abs(components).argmax(axis=0), np.arange(3)]
    return ColorPCA(
        stds=np.sqrt(np.maximum(variances, 0)),  # grey photos: rounding may give -1e-13
        components=components * np.where(largest < 0, -1.0, 1.0),
    )


def color_pca_to_dict(pca: ColorPCA) -> dict[str, list[object]]:
    """As JSON values; `components` is a list of rows."""
    return {"stds": pca.stds.tolist(), "components": pca.components.tolist()}


def color_pca_from_dict(data: object) -> ColorPCA:
    """The inverse of `color_pca_to_dict`.

    Raises:
        AlexNetError: `data` is not such a PCA.
    """
    fields = data if isinstance(data, dict) else {}
    try:
        stds = np.array(fields["stds"], dtype=np.float64)
        components = np.array(fields["components"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise AlexNetError(
            'A colour PCA is {"stds": [3 numbers], "components": [3 rows of 3]}.'
        ) from error
    return ColorPCA(stds, components)
