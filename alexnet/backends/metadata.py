"""What an exported graph says of itself: the header of our files, its views and its outputs.

An ONNX file holds it in its `metadata_props`; whatever is built from the file carries it on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from alexnet.backends.base import ArtifactInfo, BackendError, Precision
from alexnet.config import Views
from alexnet.header import FileKind, Header

if TYPE_CHECKING:
    import onnx

GRAPH = FileKind(
    name="graph",
    version=1,
    foreign="is a graph of another program: it does not say what photos it takes. Make one with "
    "alexnet-export.",
    error=BackendError,
)


def to_metadata(header: Header, *, views: Views, features: bool) -> dict[str, str]:
    """The map that `info_from_metadata` reads."""
    return GRAPH.metadata(header) | {"views": views, "features": json.dumps(features)}


def info_from_metadata(metadata: Mapping[str, str], path: Path, *, sha256: str) -> ArtifactInfo:
    """The `ArtifactInfo` of the graph in `path`.

    Raises:
        BackendError: the map is of another program, of a newer version, or damaged.
    """
    header = GRAPH.read(metadata, path)
    with GRAPH.reading(path):
        views = metadata["views"]
        if views not in get_args(Views):
            raise ValueError(f"unknown views '{views}'.")
        features = bool(json.loads(metadata["features"]))
        precision = metadata.get("precision", "fp32")  # which files of before don't name
        if precision not in get_args(Precision):
            raise ValueError(f"unknown precision '{precision}'.")
    return ArtifactInfo(
        path=path,
        sha256=sha256,
        config=header.config,
        labels=header.labels,
        views=cast(Views, views),
        has_features=features,
        provenance=header.provenance,
        precision=cast(Precision, precision),
    )


def info_of_model(
    model: onnx.ModelProto, path: Path = Path("The graph"), *, sha256: str = ""
) -> ArtifactInfo:
    """The same of a graph in memory, which was or will be the file `path`."""
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    return info_from_metadata(metadata, path, sha256=sha256)
