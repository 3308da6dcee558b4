"""Rows of single images: decoding, proposals."""

import time

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from data.images import read_image
from data.proposals.propose import propose, propose_files
from data.proposals.settings import ProposeSettings
from localizer.backbones import BACKBONES
from tests.benchmarks.measure import OURS, Goal, Measured, Row, World, in_turns
from tools.inputs.samples import PixelSamples

SIZE = 512
SEARCH = "selective search"


def _decoding(world: World) -> Measured:
    dataset, backbone = world.dataset("test"), BACKBONES["alexnet"]
    samples = PixelSamples(dataset, backbone, SIZE, "square")
    steps = [transforms.Resize((SIZE, SIZE)), transforms.ToTensor()]
    usual = transforms.Compose([*steps, transforms.Normalize(backbone.mean, backbone.std)])
    works = {
        OURS: lambda: [samples.sample(index, flipped=False) for index in range(len(dataset))],
        "PIL": lambda: [usual(Image.open(path).convert("RGB")) for path in dataset.paths],
    }
    return in_turns(works, world.pick(5, 1), warm_up=True)


def _proposals(world: World) -> Measured:
    images = [read_image(path) for path in world.dataset("test").paths[: world.pick(8, 1)]]
    works = {
        OURS: lambda: [propose(image, ProposeSettings()) for image in images],
        SEARCH: lambda: [selective_search(image) for image in images],
    }
    return in_turns(works, world.pick(2, 1))


def _two_processes(world: World) -> Measured:
    paths = world.dataset("test").paths[: world.pick(8, 1)]
    works = {
        OURS: lambda: list(propose_files(paths, ProposeSettings(), processes=2)),
        "one process": lambda: list(propose_files(paths, ProposeSettings(), processes=1)),
    }
    return in_turns(works, 1, clock=time.perf_counter)


def selective_search(image: Tensor) -> Tensor:
    """OpenCV's "fast" with its own settings at full size: ``[R, 4]`` x, y, width, height."""
    maker = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    maker.setBaseImage(np.ascontiguousarray(image.permute(1, 2, 0).numpy()[:, :, ::-1]))
    maker.switchToSelectiveSearchFast()
    return torch.from_numpy(maker.process())


ROWS = {
    "D": Row("decode, resize to uint8 512²", _decoding, (Goal("PIL", "≥", 3.6),)),
    "E": Row("proposals; fast selective search", _proposals, (Goal(SEARCH, "≤", 0.6),)),
    "E'": Row(
        "proposals by two processes", _two_processes, (Goal("one process", "≥", 1.8),), "wall s"
    ),
}
