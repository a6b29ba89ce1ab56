"""JSON schemas of what the service answers, for the OpenAPI document (serve/openapi.py)."""

from __future__ import annotations

from typing import Any

from alexnet.container import FORMATS
from serve.settings import SETTINGS

MOST_CLASSES = 999_999_999
"""The largest `top_k` that is read (serve/uploads.py)."""
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 1}
_FROM_ZERO = {"type": "integer", "minimum": 0}
_MILLISECONDS = {"type": "number", "minimum": 0}
_SECONDS = {"type": "number", "exclusiveMinimum": 0}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


SCHEMAS: dict[str, Any] = {
    "Problem": _object(
        {
            "type": {"const": "about:blank"},
            "title": _TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {**_TEXT, "description": "A sentence with what to do."},
            "code": {**_TEXT, "description": "Stable, for programs."},
        }
    ),
    "Prediction": _object(
        {
            "index": _FROM_ZERO,
            "label": _TEXT,
            "name": _TEXT,
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
        }
    ),
    "View": _object(
        {
            "box": {
                **_list(_FROM_ZERO),
                "minItems": 3,
                "maxItems": 3,
                "description": "y, x and side in the square that the photo is fitted to.",
            },
            "mirrored": {"type": "boolean"},
            "predictions": _list(_ref("Prediction")),
        }
    ),
    "Result": _object(
        {
            "width": _COUNT,
            "height": _COUNT,
            "format": {"enum": list(FORMATS)},
            "predictions": {**_list(_ref("Prediction")), "minItems": 1},
            "frames": {"type": "integer", "minimum": 2},
            "note": _TEXT,
            "views": _list(_ref("View")),
        },
        optional=("frames", "note", "views"),
    ),
    "FailedPhoto": _object({"error": _ref("Problem")}),
    "Answer": _object(
        {
            "model": _TEXT,
            "views": {"enum": ["ten", "centre", "dense"]},
            "results": {
                **_list({"oneOf": [_ref("Result"), _ref("FailedPhoto")]}),
                "minItems": 1,
                "description": "One for each photo, in their order. Of several, each may fail "
                "alone; a photo that is alone fails with a problem.",
            },
            "timings": _object(
                {
                    f"{stage}_ms": _MILLISECONDS
                    for stage in ("read", "predict", "decode", "wait", "run")
                }
            ),
        }
    ),
    "Model": _object(
        {
            "name": _TEXT,
            "preset": _TEXT,
            "classes": _COUNT,
            "views": {"enum": ["ten", "centre", "dense"]},
            "each_view": {"type": "boolean", "description": "Whether views=each is answered."},
            "backend": _TEXT,
            "device": _TEXT,
            "sha256": {**_TEXT, "pattern": "^[0-9a-f]{64}$"},
            "input": {"type": "object"},
            "provenance": {"type": "object"},
            "batching": _object({"photos": _COUNT, "wait_ms": _MILLISECONDS, "streams": _COUNT}),
            "doors": _object(
                {
                    "key_needed": {"type": "boolean"},
                    "metrics": {"enum": ["open", "key", "off"]},
                    "cors_origins": _list(_TEXT),
                    "hosts": _list(_TEXT),
                }
            ),
            "limits": _object(
                {
                    "body_bytes": _COUNT,
                    "pixels": _COUNT,
                    "photos": _COUNT,
                    "requests": _COUNT,
                    "seconds": _SECONDS,
                    "formats": _list(_TEXT),
                    "upload_bytes": _COUNT,
                    "upload_seconds": _SECONDS,
                    "queue_photos": _COUNT,
                }
            ),
            "settings": {
                "type": "object",
                "required": list(SETTINGS),
                "additionalProperties": {
                    "type": ["string", "number", "boolean", "array", "null"],
                    "items": _TEXT,
                },
                "description": "Every setting by its name, in the unit in which it is given; of "
                "the model's file there is the name, of the keys' whether there is one.",
            },
            "versions": {"type": "object", "additionalProperties": _TEXT},
        }
    ),
    "Classes": _object(
        {"classes": _list(_object({"index": _FROM_ZERO, "label": _TEXT, "name": _TEXT}))}
    ),
    "Index": {"type": "object", "additionalProperties": _TEXT},
}
"""Every schema by its name. Fields may be added to answers; none is taken away or changed."""
