"""The command `alexnet-label neighbours`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from alexnet import options
from alexnet.backends import BACKENDS
from alexnet.console import Command, log, print_table

HELP = """Find the photos of an index whose fc7 features are nearest to those of query photos.

LABELS is what `alexnet-label --features` wrote: a Parquet file, or a folder of parts. QUERIES
are photos: files, folders, globs, URLs. Distances are Euclidean and exact; of equally near
photos the earlier row comes first. The index is read once, block by block.

\b
Examples:
  alexnet-label photos/ --features -o labels.parquet
  alexnet-label neighbours labels.parquet --query cat.jpg dog.jpg -o sheet.html
  alexnet-label neighbours labels.parquet --query-rows 0,17,40-44 --count 10 --json

Query photos are run by the model of the index, which --model names; another one is refused.
"""


class _Rows(click.ParamType[list[int]]):
    """Row numbers and ranges: `0,17,40-44`."""

    name = "rows"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """The numbers."""
        if not isinstance(value, str):
            return list(value)
        numbers: list[int] = []
        for piece in value.split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", piece)
            if match is None:
                self.fail(f"'{piece}' is neither a row's number nor a range such as 40-44.")
            first, last = int(match[1]), int(match[2] or match[1])
            if not first <= last < first + 10_000:
                self.fail(f"'{piece}' is empty, or has more than 10,000 rows.")
            numbers.extend(range(first, last + 1))
        return numbers


def _ending(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".html", ".png"):
        raise click.BadParameter(f"{path} must end in .html or .png.")
    return path


@click.command(cls=Command, help=HELP)
@click.argument("labels", type=click.Path(path_type=Path))
@click.argument("queries", nargs=-1)
@click.option(
    "--query",
    multiple=True,
    metavar="PHOTO",
    help="Another query photo; the same as naming it behind LABELS.",
)
@click.option(
    "--query-rows", type=_Rows(), metavar="ROWS", help="Rows of the index, from 0: 0,17,40-44."
)
@click.option(
    "--count", type=click.IntRange(min=1), default=6, show_default=True, help="Neighbours of each."
)
@click.option(
    "-o",
    "--output",
    type=options.OutputFile(),
    callback=_ending,
    metavar="FILE",
    help="A sheet with the photos: .html, one file with everything in it, or .png.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON in the place of the table.")
@click.option(
    "--photos",
    "folder",
    type=click.Path(path_type=Path),
    show_default="the run's working folder, else the current one",
    help="Where relative paths of the index begin, for the sheet.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    show_default="the model that ships",
    help="What the index was made with.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    default="auto",
    show_default=True,
    help="What runs the model; auto goes by its ending.",
)
@options.device
@options.threads
def main(
    labels: Path,
    queries: tuple[str, ...],
    query: tuple[str, ...],
    query_rows: list[int] | None,
    count: int,
    output: Path | None,
    as_json: bool,
    folder: Path | None,
    **runner: Any,
) -> None:
    """See HELP."""
    from serve.feature_index import FeatureIndex
    from serve.neighbours import Runner, find, photo_queries, row_queries
    from serve.records import one_line
    from serve.sheet import write_sheet

    photos = (*query, *queries)
    if not photos and not query_rows:
        raise click.UsageError("There is nothing to look for: name photos, or give --query-rows.")
    if not photos:
        options.refuse_unread(
            *runner, reason="Rows of the index have their features, and no model runs"
        )
    if output is None:
        options.refuse_unread("folder", reason="Photos are opened for a sheet (--output) only")
    index = FeatureIndex(labels)
    asked = photo_queries(index, photos, Runner(**runner)) if photos else []
    asked += row_queries(index, query_rows) if query_rows else []
    answers = find(index, asked, count)
    if as_json:
        click.echo(json.dumps({"rows": index.rows, "queries": list(map(_plain, answers))}))
    else:
        rows = [
            (one_line(answer.query.path), rank, one_line(near.path), f"{near.distance:.3f}")
            for answer in answers
            for rank, near in enumerate(answer.neighbours, 1)
        ]
        print_table(
            f"Nearest of {index.rows:,} photos by fc7", ("query", "rank", "path", "distance"), rows
        )
    if output is not None:
        missing = write_sheet(output, answers, index=index, folder=folder)
        gone = f", {missing} photos not found" if missing else ""
        log(f"{len(answers)} {'query' if len(answers) == 1 else 'queries'}{gone} -> {output}")


def _plain(answer: Any) -> dict[str, Any]:
    near = [
        {
            "rank": rank,
            "row": one.row,
            "path": one.path,
            "label": one.label,
            "distance": one.distance,
        }
        for rank, one in enumerate(answer.neighbours, 1)
    ]
    query = answer.query
    return {"path": query.path, "row": query.row, "label": query.label, "neighbours": near}
