"""Rows of training: steps of a localizer and of a detector, their memory, logging."""

import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import roi_pool

from data.collate import collate_images
from data.images import read_image
from data.proposals.settings import ProposeSettings
from data.transforms import resize_image
from data.types import ImageBatch, ImageSample, Proposals
from localizer.backbones import BACKBONES
from tests.benchmarks.measure import OURS, Goal, Measured, Row, World, in_turns
from tests.worlds import FakeVisdom, forked, free_port
from tools.loggers.logger import open_logger
from tools.models.device import Device
from tools.models.ranks import joined
from tools.pages.predictions import log_images
from tools.runs.kinds import TrainLocalizerSettings
from tools.runs.settings import OptimSettings
from tools.training.localizer import LocalizerTask
from tools.training.loop import _log, optimize
from tools.training.optim import build_optimizer
from tools.training.run import losses_of, new_state
from tools.training.state import TrainingState
from wsddn.builders import build_wsddn
from wsddn.criterion import wsddn_losses
from wsddn.settings import DetectorSettings

CLASSES = 20
GEMM, PORT, EVERY, EPOCH = "GEMM", "usual port", "every proposal", "epoch"
ALONE = "one rank"
PAPER = DetectorSettings("alexnet", width=4096, pool_size=6)
VGG = DetectorSettings("vgg16", pool_size=7, frozen_layers=4)
SMALL = DetectorSettings("alexnet", width=16)
SLOW_ADAMW, SLOW_SGD = OptimSettings(name="adamw", lr=1e-5), OptimSettings(lr=1e-5)
NOT_SPATIAL, SPATIAL = {"spatial": 0.0}, {"spatial": 1e-4}


class PlainDetector(nn.Module):
    """The detector as PyTorch ports write it: every roi, pooled at 1/16, through every layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = BACKBONES["alexnet"].build()
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


def plain_step(width: int) -> Callable[[ImageBatch], None]:
    """A step of that detector."""
    model = PlainDetector(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

    def step(batch: ImageBatch) -> None:
        image_scores = model(batch.images, batch.rois[0].boxes).sum(dim=0).clamp(0, 1)
        loss = F.binary_cross_entropy(image_scores, batch.targets[0], reduction="sum")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def our_step(
    settings: DetectorSettings,
    device: Device,
    *,
    is_head: bool = False,
    optim: OptimSettings = SLOW_ADAMW,
    factors: Mapping[str, float] = NOT_SPATIAL,
) -> Callable[..., None]:
    """A step of ours: of a batch, and of the fraction of its proposals that is left out."""
    model = build_wsddn(settings, CLASSES).train()
    module: Any = device.place(model.head if is_head else model)
    optimizer = build_optimizer([p for p in module.parameters() if p.requires_grad], optim)

    def step(batch: ImageBatch, drop_fraction: float = 0.0) -> None:
        with device.autocast():
            losses, _ = wsddn_losses(module, batch, factors=factors, drop_fraction=drop_fraction)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def proposal_batch(world: World, backbone: str, *, size: int, most: int) -> ImageBatch:
    """An image at the size, with its best proposals."""
    path, row = world.dataset("test").paths[0], BACKBONES[backbone]
    size, most = world.pick(size, 128), world.pick(most, 20)
    proposals = world.propose(path, ProposeSettings(min_score=0.0))[:most]
    resized, scale = resize_image(read_image(path), size, "longest_side")
    rois = Proposals((proposals.boxes * scale.repeat(2)).float(), proposals.scores)
    targets = (torch.arange(CLASSES) < 2).float()
    network_size = (resized.shape[1], resized.shape[2])
    sample = ImageSample(path.stem, resized, targets, torch.ones(CLASSES), network_size, rois)
    batch = collate_images([sample], multiple=row.multiple)
    mean, std = (torch.tensor(each)[:, None, None] for each in (row.mean, row.std))
    return replace(batch, images=(batch.images / 255 - mean) / std)


def feature_batch(world: World, backbone: str, *, size: int, most: int) -> ImageBatch:
    """The same with the features of a backbone in place of the image."""
    batch = proposal_batch(world, backbone, size=size, most=most)
    with torch.no_grad():
        features = BACKBONES[backbone].build().eval()(batch.images)
    return replace(batch, images=features)


def beside_gemm(step: Callable[[], object], world: World, rounds: int) -> Measured:
    """A step beside products of square matrices that take as many operations."""
    with FlopCounterMode(display=False) as counter:
        step()
    side, total = world.pick(2048, 256), counter.get_total_flops()
    count = math.ceil(total / (2 * side**3))
    number = torch.float32 if world.device.amp == "off" else torch.bfloat16
    matrix = torch.randn(side, side, dtype=number)

    def products() -> None:
        for _ in range(count):
            torch.mm(matrix, matrix)

    measured = in_turns({OURS: step, GEMM: products}, rounds)  # the count has warmed up ours
    fraction = total / (count * 2 * side**3)
    return {**measured, GEMM: [fraction * seconds for seconds in measured[GEMM]]}


def default_localizer(world: World) -> tuple[LocalizerTask, TrainingState, ImageBatch]:
    """A localizer of the default settings before its first step, and the training images."""
    settings = TrainLocalizerSettings(
        run_dir=world.folder / "localizer",
        voc_root=world.images.voc_root,
        classes=world.classes,
        image_sizes=(world.pick(512, 96),),
        deterministic=False,
    )
    train, test = world.dataset("train"), world.dataset("test")
    task = LocalizerTask(settings, train, test, world.device)
    state = new_state(task, {}, since=time.monotonic())
    task.open(task.model)
    batch = collate_images([task.inputs[0].sample(i, flipped=False) for i in range(len(train))])
    return task, state, batch


def _localizer(world: World) -> Measured:
    task, state, batch = default_localizer(world)

    def step() -> None:
        optimize(state, losses_of(task), [batch])
        state.read()

    return beside_gemm(step, world, world.pick(3, 1))


def _logging(world: World) -> Measured:
    """An epoch of 992 images has 31 steps, whose lines are four, and ends with 16 images."""
    task, state, batch = default_localizer(world)
    server = FakeVisdom()  # in a process of its own, as any server
    run_dir = world.folder / "logged"
    with (
        forked(server.serve_forever),
        open_logger(run_dir, server.settings, resume_step=None) as logger,
    ):

        def line() -> None:
            state.read()
            state.window *= math.ceil(320 / len(batch.images))
            _log(state, logger)

        works = {
            EPOCH: lambda: optimize(state, losses_of(task), [batch]),
            "line": line,
            "images": lambda: log_images(logger, task.predictions, epoch=0, step=0),
        }
        measured = in_turns(works, world.pick(2, 1), warm_up=not world.tiny)
    server.server_close()
    logged = zip(measured["line"], measured["images"], strict=True)
    epoch = [992 / len(batch.images) * seconds for seconds in measured[EPOCH]]
    return {OURS: [4 * line + images for line, images in logged], EPOCH: epoch}


def _detector(world: World) -> Measured:
    settings = SMALL if world.tiny else PAPER
    batch = proposal_batch(world, "alexnet", size=688, most=2000)
    ours, plain = our_step(settings, world.device), plain_step(settings.width)
    works = {OURS: lambda: ours(batch), PORT: lambda: plain(batch)}
    return in_turns(works, world.pick(2, 1))


def _head(world: World) -> Measured:
    batch = feature_batch(world, "alexnet", size=688, most=2000)
    step = our_step(SMALL if world.tiny else PAPER, world.device, is_head=True)
    return beside_gemm(lambda: step(batch), world, world.pick(2, 1))


def _dropping(world: World) -> Measured:
    batch = feature_batch(world, "efficientnet_lite0", size=736, most=500)
    step = our_step(DetectorSettings(), world.device, is_head=True)
    works = {OURS: lambda: step(batch, 0.6), EVERY: lambda: step(batch)}
    return in_turns(works, world.pick(10, 1), warm_up=True)


def _memory(world: World) -> Measured:
    """In a process of its own, which nothing else has filled."""
    if world.tiny:
        return {OURS: [peak_memory(world)]}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return {OURS: [pool.apply(peak_memory, (world,))]}


def peak_memory(world: World) -> float:
    """In GB, after a step at the paper's largest size; a small one has made the momentum."""
    import resource  # no system but Windows lacks it

    torch.set_num_threads(1)
    settings = SMALL if world.tiny else VGG
    step = our_step(settings, world.device, optim=SLOW_SGD, factors=SPATIAL)
    for size, most in ((200, 20), (1200, 4000)):
        step(proposal_batch(world, settings.backbone, size=size, most=most))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB


def _ranks(world: World) -> Measured:
    """CPU seconds of a step of each rank, of two that share gradients and of one."""
    measured: Measured = {OURS: [], ALONE: []}
    for _ in range(world.pick(2, 1)):
        for name, count in ((OURS, 1 if world.tiny else 2), (ALONE, 1)):
            measured[name].append(statistics.fmean(rank_seconds(world, count)))
    return measured


def rank_seconds(world: World, count: int) -> list[float]:
    """Of a localizer's step, by rank; each in a process of its own."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free_port()}", "WORLD_SIZE": f"{count}"}
    ranks = [(world, place | {"RANK": f"{rank}"}) for rank in range(count)]
    if world.tiny:
        return [_as_rank(*each) for each in ranks]
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        return pool.starmap(_as_rank, ranks, chunksize=1)


def _as_rank(world: World, environment: Mapping[str, str]) -> float:
    torch.set_num_threads(1)
    os.environ.update(environment)
    with joined("cpu"):
        task, state, batch = default_localizer(world)
        criterion, seconds = losses_of(task), []
        for _ in range(1 + world.pick(4, 1)):
            start = time.process_time()
            optimize(state, criterion, [batch])
            seconds.append(time.process_time() - start)
    return statistics.fmean(seconds[1:])


ROWS = {
    "B": Row("localizer step at 512², batch 8", _localizer, (Goal(GEMM, "≥", 0.9),)),
    "C": Row("detector step, 688 px, 2000 of our proposals", _detector, (Goal(PORT, "≥", 3.4),)),
    "C'": Row("the detector's head on frozen features", _head, (Goal(GEMM, "≥", 0.65),)),
    "I": Row("logging and images of an epoch of 992", _logging, (Goal(EPOCH, "≤", 0.01),)),
    "J": Row("localizer step of each of two ranks", _ranks, (Goal(ALONE, "≥", 0.95),)),
    "drop": Row("detector step without 3 in 5 proposals", _dropping, (Goal(EVERY, "≤", 0.5),)),
    "memory": Row("VGG-16, 1200 px, up to 4000 proposals", _memory, (Goal("", "≤", 6),), "GB"),
}
