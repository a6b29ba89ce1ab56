"""What an exported graph says of itself: the header of our files, its views and its outputs.

An ONNX file holds it in its `metadata_props`; whatever is built from the file carries it on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast, get_args

from alexnet.backends.base import ArtifactInfo, BackendError, Precision, Target
from alexnet.config import Views
from alexnet.errors import optional_import
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


# Protobuf's wire format: a field begins with its number and how long it is told to be.
_NUMBER, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5
_GRAPH = 7  # the field of an ONNX model that holds nodes and weights


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
        target = metadata.get("target", "portable")
        if target not in get_args(Target):
            raise ValueError(f"unknown target '{target}'.")
        accuracy = json.loads(metadata.get("accuracy", "null"))
        if not isinstance(accuracy, dict | None):
            raise ValueError("its accuracy is not a JSON object.")
    return ArtifactInfo(
        path=path,
        sha256=sha256,
        config=header.config,
        labels=header.labels,
        views=cast(Views, views),
        has_features=features,
        provenance=header.provenance,
        precision=cast(Precision, precision),
        target=cast(Target, target),
        accuracy=accuracy,
    )


def info_of_model(
    model: onnx.ModelProto, path: Path = Path("The graph"), *, sha256: str = ""
) -> ArtifactInfo:
    """The same of a graph in memory, which was or will be the file `path`."""
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    return info_from_metadata(metadata, path, sha256=sha256)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file, read without its weights.

    Raises:
        BackendError: the file is missing, or is no whole ONNX model.
    """
    if not path.is_file():
        raise BackendError(f"There is no model {path}.")
    onnx = optional_import("onnx")
    kept, has_graph = bytearray(), False
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = file.seek(0)
            while start < size:
                field = _skip_field(file)
                end = file.tell()
                if end > size:
                    raise ValueError("it breaks off")
                has_graph |= field == _GRAPH
                if field != _GRAPH:
                    file.seek(start)
                    kept += file.read(end - start)
                start = end
        model = onnx.ModelProto.FromString(bytes(kept))
        if not has_graph:
            raise ValueError("it holds no graph")
    except OSError:
        raise
    except Exception as error:  # protobuf's own errors share no class over its versions
        raise BackendError(f"{path} is not a whole ONNX model: {error}.") from error
    return {prop.key: prop.value for prop in model.metadata_props}


def _skip_field(file: BinaryIO) -> int:
    """Go behind the field that begins here, perhaps behind the file's end; the field's number."""
    key = _varint(file)
    field, kind = key >> 3, key & 7
    if kind == _NUMBER:
        _varint(file)
    elif kind in (_COUNTED, _EIGHT_BYTES, _FOUR_BYTES):
        length = _varint(file) if kind == _COUNTED else 8 if kind == _EIGHT_BYTES else 4
        file.seek(length, 1)
    else:
        raise ValueError("its bytes are not protobuf's")
    return field


def _varint(file: BinaryIO) -> int:
    """A number in groups of seven bits, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it breaks off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("its bytes are not protobuf's")
