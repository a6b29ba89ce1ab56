"""The OpenAPI document: every address, what it takes and every answer that it gives.

Written by hand, because requests are read by hand (serve/uploads.py); the limits in it are those of
the settings. A test sends what it promises, and what it does not, to a running service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import alexnet
from alexnet.container import FORMATS
from serve.paths import DOCUMENTS
from serve.problems import MEDIA_TYPE
from serve.schemas import MOST_CLASSES, SCHEMAS
from serve.settings import Settings

PROBLEMS: dict[int, dict[str, str]] = {
    400: {
        "unknown_parameter": "The address has a parameter that there is not.",
        "bad_top_k": "top_k is no whole number of at least 1.",
        "bad_views": "views is something else than each.",
        "malformed_form": "The multipart form makes no sense.",
        "unknown_field": "The form has a field that there is not.",
        "no_photo": "The form has no photo.",
        "client_gone": "The request breaks off.",
        "malformed_request": "It is no HTTP, or not clear about where it ends.",
        "bad_request": "The request makes no sense.",
    },
    401: {
        "key_needed": "There is no API key in the request.",
        "unknown_key": "There is one that is not known.",
    },
    403: {"origin_refused": "A page of an origin that is not allowed asks."},
    404: {"not_found": "There is nothing at this address."},
    405: {"method_not_allowed": "The address does not take this method."},
    408: {"upload_timeout": "The request did not arrive in time."},
    413: {
        "body_too_large": "The body has more bytes than allowed.",
        "too_many_photos": "The form has more photos than allowed.",
    },
    415: {
        "unsupported_media_type": "A multipart body that is not multipart/form-data.",
        "unsupported_encoding": "A compressed body, or a part in base64 or the like.",
        "empty_file": "The only photo has no bytes.",
        "not_a_photo": "The only photo is no picture.",
        "unsupported_format": "The only photo is of a format that is not read.",
        "address_refused": "An address in the place of a photo: nothing is fetched.",
    },
    421: {"unknown_host": "The service does not go by the name that it is asked under."},
    422: {
        "corrupt_photo": "The only photo breaks off or makes no sense.",
        "too_many_pixels": "The only photo has more pixels than allowed.",
        "views_unavailable": "views=each, of a model file that can't tell its views apart.",
        "answer_too_large": "The answer would name too many classes.",
    },
    500: {"internal_error": "A defect of the service, not of the photo."},
    503: {
        "overloaded": "Too much waits already, or there was no answer in time.",
        "not_ready": "The model is not open.",
        "shutting_down": "The service is about to end.",
        "backend_failed": "The network could not be run.",
    },
}
"""Every code of a problem by its status, and what it means."""

_ID = {
    "X-Request-Id": {
        "description": "The request's own, if it has 1 to 64 of A-Za-z0-9._-; else a new one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    }
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    405: {"Allow": {"schema": {"type": "string"}}},
    415: {
        "Accept-Encoding": {
            "description": "`identity`, where it is the encoding that is not read.",
            "schema": {"type": "string"},
        }
    },
    503: {
        "Retry-After": {
            "description": "Seconds after which to try again.",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}


def document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a service with these settings, as JSON values."""
    paths = _paths(settings)
    operations = [operation for methods in paths.values() for operation in methods.values()]
    named = {int(status) for operation in operations for status in operation["responses"]}
    components: dict[str, Any] = {
        "schemas": SCHEMAS,
        "responses": {
            f"Problem{status}": _problem(status) for status in PROBLEMS if status in named
        },
    }
    if settings.keys is not None:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "alexnet",
            "version": alexnet.__version__,
            "description": "Names what is in a photo. Errors are problem details (RFC 9457) with "
            "a stable `code`. Photos are told by their bytes, whatever their type is called: "
            f"{', '.join(FORMATS)}, of {settings.max_pixels} pixels at most.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }


def _paths(settings: Settings) -> dict[str, Any]:
    def get(
        summary: str,
        content: Mapping[str, Any],
        *problems: int,
        closed: bool = False,
    ) -> dict[str, Any]:
        operation = _operation(settings, summary, content, problems, closed=closed)
        return {"get": operation}

    text = {"text/plain": {"schema": {"type": "string"}}}
    metrics_closed = settings.metrics == "key"
    paths = {
        "/v1/classify": {"post": _classify(settings, "The classes of photos.", in_form=False)},
        "/classify": {
            "post": _classify(settings, "The same, for BentoML's own clients.", in_form=True)
        },
        "/v1/model": get("The model, and the limits.", _json("Model"), 503, closed=True),
        "/v1/model/classes": get("The names of the classes.", _json("Classes"), 503, closed=True),
        "/": get(
            "A page for people, or what there is.",
            {**_json("Index"), "text/html": {"schema": {"type": "string"}}},
        ),
        **{
            path: get("This document.", {"application/json": {"schema": {"type": "object"}}})
            for path in DOCUMENTS
        },
        "/livez": get("Whether the process should go on.", text, 503),
        "/readyz": get("Whether photos are answered now.", text, 503),
        "/metrics": get("Prometheus metrics.", text, closed=metrics_closed),
    }
    if settings.metrics == "off":
        del paths["/metrics"]
    return paths


def _classify(settings: Settings, summary: str, *, in_form: bool) -> dict[str, Any]:
    """`top_k` is read from the address and from the form, and told of once: they must agree."""
    operation = _operation(
        settings, summary, _json("Answer"), (400, 408, 413, 415, 422, 503), closed=True
    )
    top_k = {"type": "integer", "minimum": 1, "maximum": MOST_CLASSES, "default": 5}
    views = {"type": "string", "enum": ["each"]}
    parameters = {
        "top_k": ("How many classes of each photo; more than there are means all.", top_k),
        "views": ("`each`: what each view says by itself, too.", views),
    }
    operation["parameters"] = [
        {"name": name, "in": "query", "description": text, "schema": schema}
        for name, (text, schema) in parameters.items()
        if name != "top_k" or not in_form
    ]
    photos = {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
        "minItems": 1,
        "maxItems": settings.max_photos,
    }
    form = {
        "type": "object",
        "properties": {"image": photos, **({"top_k": top_k} if in_form else {})},
        "required": ["image"],
        "additionalProperties": False,
    }
    types = {f"image/{name.lower()}": {"schema": {"type": "string"}} for name in FORMATS}
    operation["requestBody"] = {
        "description": f"One photo, or a form of up to {settings.max_photos} in the field image; "
        f"{settings.max_body} bytes at most.",
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": form,
                "encoding": {"image": {"contentType": ", ".join(types)}},
            },
            **types,
        },
    }
    return operation


def _operation(
    settings: Settings,
    summary: str,
    content: Mapping[str, Any],
    problems: tuple[int, ...],
    *,
    closed: bool,
) -> dict[str, Any]:
    statuses = {*problems, 405, 500}
    locked = closed and settings.keys is not None
    if locked:
        statuses.add(401)
    if settings.hosts is not None:
        statuses.add(421)
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "headers": _ID, "content": dict(content)},
            **{
                str(status): {"$ref": f"#/components/responses/Problem{status}"}
                for status in sorted(statuses)
            },
        },
    }
    if locked:
        operation["security"] = [{"bearer": []}, {"header": []}]
    return operation


def _problem(status: int) -> dict[str, Any]:
    codes = PROBLEMS[status]
    return {
        "description": " ".join(f"`{code}`: {meaning}" for code, meaning in codes.items()),
        "headers": {**_ID, **_HEADERS.get(status, {})},
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Problem"},
                        {
                            "properties": {
                                "status": {"const": status},
                                "code": {"enum": list(codes)},
                            }
                        },
                    ]
                }
            }
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
