"""A trained run with its filters divided by their deviation, proved equal and written."""

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.collate import collate_images
from localizer.model import Localizer
from localizer.weight_standardization import (
    MODES,
    WeightStandardizedConv2d,
    check_mode,
    standardize,
)
from tools.cli.command import settings_from
from tools.cli.console import echo, saying, warn
from tools.cli.settings import to_dict
from tools.exports.described import load_described, relative_difference
from tools.exports.settings import StandardizeSettings
from tools.files.atomic import write_atomically, write_json
from tools.inputs.datasets import open_dataset
from tools.inputs.samples import PixelSamples
from tools.models.device import Device
from tools.runs.checkpoint import weights_sha256
from tools.runs.kinds import KINDS
from tools.runs.saved import BUILDERS, SavedRun, load_run
from wsddn.model import WSDDN

WEIGHTS, ABOUT = "weights.pt", "standardized.json"
LIMITS = {"float32": 1e-5, "float64": 1e-10}  # of a difference of logits, by the largest logit
COUNT = 8  # images of the proof
MOST_PIXELS = 224  # of their sides; larger ones prove no more

Model = TypeVar("Model", bound=nn.Module)
Logits = Callable[[Any, Tensor], Tensor]


def run(settings: StandardizeSettings) -> None:
    """Convert, prove, write; nothing is written where the proof fails."""
    check_mode(settings.mode)
    saved = load_run(settings.run_dir, settings.checkpoint)
    try:
        converted = standardize_model(saved.model, settings.mode)
    except ValueError as error:
        raise ValueError(f"{settings.run_dir}: {error}") from error
    layers = [layer for layer in converted.modules() if isinstance(layer, nn.Conv2d)]
    divided = sum(isinstance(layer, WeightStandardizedConv2d) for layer in layers)
    echo(f"{divided} of {len(layers)} convolutions have a batch norm and are divided")
    images, origin = _images(saved)
    logits = detector_logits if saved.takes_proposals else localizer_logits
    with saying("comparing logits"):
        proof = prove(saved.model, images, logits)
    echo(f"largest difference of the logits of {origin}, as a fraction of the largest logit:")
    echo(*(f"{mode}  {', '.join(map(_text, proof[mode].items()))}" for mode in MODES))
    _check(proof[settings.mode], settings)
    _write(settings, saved, converted, {"images": origin, "limits": LIMITS, "differences": proof})
    echo(f"weights and proof: {settings.out}")


def standardize_model(model: Model, mode: str) -> Model:
    """A copy of a localizer or detector with divided filters.

    Every convolution of the backbone must have its batch norm; others are divided where they have.

    Raises:
        ValueError: naming the part of the model and the layer.
    """
    converted = copy.deepcopy(model)
    for name, part in model.named_children():
        try:
            own = standardize(part, mode, keep_others=name != "features")
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        setattr(converted, name, own)
    return converted


@torch.inference_mode()
def prove(model: nn.Module, images: Tensor, logits: Logits) -> dict[str, dict[str, float | str]]:
    """By how much each conversion changes the logits.

    Args:
        model: in evaluation mode, float32.
        images: ``[B, K, H, W]``, normalized.
        logits: of a model and images.

    Returns:
        By mode, for ``float32`` and ``float64``, the largest difference as a fraction of the
        largest logit; or why the mode is ``refused``.
    """
    formats = {"float32": (model, images)}
    formats["float64"] = (copy.deepcopy(model).double(), images.double())
    expected = {name: logits(*inputs) for name, inputs in formats.items()}
    proof: dict[str, dict[str, float | str]] = {}
    for mode in MODES:
        try:
            proof[mode] = {
                name: relative_difference(
                    logits(standardize_model(own, mode), batch), expected[name]
                )
                for name, (own, batch) in formats.items()
            }
        except ValueError as error:
            proof[mode] = {"refused": str(error)}
    return proof


def localizer_logits(model: Any, images: Tensor) -> Tensor:
    """``[B, C, h, w]``: heatmaps of normalized images ``[B, K, H, W]``, in the model's format."""
    heatmaps: Tensor = model(images)
    return heatmaps


def detector_logits(model: Any, images: Tensor) -> Tensor:
    """``[B, 2 C]``: both streams of a detector for the proposal that is the whole image.

    Its own pooling of proposals knows float32 alone.
    """
    head = model.head
    pooled = F.adaptive_max_pool2d(model.features(images), head.settings.pool_size)
    fc7 = head.fc7(head.fc6(pooled.flatten(1)).relu()).relu()
    return torch.cat([head.class_stream(fc7), head.detection_stream(fc7)], dim=1)


def load_standardized(folder: Path) -> Localizer | WSDDN:
    """The converted model, on the CPU and in evaluation mode.

    Args:
        folder: ``--out`` of the command.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the two do not belong together.
    """
    return load_described(
        folder / ABOUT, folder / WEIGHTS, _build, what="converted run", command="standardize"
    )


def _build(about: dict[str, Any]) -> Localizer | WSDDN:
    settings = settings_from(KINDS[about["settings"]["kind"]], about["settings"])
    model: Localizer | WSDDN = BUILDERS[settings.kind](settings.model, len(settings.classes))
    return standardize_model(model, about["mode"])


def _images(saved: SavedRun) -> tuple[Tensor, str]:
    """``[8, K, H, W]``, normalized: the first that the run learned from, or noise; and which."""
    backbone = saved.model.backbone
    side = min(MOST_PIXELS, *saved.settings.evaluation_sizes)
    try:
        dataset = open_dataset(saved.settings, saved.settings.split)
        samples = PixelSamples(dataset, backbone, side, "square")
        each = [samples.sample(index, flipped=False) for index in range(min(COUNT, len(dataset)))]
    except FileNotFoundError as error:
        warn(f"{error}; the proof takes random images")
        each = []
    if len(each) == COUNT:
        batch = collate_images(each, multiple=samples.multiple)
        images = samples.prepare(batch, Device("cpu", "off")).images
        return images, f"{COUNT} images of {saved.settings.split}"
    side = -(-side // backbone.multiple) * backbone.multiple
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(COUNT, backbone.input_channels, side, side, generator=generator)
    return noise, f"{COUNT} random images"


def _text(difference: tuple[str, float | str]) -> str:
    name, value = difference
    return f"{name}: {value}" if isinstance(value, str) else f"{name} {value:.1e}"


def _check(differences: dict[str, float | str], settings: StandardizeSettings) -> None:
    for name, limit in LIMITS.items():
        value = differences.get(name)
        if not (isinstance(value, float) and value <= limit):  # not-a-number is over it, too
            raise RuntimeError(
                f"{settings.run_dir}: mode {settings.mode} changes the logits by {value} of the "
                f"largest in {name}, over {limit}; nothing is written"
            )


def _write(
    settings: StandardizeSettings, saved: SavedRun, converted: nn.Module, proof: dict[str, Any]
) -> None:
    weights = io.BytesIO()
    torch.save(converted.state_dict(), weights)
    about = {
        "mode": settings.mode,
        "run_dir": settings.run_dir,
        "step": saved.step,
        "weights_sha256": weights_sha256(converted.state_dict()),
        "proof": proof,
        "settings": to_dict(saved.settings),
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    write_atomically(settings.out / WEIGHTS, weights.getvalue())
    write_json(settings.out / ABOUT, about)
