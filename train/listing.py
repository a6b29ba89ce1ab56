"""What a folder or an archive holds: photos, and what is no photo, counted by its kind.

A folder on the disk and a folder in an archive are listed by the same rules. Nothing that could be
a photo is passed over without being counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from alexnet.container import HEAD, sniff, sniff_other
from alexnet.errors import AlexNetError
from alexnet.junk import is_junk
from alexnet.photo_endings import has_photo_ending
from alexnet.tars import TAR_SUFFIXES

NAMES = "classes.tsv"
ANNOTATIONS = "val_annotations.txt"
WORDS = "words.txt"

_TEXTS = frozenset((NAMES, ANNOTATIONS, WORDS))
_MAX_TEXT = 64 << 20
_ARCHIVES = (*TAR_SUFFIXES, ".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".lz4")


class SourceError(AlexNetError):
    """A place that gives no photos, or an archive that is damaged."""


class Member(NamedTuple):
    """One photo: its path within the source, with `/`, and the region of a file that it fills."""

    name: str
    path: str
    offset: int
    length: int


class Rejection(NamedTuple):
    """A photo that is left out, and why."""

    name: str
    code: str
    sentence: str


@dataclass
class Listing:
    """What a folder or an archive holds, in no particular order."""

    members: list[Member] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    """Files that say something of the photos, by their paths: classes.tsv and the like."""
    folders: dict[str, bool] = field(default_factory=dict)
    """Every folder, also an empty one, and whether it is, or lies in, one of `junk`."""
    junk: set[str] = field(default_factory=set)
    """Folders of thumbnails or trash and hidden ones, which are not searched."""
    hidden: dict[str, Member] = field(default_factory=dict)
    """Photos with hidden names, and in an archive those in folders of `junk`, by their paths."""
    archives: list[str] = field(default_factory=list)
    """Archives that are not read."""
    others: int = 0
    """Files that are no photos."""

    def add(self, member: Member, look: Callable[[int], bytes]) -> None:
        """Add a file.

        Args:
            member: the file, whatever it is.
            look: gives that many of its first bytes; called only before this returns.
        """
        folder, _, base = member.name.rpartition("/")
        if self.add_folder(folder) or is_junk(base):
            if has_photo_ending(base):
                self.hidden[member.name] = member
        elif has_photo_ending(base) or ("." not in base and _is_photo(look(HEAD))):
            self.members.append(member)
        elif base in _TEXTS and member.length <= _MAX_TEXT:
            self.texts[member.name] = look(member.length)
        elif base.lower().endswith(_ARCHIVES):
            self.archives.append(member.name)
        else:
            self.others += 1

    def add_folder(self, folder: str) -> bool:
        """Take note of a folder and of those around it; whether it is one of `junk`, or in one."""
        known = self.folders.get(folder)
        if known is not None:
            return known
        around, slash, base = folder.rpartition("/")
        junk = self.add_folder(around) if slash else False
        if not junk and base and is_junk(base):
            junk = True
            self.junk.add(folder)
        self.folders[folder] = junk
        return junk

    def reject(self, name: str, code: str, sentence: str) -> None:
        """Leave out what would be a photo, unless it is hidden or in a folder of `junk`."""
        folder, _, base = name.rpartition("/")
        if has_photo_ending(base) and not (self.add_folder(folder) or is_junk(base)):
            self.rejected.append(Rejection(name, code, sentence))

    def text(self, base: str, *, depth: int) -> str | None:
        """The text of the file of that name that lies highest, at most `depth` folders deep.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        named = [name for name in self.texts if name.rpartition("/")[2] == base]
        found = sorted((name.count("/"), name) for name in named if name.count("/") <= depth)
        return self.texts[found[0][1]].decode("utf-8-sig") if found else None

    def hidden_photos(self) -> int:
        """Photos with hidden names that lie in no folder of `junk`."""
        return sum(not self.folders[name.rpartition("/")[0]] for name in self.hidden)


def _is_photo(head: bytes) -> bool:
    """Whether a file without an ending is one, by its bytes."""
    return sniff(head) is not None or sniff_other(head) is not None
