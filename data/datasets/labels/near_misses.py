"""Names of classes that are probably meant otherwise: several labels in one, or two spellings."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from data.datasets.labels.content import Labels
from data.datasets.labels.place import LabelsPlace
from data.datasets.source import Problem

CURE = "| between labels, one spelling for one class; or name all with --classes if it is meant"


def near_misses(place: LabelsPlace, labels: Labels) -> list[Problem]:
    """A problem for each such class; one that the user names is meant as it is."""
    counts = Counter(name for row in labels.rows.values() for name in row.names)
    example = dict[str, str]()  # the first image of each
    for image, row in labels.rows.items():
        for name in row.names:
            example.setdefault(name, image)
    where = place.file or place.folder or place.images
    return [
        Problem(where, f"class {name!r} of {_images(counts[name], example[name])} {reason}", CURE)
        for name, reason in _doubtful(sorted(counts))
        if name not in place.classes
    ]


def _images(count: int, example: str) -> str:
    return f"{count} images, such as {example}," if count > 1 else f"image {example}"


def _doubtful(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    words = {name: re.split(r"\s*[\s,;|/+&]\s*", name) for name in names}
    by_words, by_letters = dict[tuple[str, ...], str](), dict[str, str]()
    for name, parts in words.items():
        same_words = by_words.setdefault(tuple(sorted(parts)), name)
        same_letters = by_letters.setdefault(name.casefold(), name)
        if len(parts) > 1 and all(part in words for part in parts):
            yield name, f"is made of the labels {', '.join(parts)}"
        elif same_words != name:
            yield name, f"holds the words of class {same_words!r} in another order"
        elif same_letters != name:
            yield name, f"differs from class {same_letters!r} in capital letters alone"
