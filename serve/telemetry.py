"""BentoML reports its use over the network unless it is told not to; here it is told.

ONNX Runtime is told by the code that loads it, alexnet/backends/onnx_runtime.py.
"""

from __future__ import annotations

import os

OFF = {"BENTOML_DO_NOT_TRACK": "True"}
"""The environment variable that switches the reports off, and its value."""


def off_by_default() -> None:
    """Switch them off for this process and those that it starts; a value already set is kept.

    In time for all that BentoML sends, as long as it runs while the service is imported: a command
    reports its use when it ends, and `bentoml serve` once more when it begins to listen.
    """
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
    # Every command of BentoML asks for the variable first of all and keeps the answer.
    try:
        from bentoml._internal.utils.analytics import usage_stats

        usage_stats.do_not_track.cache_clear()
    except (ImportError, AttributeError):  # another BentoML, which keeps no answer there
        pass
