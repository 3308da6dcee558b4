"""One image in words and with its boxes drawn."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from data.checks import check_proposals
from data.datasets.folder import FolderDataset
from data.datasets.settings import require_voc_root
from data.datasets.voc import VOC_CLASSES, annotation_path, image_ids, image_path, read_annotation
from data.images import describe_other_size, read_image
from data.proposals.files import load_proposals
from data.types import Annotation, Proposals
from tools.cli.console import echo
from tools.inputs.datasets import check_images_exist
from tools.loggers.settings import VisdomSettings
from tools.pages.draw import DETECTION, TRUTH, draw_boxes, write_jpeg
from tools.pages.settings import InspectImageSettings

BEST = 10  # more boxes would hide the image


def run(settings: InspectImageSettings) -> None:
    """Print, draw, and send to visdom if asked."""
    check_images_exist(settings)
    if settings.images is not None:
        path, annotation, texts = _from_folder(settings, settings.images)
        labels = texts
    else:
        path, annotation, texts = _from_voc(settings, require_voc_root(settings.voc_root))
        labels = sorted(set(texts))
    proposals = _proposals(settings, annotation)
    height, width = annotation.image_size
    echo(f"{settings.split} {settings.index}: {annotation.image_id}")
    echo(f"file: {path}")
    echo(f"size: {width}x{height}")
    echo(f"classes: {', '.join(labels) or 'none'}")
    for row, box in enumerate(annotation.boxes):
        notes = ("difficult", annotation.difficult), ("truncated", annotation.truncated)
        flags = "".join(f", {name}" for name, flag in notes if flag[row])
        corners = " ".join(f"{value:g}" for value in box.tolist())
        echo(f"  {texts[row]}: {corners}{flags}")
    if not path.exists():
        echo("the image does not exist, so nothing is drawn")
        return
    image = read_image(path)
    if tuple(image.shape[1:]) != annotation.image_size:
        words = describe_other_size(image.shape[1:], annotation.image_size)
        raise ValueError(f"{path}: {words}")
    name = f"{settings.split}_{settings.index}_{annotation.image_id}"
    images = {name: draw_boxes(image, annotation.boxes, TRUTH, texts[: len(annotation.boxes)])}
    files = [settings.out]
    if proposals is not None:
        images[f"{name}_proposals"] = _draw_best(image, proposals)
        files.append(settings.out.with_stem(f"{settings.out.stem}_proposals"))
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    for file, drawn in zip(files, images.values(), strict=True):
        write_jpeg(file, drawn)
        echo(f"drawn: {file}")
    if settings.visdom.server:
        _show(images, settings.visdom)


def _proposals(settings: InspectImageSettings, annotation: Annotation) -> Proposals | None:
    """Those of the image, None if none are asked for."""
    if settings.proposals is None:
        return None
    by_image = load_proposals(settings.proposals)
    context = f"image {annotation.image_id}"
    if annotation.image_id not in by_image:
        raise ValueError(f"{settings.proposals}: no proposals of {context}")
    proposals = by_image[annotation.image_id]
    check_proposals(proposals, annotation.image_size, context=f"{settings.proposals}: {context}")
    return proposals


def _draw_best(image: Tensor, proposals: Proposals) -> Tensor:
    """The proposals of the highest scores, the best on top; without scores the first ones."""
    if not len(proposals.boxes):
        echo("proposals: none")
        return image
    if proposals.scores is None:
        echo(f"proposals: {len(proposals.boxes)} without scores")
        return draw_boxes(image, proposals.boxes[:BEST], DETECTION)
    best = proposals.scores.argsort(descending=True, stable=True)[:BEST].flip(0)
    texts = [f"{score:.3f}" for score in proposals.scores[best].tolist()]
    echo(f"proposals: {len(proposals.boxes)}, best scores {', '.join(texts[::-1])}")
    return draw_boxes(image, proposals.boxes[best], DETECTION, texts)


def _from_voc(settings: InspectImageSettings, root: Path) -> tuple[Path, Annotation, list[str]]:
    classes = settings.classes or VOC_CLASSES
    ids = image_ids(root, settings.split)
    _check_index(settings, len(ids))
    image_id = ids[settings.index]
    annotation = read_annotation(annotation_path(root, image_id), classes)
    return image_path(root, image_id), annotation, [classes[label] for label in annotation.labels]


def _from_folder(
    settings: InspectImageSettings, folder: Path
) -> tuple[Path, Annotation, list[str]]:
    dataset = FolderDataset(
        folder,
        settings.labels,
        settings.split,
        classes=settings.classes,
        val_fraction=settings.val_fraction,
        seed=settings.split_seed,
    )
    _check_index(settings, len(dataset))
    present = dataset.targets[settings.index].nonzero()[:, 0].tolist()
    names = [dataset.classes[label] for label in present]
    return dataset.paths[settings.index], dataset.annotations[settings.index], names


def _check_index(settings: InspectImageSettings, count: int) -> None:
    if settings.index >= count:
        raise ValueError(f"--index {settings.index}: {settings.split} has {count} images, from 0")


def _show(images: Mapping[str, Tensor], visdom: VisdomSettings) -> None:
    from tools.loggers.visdom import VisdomWindows

    windows = VisdomWindows(visdom)
    for name, image in images.items():
        windows.image(name, image, 0, window=name)
    windows.close()
    echo(f"sent: {visdom.server}:{visdom.port}, environment {visdom.env}")
