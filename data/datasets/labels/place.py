"""What ``--labels`` names, beside the folder of images: where a form looks for its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from data.datasets.labels.table import Table, read_table

TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class LabelsPlace:
    """Where labels are, and what is known before they are read.

    Attributes:
        named: a file, a folder, or the word ``folders``.
        images: folder of the images.
        classes: that the user names; empty for those of the labels.
        first_pixel: number of the first pixel in annotations of VOC's form.
    """

    named: Path | Literal["folders"]
    images: Path
    classes: Sequence[str] = ()
    first_pixel: int = 1

    @property
    def file(self) -> Path | None:
        """The file, if it is one."""
        return self.named if isinstance(self.named, Path) and self.named.is_file() else None

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one."""
        return self.named if isinstance(self.named, Path) and self.named.is_dir() else None

    @cached_property
    def table(self) -> Table | None:
        """The file as a table; None for what is none.

        Raises:
            ValueError: the file is not text in UTF-8, or it has no header.
        """
        is_table = self.file is not None and self.file.suffix.lower() in TABLES
        return read_table(self.file) if self.file and is_table else None
