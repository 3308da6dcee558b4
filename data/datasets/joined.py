"""Several sources of labeled images in one: the first with its splits, and more to learn from."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.datasets.source import Problem, Scan, Source, refuse
from data.types import Annotation

CURE = "correct the labels, or name every class with --classes"


@dataclass(frozen=True)
class Added:
    """A source whose images are learned from beside those of another.

    Attributes:
        name: of its folder; begins the ids of images whose own ids are taken.
        source: with classes of its own.
    """

    name: str
    source: Source

    @property
    def split(self) -> str:
        """All of its images but those that its labels put into test."""
        return "trainval" if "trainval" in self.source.split_names else self.source.learned[0]


class JoinedSource(Source):
    """The splits and classes of a first source; each split is opened with all images of others.

    That is a split to learn from. Those to validate and to test on are opened from the first alone.

    Classes are matched by name. One that the labels of an added source never name has weight 0 in
    its images: they may hold it or not. An image keeps its id, unless an earlier source has an
    image of that id: then the name of its folder stands before it.

    Args:
        first: gives the splits and the classes.
        added: the others by the names of their folders.
    """

    def __init__(self, first: Source, added: Mapping[str, Source]) -> None:
        self.root, self.learned = first.root, first.learned
        self.first = first
        self.added = [Added(name, source) for name, source in added.items()]

    @property
    def form(self) -> str:
        """How the labels of each are written, and how many images are added."""
        counts = zip(self.added, self._names, strict=True)
        forms = [f"{len(names)} of {one.name} ({one.source.form})" for one, names in counts]
        return "; ".join(filter(None, [self.first.form, *forms]))

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the first source."""
        return self.first.classes

    @property
    def split_names(self) -> tuple[str, ...]:
        """Those of the first source."""
        return self.first.split_names

    def ids(self, split: str) -> list[str]:
        """Those of the first source, then all that are added.

        Raises:
            FileNotFoundError: a list is missing.
            ValueError: invalid labels or lists, or no such split.
        """
        for one in self.added:
            one.source.ids(one.split)  # refuses what is invalid
        return [*self.first.ids(split), *self._places]

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        one, own = self._places.get(image_id, (None, image_id))
        return one.source.path(own) if one else self.first.path(own)

    def labels(self, image_id: str) -> tuple[Tensor, Tensor]:
        """In the order of the first source's classes.

        Raises:
            ValueError: an added source has other classes.
        """
        one, own = self._places.get(image_id, (None, image_id))
        return self._in_order(one, one.source.labels(own)) if one else self.first.labels(own)

    def annotation(self, image_id: str) -> Annotation:
        """With the labels of the first source's classes; raises as ``labels``."""
        one, own = self._places.get(image_id, (None, image_id))
        if one is None:
            return self.first.annotation(own)
        return self._renamed(one, one.source.annotation(own), image_id)

    def scan(self) -> Scan:
        """The splits of the first source as they are, and one for each of the others."""
        first = self.first.scan()
        splits, objects, sizes = {**first.splits}, {**first.objects}, {**first.sizes}
        problems = list(first.problems)
        for one, here in zip(self.added, self._names, strict=True):
            scan = one.source.scan()
            splits[one.name] = list(here.values())
            objects |= {here[own]: scan.objects[own] for own in here if own in scan.objects}
            sizes |= {here[own]: scan.sizes[own] for own in here if own in scan.sizes}
            problems += [*scan.problems, *self._unknown(one)]
        return Scan(self.classes, splits, objects, sizes, problems)

    def remarks(self) -> list[str]:
        """Those of each source, and images that are called otherwise than in their own."""
        every = [self.first, *(one.source for one in self.added)]
        renamed = [here for here, (_, own) in self._places.items() if here != own]
        what = f"images whose names an earlier folder has, called: {name_first(renamed)}"
        return [*chain(*(source.remarks() for source in every)), *([what] if renamed else [])]

    def open(self, split: str, *, leave_out: Collection[Path] = ()) -> ImageSet:
        """The images of a split of the first source, then all that are added.

        Raises:
            FileNotFoundError: an image, a list or an annotation is missing.
            ValueError: one of them is invalid, labels name a class that is none of the first
                source's, or no image of a source is left.
        """
        first = self.first.open(split, leave_out=leave_out)
        paths, annotations = [*first.paths], [*first.annotations]
        labels = [*zip(first.targets, first.weights, strict=True)]
        for one, names in zip(self.added, self._names, strict=True):
            own = one.source.open(one.split, leave_out=leave_out)
            paths += own.paths
            annotations += [
                self._renamed(one, known, names[known.image_id]) for known in own.annotations
            ]
            pairs = zip(own.targets, own.weights, strict=True)
            labels += [self._in_order(one, of_image) for of_image in pairs]
        return ImageSet(split, self.classes, paths, annotations, labels)

    @cached_property
    def _names(self) -> list[dict[str, str]]:
        """For each added source the ids here of its images, by their own."""
        taken = chain(*(_valid_ids(self.first, split) for split in self.split_names))
        own = [(one.name, _valid_ids(one.source, one.split)) for one in self.added]
        return distinct_names(taken, own)

    @cached_property
    def _places(self) -> dict[str, tuple[Added, str]]:
        """Each added image by its id here: its source and its own id."""
        pairs = zip(self.added, self._names, strict=True)
        return {here: (one, own) for one, names in pairs for own, here in names.items()}

    def _unknown(self, one: Added) -> list[Problem]:
        """Classes of an added source that the first one does not have."""
        known = ", ".join(self.classes)
        return [
            Problem(
                one.source.where,
                f"class {name!r} is not one of {known}",
                _nearest(name, self.classes),
            )
            for name in one.source.classes
            if name not in self.classes
        ]

    def _positions(self, one: Added) -> Tensor:
        """Where the classes of an added source stand among those of the first, ``[c]``."""
        refuse(self._unknown(one))
        return torch.tensor([self.classes.index(name) for name in one.source.classes])

    def _in_order(self, one: Added, labels: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Targets and weights ``[C]`` from those of an added source, ``[c]``."""
        positions, zeros = self._positions(one), torch.zeros(len(self.classes))
        targets, weights = (zeros.index_copy(0, positions, values) for values in labels)
        return targets, weights

    def _renamed(self, one: Added, annotation: Annotation, image_id: str) -> Annotation:
        labels = self._positions(one)[annotation.labels]
        return replace(annotation, image_id=image_id, labels=labels)


def distinct_names(
    taken: Iterable[str], members: Iterable[tuple[str, Sequence[str]]]
) -> list[dict[str, str]]:
    """Ids of images that no two sources share.

    Args:
        taken: ids that stay as they are.
        members: of each further source a name and its ids.

    Returns:
        For each of them new ids by the old ones: the same, or with the name and / before it.
    """
    seen, every = set(taken), []
    for name, ids in members:
        new = {}
        for own in ids:
            here = own
            while here in seen:
                here = f"{name}/{here}"
            new[own] = here
        seen.update(new.values())
        every.append(new)
    return every


def _valid_ids(source: Source, split: str) -> list[str]:
    """Images of a split; none where lists or labels are invalid, which a scan tells."""
    try:
        return source.ids(split)
    except (ValueError, OSError):
        return []


def _nearest(name: str, classes: Sequence[str]) -> str:
    """The cure of an unknown class: the one that is probably meant, if there is one."""
    by_letters = {known.casefold(): known for known in classes}
    near = difflib.get_close_matches(name.casefold(), by_letters, n=1)
    return f"did you mean {by_letters[near[0]]!r}?" if near else CURE
