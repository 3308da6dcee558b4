"""The model of a trained run as files for other programs, each proved equal to the run."""

import importlib.util
import io
import logging
import tempfile
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from localizer.model import Localizer
from tools.cli.command import settings_from
from tools.cli.console import echo, saying
from tools.cli.settings import to_dict
from tools.cli.signals import check_interrupted
from tools.exports.described import load_described, relative_difference
from tools.exports.graphs import DetectorGraph, LocalizerGraph, graph_of, trace
from tools.exports.settings import ExportSettings
from tools.files.atomic import naming, write_atomically, write_json
from tools.runs.checkpoint import weights_sha256
from tools.runs.kinds import KINDS
from tools.runs.saved import BUILDERS, SavedRun, load_run
from wsddn.model import WSDDN

WEIGHTS, ABOUT = "model.safetensors", "model.json"
LIMIT = 1e-4  # of a difference of outputs, by the largest value
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Outputs = Callable[..., tuple[Tensor, ...]]


class Source:
    """What is exported: a trained model, its graph, and that graph traced when one asks."""

    def __init__(self, saved: SavedRun) -> None:
        self.saved = saved
        self.graph = graph_of(saved.model)

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The traced graph."""
        return trace(self.graph)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file.

    Attributes:
        file: its name.
        write: into this file of a folder that has ``model.json``.
        read: back, as a function of the graph's inputs.
        packages: that must be installed, and the extra of this project that brings them.
    """

    file: str
    write: Callable[[Source, Path], None]
    read: Callable[[Path], Outputs]
    packages: tuple[str, ...] = ()


def run(settings: ExportSettings) -> None:
    """Write, prove, move into place; nothing is left where one of them fails."""
    for name in settings.format:
        _check_packages(name, FORMATS[name].packages)
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())):
        raise FileExistsError(f"{settings.out}: exists (--out is a new or empty folder)")
    source = Source(load_run(settings.run_dir, settings.checkpoint))
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.out.parent, prefix=".tmp-export-") as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        about = _about(source)
        write_json(folder / ABOUT, about)
        for name in dict.fromkeys(settings.format):
            check_interrupted()
            about["files"][name] = _export(source, name, folder)
        write_json(folder / ABOUT, about)
        folder.replace(settings.out)
    echo(f"{', '.join(path.name for path in sorted(settings.out.iterdir()))}: {settings.out}")


def load_exported(folder: Path) -> Localizer | WSDDN:
    """The model of ``model.safetensors``, on the CPU and in evaluation mode.

    Args:
        folder: ``--out`` of the command.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the two do not belong together.
    """
    return load_described(
        folder / ABOUT, folder / WEIGHTS, _build, what="exported model", command="export"
    )


def _build(about: dict[str, Any]) -> Localizer | WSDDN:
    settings_type = typing.get_type_hints(KINDS[about["kind"]])["model"]
    settings = settings_from(settings_type, about["model"])
    model: Localizer | WSDDN = BUILDERS[about["kind"]](settings, len(about["classes"]))
    return model


@torch.inference_mode()
def differences(graph: LocalizerGraph | DetectorGraph, exported: Outputs) -> dict[str, float]:
    """By how much the outputs of a file differ from those of the model.

    Args:
        graph: of the model.
        exported: the file, as a function of the same inputs.

    Returns:
        By output the largest difference over all examples, as a fraction of the largest value.
    """
    found: dict[str, list[float]] = {name: [] for name in graph.outputs}
    for inputs in graph.examples(torch.Generator().manual_seed(0)):
        outputs = zip(graph.outputs, exported(*inputs), graph(*inputs), strict=True)
        for name, given, expected in outputs:
            found[name].append(relative_difference(given, expected))
    return {name: float(torch.tensor(each).max()) for name, each in found.items()}  # or nan


def _about(source: Source) -> dict[str, Any]:
    """What a program must know to use the files, as plain values."""
    model, settings = source.saved.model, source.saved.settings
    backbone, graph = model.backbone, source.graph
    geometry = model.head.geometry if isinstance(model, WSDDN) else model.geometry
    return {
        "kind": settings.kind,
        "classes": settings.classes,
        "image": {
            "channels": "RGB" if backbone.input_channels == 3 else "RGB, near infrared",
            "range": [0, 1],
            "mean": backbone.mean,
            "std": backbone.std,
            "sizes": settings.evaluation_sizes,
            "resize": settings.resize,
            "multiple": backbone.multiple,
            "padding": "zeros on the right and at the bottom, after mean and std",
        },
        "geometry": {"stride": geometry.stride, "offset": geometry.offset},
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "model": to_dict(settings.model),
        "step": source.saved.step,
        "weights_sha256": weights_sha256(model.state_dict()),
        "limit": LIMIT,
        "files": {},
    }


def _export(source: Source, name: str, folder: Path) -> dict[str, Any]:
    """One file and its proof.

    Raises:
        ValueError: the model cannot be exported in this format.
        RuntimeError: the file computes something else.
    """
    saved, form = source.saved, FORMATS[name]
    path = folder / form.file
    try:
        with saying(f"writing and comparing {form.file}"), _quiet():
            form.write(source, path)
            found = differences(source.graph, form.read(path))
    except OSError:  # such as a full disk
        raise
    except Exception as error:  # of many kinds, from the libraries
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"{saved.run_dir}: a {saved.settings.kind} on {saved.settings.model.backbone} cannot "
            f"be exported as {name} ({reason})"
        ) from error
    echo(f"{form.file}  " + ", ".join(f"{output} {value:.1e}" for output, value in found.items()))
    if not all(value <= LIMIT for value in found.values()):  # not-a-number is over it, too
        raise RuntimeError(
            f"{saved.run_dir}: outputs of {form.file} differ by {max(found.values())} of the "
            f"largest, over {LIMIT}; nothing is written"
        )
    return {"file": form.file, "differences": found}


@contextmanager
def _quiet() -> Iterator[None]:
    """Libraries warn of their own parts, count what they do, and print graphs that fail."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check_packages(name: str, packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(
            f"{name} needs {', '.join(missing)} (the extra `{name}`: pip install '.[{name}]')"
        )


def _write_safetensors(source: Source, path: Path) -> None:
    from safetensors.torch import save

    weights = source.saved.model.state_dict()
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    write_atomically(path, content)


def _read_safetensors(path: Path) -> Outputs:
    graph: Outputs = graph_of(load_exported(path.parent))
    return graph


def _write_torch_export(source: Source, path: Path) -> None:
    content = io.BytesIO()
    torch.export.save(source.program, content)
    write_atomically(path, content.getvalue())


def _read_torch_export(path: Path) -> Outputs:
    graph: Outputs = torch.export.load(path).module()
    return graph


def _write_onnx(source: Source, path: Path) -> None:
    graph = source.graph
    program = torch.onnx.export(
        source.program,
        dynamo=True,
        verbose=False,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
    )
    assert program is not None  # only the older exporter gives none
    with naming(path):
        program.save(path)


def _read_onnx(path: Path) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def compute(*inputs: Tensor) -> tuple[Tensor, ...]:
        arrays = {name: given.numpy() for name, given in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(array) for array in session.run(None, arrays))

    return compute


FORMATS: dict[str, Format] = {
    "safetensors": Format(WEIGHTS, _write_safetensors, _read_safetensors),
    "torch_export": Format("model.pt2", _write_torch_export, _read_torch_export),
    "onnx": Format("model.onnx", _write_onnx, _read_onnx, ONNX_PACKAGES),
}
