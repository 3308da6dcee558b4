"""Tiles and labels of Planet's "Understanding the Amazon from Space", as Kaggle gives them.

The CSV file has a header ``image_name,tags``; the tags of an image stand with blanks between them.
The images are ``NAME.tif``, four bands of 16 bit, or ``NAME.jpg``.
"""

import csv
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

from data.datasets.folder import FolderSource
from data.datasets.labels.content import ImageLabels, Labels
from data.datasets.settings import DataSettings

HEADER = "image_name,tags"
ENDINGS = (".tif", ".jpg")
TEST_FRACTION, TEST_SEED = 0.33, 0  # of the report on these tiles
RAINFOREST_CLASSES = (
    "clear", "cloudy", "haze", "partly_cloudy", "agriculture", "artisinal_mine", "bare_ground",
    "blooming", "blow_down", "conventional_mine", "cultivation", "habitation", "primary", "road",
    "selective_logging", "slash_burn", "water",
)  # fmt: skip


def read_tags(path: Path) -> dict[str, tuple[str, ...]]:
    """The tags of each image by its name without ending, in the order of the file.

    Raises:
        ValueError: not CSV in UTF-8, a line without exactly two columns, or an image that is not a
            plain name or is listed twice; names the file and the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    tags: dict[str, tuple[str, ...]] = {}
    for number, cells in enumerate(lines[1:], start=2):
        if not cells:
            continue
        name = cells[0].strip()
        if len(cells) != 2 or not re.fullmatch(r"\w[\w.-]*", name) or name in tags:
            raise ValueError(
                f"{path}: line {number}: not the name of a new image and its tags: "
                f"{','.join(cells)!r}"
            )
        tags[name] = tuple(dict.fromkeys(cells[1].split()))
    return tags


class RainforestSource(FolderSource):
    """A folder of tiles, known by the header of its file of labels.

    ``test`` is the third of the images that the report on them drew; ``trainval`` are the others,
    of which ``train`` and ``val`` follow from a fraction and a seed as in any folder.
    """

    @classmethod
    def from_settings(cls, settings: DataSettings) -> Self | None:
        """The folder of ``--images``, if ``--labels`` is a file of this form."""
        if not isinstance(settings.labels, Path) or not _has_header(settings.labels):
            return None
        classes = settings.classes or RAINFOREST_CLASSES
        return super().from_settings(replace(settings, classes=classes))

    @cached_property
    def content(self) -> Labels:
        """The lines of the labels file by image id: the name of the image's file."""
        assert isinstance(self._labels, Path)  # it has the header
        tags = read_tags(self._labels)
        rows = {self._file_name(name): ImageLabels(of_image) for name, of_image in tags.items()}
        return Labels("tags with blanks between", rows)

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Image ids by split, in the order of the file."""
        # Imported here because it takes a second, which other data sets do not need.
        from sklearn.model_selection import train_test_split

        images = list(self.rows)
        test = set(train_test_split(images, test_size=TEST_FRACTION, random_state=TEST_SEED)[1])
        return {
            "all": images,
            **self.draw_splits([image for image in images if image not in test]),
            "test": [image for image in images if image in test],
        }

    def _file_name(self, name: str) -> str:
        """With the ending of the file that exists."""
        files = [name + ending for ending in ENDINGS]
        return next((file for file in files if self.path(file).exists()), files[0])


def _has_header(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(100).strip() == HEADER
