"""One picture in words and with its boxes drawn."""

from pathlib import Path

from torch import Tensor

from data.folder import FolderDataset
from data.images import describe_other_size, read_image
from data.types import Annotation
from data.voc import VOC_CLASSES, annotation_path, image_ids, image_path, read_annotation
from tools.engine.datasets import check_pictures_exist
from tools.engine.draw import TRUTH, draw_boxes, write_jpeg
from tools.engine.progress import say
from tools.engine.settings import VisdomSettings, require_voc_root
from tools.inspect_image import InspectImageSettings


def run(settings: InspectImageSettings) -> None:
    """Print, draw, and send to visdom if asked."""
    check_pictures_exist(settings)
    if settings.images is not None:
        path, annotation, texts = _from_folder(settings, settings.images)
        labels = texts
    else:
        path, annotation, texts = _from_voc(settings, require_voc_root(settings.voc_root))
        labels = sorted(set(texts))
    height, width = annotation.image_size
    say(f"{settings.split} {settings.index}: {annotation.image_id}")
    say(f"file: {path}")
    say(f"size: {width}x{height}")
    say(f"classes: {', '.join(labels) or 'none'}")
    for row, box in enumerate(annotation.boxes):
        notes = ("difficult", annotation.difficult), ("truncated", annotation.truncated)
        flags = "".join(f", {name}" for name, flag in notes if flag[row])
        corners = " ".join(f"{value:g}" for value in box.tolist())
        say(f"  {texts[row]}: {corners}{flags}")
    if not path.exists():
        say("the picture is not there, so nothing is drawn")
        return
    picture = read_image(path)
    if tuple(picture.shape[1:]) != annotation.image_size:
        words = describe_other_size(picture.shape[1:], annotation.image_size)
        raise ValueError(f"{path}: {words}")
    drawn = draw_boxes(picture, annotation.boxes, TRUTH, texts[: len(annotation.boxes)])
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(settings.out, drawn)
    say(f"drawn: {settings.out}")
    if settings.visdom.server:
        _show(drawn, f"{settings.split}_{settings.index}_{annotation.image_id}", settings.visdom)


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
        val_share=settings.val_share,
        seed=settings.split_seed,
    )
    _check_index(settings, len(dataset))
    present = dataset.targets[settings.index].nonzero()[:, 0].tolist()
    names = [dataset.classes[label] for label in present]
    return dataset.paths[settings.index], dataset.annotations[settings.index], names


def _check_index(settings: InspectImageSettings, count: int) -> None:
    if settings.index >= count:
        raise ValueError(f"--index {settings.index}: {settings.split} has {count} pictures, from 0")


def _show(picture: Tensor, name: str, visdom: VisdomSettings) -> None:
    from tools.engine.visdom_windows import VisdomWindows

    windows = VisdomWindows(visdom)
    windows.image(name, picture, 0, window=name)
    windows.close()
    say(f"sent: {visdom.server}:{visdom.port}, environment {visdom.env}")
