"""Settings of the commands of this room. Light: ``--help`` imports this."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.datasets.settings import ImageSettings
from data.settings import check_range
from data.shard import parse_shard
from tools.models.settings import ComputeSettings
from tools.runs.settings import SavedRunSettings


@dataclass(frozen=True, kw_only=True)
class DetectSettings(SavedRunSettings, ComputeSettings, ImageSettings):
    """Settings of one detection; without images those of the run."""

    split: str = ""
    """Which images. When not given all of --images; without these the validation split of the run,
    or else val."""

    out: Path
    """Folder for what is found; it holds nothing yet."""

    replace: bool = False
    """Remove an earlier result in --out, whole, for the new one."""

    shard: str = ""
    """Box a part of the images alone, 3/8 for the third of eight; all when empty."""

    made: tuple[Path, ...] = ()
    """Results of --shard by the same run with the same settings: their images are not looked at
    again. Of all shards the files become those that a single process writes."""

    formats: tuple[str, ...] = ("coco", "voc")
    """Files for other tools beside detections.json: coco, voc, yolo, labelme, label_studio."""

    image_url: str = "/data/local-files/?d="
    """What stands before an image's name in Label Studio's file."""

    proposals: tuple[Path, ...] = ()
    """Files of make_proposals --images with these images. For a detector they are made on the way
    when not given; the boxes of a localizer are then those around the hot regions of its heatmaps,
    with proposals the ones among them that fit."""

    also_runs: tuple[Path, ...] = ()
    """Run folders of other detectors, whose scores of the proposals are averaged with those of the
    first."""

    rescore_from: tuple[Path, ...] = ()
    """Run folders of localizers that learned from the same labels: scores of the detector move to
    the proposals that agree with their heatmaps."""

    cached: bool = False
    """Take the features of a frozen backbone and the scores of proposals from the run's cache, and
    fill it with those of new images."""

    ignore_labels: bool = False
    """Go by the scores alone, also where it is known which classes an image holds."""

    # Both were chosen on VOC val (v) and 47 photographs of fruits (f), two seeds each, by the F1 of
    # boxes. Without labels, and before with a box score of .1 or more: detector v .353 (.354), f
    # .551 (.543); localizer v .268 (.154), f .463 (.340), from proposals v .337 (.102), f .547
    # (.186). With labels: detector v .378, f .580; from proposals v .370, f .581.
    min_image_score: float = 0.4
    """Score of the image from which it holds a class, where that is not known; boxes of other
    classes are left out."""

    relative_score: float = 0.8
    """Fraction of the best score of its image and class that a box has. The best box of a class
    that the image is known to hold is always kept, boxes of a class that it does not hold never."""

    max_detections: int = 100
    """Of one image, the top-scoring."""

    reviewed: Path | None = None
    """CSV file of marked boxes, saved by a gallery: accepted and relabeled boxes stay as they are,
    rejected ones are not found again."""

    draw: bool = True
    """Write images with the boxes drawn."""

    on_bad: Literal["refuse", "skip"] = "refuse"
    """Whether an image that does not decode ends the run or is left out, with a count."""

    processes: int = 0
    """Processes that make proposals; 0 for one a core."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        super().__post_init__()
        check_range(self, "above 0", "max_detections")
        check_range(self, "in [0, 1]", "min_image_score", "relative_score")
        check_range(self, "0 or more", "processes")
        parse_shard(self.shard)


@dataclass(frozen=True, kw_only=True)
class StandardizeSettings(SavedRunSettings):
    """Settings of one conversion."""

    out: Path
    """Folder for the converted weights and the proof."""

    mode: str = "C"
    """What changes in the batch norms: A mean and variance, B the affine part, C mean, variance and
    scale. B is exact in evaluation mode alone; A and C suit further training, too."""


@dataclass(frozen=True, kw_only=True)
class ExportSettings(SavedRunSettings):
    """Settings of one export of a model."""

    out: Path
    """Folder that is made for the files; it may exist when it is empty."""

    format: tuple[Literal["safetensors", "torch_export", "onnx"], ...] = (
        "safetensors",
        "torch_export",
    )
    """What is written, one or several."""
