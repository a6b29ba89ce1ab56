"""`alexnet-label`: photos in, a table of their classes out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from alexnet.console import Command, log
from serve.inputs import InputError
from serve.label_options import label_options, labelling
from serve.labelling import Outcome, label
from serve.remote import interruptible

HELP = """Label photos with their most probable classes.

PHOTOS are files, folders (searched at every depth; hidden files, tars, and folders of
thumbnails or trash such as @eaDir, are left out), globs in quotes ('photos/**/*.jpg'),
tar shards ('train-{0000..0146}.tar', read without unpacking, also tars in tars and what
gzip, bzip2 or xz packed), URLs (s3://, gs://, https://: whatever fsspec opens) and - for
a list of paths on stdin, as many as you like. Rows come in the order of the arguments; a
folder's photos are sorted by path.

\b
Examples:
  alexnet-label photos/ -o labels.csv
  alexnet-label 'a/*.jpg' b.png -o labels.jsonl --top-k 3 --names
  alexnet-label 'shards/{000..146}.tar' -o labels/ --format parquet --resume
  find photos -name '*.jpg' -print0 | alexnet-label - --null -o labels.csv
  alexnet-label photos/ --model model.onnx -o - | head

A photo that can't be read keeps its row, with status "error", a code and a
sentence. The output file appears once it is whole, and then replaces an older one;
until then its parts lie in FILE.parts/, and --resume goes on after the last of them.
A folder (-o labels/) keeps the parts, with run.json, which says what was labelled
with what. Bytes of a file name that are not UTF-8 are written as \\xNN. Cells of a CSV
hold what is there, unchanged: a spreadsheet may take one that begins with = for a formula.

`alexnet-label neighbours LABELS PHOTOS` finds photos of a labelling that are nearest to
others (see its own --help); a folder of that name is given as ./neighbours.

Exit code: 0 all photos labelled, 1 some failed or the run did (a sentence says
why), 2 wrong use, 130 stopped by Ctrl-C or SIGTERM.
"""


class _Main(Command):
    """Labelling, and the one other command behind its name."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **more: Any) -> Any:
        """Run what the first argument asks for."""
        words = list(sys.argv[1:] if args is None else args)
        if words[:1] != ["neighbours"]:
            return super().main(words, *others, **more)
        from serve.neighbours_command import main as neighbours

        more["prog_name"] = f"{more.get('prog_name') or 'alexnet-label'} neighbours"
        return neighbours.main(words[1:], **more)


@click.command(cls=_Main, help=HELP)
@click.version_option(package_name="alexnet")
@label_options
def main(**values: Any) -> None:
    """Label photos; the help is in HELP."""
    task = labelling(**values)
    with interruptible():
        try:
            outcome = label(task)
        except InputError as error:
            raise click.UsageError(str(error)) from error
    log(f"{_summary(outcome)} -> {'stdout' if values['output'] == '-' else values['output']}")
    if outcome.failed:
        raise click.exceptions.Exit(1)


def _summary(outcome: Outcome) -> str:
    failed = f", {outcome.failed:,} failed (see error_message)" if outcome.failed else ""
    now = outcome.labelled + outcome.failed - outcome.before
    before = f"; {outcome.before:,} of them by an earlier run" if outcome.before else ""
    rate = f" in {outcome.seconds:.1f} s ({now / outcome.seconds:,.1f} photos/s)" if now else ""
    count = outcome.folders_left_out
    folders = f"; {count:,} {'folder' if count == 1 else 'folders'} left out" if count else ""
    return f"{outcome.labelled:,} labelled{failed}{rate}{before}{folders}"
