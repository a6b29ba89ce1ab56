"""What an exported graph says of itself: config, classes, views and origin, as a text map.

An ONNX file holds it in its `metadata_props`; whatever is built from the file carries it on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

from alexnet.backends.base import ArtifactInfo, BackendError
from alexnet.config import Config, Views
from alexnet.labels import Label, labels_from_json, labels_to_json
from alexnet.settings import from_dict, to_dict

FORMAT = "alexnet-graph"
VERSION = 1


def to_metadata(
    config: Config,
    labels: tuple[Label, ...],
    *,
    views: Views,
    features: bool,
    provenance: Mapping[str, Any],
) -> dict[str, str]:
    """The map that `info_from_metadata` reads."""
    return {
        "format": FORMAT,
        "version": str(VERSION),
        "config": json.dumps(to_dict(config)),
        "labels": labels_to_json(labels),
        "views": views,
        "features": json.dumps(features),
        "provenance": json.dumps(dict(provenance), ensure_ascii=False),
    }


def info_from_metadata(metadata: Mapping[str, str], path: Path, *, sha256: str) -> ArtifactInfo:
    """The `ArtifactInfo` of the graph in `path`.

    Raises:
        BackendError: the map is of another program, of a newer version, or damaged.
    """
    if metadata.get("format") != FORMAT:
        raise BackendError(
            f"{path} is a graph of another program: it does not say what photos it takes. "
            "Make one with alexnet-export."
        )
    version = metadata.get("version", "")
    if not version.isdecimal() or int(version) > VERSION:
        raise BackendError(
            f"{path} is of graph version {version}, and this alexnet reads up to {VERSION}: "
            "install a newer alexnet."
        )
    try:
        views = metadata["views"]
        if views not in get_args(Views):
            raise ValueError(f"unknown views '{views}'.")
        info = ArtifactInfo(
            path=path,
            sha256=sha256,
            config=from_dict(Config, json.loads(metadata["config"])),
            labels=labels_from_json(metadata["labels"]),
            views=cast(Views, views),
            has_features=bool(json.loads(metadata["features"])),
            provenance=json.loads(metadata["provenance"]),
        )
    except KeyError as error:
        raise BackendError(f"{path} has damaged metadata: {error} is missing.") from error
    except ValueError as error:
        raise BackendError(f"{path} has damaged metadata: {error}") from error
    if len(info.labels) != info.config.network.classes:
        raise BackendError(
            f"{path} names {len(info.labels)} classes for {info.config.network.classes} outputs."
        )
    return info
