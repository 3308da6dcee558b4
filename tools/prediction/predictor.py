"""A trained run in Python: opened once, then asked about single images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from torch import Tensor

from data.datasets.folder import FolderSource
from data.datasets.image_set import ImageInMemory, ImageSet
from data.proposals.propose import propose
from data.proposals.settings import ProposeSettings
from data.types import Proposals
from tools.models.device import Device, choose_device
from tools.models.settings import Amp
from tools.prediction.opening import open_predictions
from tools.prediction.predictions import Prediction
from tools.runs.saved import SavedRun, load_run


class Predictor:
    """A trained localizer or detector.

    Attributes:
        saved: the run.
        device: computes.
    """

    def __init__(self, saved: SavedRun, device: Device) -> None:
        self.saved = saved
        self.device = device

    @classmethod
    def from_run(
        cls,
        run_dir: Path | str,
        *,
        checkpoint: Literal["last", "best"] = "last",
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        amp: Amp = "auto",
    ) -> Self:
        """Open the run of a folder.

        Args:
            run_dir: its folder.
            checkpoint: which one; best is chosen by the run's validation split.
            device: where to compute.
            amp: number format, as in every command.

        Raises:
            FileNotFoundError: no run, or no checkpoint yet.
            ValueError: no intact checkpoint, or the device is not there.
        """
        saved = load_run(Path(run_dir), checkpoint)
        return cls(saved, choose_device(device, saved.uncached_amp(amp)))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self.saved.settings.classes

    def predict(self, image: Path | str | Tensor) -> Prediction:
        """Scores and boxes of one image; a detector makes its proposals on the way.

        Args:
            image: a file, or ``[3, H, W]`` uint8 RGB.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file does not decode, or the tensor is no image.
        """
        dataset = self._dataset(image)
        proposals: Iterator[Proposals] | tuple[()] = ()
        if self.saved.takes_proposals:
            proposals = iter([propose(dataset[0].image, ProposeSettings())])
        return open_predictions(
            self.saved, dataset, self.device, cached=False, proposals=proposals
        )[0]

    def _dataset(self, image: Path | str | Tensor) -> ImageSet:
        if isinstance(image, Tensor):
            return ImageInMemory(image, self.classes)
        return FolderSource(Path(image), classes=self.classes).open("all")
