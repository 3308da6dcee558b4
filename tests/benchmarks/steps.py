"""What a step of the detector costs: CPU time beside the plain way, memory at its largest."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import roi_pool

from data.collate import collate_images
from data.images import read_image
from data.proposals.propose import propose
from data.proposals.settings import ProposeSettings
from data.transforms import normalize_images, resize_image
from data.types import ImageBatch, ImageSample, Proposals
from localizer.backbones import BACKBONES
from tools.cli.console import track
from tools.cli.signals import check_interrupted
from tools.models.device import Device
from tools.runs.settings import OptimSettings
from tools.training.optim import build_optimizer
from wsddn.builders import build_wsddn
from wsddn.criterion import wsddn_losses
from wsddn.rois import roi_cells, unique_cells
from wsddn.settings import DetectorSettings

CLASSES = 20
LEAST_SIDE = 20  # pixels
LARGEST_SIZE = 1200
LARGEST_ROIS = 4000
VGG_FROZEN = 4  # conv1_1 to conv2_2
PAPER = {"spatial": 1e-4}  # factors of the losses


class PlainDetector(nn.Module):
    """The detector as PyTorch ports write it: every roi, pooled at 1/16, through every layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*list(models.alexnet(weights=None).features[:12]))
        self.fcs = nn.Sequential(
            *(nn.Dropout(), nn.Linear(256 * 36, width), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(width, width), nn.ReLU()),
        )
        self.fc_c = nn.Linear(width, CLASSES)
        self.fc_d = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor, rois: Tensor) -> Tensor:
        """``[R, C]`` scores."""
        pooled = roi_pool(self.features(images), [rois], (6, 6), 1 / 16)
        fc7 = self.fcs(pooled.flatten(1))
        scores: Tensor = self.fc_c(fc7).softmax(dim=1) * self.fc_d(fc7).softmax(dim=0)
        return scores


def measure_detector_step(
    paths: Sequence[Path], *, size: int = 688, most: int = 2000, width: int = 4096, rounds: int = 3
) -> dict[str, float]:
    """Ratios of CPU time, in turns, on three kinds of rois of the same images.

    Our proposals hardly repeat each other's cells, those of selective search at full size do, and
    of random ones those that repeat are left out here.

    Args:
        paths: of the images.
        size: of the longest side in pixels; 688 is the middle one of the paper's.
        most: rois of an image.
        width: of fc6 and fc7.
        rounds: of turns; the fastest counts.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain, ours = _plain_step(width), _our_step(width)
    seconds: dict[tuple[str, str], list[float]] = {}
    fractions: dict[str, list[float]] = {}
    for path in track(paths, "images", total=len(paths)):
        batch = _batch(path, size=size, most=most)
        kinds = {
            "our proposals": batch,
            "selective search": replace(batch, rois=(_searched(path, batch, most),)),
            "rois that all differ": replace(batch, rois=(_different(batch, most),)),
        }
        for kind, of_kind in kinds.items():
            fractions.setdefault(kind, []).append(_fraction_of_different(of_kind))
        for _ in range(rounds):
            for kind, of_kind in kinds.items():
                check_interrupted()
                for name, step in (("plain", plain), ("ours", ours)):
                    taken = _cpu_time(step, of_kind)
                    seconds.setdefault((kind, name), []).append(taken)
    numbers = {}
    for kind, fraction in fractions.items():
        numbers[f"{kind}: fraction with cells of their own"] = sum(fraction) / len(fraction)
        both = [min(seconds[kind, name]) for name in ("plain", "ours")]
        numbers[f"{kind}: CPU seconds of a plain step"] = both[0]
        numbers[f"{kind}: CPU seconds of our step"] = both[1]
        numbers[f"{kind}: plain beside ours"] = both[0] / both[1]
    return numbers


def measure_detector_memory(paths: Sequence[Path]) -> dict[str, float]:
    """Peak memory of this process after two steps of VGG-16 at the paper's largest size."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = Device("cpu", "bf16")
    model = build_wsddn(
        DetectorSettings("vgg16", pool_size=7, frozen_layers=VGG_FROZEN), CLASSES
    ).train()
    device.place(model)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = build_optimizer(learning, OptimSettings(lr=1e-5))
    for path in list(paths) * 2:
        check_interrupted()
        batch = _batch(path, size=LARGEST_SIZE, most=LARGEST_ROIS)
        with device.autocast():
            losses, _ = wsddn_losses(model, batch, factors=PAPER)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    import resource  # no system but Windows lacks it

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    return {"proposals": float(len(batch.rois[0].boxes)), "peak memory in GB": peak / 1e9}


def _plain_step(width: int) -> Callable[[ImageBatch], None]:
    model = PlainDetector(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

    def step(batch: ImageBatch) -> None:
        scores = model(batch.images, batch.rois[0].boxes)
        loss = F.binary_cross_entropy(
            scores.sum(dim=0).clamp(0, 1), batch.targets[0], reduction="sum"
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _our_step(width: int) -> Callable[[ImageBatch], None]:
    device = Device("cpu", "bf16")
    model = build_wsddn(DetectorSettings("alexnet", width=width, box_score=0), CLASSES).train()
    device.place(model)
    optimizer = build_optimizer(list(model.parameters()), OptimSettings(name="adamw", lr=1e-5))

    def step(batch: ImageBatch) -> None:
        with device.autocast():
            losses, _ = wsddn_losses(model, batch, factors={"spatial": 0})
        optimizer.zero_grad(set_to_none=True)
        losses["image_label"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _batch(path: Path, *, size: int, most: int) -> ImageBatch:
    """An image at the size, with its best proposals."""
    image = read_image(path)
    proposals = propose(image, ProposeSettings(min_score=0.0))[:most]
    resized, scale = resize_image(image, size, "longest_side")
    rois = Proposals((proposals.boxes * scale.repeat(2)).float(), proposals.scores)
    targets = torch.zeros(CLASSES)
    targets[:2] = 1
    network_size = (resized.shape[1], resized.shape[2])
    sample = ImageSample(path.stem, resized, targets, torch.ones(CLASSES), network_size, rois)
    return _normalized(collate_images([sample]))


def _normalized(batch: ImageBatch) -> ImageBatch:
    backbone = BACKBONES["alexnet"]
    images = normalize_images(batch.images, batch.sizes, backbone.mean, backbone.std)
    return ImageBatch(
        batch.image_ids, images, batch.sizes, batch.targets, batch.weights, batch.rois
    )


def _searched(path: Path, batch: ImageBatch, most: int) -> Proposals:
    """OpenCV's selective search, "quality", at full size: what published recipes take."""
    image = read_image(path)
    maker = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    maker.setBaseImage(np.ascontiguousarray(image.permute(1, 2, 0).numpy()[:, :, ::-1]))
    maker.switchToSelectiveSearchQuality()
    sides = torch.from_numpy(maker.process()).float()  # x, y, width, height
    sides = sides[(sides[:, 2:] >= LEAST_SIDE).all(dim=1)][:most]
    height, width = batch.sizes[0].tolist()
    scale = torch.tensor([width / image.shape[2], height / image.shape[1]]).repeat(2)
    return Proposals(torch.cat([sides[:, :2], sides[:, :2] + sides[:, 2:]], dim=1) * scale, None)


def _different(batch: ImageBatch, most: int) -> Proposals:
    """Random rois, no two of which cover the same cells."""
    height, width = batch.sizes[0].tolist()
    ends = torch.tensor([width, height, width, height])
    draws = torch.rand(8 * most, 2, 2).sort(dim=1).values.flatten(1) * ends
    draws = draws[((draws[:, 2:] - draws[:, :2]) >= LEAST_SIDE).all(dim=1)]
    _, which = unique_cells(_cells(draws, batch))
    first = torch.zeros(int(which.max()) + 1, dtype=torch.int64)
    first = first.scatter(0, which.flip(0), torch.arange(len(which)).flip(0))
    return Proposals(draws[first[:most]], None)


def _fraction_of_different(batch: ImageBatch) -> float:
    boxes = batch.rois[0].boxes
    return len(unique_cells(_cells(boxes, batch))[0]) / len(boxes)


def _cells(rois: Tensor, batch: ImageBatch) -> Tensor:
    """Those of AlexNet's map, which is one cell shorter than the image."""
    height, width = batch.sizes[0].tolist()
    return roi_cells(rois, BACKBONES["alexnet"].geometry, (height // 16 - 1, width // 16 - 1))


def _cpu_time(step: Callable[[ImageBatch], None], batch: ImageBatch) -> float:
    started = time.process_time()
    step(batch)
    return time.process_time() - started
