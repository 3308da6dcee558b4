"""Images under the heatmap of a class, drawn from the files that ``view_heatmaps`` writes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from data.checks import name_first
from tools.cli.console import warn
from tools.files.heatmaps import heatmaps_path, read_heatmaps
from tools.pages.draw import overlay_heatmap
from tools.pages.gallery.thumbnails import OriginalImage


class HeatmapImage(NamedTuple):
    """An image of a data set under the heatmap of one class.

    Attributes:
        path: of the file of heatmaps, absolute.
        class_name: one that the file holds.
        image: the image itself.
    """

    path: Path
    class_name: str
    image: OriginalImage

    @property
    def paths(self) -> tuple[Path, ...]:
        """The heatmaps and the image."""
        return self.path, *self.image.paths

    def draw(self, longest_side: int) -> Tensor:
        """The image, reduced if it is larger, with the heatmap over it.

        Raises:
            ValueError: one of the two files is damaged.
        """
        image = self.image.draw(longest_side)
        classes, heatmaps = read_heatmaps(self.path)
        reduced = replace(heatmaps, image_size=(image.shape[1], image.shape[2]))
        return overlay_heatmap(image, reduced, classes.index(self.class_name))


def heatmap_images(
    folder: Path, split: str, images: Mapping[str, OriginalImage], classes: Sequence[str]
) -> dict[str, dict[int, HeatmapImage]]:
    """The heatmaps of some images in a folder; a file that does not fit is left out and named.

    Args:
        folder: of ``view_heatmaps``; may be missing.
        split: of the images.
        images: by image id.
        classes: names in the order of the labels.

    Returns:
        By image id, then by label.
    """
    existing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    found: dict[str, dict[int, HeatmapImage]] = {}
    problems, strips = [], []
    for image_id, image in images.items():
        path = heatmaps_path(folder.absolute(), split, image_id)
        if path.name in existing:
            try:
                names = _fitting_classes(path, image.image_size, classes)
            except ValueError as error:
                problems.append(str(error))
                continue
            drawn = {classes.index(name): HeatmapImage(path, name, image) for name in names}
            found[image_id] = dict(sorted(drawn.items()))
        elif path.with_suffix(".jpg").name in existing:
            strips.append(path.with_suffix(".jpg").name)
    if problems:
        warn(f"heatmaps left out: {name_first(problems)}")
    if strips:
        warn(f"{folder}: strips without heatmaps: {name_first(strips)} (run view_heatmaps again)")
    return found


def _fitting_classes(
    path: Path, image_size: tuple[int, int], classes: Sequence[str]
) -> tuple[str, ...]:
    """The classes that a file of heatmaps holds.

    Raises:
        ValueError: not such a file, or of another image or other classes; names it.
    """
    names, heatmaps = read_heatmaps(path)
    if heatmaps.image_size != image_size:
        height, width = heatmaps.image_size
        raise ValueError(f"{path}: heatmaps of another image, of {width}x{height}")
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise ValueError(f"{path}: heatmaps of other classes: {name_first(unknown)}")
    return names
