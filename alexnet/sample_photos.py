"""Real photos to try a model on: somebody's own, or the two that scikit-learn brings."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from alexnet.decoder import DecodedPhoto, decode_photo
from alexnet.errors import AlexNetError, MissingPackageError, install_command
from alexnet.photo_endings import has_photo_ending
from alexnet.photo_error import PhotoError


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplePhoto:
    """A photo that can be read."""

    name: str
    """Its path; of scikit-learn's the file's name alone."""
    path: Path
    decoded: DecodedPhoto


def sample_photos(
    place: Path | None, *, count: int, left_out: Callable[[str], None]
) -> Iterator[SamplePhoto]:
    """Up to `count` photos, each decoded when it is asked for.

    Args:
        place: a photo, whatever its name; a folder, whose photos are taken by their endings, at
            every depth but not hidden ones, in the order of their paths and evenly spread over all
            of them, with others in place of those that can't be read; or None, scikit-learn's
            china.jpg and flower.jpg.
        count: at least 1.
        left_out: is given a sentence for each photo of a folder that can't be read.

    Raises:
        AlexNetError: there is no such place, or no photo in it that can be read.
        MissingPackageError: `place` is None and scikit-learn is not installed.
    """
    paths = _paths(place, count)
    readable = 0
    for path in paths:
        if readable == count:
            return
        try:
            decoded = decode_photo(path)
        except PhotoError as error:
            if path == place:
                raise AlexNetError(f"{path}: {error}") from error
            left_out(f"Left out {path}: {error}")
            continue
        readable += 1
        name = path.name if place is None else str(path)
        yield SamplePhoto(name=name, path=path, decoded=decoded)
    if not readable:
        raise AlexNetError(f"No photo in {place} can be read ({len(paths)} tried).")


def _paths(place: Path | None, count: int) -> list[Path]:
    """The photos to take, then those that stand in for what can't be read of them."""
    if place is None:
        return _photographs()[:count]
    if not place.is_dir():
        if not place.exists():
            raise AlexNetError(f"There is no {place}: name a photo, or a folder that holds some.")
        return [place]
    found = sorted(path for path in place.rglob("*") if _is_photo(path.relative_to(place), path))
    if not found:
        raise AlexNetError(f"There are no photos in {place}: name a folder that holds some.")
    number = min(count, len(found))
    chosen = [found[len(found) * n // number] for n in range(number)]
    return chosen + sorted(set(found) - set(chosen))


def _is_photo(inside: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in inside.parts)
    return has_photo_ending(path.name) and not hidden and path.is_file()


def _photographs() -> list[Path]:
    """Where they lie (both 640 x 427), without the seconds that importing scikit-learn takes."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise MissingPackageError(
            "No photos were named and there are none here: name some, or run "
            f"`{install_command('demo')}`, which brings two photographs."
        )
    folder = Path(package.origin).parent / "datasets" / "images"
    return [folder / "china.jpg", folder / "flower.jpg"]
