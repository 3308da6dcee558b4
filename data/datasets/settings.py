"""Settings of images, labels and splits. Light: ``--help`` imports this."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.settings import check_range


def default_voc_root() -> Path | None:
    """``$VOC_ROOT``, or None when it is not set."""
    value = os.environ.get("VOC_ROOT")
    return Path(value) if value else None


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Where the images are."""

    voc_root: Path | None = field(default_factory=default_voc_root)
    """Folder that holds VOC2007; $VOC_ROOT when not given."""

    images: Path | None = None
    """Any folder of images, or one image, instead of VOC."""

    labels: Literal["folders"] | Path | None = None
    """Its labels: a CSV file (image,labels[,split] with | between labels, a row for each label, or
    a column for each class), COCO's JSON, a folder of VOC's XML or lists; folders for the names of
    the folders that the images lie in."""

    first_pixel: Literal[0, 1] | None = None
    """Number of the first pixel in XML annotations, 0 as CVAT and VoTT write them; when not given
    as the run has it, or 1 as in VOC."""

    def __post_init__(self) -> None:
        """Refuse labels of nothing."""
        if self.labels and not self.images:
            raise ValueError("--labels: of which images? (--images names their folder)")


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Which of the images."""

    split: str = ""
    """Which images. When not given the validation split of the run, or else val; every image where
    they are not split, as those without labels."""


@dataclass(frozen=True, kw_only=True)
class UsedImageSettings(ImageSettings):
    """Where the images are, and what becomes of bad ones."""

    on_bad: Literal["refuse", "skip"] = "refuse"
    """Whether an image that does not decode, is too thin or has an invalid annotation ends the run
    or is left out, with a count. A run keeps it."""


@dataclass(frozen=True, kw_only=True)
class AddedImageSettings(ImageSettings):
    """Where more images to learn from are."""

    also_images: tuple[Path, ...] = ()
    """Further folders of images to learn from, beside those of --split; no other split has them.
    Their classes are matched by name. One that their labels never name counts as unknown there."""

    also_labels: tuple[Literal["folders"] | Path, ...] = ()
    """Their labels, one for each folder in the same order, in a form that --labels takes."""

    def __post_init__(self) -> None:
        """Refuse folders without labels, and one that is named twice."""
        super().__post_init__()
        if len(self.also_images) != len(self.also_labels):
            raise ValueError(
                f"--also-labels: {len(self.also_labels)} for {len(self.also_images)} folders of "
                "--also-images (name one for each)"
            )
        pairs = [*zip(self.also_images, self.also_labels, strict=True), (self.images, self.labels)]
        for pair in pairs:
            if pairs.count(pair) > 1:
                raise ValueError(f"--also-images: {pair[0]} with the labels {pair[1]} twice")


@dataclass(frozen=True, kw_only=True)
class LabelSettings(ImageSettings):
    """Which classes they have, and how a folder is split."""

    classes: tuple[str, ...] = ()
    """Names in the order of the labels; when empty, VOC's or those of the labels file, sorted."""

    val_fraction: float = 0.2
    """Fraction of a folder's images in val when its labels file has no column split."""

    split_seed: int = 0
    """Seed of the choice of those images."""

    def __post_init__(self) -> None:
        """Refuse fractions that leave a split empty, and a class twice."""
        super().__post_init__()
        check_range(self, "in (0, 1)", "val_fraction")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"--classes: one is named twice in {', '.join(self.classes)}")


@dataclass(frozen=True, kw_only=True)
class DataSettings(LabelSettings, UsedImageSettings, AddedImageSettings):
    """What becomes of doubtful labels."""

    difficult: Literal["ignore", "positive", "negative"] = "ignore"
    """How a class counts whose only objects are difficult."""
