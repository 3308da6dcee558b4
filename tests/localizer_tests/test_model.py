"""Localizers and their builder, on the smallest backbone."""

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from data.collate import pad_stack
from localizer.backbones import BACKBONES, Geometry
from localizer.builders import build_localizer
from localizer.model import LocalizerHead, SignedRoot, SquareRoot
from localizer.pooling import POOLINGS
from localizer.settings import LocalizerSettings

SIZES = torch.tensor([[64, 64]])
SMALL = "squeezenet1_1"


@pytest.fixture
def images(rng: torch.Generator) -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=rng)


def identity_head(channel_dropout: float = 0.0) -> LocalizerHead:
    """A head whose map is its input."""
    settings = LocalizerSettings(robust=channel_dropout > 0)
    geometry = Geometry(stride=4, offset=1)
    return LocalizerHead(nn.Identity(), nn.Sequential(), geometry, settings, channel_dropout)


# --- the head -------------------------------------------------------------------------------------


def test_the_head_on_features_equals_the_model_on_images(images: Tensor) -> None:
    model = build_localizer(LocalizerSettings(SMALL), 3).eval()
    with torch.inference_mode():
        assert torch.equal(model.head()(model.features(images)), model(images))


@pytest.mark.parametrize("training", [True, False])
def test_the_head_has_the_weights_the_pooling_and_the_mode_of_the_model(
    training: bool, rng: torch.Generator
) -> None:
    model = build_localizer(LocalizerSettings(SMALL, pooling="top", pooling_value=0.25), 3).train(
        training
    )
    head, logits = model.head(), torch.randn(1, 3, 4, 4, generator=rng)
    assert list(map(id, head.parameters())) == list(map(id, model.classifier.parameters()))
    assert torch.equal(head.pool(logits, SIZES), model.pool(logits, SIZES))
    assert head.pool(logits.bfloat16(), SIZES).dtype == torch.float32
    assert head.training is training


def test_cells_in_the_padding_are_not_pooled() -> None:
    logits = torch.zeros(1, 1, 2, 3)
    logits[..., 2] = 99  # begins at pixel 7.5
    assert identity_head().pool(logits, torch.tensor([[8, 7]])).tolist() == [[0]]


# --- dropping channels ----------------------------------------------------------------------------


@pytest.mark.usefixtures("rng")
def test_training_drops_whole_channels_of_each_image() -> None:
    dropped = identity_head(channel_dropout=0.5)(torch.ones(64, 32, 2, 3))
    channels = dropped.flatten(2)
    assert torch.equal(channels, channels[:, :, :1].expand_as(channels))
    assert set(channels[:, :, 0].unique().tolist()) == {0.0, 2.0}  # those kept make up for the rest
    assert len({tuple(row) for row in channels[:, :, 0].tolist()}) == 64  # images differ


def test_evaluation_drops_no_channel() -> None:
    features = torch.ones(4, 32, 2, 3)
    assert torch.equal(identity_head(channel_dropout=0.5).eval()(features), features)


@pytest.mark.usefixtures("rng")
def test_no_class_loses_its_map() -> None:
    model = build_localizer(LocalizerSettings(SMALL, robust=True), 3)
    logits = model(torch.randn(16, 3, 64, 64))
    assert (logits.flatten(2).std(dim=2) > 0).all()


# --- the builder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_learns_from_images_of_odd_sizes(
    backbone: str, rng: torch.Generator
) -> None:
    sizes = [(67, 35), (41, 69)]
    channels = BACKBONES[backbone].input_channels
    images = [torch.randn(channels, *size, generator=rng) for size in sizes]
    model = build_localizer(LocalizerSettings(backbone), 3)
    before = model.classifier[-1].get_parameter("weight").clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    logits = model(pad_stack(images, multiple=BACKBONES[backbone].multiple))
    torch.autograd.backward(model.pool(logits, torch.tensor(sizes)).sum())
    optimizer.step()

    assert logits.shape[:2] == (2, 3)
    assert all(w.grad is not None and w.grad.isfinite().all() for w in model.parameters())
    assert not torch.equal(model.classifier[-1].get_parameter("weight"), before)
    assert all(weight.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_makes_a_localizer(pooling: str, images: Tensor) -> None:
    model = build_localizer(LocalizerSettings(SMALL, pooling=pooling, pooling_value=0.5), 3).eval()
    with torch.inference_mode():
        assert model.pool(model(images), SIZES).shape == (1, 3)


def test_classes_start_from_their_prior() -> None:
    bias = build_localizer(LocalizerSettings(SMALL), 3).classifier[-1].bias
    assert isinstance(bias, Tensor)
    torch.testing.assert_close(bias.sigmoid(), torch.full((3,), 0.05))


def test_heads_of_one_by_one_keep_the_backbones_geometry() -> None:
    for name in BACKBONES.keys() - {"alexnet"}:
        assert build_localizer(LocalizerSettings(name), 3).geometry == BACKBONES[name].geometry


def test_a_head_learns_alike_from_features_of_any_size() -> None:
    first = build_localizer(LocalizerSettings("efficientnet_lite0"), 3).normalize
    features = torch.rand(8, 1280, 4, 4)
    torch.testing.assert_close(first(300 * features), first(features), atol=0.05, rtol=0)


@pytest.mark.parametrize(("backbone", "fraction"), [("alexnet", 0.2), ("squeezenet1_1", 0.5)])
def test_only_robust_drops_channels(backbone: str, fraction: float) -> None:
    assert build_localizer(LocalizerSettings(backbone, robust=True), 3).channel_dropout == fraction
    assert build_localizer(LocalizerSettings(backbone), 3).channel_dropout == 0


@pytest.mark.parametrize("backbone", ["alexnet", "squeezenet1_1"])
def test_other_weights_and_an_unknown_pooling_are_refused(backbone: str) -> None:
    with pytest.raises(ValueError, match="the state dictionary: lacks"):
        build_localizer(LocalizerSettings(backbone), 3, {"conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"pooling is one of max, mean, .*; got 'median'"):
        build_localizer(LocalizerSettings(backbone, pooling="median"), 3)


def test_pretrained_weights_reach_the_backbone() -> None:
    pretrained = models.squeezenet1_1(weights=None).state_dict()
    model = build_localizer(LocalizerSettings(SMALL), 3, pretrained)
    key = "features.0.weight"
    assert torch.equal(model.state_dict()[key], pretrained[key])


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone is one of alexnet, .*; got 'resnet9000'"):
        build_localizer(LocalizerSettings("resnet9000"), 3)


def test_the_square_root_of_rectified_features_can_be_learned_through() -> None:
    before = torch.tensor([-1.0, 0.0, 4.0], requires_grad=True)

    rooted = SquareRoot()(before.relu())
    rooted.sum().backward()

    torch.testing.assert_close(rooted, torch.tensor([0.0, 0.0, 2.0]), atol=0.011, rtol=0)
    assert before.grad is not None
    assert before.grad.isfinite().all()


def test_the_root_of_signed_features_keeps_their_sign_and_can_be_learned_through() -> None:
    before = torch.tensor([-4.0, 0.0, 4.0], requires_grad=True)

    rooted = SignedRoot()(before)
    rooted.sum().backward()

    torch.testing.assert_close(rooted, torch.tensor([-2.0, 0.0, 2.0]), atol=0.011, rtol=0)
    assert before.grad is not None
    assert before.grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("resnet18", SquareRoot),
        ("timm:test_resnet", SquareRoot),
        ("timm:test_convnext", SignedRoot),
        ("timm:test_vit", SignedRoot),
    ],
)
def test_a_head_takes_the_root_that_loses_no_feature(name: str, root: type) -> None:
    model = build_localizer(LocalizerSettings(name), 3).eval()
    assert isinstance(model.normalize, nn.Sequential)
    assert isinstance(model.normalize[0], root)
    with torch.inference_mode():
        features = model.features(torch.rand(1, 3, 64, 64))
    assert bool((features < 0).any()) == (root is SignedRoot)
