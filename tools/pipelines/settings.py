"""Settings of the commands of this room. Light: ``--help`` imports this."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.datasets.settings import default_voc_root
from data.settings import check_range
from tools.models.settings import ComputeSettings


@dataclass(frozen=True, kw_only=True)
class BoxesSettings(ComputeSettings):
    """Settings of the way from labeled images to boxes."""

    images: Path
    """Folder of images, or one image."""

    labels: Literal["folders"] | Path | None = None
    """Its labels in any form that check_data reads; folders for the names of the folders that the
    images lie in."""

    run_dir: Path | None = None
    """Instead of labels: --out of an earlier command, or the folder of any trained run."""

    out: Path
    """Folder for everything that is made, outside of the images."""

    reviewed: Path | None = None
    """CSV file of boxes that were accepted, rejected and relabeled in the gallery of an earlier
    --out: labels are corrected by it before the trainings, and these boxes are not asked about
    again."""

    formats: tuple[str, ...] = ("coco", "voc")
    """Files for other tools beside detections.json: coco, voc, yolo, labelme, label_studio."""

    # On VOC2007's test images fast has .375 mAP and .503 CorLoc, best .403 and .531 (three seeds).
    # Of the boxes of 50 photographs of fruits with known labels .593 and .632 are right, one
    # seed; they took 1 and 4 CPU minutes with everything.
    quality: Literal["fast", "best"] = "best"
    """fast takes the localizer's boxes, from proposals; best trains a detector too, which takes
    three to four times as long, and has the localizer rescore its boxes."""

    localizer: str = "localizer_lite0"
    """Settings of the localizer: a config of tools/configs by its name, or a YAML file."""

    detector: str = "wsddn_lite0"
    """The same of the detector."""

    on_bad: Literal["refuse", "skip"] = "refuse"
    """Whether an image that does not decode, is too thin or has an invalid annotation ends the
    command or is left out, with a count."""

    epochs: int = 0
    """Length of each training; 0 for that of its config."""

    seed: int = 0
    """Of both trainings."""

    processes: int = 0
    """Processes that make proposals and thumbnails; 0 for one a core."""

    def __post_init__(self) -> None:
        """Refuse images whose classes are unknown or known twice, and counts below none."""
        if (self.labels is None) == (self.run_dir is None):
            raise ValueError(
                "name one of --labels (to train on these images) and --run-dir (an earlier --out "
                "or a trained run, for images without labels)"
            )
        check_range(self, "0 or more", "epochs", "seed", "processes")


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    run_dir: Path = Path("runs/demo")
    """Folder for the images, the trainings and the report."""

    num_train: int = 600
    """Images to learn from."""

    num_test: int = 150
    """Images to evaluate on."""

    epochs: int = 0
    """Length of each training; 0 for that of tools/configs/demo.yaml."""

    seed: int = 0
    """Of the images and of all trainings."""

    def __post_init__(self) -> None:
        """Refuse counts of none."""
        check_range(self, "above 0", "num_train", "num_test")
        check_range(self, "0 or more", "epochs", "seed")


@dataclass(frozen=True)
class MakeResultsSettings:
    """Settings of the run over all rows."""

    voc_root: Path | None = field(default_factory=default_voc_root)
    """Folder that holds VOC2007; $VOC_ROOT when not given."""

    weights_dir: Path | None = None
    """Folder with BACKBONE*.pth files to use instead of downloads."""

    also_images: Path | None = None
    """Folder of further labeled images that some rows learn from too; without it they are left
    out."""

    also_labels: Literal["folders"] | Path | None = None
    """Labels of these images, as for train_localizer."""

    runs: Path = Path("runs/results")
    """Folder for the rows' runs."""

    rows: Path | None = None
    """YAML file of the rows, of the form of tools/configs/results.yaml, which is taken when none is
    given."""

    results: Path | None = None
    """Folder for the rows' files and, in README.md, the tables; tools/results when not given."""

    only: str = ""
    """Only rows whose name begins so; empty for all."""

    tables_only: bool = False
    """Write the tables from the files that are there, train nothing."""


@dataclass(frozen=True, kw_only=True)
class RunShardsSettings:
    """Settings of the shards of one command."""

    command: Literal[
        "make_proposals", "detect", "train_localizer", "train_wsddn", "train_classifier"
    ]
    """What each shard runs; of a training the features alone."""

    options: tuple[str, ...] = ()
    """Of that command, such as max-boxes=1000 draw=false, without those of the shard (shard or
    only-features, out, processes)."""

    images: str = ""
    """Folder or URL of images that each shard fetches its part of; when not given --options names
    images that all machines see."""

    out: str
    """Folder or URL for the results and records of the shards."""

    shards: int = 16
    """How many; some for each machine, so that a lost one costs little."""

    ray_address: str = ""
    """HOST:PORT of the cluster's head, or auto for the cluster that this machine belongs to; when
    not given the shards run here."""

    cores: int = 1
    """Cores of each shard."""

    gpus: float = 0.0
    """GPUs of each shard; .5 lets two share one."""

    def __post_init__(self) -> None:
        """Refuse counts of none."""
        check_range(self, "above 0", "shards", "cores")
        check_range(self, "0 or more", "gpus")
        if not self.out:
            raise ValueError("--out is empty")
        if not re.fullmatch(r"|auto|(ray://)?[\w.-]+:\d+", self.ray_address):
            raise ValueError(f"--ray-address is HOST:PORT or auto, got {self.ray_address!r}")
