"""The training of a localizer: from labels to a checkpoint."""

from torch import Tensor

from data.evaluation.image_metrics import eval_classification, mean_over_present
from data.types import ImageBatch
from localizer.loss import localizer_losses, multilabel_bce
from localizer.model import Localizer
from tools.loggers.logger import Logger
from tools.models.device import evaluation_mode
from tools.pages.predictions import box_sheet
from tools.prediction.predictions import LocalizerPredictions
from tools.runs.kinds import TrainLocalizerSettings
from tools.training.run import train_run
from tools.training.task import Task

LEAST = 1e-6  # of the frequency of a class, whose logit is finite


def run(settings: TrainLocalizerSettings) -> None:
    """Train to the last epoch, or continue a run until there."""
    train_run(settings, LocalizerTask)


class LocalizerTask(Task[TrainLocalizerSettings, Localizer]):
    """A localizer; without a validation it shows heatmaps of the images that it learns from."""

    quality = "image_map"
    predictions: LocalizerPredictions

    def build(self) -> Localizer:
        """The model.

        Raises:
            ValueError: as in ``Task``; or crops are asked of features that are of whole images.
        """
        if self.settings.crop and self.settings.frozen_backbone:
            raise ValueError(
                f"--crop {self.settings.crop}: the features of a frozen backbone are kept of whole "
                "images (--frozen-backbone false; evaluate --crop takes any run)"
            )
        return super().build()

    def open(self, evaluated: Localizer) -> None:
        """Open the inputs and the predictions."""
        settings, seen = self.settings, self.validation or self.dataset
        self.inputs = self.samples(self.dataset, settings.image_sizes)
        self.module = self.model.head() if settings.frozen_backbone else self.model
        self.module.train()
        inputs = self.samples(seen, settings.evaluation_sizes)
        module = evaluated.head() if settings.frozen_backbone else evaluated
        self.predictions = LocalizerPredictions(
            module, inputs, seen, self.device, settings.boxes, settings.crop
        )

    def losses(self, batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        """The loss of the image labels."""
        prepared = self.inputs[0].prepare(batch, self.device)
        return localizer_losses(self.module, prepared, crop=self.settings.crop)

    def amount(self, batch: ImageBatch) -> float:
        """Number of known labels."""
        return float(batch.weights.sum())

    def log_baseline(self, logger: Logger, step: int) -> None:
        """What a model reaches that answers every image alike, to compare with.

        Its answer is how often each class is present: until the images matter the loss cannot fall
        below the one of this answer, where the steep drop at the beginning ends.
        """
        targets, weights = self.dataset.targets, self.dataset.weights
        counts = weights.sum(dim=0).clamp(min=1)
        frequencies = ((targets * weights).sum(dim=0) / counts).clamp(LEAST, 1 - LEAST)
        logits = frequencies.logit().expand_as(targets)
        metrics = eval_classification(
            logits.sigmoid().double().numpy(), targets.double().numpy(), weights.double().numpy()
        )
        logger.scalar("baseline/loss", multilabel_bce(logits, targets, weights), step)
        logger.scalar("baseline/metric1", mean_over_present(metrics.average_precision), step)
        logger.scalar("baseline/metric2", mean_over_present(metrics.f_beta), step)
        logger.scalar("baseline/recall", mean_over_present(metrics.recall), step)

    def log_end(self, logger: Logger, step: int) -> None:
        """The boxes of a few images."""
        with evaluation_mode(self.predictions.module):
            sheet = box_sheet({"localizer": self.predictions})
        logger.image("final_boxes", sheet, step)
