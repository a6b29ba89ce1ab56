"""What an exported graph says of itself: the header of our files, its views and its outputs.

An ONNX file holds it in its `metadata_props`; whatever is built from the file carries it on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

from alexnet.backends.base import ArtifactInfo, BackendError
from alexnet.config import Views
from alexnet.header import FileKind, Header

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
    return ArtifactInfo(
        path=path,
        sha256=sha256,
        config=header.config,
        labels=header.labels,
        views=cast(Views, views),
        has_features=features,
        provenance=header.provenance,
    )
