"""What differs between kinds of models while they are trained; ``train_run`` owns the rest."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from data.datasets.image_set import ImageSet
from data.types import ImageBatch
from localizer.backbones import backbone_named
from localizer.model import Localizer
from tools.inputs.opening import open_samples
from tools.inputs.samples import Samples
from tools.loggers.logger import Logger
from tools.models.device import Device
from tools.models.pretrained import imagenet_weights, read_weights
from tools.prediction.predictions import Predictions
from tools.runs.saved import BUILDERS
from tools.runs.settings import TrainSettings
from wsddn.model import WSDDN

Settings = TypeVar("Settings", bound=TrainSettings)
Model = TypeVar("Model", bound=Localizer | WSDDN)


class Task(ABC, Generic[Settings, Model]):
    """A kind of model while it is trained.

    Making one writes nothing and refuses what cannot be trained.

    Attributes:
        quality: name of the metric that chooses the best checkpoint.
        knows_any_image: whether it predicts for an image without more files than that.
        settings: of the run.
        dataset: the images that it learns from.
        validation: the images that each epoch is evaluated on; None for none.
        device: computes.
        model: on the device, before its first step.
        inputs: what it learns from, at each image size; known after ``open``.
        predictions: of the validation; known after ``open``. Without one images that
            it learns from are shown.
    """

    quality: ClassVar[str]
    knows_any_image: ClassVar[bool] = True
    inputs: list[Samples]
    predictions: Predictions | None = None

    def __init__(
        self, settings: Settings, dataset: ImageSet, validation: ImageSet | None, device: Device
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.validation = validation
        self.device = device
        self.model = self.build()
        dataset.read(0, channels=self.model.backbone.input_channels)  # refuses fewer channels
        if settings.frozen_backbone:
            self.model.features.requires_grad_(False)
        device.place(self.model)

    def build(self) -> Model:
        """The model, its backbone with the published weights that the settings ask for.

        Raises:
            ValueError: there is no such backbone, or they are not those of this model.
        """
        settings, weights = self.settings, None
        backbone_named(settings.model.backbone)
        if settings.weights is not None:
            weights = read_weights(settings.weights)
        elif settings.pretrained and settings.backbone_from is None:
            weights = imagenet_weights(settings.model.backbone)
        build: Callable[..., Model] = BUILDERS[settings.kind]
        try:
            return build(settings.model, len(self.dataset.classes), weights)
        except ValueError as error:
            raise ValueError(f"{settings.weights or settings.model.backbone}: {error}") from error

    @property
    def digests(self) -> dict[str, str]:
        """Of files besides the images that a resumed run must find unchanged, by their option."""
        return {}

    @abstractmethod
    def open(self, evaluated: Model) -> None:
        """Open the inputs and the predictions; features of a frozen backbone are computed here.

        Args:
            evaluated: gives the predictions: the model, or another one with a mean of its weights.
        """

    def samples(self, dataset: ImageSet, image_sizes: Sequence[int]) -> list[Samples]:
        """A split as the model takes it, at each size; cached features of a frozen backbone."""
        return open_samples(
            self.model,
            dataset,
            self.settings,
            self.device,
            image_sizes=image_sizes,
            cached=self.settings.frozen_backbone,
        )

    @abstractmethod
    def losses(self, batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Losses by name and image scores ``[B, C]`` of a batch of the inputs."""

    @abstractmethod
    def amount(self, batch: ImageBatch) -> float:
        """What the losses of a batch are means over; those of ranks count by it."""

    def log_baseline(self, logger: Logger, step: int) -> None:
        """Log what a model without any training reaches; again each epoch, so that it is a line."""

    def log_end(self, logger: Logger, step: int) -> None:
        """Log what is known after the last step."""
