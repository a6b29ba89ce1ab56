"""Label Studio's tasks: photos with what the model says of them, to be reviewed by people.

A file is a JSON list with one task in each line. It suits a labelling configuration of this form,
with a choice for every class:

    <View>
      <Image name="image" value="$image"/>
      <Choices name="label" toName="image"><Choice value="n02123045"/></Choices>
    </View>
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from serve.records import Row
from serve.remote import is_url

FIRST, FOLLOWING, END, NONE = "[\n", ",\n", "\n]\n", "[\n]\n"
"""What stands before the first task, before every other, behind the last, and for no tasks."""

# Label Studio serves files below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT under this address.
_LOCAL = "/data/local-files/?d="


def task(row: Row) -> str:
    """The task of one photo, in one line. Without an answer, `error_message` says why."""
    path = str(row["path"])
    data = {"image": path if is_url(path) else _LOCAL + quote(path), "path": path}
    predictions: list[dict[str, Any]] = []
    if row["status"] == "ok":
        result = {
            "from_name": "label",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [row["label"]]},
        }
        version = f"{row['model']} {str(row['model_sha256'])[:12]} {row['views']}"
        predictions = [{"model_version": version, "score": row["score"], "result": [result]}]
    else:
        data["error_code"] = str(row["error_code"])
        data["error_message"] = str(row["error_message"])
    return json.dumps({"data": data, "predictions": predictions}, ensure_ascii=False)


def joined(lines: Iterable[str]) -> Iterator[str]:
    """The text of one file from the lines of several."""
    before = FIRST
    for line in lines:
        if line not in (FIRST, END.lstrip()):
            yield before + line.rstrip("\n").removesuffix(",")
            before = FOLLOWING
    yield NONE if before == FIRST else END
