"""What becomes known of a request on its way: written by who handles it, read by the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.types import Scope

from serve.batcher import Answers

_NAME = "alexnet.note"


@dataclass
class Note:
    """One request; seconds are those of the photo that was answered last."""

    client: str | None = None
    """The name of the key that it came with."""
    outcomes: list[str] = field(default_factory=list)
    """For each photo `answered`, or the code of what is wrong with it."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: decode, wait, run."""
    replaced: bool = False
    """Another answer was given to it (serve/connection.py), and that one is told of."""


def note_of(scope: Scope) -> Note:
    """The note of a request; a new one where there is none yet."""
    note = scope.setdefault(_NAME, Note())
    assert isinstance(note, Note)
    return note


def note_photos(scope: Scope, answers: Answers) -> None:
    """Write down what became of a request's photos, and how long each stage took."""
    note = note_of(scope)
    note.seconds = {"decode": answers.decode, "wait": answers.wait, "run": answers.run}
    note.outcomes = [
        "answered" if prediction.error is None else prediction.error.code
        for prediction in answers.predictions
    ]
