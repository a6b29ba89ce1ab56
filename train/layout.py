"""Which folders of a source are classes, and which are splits: found from names alone.

Splits have the names that people give them, in any case. Folders that look like splits, or that
share the names of their subfolders, and still make no sense are refused: to take them for classes
would train a network to tell validation photos from training photos.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from train.listing import Listing, Member, Rejection, SourceError

Role = Literal["train", "val", "test"]
Classes = dict[str, dict[str, Member]]
"""Class -> path below the class's folder -> photo."""

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# What stands beside such a word: training_set, test-data, val2017, images_train.
_FILLING = re.compile(r"set|sets|data|dataset|split|images?|imgs?|photos?|pictures?|pics?")
_WORDS = re.compile(r"[A-Za-z]+")
_SHOWN = 6


@dataclass
class Layout:
    """The photos of a source by split, class and path."""

    train: Classes = field(default_factory=dict)
    val: Classes = field(default_factory=dict)
    """None where the source has no validation photos."""
    loose: list[Rejection] = field(default_factory=list)
    """Photos that lie in no class folder."""
    val_folder: str | None = None
    """What the folder of the validation photos is called."""
    unused: Counter[str] = field(default_factory=Counter)
    """Photos of splits that are not used, by the split's folder."""
    empty: list[str] = field(default_factory=list)
    """Class folders without photos."""


def role_of(folder: str) -> Role | None:
    """The split that a folder of this name holds: `Train`, `valid`, `test_set`; None: none."""
    words = [word.lower() for word in _WORDS.findall(folder)]
    roles = [_ROLES[word] for word in words if word in _ROLES]
    if len(roles) != 1:  # `trainset` is one word
        joined = re.fullmatch(r"([a-z]+?)(sets?|data)", "".join(words))
        return _ROLES.get(joined[1]) if joined and len(words) == 1 else None
    rest = [word for word in words if word not in _ROLES]
    plain = not re.search(r"\d", folder) and all(map(_FILLING.fullmatch, rest))
    return roles[0] if plain else None


def find_layout(listing: Listing, name: str, *, as_classes: bool = False) -> Layout:
    """Sort the photos of a source into splits and classes.

    Folders that all photos share mean nothing. Where there is no validation folder, a test folder
    is one, if its classes are known.

    Args:
        listing: the photos of the source.
        name: the source's.
        as_classes: take the top folders for classes, whatever they are called.

    Raises:
        SourceError: the folders look like splits, or like classes inside splits, and are no
            layout that is known.
    """
    top = shared_folders(listing.members)
    tops = _subfolders(listing.members, top)
    splits = None if as_classes else _splits(tops, name)
    if splits is not None:
        return _read_splits(listing, splits, name=name, top=top)
    layout = Layout()
    layout.train, layout.loose = _classes(listing.members, top)
    around = listing.members[0].name.split("/")[:top] if listing.members else []
    layout.empty = _empty(listing, around, layout.train)
    return layout


def shared_folders(members: Sequence[Member]) -> int:
    """How many leading folders all photos share, above those that tell them apart.

    Photos that lie beside such a folder do not count: they belong to no class.
    """
    depth = 0
    while True:
        folders, below, beside = set(), set(), False
        for member in members:
            parts = member.name.split("/", depth + 2)[depth:]
            if len(parts) < 2:
                continue
            folders.add(parts[0])
            if len(folders) > 1:
                return depth
            if len(parts) > 2:
                below.add(parts[1])
            else:
                beside = True
        # A folder with photos of its own is a class, unless several folders lie in it.
        if not below or (beside and len(below) < 2):
            return depth
        depth += 1


def _splits(tops: Mapping[str, Collection[str]], name: str) -> dict[Role, str] | None:
    """The folders of the splits; None where the folders are classes.

    Raises:
        SourceError: neither is sure.
    """
    roles: dict[str, Role] = {top: role for top in tops if (role := role_of(top)) is not None}
    by_role: dict[Role, list[str]] = defaultdict(list)
    for top, role in roles.items():
        by_role[role].append(top)
    if len(tops) < 2 and "train" not in by_role:
        return None
    if "train" in by_role and len(roles) == len(tops):
        for role, folders in by_role.items():
            if len(folders) > 1:
                raise _unclear(tops, name, f"{_list(folders)} all look like the {role} split")
        return {role: folders[0] for role, folders in by_role.items()}
    if len(by_role) > 1 or (by_role and "train" not in by_role):
        others = [top for top in tops if top not in roles]
        beside = f" beside {_list(others)}" if others else ""
        raise _unclear(tops, name, f"{_list(roles)} look like splits{beside}")
    alike = {top: found for top in tops if (found := _resembles(top)) is not None}
    if len(alike) == len(tops) > 1 and len(set(alike.values())) > 1:
        raise _unclear(tops, name, f"{_list(alike)} look like splits")
    _check_subfolders(tops, name)
    return None


def _resembles(folder: str) -> Role | None:
    """The first split that a part of the name speaks of: `train1`, `my_test`."""
    words = (word.lower() for word in _WORDS.findall(folder))
    return next((_ROLES[word] for word in words if word in _ROLES), None)


def _check_subfolders(
    tops: Mapping[str, Collection[str]], name: str, *, split: str | None = None
) -> None:
    """Refuse classes that lie in several folders, such as fold1/cat and fold2/cat."""
    for top, below in tops.items():
        again = sorted((set(below) & tops.keys()) - {top})
        if again:
            reason = f"{_list(again)} lie both in {top} and beside it"
            raise _unclear(tops, name, reason, split=split)
    counts = Counter(folder for below in tops.values() for folder in below)
    least = max(2, -(-sum(map(bool, tops.values())) // 2))
    shared = sorted(folder for folder, count in counts.items() if count >= least)
    if len(shared) > 1:
        reason = f"{_list(shared)} lie in several of its folders"
        raise _unclear(tops, name, reason, split=split)


def _unclear(
    tops: Mapping[str, Collection[str]], name: str, reason: str, *, split: str | None = None
) -> SourceError:
    """What was seen, and what to do; `split`: the folder of the split that holds `tops`."""
    if split is not None:
        name = f"{split} of {name}"
    # With --layout classes alone the splits themselves would be the classes.
    way = f"give {split}/ itself, the validation photos as --val, and" if split else "say so with"
    seen = [
        f"{top}/ (with {_list(sorted(tops[top]))})" if tops[top] else f"{top}/"
        for top in sorted(tops)[:_SHOWN]
    ]
    more = f" and {len(tops) - _SHOWN:,} more" if len(tops) > _SHOWN else ""
    return SourceError(
        f"{name} holds {', '.join(seen)}{more}, and which of them are classes is not clear: "
        f"{reason}. Name the splits train/, val/ and test/, with one folder for each class in "
        f"them, or, where these folders are the classes, {way} --layout classes."
    )


def _list(names: Collection[str]) -> str:
    shown = list(names)[:_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _read_splits(listing: Listing, splits: Mapping[Role, str], *, name: str, top: int) -> Layout:
    layout, found = Layout(), {}
    members: dict[str, list[Member]] = {folder: [] for folder in splits.values()}
    for member in listing.members:
        parts = member.name.split("/", top + 1)[top:]
        if len(parts) > 1:
            members[parts[0]].append(member)
        else:
            layout.loose.append(_loose(member))
    for role, folder in splits.items():
        depth = top + 1
        while _is_nested(members[folder], role, depth):  # training_set/training_set/cat
            depth += 1
        found[role], loose = _classes(members[folder], depth)
        layout.loose += loose
        if role == "train":
            _check_classes(members[folder], depth, name, split=folder)
        if members[folder]:
            around = members[folder][0].name.split("/")[:depth]
            layout.empty += _empty(listing, around, found[role])
    layout.train = found.pop("train")
    for role in ("val", "test"):
        classes = found.get(role, {})
        # A test folder of unknown photos in one folder, as Tiny ImageNet's, is none of labels.
        if classes and (role == "val" or classes.keys() & layout.train.keys()):
            layout.val, layout.val_folder = found.pop(role), splits[role]
            break
    for role, classes in found.items():
        if classes:
            layout.unused[splits[role]] = sum(map(len, classes.values()))
    return layout


def _subfolders(members: Iterable[Member], depth: int) -> dict[str, set[str]]:
    """The folders at `depth` that hold photos, and the folders in each of them that do."""
    found: dict[str, set[str]] = {}
    for member in members:
        parts = member.name.split("/", depth + 2)[depth:]
        if len(parts) > 1:
            below = found.setdefault(parts[0], set())
            if len(parts) > 2:
                below.add(parts[1])
    return found


def _check_classes(members: Iterable[Member], depth: int, name: str, *, split: str) -> None:
    """Refuse class folders of a split that are splits themselves."""
    tops = _subfolders(members, depth)
    if len(tops) > 1 and all(map(role_of, tops)):
        raise _unclear(tops, name, f"{_list(tops)} look like splits", split=split)
    _check_subfolders(tops, name, split=split)


def _is_nested(members: Iterable[Member], role: Role, depth: int) -> bool:
    """Whether all of a split's photos lie in one folder that is called after the split as well."""
    paths = (member.name.split("/") for member in members)
    folders = {path[depth] for path in paths if len(path) > depth + 1}
    return len(folders) == 1 and role_of(folders.pop()) == role


def _classes(members: Iterable[Member], depth: int) -> tuple[Classes, list[Rejection]]:
    """The photos by class, whose folder lies `depth` folders deep, and those in no such folder."""
    classes: Classes = {}
    loose = []
    for member in members:
        parts = member.name.split("/", depth + 1)[depth:]
        if len(parts) > 1:  # the same name twice in an archive: the later one counts
            classes.setdefault(parts[0], {})[parts[1]] = member
        else:
            loose.append(_loose(member))
    return classes, loose


def _loose(member: Member) -> Rejection:
    return Rejection(member.name, "no_class", "The photo lies in no class folder.")


def _empty(listing: Listing, around: list[str], classes: Classes) -> list[str]:
    """The folders in the folder `around` that hold no photos, not even one that is left out."""
    depth = len(around) + 1
    left_out = {tuple(row.name.split("/")[:depth]) for row in listing.rejected}
    return sorted(
        path
        for path, junk in listing.folders.items()
        if not junk
        and len(parts := path.split("/")) == depth
        and parts[:-1] == around
        and parts[-1]
        and parts[-1] not in classes
        and tuple(parts) not in left_out
    )
