"""Tiny ImageNet as published: flat validation photos, their classes in val_annotations.txt.

The training photos lie in train/ID/images, the validation photos in val/images; words.txt names the
ids of WordNet.
"""

from __future__ import annotations

import re
from pathlib import Path

from alexnet.console import log
from train.listing import ANNOTATIONS, WORDS, Listing, Rejection, SourceError

_IMAGES = "images"
_WNID = re.compile(r"n\d{8}")


def give_classes(listing: Listing, place: Path) -> None:
    """Put the photos that a val_annotations.txt speaks of into the folders of their classes.

    They lie beside that file or in the folder `images` beside it. One without a line is rejected.

    Raises:
        SourceError: the file can't be read.
    """
    for path in [path for path in listing.texts if path.rpartition("/")[2] == ANNOTATIONS]:
        folder = path.rpartition("/")[0]
        classes = _read_annotations(listing.texts[path], f"{path} in {place}")
        flat = {folder, f"{folder}/{_IMAGES}" if folder else _IMAGES}
        kept = []
        for member in listing.members:
            around, _, base = member.name.rpartition("/")
            wnid = classes.pop(base, None) if around in flat else None
            if around not in flat:
                kept.append(member)
            elif wnid is None:
                reason = f"{ANNOTATIONS} has no line for it."
                listing.rejected.append(Rejection(member.name, "no_class", reason))
            else:
                kept.append(member._replace(name="/".join(filter(None, (folder, wnid, base)))))
        if len(kept) == len(listing.members) and kept == listing.members:
            continue  # somebody has put them into class folders already
        if classes:
            log(f"Warning: {len(classes):,} photos that {path} names are not there.")
        listing.members = kept
        listing.folders.pop(f"{folder}/{_IMAGES}" if folder else _IMAGES, None)


def read_words(listing: Listing) -> dict[str, str]:
    """The names of classes by their wnids, as words.txt has them; none where there is none."""
    try:
        text = listing.text(WORDS, depth=2) or ""
    except UnicodeDecodeError:  # names only: the photos do not need them
        return {}
    rows = (line.partition("\t") for line in text.splitlines())
    return {wnid: name.strip() for wnid, _, name in rows if _WNID.fullmatch(wnid) and name.strip()}


def _read_annotations(data: bytes, name: str) -> dict[str, str]:
    """The wnid of each photo by the file's name; a line is name, wnid and a box, with tabs."""
    classes = {}
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), start=1):
        photo, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if not line.strip():
            continue
        if not (photo and wnid) or "/" in wnid:
            raise SourceError(
                f"Line {number:,} of {name} must be a photo's name, a tab and its class, not "
                f"{line[:80]!r}."
            )
        classes[photo] = wnid
    return classes
