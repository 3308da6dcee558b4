"""Flipped bytes in every file that is read: refused by name, never another error, never a hang.

A file that holds sums or travels with a hash gives its own content or none; the others may give
another content, as any edit of them does.
"""

import contextlib
import io
import json
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat

from data.datasets.folder import FolderSource
from data.datasets.rainforest import read_tags
from data.datasets.voc import read_annotation
from data.datasets.voc_layout import image_ids
from data.images import read_image
from data.json_files import read_json
from data.proposals.files import load_proposals, pack_proposals
from data.proposals.mat_files import _convert
from data.types import Proposals
from localizer.backbones import Geometry
from localizer.localize import ImageHeatmaps
from tests.worlds import detect, forked, noise_image, random_boxes
from tools.cli.command import config_file
from tools.files.atomic import pack_arrays
from tools.files.detections import read_detections, write_detections
from tools.files.heatmaps import read_heatmaps, write_heatmaps
from tools.files.scores import read_scores
from tools.loggers.metrics_file import read_metrics, truncate_after
from tools.models.pretrained import read_weights
from tools.pages.numbers import read_report
from tools.runs.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from tools.runs.folder import read_settings, write_settings
from tools.runs.kinds import TrainLocalizerSettings
from tools.runs.threshold import ChosenThreshold, read_threshold, write_threshold

SECONDS = 60  # for one file; a second is enough where nothing else runs
FEW, MANY = 12, 400

XML = """<annotation><size><width>100</width><height>50</height></size><object><name>cat</name>
<difficult>0</difficult><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>
</object></annotation>"""


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        write: makes one in a folder, maybe with others beside it, and gives its path.
        read: gives what can be compared.
        has_sums: whether no other content may come out.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    has_sums: bool = False


def boxes(count: int) -> torch.Tensor:
    return random_boxes(count, torch.Generator().manual_seed(count))


def plain(value: Any) -> Any:
    """Tensors, arrays and dataclasses as what ``==`` compares."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def write(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def to(folder: Path) -> Path:
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)
        return folder / name

    return to


def encoded(name: str, mode: str = "RGB", **options: Any) -> Callable[[Path], Path]:
    file = io.BytesIO()
    noise_image(20, 30).convert(mode).save(file, Image.registered_extensions()[name[1:]], **options)
    return write(name, file.getvalue())


def bands(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 65536, (12, 10, 4), dtype=np.uint16)
    tifffile.imwrite(folder / "a.tif", values, photometric="rgb")
    return folder / "a.tif"


def proposals(folder: Path) -> Path:
    packed = pack_proposals({"a": Proposals(boxes(5), None), "é": Proposals(boxes(2), None)}, {})
    return write("p.npz", pack_arrays(**packed))(folder)


def scores(folder: Path) -> Path:
    two = np.eye(2)
    arrays = {"ids": np.array(["a", "b"]), "classes": np.array(["cat", "dog"])}
    packed = pack_arrays(**arrays, scores=two, targets=two, weights=two)
    return write("scores.npz", packed)(folder)


def heatmaps(folder: Path) -> Path:
    maps = ImageHeatmaps(torch.ones(2, 3, 4), torch.ones(2), Geometry(8, 4), (24, 32), (50, 60))
    write_heatmaps(folder / "h.npz", maps, [0, 1], ["cat", "dog"])
    return folder / "h.npz"


def checkpoint(folder: Path) -> Path:
    empty = dict[str, Any]()
    content = dict.fromkeys(
        ("optimizer", "scheduler", "scaler", "rng", "builder", "progress"), empty
    )
    numbers = {"format_version": 2, "step": 3, "epoch": 1, "batch": 0, "best": 0.5}
    model = {"weight": torch.arange(50.0)}
    return save_checkpoint(folder, {**content, **numbers, "model": model, "settings": {"a": 1}})


def copied_checkpoint(folder: Path) -> Path:
    path = checkpoint(folder).rename(folder / "copy.pt")
    (folder / "last.json").unlink()
    return path


def last_json(folder: Path) -> Path:
    checkpoint(folder)
    return folder / "last.json"


def coco(folder: Path) -> Path:
    noise_image(50, 100).save(folder / "a.jpg")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 6, 20, 30]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return write("labels.json", json.dumps(content))(folder)


def table(text: str) -> Callable[[Path], Path]:
    def to(folder: Path) -> Path:
        for name in "ab":
            noise_image(50, 100).save(folder / f"{name}.jpg")
        return write("labels.csv", text)(folder)

    return to


def read_labels(path: Path) -> object:
    source = FolderSource(path.parent, path)
    scan = source.scan()
    if scan.problems:
        raise ValueError("; ".join(f"{p.where}: {p.what}" for p in scan.problems))
    opened = source.open("all")
    return opened.ids, opened.targets, opened.weights, list(opened.annotations)


def list_of_images(folder: Path) -> Path:
    place = folder / "VOC2007/ImageSets/Main"
    place.mkdir(parents=True)
    return write("train.txt", "000001\n000007\n")(place)


def mat(folder: Path) -> Path:
    names, cells = np.empty(2, dtype=object), np.empty(2, dtype=object)
    names[:], cells[0], cells[1] = ["a", "b"], np.ones((3, 4)), np.ones((1, 4))
    savemat(folder / "m.mat", {"images": names, "boxes": cells})
    return folder / "m.mat"


def read_mat_here(path: Path) -> None:
    """As the reader's process does, in one that need not import anything; it may crash."""
    out = path.with_suffix(".npz")
    for earlier in (out, out.with_suffix(".txt")):
        earlier.unlink(missing_ok=True)
    with forked(_convert, path, out) as process:
        process.join(1)  # a command waits longer, and then kills it as well
        assert (process.exitcode or 0) <= 0  # no exception
    if not out.exists():
        raise ValueError(f"{path}: its reader ended with {process.exitcode}")


def metrics(folder: Path) -> Path:
    lines = [{"step": k, "tag": f"train/{k % 3}", "value": k / 7} for k in range(9)]
    return write("metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))(folder)


def read_metrics_twice(path: Path) -> object:
    truncate_after(path, 5, again=("validation/",))
    return read_metrics(path)


def detections(folder: Path) -> Path:
    found = {"a": detect([[0, 0, 5, 5]], [0.5]), "b": detect([], [])}
    write_detections(folder / "d.json", ["cat"], found, {"a": (9, 9), "b": (9, 9)}, {"words": "x"})
    return folder / "d.json"


def threshold(folder: Path) -> Path:
    write_threshold(folder, ChosenThreshold(0.4, "ab" * 32, "val", "box_map_area", {0.4: 0.5}))
    return next(path for path in folder.iterdir() if path.suffix == ".json")


def run_settings(folder: Path) -> Path:
    write_settings(folder, TrainLocalizerSettings(run_dir=folder, classes=("cat", "dog")))
    return folder / "settings.yaml"


def weights(name: str) -> Callable[[Path], Path]:
    def to(folder: Path) -> Path:
        content = {"a": torch.arange(6.0), "b": torch.ones(2, 3)}
        save = save_file if name.endswith(".safetensors") else torch.save
        save(content, folder / name)
        return folder / name

    return to


READERS = {
    "proposals": Reader(proposals, lambda path: dict(load_proposals(path)), has_sums=True),
    "scores": Reader(scores, read_scores, has_sums=True),
    "heatmaps": Reader(heatmaps, read_heatmaps, has_sums=True),
    "checkpoint": Reader(checkpoint, read_checkpoint, has_sums=True),
    "copied checkpoint": Reader(copied_checkpoint, read_checkpoint, has_sums=True),
    "last.json": Reader(last_json, lambda path: load_checkpoint(path.parent), has_sums=True),
    "annotation": Reader(write("a.xml", XML), lambda path: read_annotation(path, ["cat"])),
    "COCO": Reader(coco, read_labels),
    "a class a line": Reader(table("image,label\na.jpg,cat\nb.jpg,dog\n"), read_labels),
    "a box a line": Reader(
        table("image,label,xmin,ymin,xmax,ymax\na.jpg,cat,5,6,50,40\nb.jpg,dog,1,1,9,9\n"),
        read_labels,
    ),
    "tags": Reader(
        write("tags.csv", "image_name,tags\na,clear water\nb,haze\n"), lambda path: read_tags(path)
    ),
    "a list of images": Reader(list_of_images, lambda path: image_ids(path.parents[3], "train")),
    "MATLAB": Reader(mat, read_mat_here),
    "metrics": Reader(metrics, read_metrics_twice),
    "detections": Reader(detections, read_detections),
    "threshold": Reader(threshold, lambda path: read_threshold(path.parent)),
    "report": Reader(
        write("report.json", json.dumps({"cat": {"per_class": {}, "metrics": {}}, "n": 1.5})),
        lambda path: read_report(path.parent),
    ),
    "settings of a run": Reader(run_settings, lambda path: read_settings(path.parent)),
    "weights of torch": Reader(weights("w.pth"), read_weights),
    "weights of safetensors": Reader(weights("w.safetensors"), read_weights),
    "JSON": Reader(
        write("a.json", '{"a": [1, 2.5, null, "é"]}'),
        lambda path: read_json(path, description="a file"),
    ),
    "config": Reader(
        write("my.yaml", "seed: 3\nmodel: {backbone: alexnet}\n"),
        lambda path: config_file(str(path)),
    ),
    **{
        f"image{name}{mode}": Reader(encoded(f"a{name}", mode, **options), read_image)
        for name, mode, options in (
            (".jpg", "RGB", {}),
            (".jpg", "CMYK", {}),
            (".png", "RGB", {}),
            (".png", "P", {}),
            (".bmp", "RGB", {}),
            (".gif", "P", {}),
            (".tif", "RGB", {}),
            (".tif", "L", {"compression": "tiff_lzw"}),
            (".webp", "RGB", {}),
            (".ppm", "RGB", {}),
        )
    },
    "image of four bands": Reader(bands, read_image),
}


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the work inside does not end."""

    def fail(*_: object) -> None:
        raise AssertionError(f"not read within {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read(reader: Reader, path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow and tifffile, as in a command
        return plain(reader.read(path))


def flip_and_read(kind: str, folder: Path, examples: int) -> None:
    reader = READERS[kind]
    path = reader.write(folder)
    content = path.read_bytes()
    expected = read(reader, path)

    @settings(max_examples=examples, database=None)
    @given(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=3))
    def check(bits: list[int]) -> None:
        damaged = bytearray(content)
        for bit in bits:
            damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            with within(SECONDS):
                found = read(reader, path)
        except (ValueError, FileNotFoundError) as error:
            assert str(path) in str(error) or str(path.parent) in str(error)  # noqa: PT017
        else:
            assert found == expected or not reader.has_sums

    check()


@pytest.mark.parametrize("kind", READERS)
def test_a_file_with_flipped_bits_is_refused_by_name_or_read(kind: str, tmp_path: Path) -> None:
    flip_and_read(kind, tmp_path, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_a_file_with_any_flipped_bits_is_refused_by_name_or_read(kind: str, tmp_path: Path) -> None:
    flip_and_read(kind, tmp_path, MANY // 10 if kind == "MATLAB" else MANY)  # a process a file
