"""Small trained runs, and a process that is afterward as it was before a command ran in it."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch

from data.datasets.voc import VOCDataset
from data.proposals.files import pack_proposals
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Detections, Proposals
from tools import evaluate, train_localizer, train_wsddn
from tools.cli.signals import install_signal_handlers
from tools.files.atomic import pack_arrays
from tools.training.seeds import random_state, restore_random_state

Words = Callable[..., list[str]]


class PageTags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


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


@pytest.fixture(scope="session")
def words(tiny_voc: Path) -> Words:
    """Words for ``train_localizer``: two epochs of three steps on small images, then others."""
    small = f"--voc-root {tiny_voc} --classes [{','.join(SYNTHETIC_CLASSES)}]"
    small += " --split train --val-split val"
    small += " --model.backbone squeezenet1_1 --image-sizes [96] --amp off --device cpu"
    small += " --loop.epochs 2 --loop.batch-size 4 --loop.log-every 1"

    def words_for(run_dir: Path, *others: str) -> list[str]:
        return ["--run-dir", str(run_dir), *small.split(), *others]

    return words_for


@pytest.fixture(scope="session")
def small_run(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training; not to be written to."""
    run_dir = tmp_path_factory.mktemp("runs") / "small"
    with process_as_before():
        assert train_localizer.main(words(run_dir)) == 0
    return run_dir


@pytest.fixture(scope="session")
def robust_run(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with channels dropped at random; not to be written to."""
    run_dir = tmp_path_factory.mktemp("runs") / "robust"
    with process_as_before():
        assert train_localizer.main(words(run_dir, "--model.robust=true")) == 0
    return run_dir


@pytest.fixture(scope="session")
def evaluated_run(
    tiny_voc: Path, small_run: Path, robust_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the first run, evaluated with the robust one beside it; not to be written to."""
    folder = tmp_path_factory.mktemp("evaluated")
    for run_dir in (small_run, robust_run):
        shutil.copytree(run_dir, folder / run_dir.name)
    argv = f"--run-dir {folder / 'small'} --beside {folder / 'robust'} --voc-root {tiny_voc}"
    argv += " --corloc-split train --amp off --device cpu"
    with process_as_before():
        assert evaluate.main(argv.split()) == 0
    return folder / "small"


def random_boxes(
    count: int, image_size: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """Boxes on whole pixels of at least 20, anywhere in an image."""
    ends = torch.tensor(image_size[::-1]).float()
    sizes = (20 + torch.rand(count, 2, generator=generator) * (ends - 20)).floor()
    corners = (torch.rand(count, 2, generator=generator) * (ends - sizes)).floor()
    return torch.cat([corners, corners + sizes], dim=1)


@pytest.fixture(scope="session")
def some_proposals(tiny_voc: Path) -> dict[str, Proposals]:
    """In each image of every split 40 boxes at random and its objects'; tests only read them."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for split in ("trainval", "test"):
        for annotation in VOCDataset(tiny_voc, split, classes=SYNTHETIC_CLASSES).annotations:
            anywhere = random_boxes(40, annotation.image_size, generator)
            boxes = torch.cat([anywhere, annotation.boxes])
            scores = torch.rand(len(boxes), generator=generator)
            found[annotation.image_id] = Proposals(boxes, scores)
    return found


def write_proposals(path: Path, found: Mapping[str, Proposals]) -> Path:
    """A file of proposals as ``make_proposals`` writes it."""
    path.write_bytes(pack_arrays(**pack_proposals(found, {})))
    return path


@pytest.fixture(scope="session")
def proposals_file(
    some_proposals: dict[str, Proposals], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Those boxes in a file; not to be written to."""
    return write_proposals(tmp_path_factory.mktemp("proposals") / "all.npz", some_proposals)


@pytest.fixture(scope="session")
def detector_words(tiny_voc: Path, proposals_file: Path) -> Words:
    """Words for ``train_wsddn``: two epochs of twelve steps on small images, then others."""
    small = f"--voc-root {tiny_voc} --classes [{','.join(SYNTHETIC_CLASSES)}]"
    small += f" --split train --val-split val --proposals {proposals_file}"
    small += " --model.width 16 --model.pool-size 2 --image-sizes [96] --amp off --device cpu"
    small += " --loop.epochs 2 --loop.batch-size 1 --loop.log-every 1"

    def words_for(run_dir: Path, *others: str) -> list[str]:
        return ["--run-dir", str(run_dir), *small.split(), *others]

    return words_for


@pytest.fixture(scope="session")
def detector_run(detector_words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a detector; not to be written to."""
    run_dir = tmp_path_factory.mktemp("runs") / "detector"
    with process_as_before():
        assert train_wsddn.main(detector_words(run_dir)) == 0
    return run_dir


def with_other_boxes(voc_root: Path, copy: Path) -> Path:
    """A copy of a VOC folder in which every object has the same box, and its own name still."""
    shutil.copytree(voc_root, copy)
    for path in (copy / "VOC2007" / "Annotations").iterdir():
        root = ET.fromstring(path.read_text())
        for place in root.iter("bndbox"):
            for name, value in (("xmin", 3), ("ymin", 5), ("xmax", 40), ("ymax", 30)):
                next(place.iter(name)).text = str(value)
        path.write_bytes(ET.tostring(root))
    return copy


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of every file of a folder and those below, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_devkit(folder: Path, classes: tuple[str, ...]) -> dict[str, Detections]:
    """As the devkit reads it: a name, a score and one-based closed corners a line."""
    rows: dict[str, list[tuple[int, list[float]]]] = {}
    for label, name in enumerate(classes):
        for line in (folder / f"comp3_det_test_{name}.txt").read_text().splitlines():
            image_id, *numbers = line.split(" ")
            rows.setdefault(image_id, []).append((label, [float(number) for number in numbers]))
    return {
        image_id: Detections(
            torch.tensor([[x1 - 1, y1 - 1, x2, y2] for _, (_, x1, y1, x2, y2) in of_image]),
            torch.tensor([label for label, _ in of_image]),
            torch.tensor([numbers[0] for _, numbers in of_image]),
        )
        for image_id, of_image in rows.items()
    }
