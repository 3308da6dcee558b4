"""Devices and number formats."""

import pytest
import torch
from torch import nn

from data.types import ImageBatch, Proposals
from localizer.backbones import backbone_named
from tools.models.device import Device, choose_device, evaluation_mode


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("name", "cuda", "mps", "kind"),
    [
        ("auto", True, True, "cuda"),
        ("auto", False, True, "mps"),
        ("auto", False, False, "cpu"),
        ("cpu", True, True, "cpu"),
    ],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    name: str, cuda: bool, mps: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)

    assert choose_device(name, "bf16") == Device(kind, "bf16")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, mps=False)

    with pytest.raises(ValueError, match=rf"device {name} .*--device cpu"):
        choose_device(name, "off")


@pytest.mark.parametrize(
    ("capabilities", "amp"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "off")],
)
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(
    capabilities: dict[str, bool], amp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    assert choose_device("cpu", "auto") == Device("cpu", amp)
    assert choose_device("cpu", "bf16") == Device("cpu", "bf16")


def test_half_precision_is_refused_on_a_cpu() -> None:
    with pytest.raises(ValueError, match=r"--amp fp16 .*CUDA"):
        choose_device("cpu", "fp16")


@pytest.mark.parametrize(("amp", "kind"), [("off", torch.float32), ("bf16", torch.bfloat16)])
def test_convolutions_run_in_the_chosen_format_and_weights_stay_float32(
    amp: str, kind: torch.dtype
) -> None:
    device = Device("cpu", amp)
    module = device.place(nn.Conv2d(3, 4, 1))
    with device.autocast():
        computed = module(torch.ones(1, 3, 2, 2))

    assert computed.dtype == kind
    assert module.get_parameter("weight").dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "depthwise"),
    [
        ("alexnet", False),
        ("resnet18", False),
        ("efficientnet_lite0", True),
        ("timm:mobilenetv3_small_050", True),
    ],
)
def test_depthwise_convolutions_are_not_in_channels_last_on_a_gpu(
    name: str, *, depthwise: bool
) -> None:
    model = backbone_named(name).build()
    on_gpu = torch.contiguous_format if depthwise else torch.channels_last
    assert Device("cuda", "bf16").layout(model) == on_gpu
    assert Device("cpu", "bf16").layout(model) == torch.channels_last


def batch_with_rois() -> ImageBatch:
    scored = Proposals(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([0.5]))
    unscored = Proposals(torch.zeros(0, 4), None)
    return ImageBatch(
        ("a", "b"),
        torch.ones(2, 3, 4, 4),
        torch.full((2, 2), 4),
        torch.ones(2, 6),
        torch.ones(2, 6),
        (scored, unscored),
    )


def test_a_moved_batch_keeps_names_values_and_rois_and_unknown_scores_stay_unknown() -> None:
    moved = Device("cpu", "off").move(batch_with_rois())
    scored, unscored = moved.rois

    assert moved.image_ids == ("a", "b")
    assert moved.images.equal(torch.ones(2, 3, 4, 4))
    assert scored.boxes.tolist() == [[0, 1, 2, 3]]
    assert scored.scores is not None
    assert scored.scores.tolist() == [0.5]
    assert unscored.boxes.shape == (0, 4)
    assert unscored.scores is None


def test_every_tensor_of_a_batch_is_moved_but_its_rois() -> None:
    moved = Device("meta", "off").move(batch_with_rois())  # a device without memory

    tensors = [moved.images, moved.sizes, moved.targets, moved.weights]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert {rois.boxes.device.type for rois in moved.rois} == {"cpu"}


def test_evaluation_mode_gives_every_module_its_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with evaluation_mode(model):
        assert [module.training for module in model.modules()] == [False] * 3

    assert [module.training for module in model.modules()] == [True, True, False]
