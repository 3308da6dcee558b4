"""What a row of the benchmark is, the images that rows work on, and measuring in turns."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from data.datasets.image_set import ImageSet
from data.datasets.settings import DataSettings
from data.datasets.sources import open_source
from data.datasets.voc_layout import read_list, voc_folder
from data.images import read_image
from data.proposals.propose import propose
from data.proposals.settings import ProposeSettings
from data.synthetic.dataset import SYNTHETIC_CLASSES, write_synthetic_voc
from data.types import Proposals
from tests.worlds import random_boxes, write_proposals
from tools.cli.console import track
from tools.cli.signals import check_interrupted
from tools.models.device import Device, choose_device

OURS = "ours"
Works = Mapping[str, Callable[[], object]]
Measured = dict[str, list[float]]  # by who did the work, one value a turn


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of one ratio.

    Attributes:
        peer: whose value ours is compared with; empty for ours itself.
        sign: ``≥`` of peer / ours, ``≤`` of ours / peer.
        bound: of that ratio.
    """

    peer: str
    sign: str
    bound: float

    def ratio(self, measured: Measured) -> float:
        """Of the smallest values."""
        ours, other = min(measured[OURS]), min(measured[self.peer]) if self.peer else 1.0
        return other / ours if self.sign == "≥" else ours / other


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        what: is measured.
        measure: gives the values of ours and of every peer.
        goals: one for each ratio that is shown.
        unit: of the values.
    """

    what: str
    measure: "Callable[[World], Measured]"
    goals: tuple[Goal, ...]
    unit: str = "CPU s"


@dataclass(frozen=True)
class World:
    """The images of a benchmark and what several rows make of them.

    Attributes:
        folder: for files; its ``voc`` holds a ``VOC2007`` of few images.
        classes: of the images; VOC's when empty.
        tiny: whether rows are to be small, only to show that they run.
    """

    folder: Path
    classes: tuple[str, ...]
    tiny: bool

    def pick(self, full: int, tiny: int) -> int:
        """One of the two."""
        return tiny if self.tiny else full

    @property
    def device(self) -> Device:
        """The CPU, in bfloat16 where it has the instructions."""
        return choose_device("cpu", "auto")

    @property
    def images(self) -> DataSettings:
        """Where they are."""
        return DataSettings(voc_root=self.folder / "voc", classes=self.classes)

    def dataset(self, split: str) -> ImageSet:
        """``train`` (8 images) or ``test`` (32)."""
        return open_source(self.images).open(split)

    def propose(self, path: Path, settings: ProposeSettings) -> Proposals:
        """Of an image; a few random ones in a tiny world."""
        if self.tiny:
            return Proposals(random_boxes(20, torch.Generator()), torch.rand(20))
        return propose(read_image(path), settings)

    @cached_property
    def proposals(self) -> Path:
        """Of every image, in a file."""
        sets = [self.dataset(split) for split in ("train", "test")]
        images = [pair for each in sets for pair in zip(each.ids, each.paths, strict=True)]
        shown = track(images, "proposals", total=len(images))
        made = {name: self.propose(path, ProposeSettings()) for name, path in shown}
        return write_proposals(self.folder / "proposals.npz", made)


def make_world(folder: Path, voc_root: Path | None, *, tiny: bool) -> World:
    """A few images of VOC, linked, or else synthetic ones."""
    counts = {"train": 2 if tiny else 8, "val": 1, "test": 2 if tiny else 32}
    if voc_root is None:
        numbers = {f"num_{split}": count for split, count in counts.items()}
        write_synthetic_voc(folder / "voc", **numbers)
        return World(folder, SYNTHETIC_CLASSES, tiny)
    source, home = voc_folder(voc_root), folder / "voc" / "VOC2007"
    lists = home / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name in ("JPEGImages", "Annotations"):
        (home / name).symlink_to((source / name).absolute())
    for split, count in counts.items():
        chosen = read_list(source, split)[:count]
        (lists / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in chosen))
    return World(folder, (), tiny)


def cpu_time() -> float:
    """Seconds of this process and of those that it has waited for."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def in_turns(
    works: Works, rounds: int, *, clock: Callable[[], float] = cpu_time, warm_up: bool = False
) -> Measured:
    """Each piece of work once, then each a second time, and so on."""
    measured: Measured = {name: [] for name in works}
    for number in range(rounds + warm_up):
        for name, work in works.items():
            check_interrupted()
            started = clock()
            work()
            if number >= warm_up:
                measured[name].append(clock() - started)
    return measured
