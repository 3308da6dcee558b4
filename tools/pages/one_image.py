"""One image in words and with its boxes drawn."""

from collections.abc import Mapping

from torch import Tensor

from data.checks import check_proposals
from data.datasets.sources import chosen_split, open_source
from data.images import read_image
from data.proposals.files import load_proposals
from data.proposals.propose import propose
from data.proposals.settings import ProposeSettings
from data.types import Annotation, Proposals
from tools.cli.console import echo
from tools.loggers.settings import VisdomSettings
from tools.pages.draw import DETECTION, TRUTH, draw_boxes, write_jpeg
from tools.pages.settings import InspectImageSettings

BEST = 10  # more boxes would hide the image


def run(settings: InspectImageSettings) -> None:
    """Print, draw, and send to visdom if asked."""
    source = open_source(settings)
    split = chosen_split(settings.split, source=source)
    ids = source.ids(split)
    if settings.index >= len(ids):
        raise ValueError(f"--index {settings.index}: {split} has {len(ids)} images, from 0")
    image_id = ids[settings.index]
    path, annotation = source.path(image_id), source.annotation(image_id)
    texts = [source.classes[label] for label in annotation.labels]
    present = source.labels(image_id)[0].nonzero()[:, 0]
    labels = sorted({*texts, *(source.classes[label] for label in present)})
    proposals = _read_proposals(settings, annotation)
    height, width = annotation.image_size
    echo(f"{split} {settings.index}: {annotation.image_id}")
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
    image = read_image(path, size=annotation.image_size)
    if proposals is None:
        proposals = propose(image, ProposeSettings())
    name = f"{split}_{settings.index}_{annotation.image_id}"
    images = {
        name: draw_boxes(image, annotation.boxes, TRUTH, texts),
        f"{name}_proposals": _draw_best(image, proposals),
    }
    files = [settings.out, settings.out.with_stem(f"{settings.out.stem}_proposals")]
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    for file, drawn in zip(files, images.values(), strict=True):
        write_jpeg(file, drawn)
        echo(f"drawn: {file}")
    if settings.visdom.server:
        _show(images, settings.visdom)


def _read_proposals(settings: InspectImageSettings, annotation: Annotation) -> Proposals | None:
    """Those of the image in a file, None if none is named."""
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


def _show(images: Mapping[str, Tensor], visdom: VisdomSettings) -> None:
    from tools.loggers.visdom import VisdomWindows

    windows = VisdomWindows(visdom)
    for name, image in images.items():
        windows.image(name, image, 0)
    windows.close()
    echo(f"sent: {visdom.place}")
