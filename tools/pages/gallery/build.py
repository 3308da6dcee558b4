"""A run's gallery: what was saved, checked against its images; thumbnails, the page, a server."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.datasets.sources import given_or_trained, open_source
from data.types import Detections, Proposals
from tools.cli.console import echo
from tools.files.detections import read_detections
from tools.files.reviewed import Reviewed, read_reviewed
from tools.files.scores import SavedScores, read_scores
from tools.inputs.datasets import open_dataset
from tools.inputs.rois import read_proposals
from tools.pages.gallery.content import by_name, gallery_content
from tools.pages.gallery.heatmaps import HeatmapImage, heatmap_images
from tools.pages.gallery.page import PAGE, check_ours, write_gallery_page
from tools.pages.gallery.server import PageServer
from tools.pages.gallery.thumbnails import OriginalImage, Source, make_thumbnails, remove_thumbnails
from tools.pages.settings import GallerySettings
from tools.runs.folder import evaluation_folder, locked_run, read_settings, split_of_run

THUMBS = "thumbs"
PROPOSALS = 10  # of an image; more hide it


def run(settings: GallerySettings) -> None:
    """Write the gallery, and show it if asked."""
    with contextlib.ExitStack() as opened:
        server = None
        if settings.port is not None:  # one that is taken is refused before any work
            server = opened.enter_context(PageServer(settings.port))
        table = _write(settings)
        if server is not None:
            server.table = table
            echo(f"shown on {server.address} until it is stopped (Ctrl+C)")
            server.serve_until_stopped()


def _write(settings: GallerySettings) -> dict[str, Path]:
    """Make thumbnails and page; returns the files to serve by the path of their address."""
    reviewed = read_reviewed(settings.reviewed) if settings.reviewed else None
    split = split_of_run(settings.split, settings.run_dir, settings)
    evaluation = evaluation_folder(settings.run_dir, settings.name or split)
    source = evaluation / "scores.npz"
    saved = read_scores(source)
    settings_file = settings.run_dir / "settings.yaml"
    trained = read_settings(settings.run_dir) if settings_file.is_file() else None
    data = given_or_trained(settings, trained, saved.classes)
    out = settings.out or evaluation / "gallery"
    _check_place(out, open_source(data).root)
    dataset, scores = by_name(open_dataset(data, split), saved, str(source))
    detections = _detections(settings, evaluation, scores)
    proposals = _proposals(settings, dataset)
    images = {
        annotation.image_id: OriginalImage(path.absolute(), annotation.image_size)
        for path, annotation in zip(dataset.paths, dataset.annotations, strict=True)
    }
    folder = _heatmaps_folder(settings, evaluation)
    heatmaps = heatmap_images(folder, dataset.split, images, scores.classes)
    overlays = [overlay for of_image in heatmaps.values() for overlay in of_image.values()]
    with locked_run(out):
        name_of = make_thumbnails(
            out / THUMBS,
            [*images.values(), *overlays],
            longest_side=settings.longest_side,
            processes=settings.processes,
        )
        content = gallery_content(
            dataset,
            scores,
            [name_of[image] for image in images.values()],
            detections=detections,
            proposals=proposals,
            heatmap=_named(heatmaps, name_of),
            every_box=settings.detections is not None,
        )
        title = f"{settings.run_dir.resolve().name} on {split}"
        own = {"title": title, "count": settings.count, **_reviewing(out, reviewed)}
        own["originals"] = [image.path.as_uri() for image in images.values()]
        page = write_gallery_page(out, {**own, **content})
        remove_thumbnails(out / THUMBS, keep=name_of.values())
        echo(f"gallery: {page}")
    return _table(page, name_of.values(), [image.path for image in images.values()])


def _check_place(out: Path, root: Path) -> None:
    if out.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{out}: lies in the data set, which is never written to (--out)")
    check_ours(out)


def _detections(
    settings: GallerySettings, evaluation: Path, scores: SavedScores
) -> Mapping[str, Detections] | None:
    """Boxes to show; there may be none, unless their file was named."""
    path = settings.detections or evaluation / "detections.json"
    if settings.detections is None and not path.exists():
        return None
    classes, found = read_detections(path)
    if classes != scores.classes:
        raise ValueError(f"{path}: classes {', '.join(classes)} are not those of scores.npz")
    unknown = sorted(found.keys() - set(scores.ids))
    if unknown:
        raise ValueError(
            f"{path}: images that scores.npz does not have: {name_first(unknown)} (evaluate "
            "writes both)"
        )
    return found


def _proposals(settings: GallerySettings, dataset: ImageSet) -> Mapping[str, Proposals] | None:
    """The best ones of each image; None where no file is named."""
    files = settings.proposals
    if not files:
        return None
    return read_proposals(files, dataset, min_size=0, max_proposals=PROPOSALS)


def _heatmaps_folder(settings: GallerySettings, evaluation: Path) -> Path:
    """Where heatmaps are; there may be none, unless the folder was named."""
    if settings.heatmaps is not None and not settings.heatmaps.is_dir():
        raise FileNotFoundError(
            f"{settings.heatmaps}: no such folder (view_heatmaps --to files writes one)"
        )
    return settings.heatmaps or evaluation / "heatmaps"


def _named(
    heatmaps: Mapping[str, Mapping[int, HeatmapImage]], name_of: Mapping[Source, str]
) -> dict[str, dict[int, str]]:
    """The file of each heatmap's thumbnail."""
    return {
        image_id: {label: name_of[overlay] for label, overlay in of_image.items()}
        for image_id, of_image in heatmaps.items()
    }


def _reviewing(out: Path, reviewed: Reviewed | None) -> dict[str, Any]:
    """What marks of boxes need: the name that a browser keeps them by, and those to begin with."""
    rows = reviewed.boxes.items() if reviewed else ()
    return {
        "key": sha256(str(out.resolve()).encode(errors="surrogateescape")).hexdigest()[:16],
        "marks": {
            image: [
                [row.class_name, row.score, row.mark, row.new_class, *row.tenths]
                for row in boxes
                if row.mark
            ]
            for image, boxes in rows
        },
    }


def _table(page: Path, thumbnails: Iterable[str], originals: Sequence[Path]) -> dict[str, Path]:
    """Files by the path of their address; nothing else is ever read."""
    pages = dict.fromkeys(("/", f"/{PAGE}"), page)
    pages |= {f"/{THUMBS}/{name}": page.parent / THUMBS / name for name in thumbnails}
    return pages | {f"/originals/{row}": path for row, path in enumerate(originals)}
