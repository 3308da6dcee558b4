"""Rows of a trained detector: evaluating it, and reading its scores again."""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_pool

from tests.benchmarks.measure import OURS, Goal, Measured, Row, World, in_turns
from tools.evaluation.split import evaluate
from tools.prediction.opening import open_predictions
from tools.prediction.predictions import DetectorPredictions
from tools.runs.saved import SavedRun, load_run
from tools.train_wsddn import main as train_wsddn
from wsddn.model import WSDDNHead

FLOAT32 = "float32 roi_pool"


class UsualHead(WSDDNHead):
    """Pools the proposals of a view at once, by the operator of torchvision."""

    def _products(self, features: Tensor, cells: Tensor) -> Tensor:
        pooled = roi_pool(features.float(), [cells.float()], self.settings.pool_size, 1.0)
        return F.linear(pooled.flatten(1), self.fc6.weight)


def trained(world: World) -> SavedRun:
    """A detector with our defaults after a few steps."""
    run_dir = world.folder / "detector"
    if not run_dir.exists():
        words = {
            "--proposals": world.proposals,
            "--run-dir": run_dir,
            "--voc-root": world.images.voc_root,
            "--split": "train",
            "--val-split": "none",
            "--feature-cache": world.folder / "features",
            "--loop.epochs": 1,
        }
        typed = [str(word) for pair in words.items() for word in pair]
        if world.tiny:
            typed += ["--image-sizes", "96", "--eval-image-sizes", "96", "--model.width", "16"]
        typed += ["--classes", *world.classes] if world.classes else []
        if train_wsddn(typed) != 0:
            raise RuntimeError("the detector was not trained")
    return load_run(run_dir)


def predictions(world: World, *, support_iou: float | None = None) -> DetectorPredictions:
    """Of the test images; features are computed the first time."""
    saved = trained(world).evaluated_with(support_iou=support_iou)
    opened = open_predictions(saved, world.dataset("test"), world.device, cached=True)
    assert isinstance(opened, DetectorPredictions)
    return opened


def usual(ours: DetectorPredictions) -> DetectorPredictions:
    """The same detector on the same features and boxes, pooled the usual way."""
    (detector,) = ours.detectors
    head = detector.module
    assert isinstance(head, WSDDNHead)
    bins = head.settings.pool_size**2
    channels, classes = head.fc6.in_features // bins, head.class_stream.out_features
    other = UsualHead(channels, head.geometry, classes, head.settings)
    other.load_state_dict(head.state_dict())
    return replace(ours, detectors=[replace(detector, module=other)])


def _evaluation(world: World) -> Measured:
    (detector,) = predictions(world).detectors
    ours = replace(predictions(world), detectors=[replace(detector, kept=None)])
    peer = usual(ours)
    works = {OURS: lambda: evaluate(ours), FLOAT32: lambda: evaluate(peer)}
    return in_turns(works, 1)


def _second_reading(world: World) -> Measured:
    (detector,) = predictions(world).detectors
    assert detector.kept is not None
    kept = detector.kept.files

    def first() -> None:
        for file in kept:
            file.unlink(missing_ok=True)
        evaluate(predictions(world))

    works = {"first": first, OURS: lambda: evaluate(predictions(world, support_iou=0.5))}
    return in_turns(works, 1)


ROWS = {
    "K": Row("detector evaluation, features at hand", _evaluation, (Goal(FLOAT32, "≤", 0.5),)),
    "L": Row("its second reading, other support", _second_reading, (Goal("first", "≤", 0.05),)),
}
