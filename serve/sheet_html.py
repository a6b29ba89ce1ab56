"""The sheet as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from serve.neighbours import Answer
from serve.records import one_line

_STYLE = """
:root {
  color-scheme: light dark;
  --ground: light-dark(#f6f6f3, #131417);
  --surface: light-dark(#fff, #1c1e22);
  --text: light-dark(#1d1e21, #ececef);
  --quiet: light-dark(#5b5e66, #a3a7b0);
  --edge: light-dark(#e2e1dc, #30333a);
  --accent: light-dark(#2f5bd0, #93b2ff);
  --gone: light-dark(#d9d9d6, #33363d);
  font: 100%/1.4 system-ui, sans-serif;
}
*, ::before, ::after { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { margin: 0; font-size: 1.5rem; }
p { margin: .25rem 0 1.5rem; color: var(--quiet); }
section {
  display: grid; grid-template-columns: 9.5rem 1fr; gap: 1.5rem; margin: 0 0 1rem; padding: 1rem;
  border: 1px solid var(--edge); border-radius: 14px; background: var(--surface);
}
ol {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: 1rem;
  margin: 0; padding: 0; list-style: none;
}
figure { margin: 0; min-width: 0; max-width: 10rem; }
img, .gone { display: block; width: 100%; aspect-ratio: 1; border-radius: 8px; }
.gone {
  padding: .5rem; overflow: hidden; background: var(--gone);
  font-size: .75rem; overflow-wrap: anywhere;
}
.query :is(img, .gone) { outline: 3px solid var(--accent); outline-offset: 2px; }
figcaption { margin-top: .5rem; font-size: .8125rem; }
figcaption span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
figcaption .path { color: var(--quiet); }
.distance { font-variant-numeric: tabular-nums; }
@media (max-width: 34rem) {
  section { grid-template-columns: 1fr; }
  .query { max-width: 9rem; }
  ol { grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); gap: .75rem; }
}
@media print { section { break-inside: avoid; } }
"""


def page(
    answers: Sequence[Answer], pictures: Sequence[Sequence[bytes | None]], *, rows: int, name: str
) -> str:
    """The page.

    Args:
        answers: a section each.
        pictures: of each answer, JPEGs of the query and of its neighbours; None for one that is
            gone.
        rows: photos in the index.
        name: of the index.
    """
    sections = "\n".join(map(_section, answers, pictures))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nearest photos in {_shown(name)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Nearest photos</h1>
<p>Each query and the photos of {_shown(name)} ({rows:,} rows) whose fc7 features are nearest to
its own, by Euclidean distance.</p>
{sections}
</main>
</body>
</html>
"""


def _section(answer: Answer, pictures: Sequence[bytes | None]) -> str:
    query = answer.query
    near = "\n".join(
        f"<li>{_figure(one.path, one.label, picture, distance=one.distance)}</li>"
        for one, picture in zip(answer.neighbours, pictures[1:], strict=True)
    )
    return (
        f'<section aria-label="Query {_shown(query.path)}">\n'
        f"{_figure(query.path, query.label, pictures[0])}\n<ol>\n{near}\n</ol>\n</section>"
    )


def _figure(path: str, label: str, picture: bytes | None, *, distance: float | None = None) -> str:
    if picture is None:
        shown = f'<div class="gone">{_shown(path)}</div>'
    else:
        data = base64.b64encode(picture).decode()
        shown = f'<img src="data:image/jpeg;base64,{data}" alt="{_shown(path)}">'
    last = path.rsplit("/", 1)[-1]
    lines = [f'<span class="path" title="{_shown(path)}">{_shown(last)}</span>']
    if label:
        lines.insert(0, f'<span title="{_shown(label)}">{_shown(label)}</span>')
    if distance is not None:
        lines.append(f'<span class="distance">{distance:.2f}</span>')
    kind = ' class="query"' if distance is None else ""
    return f"<figure{kind}>{shown}<figcaption>{''.join(lines)}</figcaption></figure>"


def _shown(text: str) -> str:
    return escape(one_line(text))
