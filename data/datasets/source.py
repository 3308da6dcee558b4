"""Where images and their labels come from, whatever form they have on disk."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.types import Annotation

MOST = 20  # problems of a file that are told one by one
THINNEST = 100  # longest side of an image, as a multiple of the shortest; drawings have limits


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that stands in the way of training or evaluation.

    Attributes:
        where: the file.
        what: the problem.
        cure: what the user can do.
        image: that can be left out instead; None where that is no cure.
    """

    where: Path
    what: str
    cure: str
    image: Path | None = None


def refuse(problems: Sequence[Problem]) -> None:
    """Raise if there are problems.

    Raises:
        ValueError: names the first file, the first twenty problems and how many more there are.
    """
    if problems:
        lines = [f"{problem.what} ({problem.cure})" for problem in problems[:MOST]]
        more = f"; and {len(problems) - MOST} more" if len(problems) > MOST else ""
        raise ValueError(f"{problems[0].where}: {'; '.join(lines)}{more}")


def too_thin(size: tuple[int, int]) -> str:
    """Why an image of that (height, width) cannot be used; empty if it can."""
    if max(size) <= THINNEST * min(size):
        return ""
    return f"too thin, {size[1]}x{size[0]} pixels (a side is at most {THINNEST} times the other)"


@dataclass(frozen=True, slots=True)
class Scan:
    """What a source's lists and labels say, with everything that is wrong with them.

    Attributes:
        classes: names in the order of the labels.
        splits: image ids by split, for the lists that could be read.
        objects: by image id, how often the image holds (class, difficult); once where labels alone
            are known.
        sizes: (height, width) by image id, where annotations tell it.
        problems: of lists, labels and annotations.
    """

    classes: Sequence[str]
    splits: dict[str, list[str]]
    objects: dict[str, Counter[tuple[str, bool]]]
    sizes: dict[str, tuple[int, int]]
    problems: list[Problem]


class Source(ABC):
    """Images of several splits with their image-level labels.

    Making one looks at nothing but whether its folder and files exist; images are decoded by
    ``ImageSet`` alone.

    Attributes:
        root: folder that holds the images; nothing is ever written to it.
        learned: the splits to learn from and to validate on, where a training is told neither; the
            second may be empty.
    """

    root: Path
    learned: tuple[str, str] = ("train", "val")

    @property
    def where(self) -> Path:
        """The file or folder of the labels, which messages about them name."""
        return self.root

    @property
    def form(self) -> str:
        """How the labels are written, where there are several ways; else empty."""
        return ""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels; none when no image has a label."""

    @property
    @abstractmethod
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits; none where no label can be read, and then ``ids`` says why.

        Raises:
            ValueError: labels of no known form.
        """

    @abstractmethod
    def ids(self, split: str) -> list[str]:
        """Names of the images of a split, in its order.

        Raises:
            FileNotFoundError: a list is missing.
            ValueError: an invalid list, or no such split.
        """

    def every_id(self) -> list[str]:
        """Names of the images of all splits, each once.

        Raises:
            FileNotFoundError, ValueError: as ``ids``.
        """
        named = (image_id for split in self.split_names for image_id in self.ids(split))
        return list(dict.fromkeys(named))

    @abstractmethod
    def path(self, image_id: str) -> Path:
        """The file of an image."""

    @abstractmethod
    def labels(self, image_id: str) -> tuple[Tensor, Tensor]:
        """Targets ``[C]`` float32 in {0, 1} and weights ``[C]`` float32, 0 = ignored or unknown."""

    @abstractmethod
    def annotation(self, image_id: str) -> Annotation:
        """Objects of an image, none where boxes are unknown; its size is always known."""

    @abstractmethod
    def scan(self) -> Scan:
        """Read every list and all labels; what is wrong is collected, not raised.

        Raises:
            FileNotFoundError: there is no list at all.
        """

    def remarks(self) -> list[str]:
        """What is doubtful about the images and stands in nobody's way."""
        return []

    def official_count(self, split: str) -> int | None:
        """Number of images that a published split has; None for other data."""
        return None

    def open(self, split: str, *, leave_out: Collection[Path] = ()) -> ImageSet:
        """The images of a split.

        Args:
            split: its name.
            leave_out: images not to take, by path.

        Raises:
            FileNotFoundError: a list, an annotation or an image is missing.
            ValueError: one of them is invalid or too thin, or no image is left.
        """
        ids = [image_id for image_id in self.ids(split) if self.path(image_id) not in leave_out]
        missing = [image_id for image_id in ids if not self.path(image_id).exists()]
        if missing:
            raise FileNotFoundError(f"{self.root}: no such image: {name_first(missing)}")
        annotations = [self.annotation(image_id) for image_id in ids]
        for image_id, annotation in zip(ids, annotations, strict=True):
            if problem := too_thin(annotation.image_size):
                raise ValueError(f"{self.path(image_id)}: {problem}")
        return ImageSet(
            split,
            self.classes,
            [self.path(image_id) for image_id in ids],
            annotations,
            [self.labels(image_id) for image_id in ids],
        )
