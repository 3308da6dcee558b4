"""Small trained runs, and a process that is afterward as it was before a command ran in it."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.worlds import random_boxes, write_proposals
from tools import train_localizer, train_wsddn
from tools.cli.signals import install_signal_handlers
from tools.training.seeds import random_state, restore_random_state

Words = Callable[..., list[str]]


@contextlib.contextmanager
def process_as_before() -> Iterator[None]:
    """Undo what commands do to their process: signal handlers, seeds, determinism."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    state = random_state()
    try:
        yield
    finally:
        install_signal_handlers()  # forgets a signal that has come
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
        restore_random_state(state)


@pytest.fixture(autouse=True)
def undo() -> Iterator[None]:
    with process_as_before():
        yield


Train = Callable[..., Path]


def make_words(voc_root: Path, *words: str) -> Words:
    """Words of a training of two epochs on small images, with a run folder and others added."""
    every = f"--voc-root {voc_root} --classes [{','.join(SYNTHETIC_CLASSES)}] --split train"
    every += " --val-split val --image-sizes [96] --amp off --device cpu"
    every += " --loop.epochs 2 --loop.log-every 1"
    return lambda run_dir, *others: ["--run-dir", str(run_dir), *every.split(), *words, *others]


@pytest.fixture(scope="session")
def feature_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small runs keep features and scores."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def words(tiny_voc: Path, feature_cache: Path) -> Words:
    """Words for ``train_localizer``; three steps an epoch."""
    small = "--model.backbone=squeezenet1_1 --loop.batch-size=4"
    return make_words(tiny_voc, f"--feature-cache={feature_cache}", *small.split())


@pytest.fixture(scope="session")
def detector_words(tiny_voc: Path, proposals_file: Path, feature_cache: Path) -> Words:
    """Words for ``train_wsddn`` with a mean of the weights; twelve steps an epoch."""
    small = "--model.backbone=alexnet --model.width=16 --model.pool-size=2 --eval-image-sizes=[]"
    whole = "--pretrained=false --frozen-backbone=false --drop-proposals=0 --max-proposals=2000"
    paper = "--spatial-weight=1e-4 --support-iou=0 --model.box-score=10 --model.area-prior=0"
    sgd = "--optim.name=sgd --optim.lr=0.01 --optim.weight-decay=1e-4 --optim.average=0.9"
    words = " ".join((small, whole, paper, sgd)).split()
    places = f"--proposals={proposals_file}", f"--feature-cache={feature_cache}"
    return make_words(tiny_voc, *places, *words)


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains a run; not to be written to."""

    def train_run(main: Callable[[list[str]], int], words: Words, name: str, *others: str) -> Path:
        run_dir = tmp_path_factory.mktemp("runs") / name
        with process_as_before():
            assert main(words(run_dir, *others)) == 0
        return run_dir

    return train_run


@pytest.fixture(scope="session")
def small_run(train: Train, words: Words) -> Path:
    return train(train_localizer.main, words, "small")


@pytest.fixture(scope="session")
def robust_run(train: Train, words: Words) -> Path:
    """The same with channels dropped at random."""
    return train(train_localizer.main, words, "robust", "--model.robust=true")


@pytest.fixture(scope="session")
def detector_run(train: Train, detector_words: Words) -> Path:
    return train(train_wsddn.main, detector_words, "detector")


@pytest.fixture
def copy(small_run: Path, tmp_path: Path) -> Path:
    """The finished localizer for a test that writes to it."""
    return Path(shutil.copytree(small_run, tmp_path / "copy"))


@pytest.fixture(scope="session")
def some_proposals(tiny_voc: Path) -> dict[str, Proposals]:
    """In each image of every split 40 boxes at random and its objects'; tests only read them."""
    generator = torch.Generator().manual_seed(0)
    proposals = {}
    for split in ("trainval", "test"):
        for annotation in VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open(split).annotations:
            boxes = torch.cat([random_boxes(40, generator), annotation.boxes])
            scores = torch.rand(len(boxes), generator=generator)
            proposals[annotation.image_id] = Proposals(boxes, scores)
    return proposals


@pytest.fixture(scope="session")
def proposals_file(
    some_proposals: dict[str, Proposals], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Those boxes in a file; not to be written to."""
    return write_proposals(tmp_path_factory.mktemp("proposals") / "all.npz", some_proposals)
