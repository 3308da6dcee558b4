"""What a detector takes: the samples of ``tools.inputs.samples`` with their proposals as rois."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data.checks import check_proposals, name_first
from data.datasets.image_set import ImageSet
from data.proposals.files import load_proposals, select_proposals
from data.transforms import flip_boxes
from data.types import ImageBatch, ImageSample, Proposals
from tools.cli.console import saying, warn
from tools.inputs.samples import Samples
from tools.models.device import Device
from wsddn.settings import DetectorSettings


@dataclass(frozen=True, slots=True)
class WithProposals:
    """Samples with the proposals of their images.

    Attributes:
        samples: images, or features of them.
        proposals: by image id, in pixels of the original images.
        image_sizes: (height, width) of the original images, in the order of the samples.
    """

    samples: Samples
    proposals: Mapping[str, Proposals]
    image_sizes: Sequence[tuple[int, int]]

    @property
    def multiple(self) -> int:
        """That of the samples."""
        return self.samples.multiple

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        """The sample and its rois, flipped with it."""
        sample = self.samples.sample(index, flipped=flipped)
        original = self.proposals[sample.image_id]
        height, width = (
            network / image
            for network, image in zip(sample.network_size, self.image_sizes[index], strict=True)
        )
        rois = original.boxes * torch.tensor([width, height, width, height])
        if flipped:
            rois = flip_boxes(rois, sample.network_size[1])
        return replace(sample, rois=Proposals(rois, original.scores))

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """As the samples do."""
        return self.samples.prepare(batch, device)


def with_proposals(
    inputs: Sequence[Samples], dataset: ImageSet, proposals: Mapping[str, Proposals]
) -> list[WithProposals]:
    """The samples of a split at each size, with the proposals of its images."""
    sizes = [annotation.image_size for annotation in dataset.annotations]
    return [WithProposals(samples, proposals, sizes) for samples in inputs]


class ArrivingProposals(Mapping[str, Proposals]):
    """Proposals that are still being made; asked for an image's, it waits until they are there.

    Args:
        ids: of the images.
        coming: of each of them in this order, none is passed over.
        min_size: as for ``read_proposals``, and so is ``max_proposals``.
    """

    def __init__(
        self,
        ids: Sequence[str],
        coming: Iterator[Proposals],
        *,
        min_size: float,
        max_proposals: int,
    ) -> None:
        limited = (select_proposals(p, min_size=min_size, top_k=max_proposals) for p in coming)
        self._ids = ids
        self._coming = zip(ids, limited, strict=True)
        self._here = dict[str, Proposals]()

    def __getitem__(self, image_id: str) -> Proposals:
        while image_id not in self._here and (arrived := next(self._coming, None)):
            self._here[arrived[0]] = arrived[1]
        return self._here[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def read_proposals(
    paths: Sequence[Path], dataset: ImageSet, *, min_size: float, max_proposals: int
) -> dict[str, Proposals]:
    """The proposals of a split's images that a detector sees, by image id.

    Args:
        paths: files of ``make_proposals``; they may hold more images. Each is asked for those that
            the ones before it lack.
        dataset: the split.
        min_size: least width and height, in pixels of the image.
        max_proposals: of one image, the first of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, some of the images are in none, or boxes are outside of one;
            names them.
    """
    found: dict[str, Proposals] = {}
    for path in paths:
        wanted = [known for known in dataset.annotations if known.image_id not in found]
        if not wanted:
            break
        with saying(f"reading {path}"):
            file = load_proposals(path)
        for annotation in wanted:
            image_id = annotation.image_id
            if image_id in file:
                found[image_id], context = file[image_id], f"{path}: image {image_id}"
                check_proposals(found[image_id], annotation.image_size, context=context)
    if missing := [image_id for image_id in dataset.ids if image_id not in found]:
        raise ValueError(
            f"{' and '.join(map(str, paths))}: no proposals of {name_first(missing)} "
            "(make_proposals with this split or folder makes them)"
        )
    return {
        image_id: select_proposals(found[image_id], min_size=min_size, top_k=max_proposals)
        for image_id in dataset.ids
    }


def warn_of_scores(
    path: Path, proposals: Mapping[str, Proposals], settings: DetectorSettings
) -> None:
    """Warn, once, if scores that multiply a detector's features are not fractions or not known.

    Args:
        path: of their file.
        proposals: those that the detector sees, by image id; maybe none.
        settings: of the detector, which may take no scores at all.
    """
    known = [of_image.scores for of_image in proposals.values() if of_image.scores is not None]
    values = torch.cat([torch.zeros(1), *known])
    lowest, highest = float(values.min()), float(values.max())
    problems, factor = [], settings.box_score
    if highest > 1:
        problems.append(f"up to {highest:.4g} ({factor / highest:.2g} scales them)")
    if lowest < 0:
        problems.append(f"negative, down to {lowest:.4g} (shift those of the file)")
    if unknown := len(proposals) - len(known):
        problems.append(f"not known in {unknown} of {len(proposals)} images")
    if factor and problems:
        warn(
            f"{path}: scores of proposals multiply features as if they were in 0 .. 1 "
            f"(--model.box-score {factor:g}; 0 turns it off); they are {', '.join(problems)}"
        )
