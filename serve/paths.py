"""The addresses of the service, by which metrics and the log name requests.

What a client asks for is any text; what is counted and logged is one of these, or `other`.
"""

from __future__ import annotations

PAGE = "/page/{name}"
OTHER = "other"
PROBES = frozenset({"/livez", "/readyz", "/healthz"})
METRICS = "/metrics"
DOCUMENTS = ("/openapi.json", "/docs.json")
"""Where the OpenAPI document is; the second is where BentoML has its own."""
PATHS = frozenset(
    {
        "/",
        "/v1/classify",
        "/v1/model",
        "/v1/model/classes",
        "/classify",
        "/schema.json",
        METRICS,
        PAGE,
        *DOCUMENTS,
        *PROBES,
    }
)
"""Every address, ours and BentoML's, with a name in braces for what varies."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def template(path: str) -> str:
    """The one of `PATHS` that this is, or `other`."""
    if path in PATHS and path != PAGE:
        return path
    head, _, name = path.rpartition("/")
    return PAGE if head == "/page" and name else OTHER


def known_method(method: str) -> str:
    """The method, or `other` for one that a client made up."""
    return method if method in _METHODS else OTHER
