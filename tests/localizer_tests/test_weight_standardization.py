"""Filters divided by their deviation, and batch norms with which the output stays the same."""

import copy
import math
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision import models

from localizer.backbones import BACKBONES
from localizer.weight_standardization import (
    MODES,
    WEIGHT_EPS,
    WeightStandardizedConv2d,
    filter_deviations,
    standardize,
)

each_mode = pytest.mark.parametrize("mode", MODES)

# --- one convolution ------------------------------------------------------------------------------


def test_the_deviation_of_a_filter_is_that_of_all_of_its_weights() -> None:
    weight = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]], [[[3.0, -1.0]], [[3.0, -1.0]]]])
    torch.testing.assert_close(filter_deviations(weight), torch.tensor([math.sqrt(5 / 4), 2.0]))


def test_filters_are_divided_and_their_mean_stays() -> None:
    conv = WeightStandardizedConv2d(1, 1, (1, 2))
    conv.load_state_dict({"weight": torch.tensor([[[[3.0, -1.0]]]]), "bias": torch.tensor([0.5])})
    output = conv(torch.tensor([[[[1.0, 0.0, 1.0]]]]))
    assert output.tolist() == [[[[2.0, 0.0]]]]  # 3 / 2 + .5 and -1 / 2 + .5


def test_filters_of_16_bits_are_divided_by_a_deviation_of_32() -> None:
    conv = WeightStandardizedConv2d(1, 1, 1, bias=False).half()
    nn.init.constant_(conv.weight, 2**-10)
    assert filter_deviations(conv.weight).tolist() == [torch.tensor(1e-12).sqrt()]  # 0 in float16
    assert conv(torch.ones(1, 1, 1, 1).half()).item() == pytest.approx(2**-10 * 1e6, rel=1e-3)


def test_a_filter_without_deviation_is_divided_by_the_root_of_a_small_number() -> None:
    conv = WeightStandardizedConv2d(1, 1, 1, bias=False).double()
    nn.init.constant_(conv.weight, 3)
    output = conv(torch.ones(1, 1, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(output, torch.full_like(output, 3 / math.sqrt(WEIGHT_EPS)))


@pytest.mark.parametrize("bias", [True, False])
def test_it_takes_the_arguments_and_the_weights_of_a_convolution(
    bias: bool, rng: torch.Generator
) -> None:
    conv, other = (
        kind(4, 6, 3, 2, (1, 2), dilation=2, groups=2, bias=bias, padding_mode="reflect")
        for kind in (nn.Conv2d, WeightStandardizedConv2d)
    )
    other.load_state_dict(conv.state_dict())
    with torch.no_grad():
        conv.weight /= conv.weight.std(dim=(1, 2, 3), correction=0, keepdim=True)
    images = torch.randn(2, 4, 9, 11, generator=rng)
    torch.testing.assert_close(other(images), conv(images))


# --- the formulas, on one filter ------------------------------------------------------------------


def one_filter(*, affine: bool = True) -> nn.Sequential:
    """Filter 3, -1 with bias 1, whose s is 2; mean 5, variance 15, scale 8 and shift 7 behind."""
    conv, norm = nn.Conv2d(1, 1, (1, 2)), nn.BatchNorm2d(1, eps=1, affine=affine)
    values = {"weight": [[[[3.0, -1.0]]]], "bias": [1.0]}
    conv.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    norm.get_buffer("running_mean").fill_(5)
    norm.get_buffer("running_var").fill_(15)
    if affine:
        nn.init.constant_(norm.weight, 8)
        nn.init.constant_(norm.bias, 7)
    return nn.Sequential(conv, norm).eval()


@pytest.mark.parametrize(
    ("mode", "mean", "variance", "scale", "shift"),
    [
        ("A", 1 + 4 / 2, 16 / 4 - 1, 8, 7),
        ("B", 5, 15, 8 * 2, 7 + 8 * 1 * 4 / 4),
        ("C", 1 + 4 / 2, 15 / 4, 8 * 2 * math.sqrt(15 / 4 + 1) / 4, 7),
    ],
)
def test_a_batch_norm_gets_the_numbers_of_the_formulas(
    mode: str, mean: float, variance: float, scale: float, shift: float
) -> None:
    model = one_filter()
    converted = standardize(model, mode)

    norm = converted[1]
    assert isinstance(norm, nn.BatchNorm2d)
    keys = ("running_mean", "running_var", "weight", "bias")
    numbers = torch.cat([norm.state_dict()[key] for key in keys])
    torch.testing.assert_close(numbers, torch.tensor([mean, variance, scale, shift]))
    image = torch.tensor([[[[4.0, 2.0, 1.0]]]])
    # 3 * 4 - 2 + 1 = 11 and 3 * 2 - 1 + 1 = 6; less 5, by 4, times 8, plus 7
    assert model(image).tolist() == [[[[19.0, 9.0]]]]
    torch.testing.assert_close(converted(image), model(image))


def test_running_statistics_are_enough_for_mode_a() -> None:
    model = one_filter(affine=False)
    image = torch.tensor([[[[4.0, 2.0, 1.0]]]])
    torch.testing.assert_close(standardize(model, "A")(image), model(image))


# --- whole networks -------------------------------------------------------------------------------


def train(model: nn.Module, steps: int, lr: float, rng: torch.Generator) -> list[float]:
    """Losses of SGD with momentum on noise, in the model's dtype."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    dtype = next(model.parameters()).dtype
    losses = []
    for _ in range(steps):
        images = torch.randn(8, 3, 32, 32, generator=rng).to(dtype)
        labels = torch.randint(5, (8,), generator=rng)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.fixture(scope="module")
def resnet() -> models.ResNet:
    """A trained ResNet-18, one of whose convolutions has a bias; only read."""
    rng = torch.manual_seed(0)
    model = models.resnet18(weights=None, num_classes=5)
    model.layer2[0].conv1 = nn.Conv2d(64, 128, 3, stride=2, padding=1)
    for layer in model.modules():
        if isinstance(
            layer, nn.Conv2d
        ):  # small weights have small outputs, beside which eps counts
            layer.weight.data *= 0.05
        if isinstance(layer, nn.BatchNorm2d):  # statistics of the data alone, not of their start
            layer.momentum = None
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    train(model, 5, 1e-3, rng)
    return model.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def difference(model: nn.Module, other: nn.Module, images: Tensor) -> float:
    """The largest one of the logits, as a fraction of the largest logit."""
    dtype = next(model.parameters()).dtype
    logits = model(images.to(dtype))
    return float((other(images.to(dtype)) - logits).abs().max() / logits.abs().max())


@each_mode
def test_the_logits_of_a_resnet_stay(mode: str, resnet: nn.Module, images: Tensor) -> None:
    double = copy.deepcopy(resnet).double()
    assert difference(resnet, standardize(resnet, mode), images) <= 1e-5
    assert difference(double, standardize(double, mode), images) <= 1e-10


def test_a_variance_that_is_divided_alone_changes_them(resnet: nn.Module, images: Tensor) -> None:
    naive = standardize(resnet, "C")
    scales = {key: value for key, value in resnet.state_dict().items() if "weight" in key}
    naive.load_state_dict(naive.state_dict() | scales)
    assert difference(resnet, naive, images) > 1e-3


def test_every_convolution_of_a_resnet_is_another_one_with_the_same_weights(
    resnet: nn.Module,
) -> None:
    before = {key: value.clone() for key, value in resnet.state_dict().items()}
    state = torch.get_rng_state()

    converted = standardize(resnet)

    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[key]) for key, value in resnet.state_dict().items())
    convolutions = [layer for layer in converted.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 20
    assert all(type(layer) is WeightStandardizedConv2d for layer in convolutions)
    assert not any(isinstance(layer, WeightStandardizedConv2d) for layer in resnet.modules())
    assert list(converted.state_dict()) == list(before)
    weights = dict(resnet.named_parameters())
    for key, value in converted.named_parameters():
        assert value.dtype == weights[key].dtype
        norm = "bn" in key or "downsample.1" in key
        assert value.equal(weights[key]) != (norm and key.endswith("weight"))


def test_modes_and_frozen_layers_stay() -> None:
    model = one_filter()
    model[0].train().requires_grad_(False)
    converted = standardize(model)
    assert [layer.training for layer in converted] == [True, False]
    flags = [parameter.requires_grad for parameter in converted.parameters()]
    assert flags == [False, False, True, True]


def test_a_converted_network_can_be_sent_to_another_process(
    resnet: nn.Module, images: Tensor
) -> None:
    converted = standardize(resnet)
    assert difference(converted, pickle.loads(pickle.dumps(converted)), images) == 0


@each_mode
def test_convolutions_that_pad_and_depthwise_ones_are_divided(
    mode: str, images: Tensor, rng: torch.Generator
) -> None:
    backbone = BACKBONES["efficientnet_lite0"].build()
    for _ in range(3):  # running statistics of their own
        backbone(torch.randn(4, 3, 32, 32, generator=rng))
    double = backbone.eval().double()
    converted = standardize(double, mode)
    divided = [isinstance(each, WeightStandardizedConv2d) for each in converted.modules()]
    assert sum(divided) == 49
    assert difference(double, converted, images[:2]) <= 1e-10


# --- training -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_resnet() -> models.ResNet:
    """Trained, in float64; only read."""
    rng = torch.manual_seed(0)
    model = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
    train(model, 5, 0.05, rng)
    return model.double()


@pytest.mark.parametrize(("mode", "same"), [("A", True), ("B", False), ("C", True)])
def test_training_goes_on_as_it_would_have(
    mode: str, same: bool, small_resnet: models.ResNet, rng: torch.Generator
) -> None:
    model = copy.deepcopy(small_resnet)
    converted = standardize(model, mode)
    pairs = [(model.conv1, model.bn1)]
    for block in model.modules():
        if isinstance(block, models.resnet.BasicBlock):
            pairs += [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    bound = max(
        (norm.eps * (filter_deviations(conv.weight) ** 2 - 1).abs() / norm.running_var).max().item()
        for conv, norm in pairs
    )
    assert 1e-6 < bound < 1e-4

    state = rng.get_state()
    losses = train(model, 5, 1e-3, rng)
    rng.set_state(state)
    others = train(converted, 5, 1e-3, rng)

    differences = [abs(a - b) / a for a, b in zip(losses, others, strict=True)]
    assert (max(differences) <= 1e-3) == same
    # one bound for each of nine layers, before steps let small differences grow
    assert (differences[0] <= 9 * bound) == same


# --- refusals -------------------------------------------------------------------------------------


def refuse(model: nn.Module, message: str, mode: str = "C") -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        standardize(model, mode)


@pytest.mark.parametrize("mode", ["full", "D", ""])
def test_full_standardization_is_refused_for_it_cannot_be_exact(mode: str) -> None:
    refuse(one_filter(), f"mode is one of A, B, C; got '{mode}' .* has no exact conversion", mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_variance_that_would_be_negative_is_refused_by_mode_a_alone(mode: str) -> None:
    model = one_filter()  # s^2 is 4
    model[1].get_buffer("running_var").fill_(3.01)  # (v + eps) / eps is 4.01
    variance = standardize(model, "A")[1].get_buffer("running_var")
    torch.testing.assert_close(variance, torch.tensor([0.01 / 4]), rtol=1e-4, atol=0)
    model[1].get_buffer("running_var").fill_(2.99)
    if mode == "A":
        refuse(model, r"1: channel 0 .* negative variance: s\^2 is 4, over .* = 3\.99 ", mode)
    else:
        image = torch.tensor([[[[4.0, 2.0]]]])
        torch.testing.assert_close(standardize(model, mode)(image), model(image))


@each_mode
def test_a_batch_norm_without_running_statistics_is_refused(mode: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 2), nn.BatchNorm2d(1, track_running_stats=False))
    refuse(model, "1: has no running statistics", mode)


@pytest.mark.parametrize("mode", ["B", "C"])
def test_a_batch_norm_without_scale_is_refused_by_modes_that_change_it(mode: str) -> None:
    refuse(one_filter(affine=False), f"1: has no alpha and beta, which mode {mode} changes", mode)


def test_a_number_that_does_not_fit_into_the_dtype_is_refused() -> None:
    model = one_filter().half()
    nn.init.constant_(
        model[0].get_parameter("weight"), 1
    )  # s is 1e-6, and v / s^2 is 1e12 times larger
    refuse(model, r"1: running_mean would not be finite in torch\.float16")
    assert standardize(model.float())[1].get_buffer("running_var").isfinite().all()


class Block(nn.Module):
    """Two convolutions and batch norms, put together by a function of the test."""

    def __init__(self, join: "Callable[[Block, Tensor], Tensor]") -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.conv2, self.norm2 = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.join = join

    def forward(self, images: Tensor) -> Tensor:
        return self.join(self, images)


JOINS: dict[str, Callable[[Block, Tensor], Tensor]] = {
    r"conv: its output goes to 2 places": lambda m, x: m.norm(z := m.conv(x)) + z,
    r"conv: its output goes to 0 places": lambda m, x: (m.norm(x), m.conv(x))[0],
    r"conv: its output goes to relu, ": lambda m, x: m.norm(m.conv(x).relu()),
    r"conv: its output goes to getattr_1, ": lambda m, x: m.norm(x) * m.conv(x).shape[0],
    r"conv: is called 2 times": lambda m, x: m.norm(m.conv(m.conv(x))),
    r"conv: is called 0 times": lambda m, x: m.norm(x),
    r"conv: its batch norm norm is called 2 times": lambda m, x: m.norm(m.norm(m.conv(x))),
    r"conv: numbers of its batch norm norm are": lambda m, x: m.norm(m.conv(x)) * m.norm.weight[0],
    r"torch\.fx cannot follow this model, .* control flow": lambda m, x: (
        m.conv(x) if x.sum() else x
    ),
}


@pytest.mark.parametrize("message", JOINS)
def test_a_convolution_without_a_batch_norm_of_its_own_is_refused(message: str) -> None:
    refuse(Block(lambda m, x: m.norm2(m.conv2(JOINS[message](m, x)))), message)


def test_a_convolution_at_the_end_is_refused_and_kept_when_asked_for() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 1, 1))
    refuse(model, "3: its output goes to output, which is no nn.BatchNorm2d")
    converted = standardize(model, keep_others=True)
    assert type(converted[0]) is WeightStandardizedConv2d
    assert type(converted[3]) is nn.Conv2d


def test_a_network_without_convolutions_is_refused_and_kept_when_asked_for() -> None:
    refuse(nn.Sequential(nn.BatchNorm2d(1)), "no convolution in this model")
    assert isinstance(standardize(nn.Identity(), keep_others=True), nn.Identity)


def pairs() -> Block:
    return Block(lambda m, x: m.norm2(m.conv2(m.norm(m.conv(x)))))


def test_batch_norms_that_share_a_number_are_refused() -> None:
    model = pairs()
    model.norm2.bias = model.norm.bias
    refuse(model, "conv: numbers of its batch norm norm are used elsewhere")


def test_another_kind_of_batch_norm_is_refused() -> None:
    class Rectified(nn.BatchNorm2d):
        pass

    model = pairs()
    model.norm2 = Rectified(2)
    refuse(model, "conv2: its output goes to norm2, which is no nn.BatchNorm2d")


def test_filters_that_are_not_those_of_the_convolution_are_refused() -> None:
    class Centered(nn.Conv2d):
        def forward(self, features: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
            return F.conv2d(features, weight / weight.std(dim=(1, 2, 3), keepdim=True), self.bias)

    model = pairs()
    model.conv2 = Centered(2, 2, 2)
    refuse(model, "conv2: a Centered does more with its filters than to apply them")
    model.conv2 = parametrizations.weight_norm(nn.Conv2d(2, 2, 2))
    refuse(model, "conv2: its filters are computed from other parameters")
    refuse(standardize(pairs()), "conv: its filters are divided already")


@each_mode
def test_a_kind_that_calls_the_plain_convolution_is_divided(
    mode: str, rng: torch.Generator
) -> None:
    class Padded(nn.Conv2d):
        def forward(self, features: Tensor) -> Tensor:
            return super().forward(F.pad(features, (2, 0, 1, 0)))

    model = pairs()
    model.conv2 = Padded(2, 2, 2)
    model(torch.randn(4, 2, 5, 5, generator=rng))
    double = model.eval().double()
    images = torch.randn(1, 2, 5, 5, generator=rng)
    assert difference(double, standardize(double, mode), images) <= 1e-10
