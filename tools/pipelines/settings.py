"""Settings of the commands of this room. Light: ``--help`` imports this."""

from dataclasses import dataclass, field
from pathlib import Path

from data.datasets.settings import default_voc_root
from data.settings import check_range


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

    runs: Path = Path("runs/results")
    """Folder for the rows' runs."""

    only: str = ""
    """Only rows whose name begins so; empty for all."""

    tables_only: bool = False
    """Write the tables from the files that are there, train nothing."""
