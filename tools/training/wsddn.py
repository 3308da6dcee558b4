"""The training of a detector: from labels and proposals to a checkpoint."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.types import ImageBatch, Proposals
from tools.cli.console import warn
from tools.files.digest import file_sha256
from tools.inputs.rois import read_proposals, warn_of_scores, with_proposals
from tools.models.device import Device
from tools.prediction.predictions import Detector, DetectorPredictions
from tools.runs.kinds import TrainWsddnSettings
from tools.runs.saved import load_run
from tools.training.run import train_run
from tools.training.task import Task
from wsddn.criterion import wsddn_losses
from wsddn.model import WSDDN, WSDDNHead


def run(settings: TrainWsddnSettings) -> None:
    """Train to the last epoch, or continue a run until there."""
    train_run(settings, DetectorTask)


class DetectorTask(Task[TrainWsddnSettings, WSDDN]):
    """A detector on proposals; without a validation it shows boxes of images that it learns from.

    Attributes:
        proposals: of the images that it learns from, by their ids.
        validation_proposals: of the validation.
    """

    quality = "box_map_11point"
    knows_any_image = False

    def __init__(
        self,
        settings: TrainWsddnSettings,
        dataset: ImageSet,
        validation: ImageSet | None,
        device: Device,
    ) -> None:
        if len(dataset.classes) < 2:
            raise ValueError(
                f"--classes: {dataset.classes[0]} alone; a detector learns which of several "
                "classes a proposal shows (name a second one, or train a localizer)"
            )
        self.proposals, self.validation_proposals = (
            read_proposals(settings.proposals, split, **settings.proposal_limits) if split else {}
            for split in (dataset, validation)
        )
        every = {**self.proposals, **self.validation_proposals}
        warn_of_scores(settings.proposals[0], every, settings.model)
        dataset = _with_proposals(dataset, self.proposals)
        super().__init__(settings, dataset, validation, device)

    def build(self) -> WSDDN:
        """The model with the weights that it starts from.

        Raises:
            ValueError: they are not those of this model.
        """
        model = super().build()
        if self.settings.from_localizer is not None and not self._is_begun():
            model.features.load_state_dict(_features_of(self.settings.from_localizer, model))
        return model

    @property
    def digests(self) -> dict[str, str]:
        """Of the proposals."""
        return {"--proposals": " ".join(map(file_sha256, self.settings.proposals))}

    def open(self, evaluated: WSDDN) -> None:
        """Open the inputs and the predictions."""
        settings = self.settings
        inputs = with_proposals(
            self.samples(self.dataset, settings.image_sizes), self.dataset, self.proposals
        )
        self.inputs = [*inputs]
        self.module: WSDDN | WSDDNHead = self.model.head if settings.frozen_backbone else self.model
        seen = self.dataset  # at the sizes of the training; others would take room in the cache
        if self.validation is not None:
            seen = self.validation
            samples = self.samples(seen, settings.evaluation_sizes)
            inputs = with_proposals(samples, seen, self.validation_proposals)
        module = evaluated.head if settings.frozen_backbone else evaluated
        detector = Detector(module, inputs, seen, self.device, settings.flip)
        self.predictions = DetectorPredictions([detector], settings.support_iou)

    def losses(self, batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Those of ``wsddn.criterion.TERMS``."""
        return wsddn_losses(
            self.module,
            self.inputs[0].prepare(batch, self.device),
            factors={"spatial": self.settings.spatial_weight},
            drop_fraction=self.settings.drop_proposals,
        )

    def amount(self, batch: ImageBatch) -> float:
        """Number of images; one without a name is none."""
        return float(sum(map(bool, batch.image_ids)))

    def _is_begun(self) -> bool:
        """Whether a checkpoint that holds the backbone will be loaded anyway."""
        last = self.settings.run_dir / "checkpoints" / "last.json"
        return bool(self.settings.resume) and last.exists()


def _with_proposals(dataset: ImageSet, proposals: Mapping[str, Proposals]) -> ImageSet:
    """The images that have proposals; the others teach nothing and are named."""
    without = [name for name in dataset.ids if not len(proposals[name].boxes)]
    if not without:
        return dataset
    warn(f"images without proposals are left out, {len(without)}: {name_first(without)}")
    left_out = set(without)
    return dataset.subset([i for i, name in enumerate(dataset.ids) if name not in left_out])


def _features_of(run_dir: Path, model: WSDDN) -> Mapping[str, Tensor]:
    """Weights of a localizer's backbone.

    Raises:
        ValueError: its backbone is another one.
    """
    localizer = load_run(run_dir).localizer()[0]
    if localizer.backbone is not model.backbone:
        raise ValueError(f"{run_dir}: the localizer stands on another backbone")
    return localizer.features.state_dict()
