"""Scored proposals, kept beside the features, so that another reading scores none again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from data.arrays import read_arrays
from data.types import Proposals
from tools.cli.console import echo
from tools.files.atomic import pack_arrays, write_atomically
from tools.inputs.features import FeatureCache, content_name
from wsddn.detect import ScoredProposals

ARRAYS = [field.name for field in fields(ScoredProposals)]
BYTES = 4 * len(ARRAYS)  # of a proposal and class, in float32
DESCRIPTION = "a file of scores (remove it, they are computed again)"


class KeptScores:
    """Scores and class probabilities of the proposals of some images by one detector.

    One file an image, named by the content of the image and of its proposals, in a folder named by
    all else that the scores depend on.

    Attributes:
        files: of the images, in their order.
        missing_bytes: that those to be written will take at most.
    """

    def __init__(
        self,
        cache: FeatureCache,
        key: Mapping[str, Any],
        paths: Sequence[Path],
        proposals: Sequence[Proposals],
        num_classes: int,
    ) -> None:
        folder = cache.open(key)
        self.files = [
            folder / f"{content_name(path)}-{_digest(of_image)}.npz"
            for path, of_image in zip(paths, proposals, strict=True)
        ]
        missing = [
            len(of_image.boxes)
            for file, of_image in zip(self.files, proposals, strict=True)
            if not file.is_file()
        ]
        self.missing_bytes = sum(missing) * num_classes * BYTES
        if len(missing) < len(self.files):
            found = len(self.files) - len(missing)
            echo(f"scores of the proposals of {found} images found in {folder}")

    def read(self, index: int) -> ScoredProposals | None:
        """Those of an image by its number; None where they are not kept.

        Raises:
            ValueError: the file is damaged; names it.
        """
        path = self.files[index]
        if not path.is_file():
            return None
        arrays = read_arrays(path, ARRAYS, description=DESCRIPTION)
        return ScoredProposals(*map(torch.from_numpy, arrays))

    def write(self, index: int, scored: ScoredProposals) -> None:
        """Keep those of an image."""
        content = pack_arrays(**{name: getattr(scored, name).numpy() for name in ARRAYS})
        write_atomically(self.files[index], content)


def _digest(proposals: Proposals) -> str:
    digest = hashlib.sha256(proposals.boxes.numpy().tobytes())
    if proposals.scores is not None:
        digest.update(proposals.scores.numpy().tobytes())
    return digest.hexdigest()[:16]
