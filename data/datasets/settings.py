"""Settings of images, labels and splits. Light: ``--help`` imports this."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def default_voc_root() -> Path | None:
    """``$VOC_ROOT``, or None when it is not set."""
    value = os.environ.get("VOC_ROOT")
    return Path(value) if value else None


def require_voc_root(voc_root: Path | None) -> Path:
    """The folder that holds ``VOC2007``.

    Raises:
        ValueError: neither ``--voc-root`` nor ``$VOC_ROOT`` names one.
        FileNotFoundError: the folder holds no ``VOC2007``.
    """
    if voc_root is None:
        raise ValueError(
            "--voc-root: no data (name the folder that holds VOC2007, or set $VOC_ROOT)"
        )
    if not (voc_root / "VOC2007").is_dir():
        raise FileNotFoundError(
            f"{voc_root}: no VOC2007 in it (--voc-root is the folder that holds VOC2007)"
        )
    return voc_root


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Where the images are."""

    voc_root: Path | None = field(default_factory=default_voc_root)
    """Folder that holds VOC2007; $VOC_ROOT when not given."""

    images: Path | None = None
    """Any folder of images, instead of VOC."""

    labels: Path | None = None
    """CSV file of its labels, image,labels[,split], with | between the labels of an image."""

    def __post_init__(self) -> None:
        """Refuse labels of nothing."""
        if self.labels is not None and self.images is None:
            raise ValueError("--labels: of which images? (--images names their folder)")


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
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"--val-fraction is in (0, 1), got {self.val_fraction}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"--classes: one is named twice in {', '.join(self.classes)}")


@dataclass(frozen=True, kw_only=True)
class DataSettings(LabelSettings):
    """What becomes of doubtful labels and images."""

    difficult: Literal["ignore", "positive", "negative"] = "ignore"
    """How a class counts whose only objects are difficult."""

    on_bad: Literal["refuse", "skip"] = "refuse"
    """Whether an image that does not decode ends the run or is left out, with a count."""
