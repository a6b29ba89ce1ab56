"""The sheet as a picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from alexnet.errors import AlexNetError
from alexnet.photo import MAX_PIXELS
from serve.neighbours import Answer
from serve.records import one_line

_TILE, _GAP, _CAPTION, _EDGE = 160, 16, 46, 3
_PAPER, _INK, _QUIET, _GONE, _ACCENT = "#ffffff", "#1d1e21", "#5b5e66", "#d9d9d6", "#2f5bd0"


def draw(
    answers: Sequence[Answer], pictures: Sequence[Sequence[Image.Image | None]]
) -> Image.Image:
    """A row for each answer: the query, framed, a gap, and its neighbours.

    Raises:
        AlexNetError: the picture would have more pixels than this project itself reads.
    """
    columns = max(map(len, pictures))
    width = columns * (_TILE + _GAP) + 3 * _GAP
    height = len(answers) * (_TILE + _CAPTION + _GAP) + _GAP
    if width * height > MAX_PIXELS:
        raise AlexNetError(
            f"{len(answers)} queries are too many for one picture: write .html, or ask for fewer."
        )
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, (answer, row) in enumerate(zip(answers, pictures, strict=True)):
        top = _GAP + number * (_TILE + _CAPTION + _GAP)
        names = [(answer.query.path, answer.query.label, "query")]
        names += [(one.path, one.label, f"{one.distance:.2f}") for one in answer.neighbours]
        for column, ((path, label, below), picture) in enumerate(zip(names, row, strict=True)):
            left = _GAP + column * (_TILE + _GAP) + (_GAP if column else 0)
            if picture is None:
                _gone(pen, (left, top), path, font)
            else:
                sheet.paste(picture.resize((_TILE, _TILE), Image.Resampling.LANCZOS), (left, top))
            if not column:
                box = (left - _EDGE, top - _EDGE, left + _TILE + _EDGE - 1, top + _TILE + _EDGE - 1)
                pen.rectangle(box, outline=_ACCENT, width=_EDGE)
            text = _fitting(pen, one_line(label or path.rsplit("/", 1)[-1]), font)
            pen.text((left, top + _TILE + 6), text, fill=_INK, font=font)
            pen.text((left, top + _TILE + 24), below, fill=_QUIET, font=font)
    return sheet


def _gone(
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    path: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A grey tile with the path of a photo that is not there."""
    left, top = corner
    pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_GONE)
    lines: list[str] = []
    rest = one_line(path)
    while rest and len(lines) < 8:
        line = rest
        while pen.textlength(line, font=font) > _TILE - 16:
            line = line[:-1]
        lines.append(line)
        rest = rest[len(line) :]
    pen.multiline_text((left + 8, top + 8), "\n".join(lines), fill=_INK, font=font)


def _fitting(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """`text`, cut to the width of a tile."""
    if pen.textlength(text, font=font) <= _TILE:
        return text
    while text and pen.textlength(f"{text}...", font=font) > _TILE:
        text = text[:-1]
    return f"{text}..."
