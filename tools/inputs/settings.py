"""Settings of pictures, labels and splits. Light: ``--help`` imports this."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PICTURE_STATES = Path("runs/pictures.json")  # what is known of pictures from earlier scans


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
class PictureSettings:
    """Where the pictures are."""

    voc_root: Path | None = field(default_factory=default_voc_root)
    """Folder that holds VOC2007; $VOC_ROOT when not given."""

    images: Path | None = None
    """Any folder of pictures, instead of VOC."""

    labels: Path | None = None
    """CSV file of its labels, image,labels[,split], with | between the labels of a picture."""

    def __post_init__(self) -> None:
        """Refuse labels of nothing."""
        if self.labels is not None and self.images is None:
            raise ValueError("--labels: of which pictures? (--images names their folder)")


@dataclass(frozen=True, kw_only=True)
class LabelSettings(PictureSettings):
    """Which classes they have, and how a folder is split."""

    classes: tuple[str, ...] = ()
    """Names in the order of the labels; when empty, VOC's or those of the labels file, sorted."""

    val_share: float = 0.2
    """Share of a folder's pictures in val when its labels file has no column split."""

    split_seed: int = 0
    """Of the choice of those pictures."""

    def __post_init__(self) -> None:
        """Refuse shares that leave a split empty, and a class twice."""
        super().__post_init__()
        if not 0 < self.val_share < 1:
            raise ValueError(f"--val-share is in (0, 1), got {self.val_share}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"--classes: one is named twice in {', '.join(self.classes)}")


@dataclass(frozen=True, kw_only=True)
class DataSettings(LabelSettings):
    """What becomes of doubtful labels and pictures."""

    difficult: Literal["ignore", "positive", "negative"] = "ignore"
    """What a class is whose only objects are difficult."""

    on_bad_image: Literal["refuse", "skip"] = "refuse"
    """Whether a picture that does not decode ends the run or is left out, with a count."""
