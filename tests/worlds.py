"""Small data sets, boxes and files that several test files build."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from data.datasets.image_set import ImageSet
from data.datasets.voc import image_level_labels
from data.proposals.files import pack_proposals
from data.types import Annotation, Detections, ImageBatch, ImageSample, Proposals
from tools.files.atomic import pack_arrays
from tools.inputs.samples import Samples, TrainingBatches
from tools.loggers.settings import VisdomSettings
from tools.models.device import Device
from tools.runs.checkpoint import load_checkpoint

Box = Sequence[float]


def annotate(
    boxes: Sequence[Box],
    labels: Sequence[int] | None = None,
    difficult: Sequence[bool] | None = None,
    image_id: str = "a",
) -> Annotation:
    """Objects in an image of 100 x 100; of label 0 and not difficult unless it is given."""
    count = len(boxes)
    return Annotation(
        image_id,
        (100, 100),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        torch.tensor(difficult or [False] * count, dtype=torch.bool),
        torch.zeros(count, dtype=torch.bool),
    )


def detect(
    boxes: Sequence[Box], scores: Sequence[float], labels: Sequence[int] | None = None
) -> Detections:
    """Detections of label 0 unless it is given."""
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float32),
    )


def random_boxes(
    count: int, rng: torch.Generator, *, corner: float = 90, sides: tuple[float, float] = (20, 60)
) -> torch.Tensor:
    """``[count, 4]`` with corners in 0 .. corner and sides in that range."""
    corners = torch.rand(count, 2, generator=rng) * corner
    size = sides[0] + torch.rand(count, 2, generator=rng) * (sides[1] - sides[0])
    return torch.cat([corners, corners + size], dim=1)


def noise_image(height: int, width: int) -> Image.Image:
    """The same random colors every time."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(width: int, height: int, pixels: bytes = b"", *, depth: int = 8) -> bytes:
    """A PNG of RGB that says how large it is, whatever its pixels are."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checked

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def image_set(annotations: Sequence[Annotation], classes: Sequence[str]) -> ImageSet:
    """A split with these labels, whose images do not exist."""
    return ImageSet(
        "test",
        classes,
        [Path(f"{annotation.image_id}.jpg") for annotation in annotations],
        annotations,
        [image_level_labels(annotation, len(classes)) for annotation in annotations],
    )


@dataclass(frozen=True)
class NumberedImages:
    """Images of one pixel that hold their own number, negative when flipped; odd ones a class."""

    count: int
    multiple: int = 1

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        pixel = torch.full((1, 1, 1), float(-index if flipped else index))
        target = torch.tensor([float(index % 2)])
        return ImageSample(f"{index:06d}", pixel, target, torch.ones(1), (1, 1))

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        return batch


def training_batches(
    inputs: Sequence[Samples], *, epoch: int, first: int, **options: Any
) -> DataLoader[ImageBatch]:
    """The batches of one epoch."""
    return TrainingBatches(inputs, **options)(epoch, first)


# Files and processes

# Some hundred bytes that stand for 43 million words
YAML_BOMB = "a0: &a0 [x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9)
)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes of a file raises OSError, as on a full disk."""
    import resource  # no system but Windows lacks it

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextlib.contextmanager
def forked(function: Callable[..., object], *args: object) -> Iterator[BaseProcess]:
    """A process that runs the function without importing anything again; killed at the end."""
    with warnings.catch_warnings():
        # threads that other tests left behind do not matter to a child that leaves them alone
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        process = multiprocessing.get_context("fork").Process(target=function, args=args)
        process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


# A visdom server


class FakeVisdom(ThreadingHTTPServer):
    """Remembers the events that it is sent, and answers them with ``answer``."""

    daemon_threads = True

    def __init__(self, answer: "Callable[[VisdomRequest, int], None] | None" = None) -> None:
        super().__init__(("127.0.0.1", 0), VisdomRequest)
        self.answer = answer
        self.count = 0
        self.events: list[dict[str, Any]] = []

    @property
    def settings(self) -> VisdomSettings:
        return VisdomSettings("127.0.0.1", self.server_address[1])

    @property
    def words(self) -> list[str]:
        """Words of a command that sends to it."""
        return ["--visdom.server=127.0.0.1", f"--visdom.port={self.server_address[1]}"]

    @property
    def windows(self) -> set[str]:
        return {event["win"] for event in self.events}

    def lines(self, window: str) -> dict[str, tuple[list[float], list[float]]]:
        """Steps and values of each line of a window, as visdom would put them together."""
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for event in self.events:
            if event["win"] == window:
                if not event.get("append"):
                    lines = {}
                (data,) = event["data"]
                steps, values = lines.setdefault(data["name"], ([], []))
                steps += data["x"]
                values += data["y"]
        return lines

    def handle_error(self, *args: object) -> None:
        pass  # a client that hangs up is what many tests are about


class VisdomRequest(BaseHTTPRequestHandler):
    """One POST to a fake server."""

    protocol_version = "HTTP/1.1"
    server: FakeVisdom

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.count += 1
        is_question = self.path == "/win_exists"
        self.right_answer = "true" if is_question else event["win"]
        if not is_question:
            self.server.events.append(event)
        if self.server.answer is None:
            self.reply(self.right_answer)
        else:
            self.server.answer(self, self.server.count)

    def reply(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def fake_visdom(answer: Callable[[VisdomRequest, int], None] | None = None) -> Iterator[FakeVisdom]:
    with FakeVisdom(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def read_events(folder: Path) -> Any:
    """What TensorBoard shows of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


# Runs and data sets on disk


def write_proposals(path: Path, proposals: Mapping[str, Proposals]) -> Path:
    """A file of proposals as ``make_proposals`` writes it."""
    path.write_bytes(pack_arrays(**pack_proposals(proposals, {})))
    return path


# Of tools.boxes on a few small images, with the two recipes in the working folder.
SMALL_BOXES = (
    "--localizer localizer.yaml --detector detector.yaml --device cpu --amp off --processes 1"
)


def write_small_recipes(folder: Path) -> None:
    """A localizer and a detector that train in seconds and learn nothing."""
    (folder / "localizer.yaml").write_text(
        "{image_sizes: [64], model: {backbone: squeezenet1_1}, loop: {epochs: 1, batch_size: 4}}"
    )
    (folder / "detector.yaml").write_text(
        "{image_sizes: [64], eval_image_sizes: [], pretrained: false, frozen_backbone: false, "
        "max_proposals: 50, model: {backbone: alexnet, width: 16, pool_size: 2}, "
        "loop: {epochs: 1, batch_size: 1}}"
    )


def write_labeled_images(folder: Path, dataset: ImageSet, labels: Path) -> None:
    """A folder of the images of a split at a third of their size, and their labels as CSV."""
    folder.mkdir()
    lines = ["image,labels"]
    for path, targets in zip(dataset.paths, dataset.targets, strict=True):
        with Image.open(path) as image:
            image.reduce(3).save(folder / path.name)  # proposals of small images are quick
        present = [dataset.classes[label] for label in targets.nonzero().flatten().tolist()]
        lines.append(f"{path.name},{'|'.join(present)}")
    labels.write_text("\n".join(lines))


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


def read_devkit(folder: Path, classes: Sequence[str]) -> dict[str, Detections]:
    """As the devkit reads it: a name, a score and one-based closed corners a line."""
    rows: dict[str, list[tuple[int, list[float]]]] = {}
    for label, name in enumerate(classes):
        for line in (folder / f"comp3_det_test_{name}.txt").read_text().splitlines():
            image_id, *numbers = line.split(" ")
            rows.setdefault(image_id, []).append((label, [float(number) for number in numbers]))
    return {
        image_id: detect(
            [[x1 - 1, y1 - 1, x2, y2] for _, (_, x1, y1, x2, y2) in of_image],
            [numbers[0] for _, numbers in of_image],
            [label for label, _ in of_image],
        )
        for image_id, of_image in rows.items()
    }


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of every file of a folder and those below, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def digest_of(run_dir: Path) -> str:
    """Hash of the weights of a finished training."""
    text: str = json.loads((run_dir / "training.json").read_text())["weights_sha256"]
    return text


def assert_same_run(run_dir: Path, other: Path) -> None:
    """The same weights, every logged line the same, and the same best checkpoint."""
    assert digest_of(run_dir) == digest_of(other)
    lines, best = [], []
    for folder in (run_dir, other):
        lines.append(sorted((folder / "metrics.jsonl").read_text().splitlines()))
        loaded = load_checkpoint(folder / "checkpoints", "best")
        assert loaded is not None
        best.append((loaded["step"], loaded["best"], str(loaded["optimizer"])))
    assert lines[0] == lines[1]
    assert best[0] == best[1]


class PageTags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
