"""Detections on any images, as files and drawn."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from data.datasets.image_set import ImageSet
from data.datasets.settings import DataSettings
from data.proposals.propose import propose_files
from data.proposals.settings import ProposeSettings
from data.types import Detections, Proposals
from tools.cli.console import echo, track
from tools.exports.settings import DetectSettings
from tools.files.detections import write_coco, write_detections, write_voc_xml
from tools.inputs.datasets import open_dataset
from tools.models.device import choose_device
from tools.pages.draw import draw_detections, write_jpeg
from tools.prediction.opening import open_predictions
from tools.runs.saved import load_run


def run(settings: DetectSettings) -> None:
    """Box every image, then write all detections."""
    saved = load_run(settings.run_dir, settings.checkpoint)
    if settings.proposals is not None or settings.rescore_from is not None:
        saved.detector()
    device = choose_device(settings.device, saved.uncached_amp(settings.amp))
    dataset = _images(settings, saved.settings.classes)
    proposals: Path | Mapping[str, Proposals] | None = settings.proposals
    if saved.takes_proposals and proposals is None:
        proposals = _proposals(dataset, settings.processes)
    predictions = open_predictions(
        saved,
        dataset,
        device,
        cached=False,
        proposals=proposals,
        rescore_from=settings.rescore_from,
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    detections: dict[str, Detections] = {}
    for index in track(range(len(dataset)), "detections", total=len(dataset)):
        detections[dataset.ids[index]] = _keep(predictions[index].detections, settings)
        if settings.draw:
            _draw(settings.out / "images", dataset, index, detections[dataset.ids[index]])
    _write(settings.out, dataset, detections)
    count = sum(len(of_image.boxes) for of_image in detections.values())
    echo(f"{count} objects in {len(detections)} images: {settings.out}")


def _images(settings: DetectSettings, classes: tuple[str, ...]) -> ImageSet:
    """One image, or those of a folder."""
    if settings.images.resolve() in (settings.out.resolve(), *settings.out.resolve().parents):
        raise ValueError(f"--out {settings.out}: lies in the folder of images")
    of_folder = DataSettings(images=settings.images, classes=classes, on_bad=settings.on_bad)
    return open_dataset(of_folder, "all")


def _proposals(dataset: ImageSet, processes: int) -> Mapping[str, Proposals]:
    """Those of every image, by its id."""
    made = propose_files(dataset.paths, ProposeSettings(), processes=processes)
    named = zip(dataset.ids, made, strict=True)
    return dict(track(named, "proposals", total=len(dataset)))


def _keep(detections: Detections, settings: DetectSettings) -> Detections:
    """Those that score high enough, highest score first."""
    best = detections.best_first()
    return best[best.scores >= settings.min_score][: settings.max_detections]


def _draw(folder: Path, dataset: ImageSet, index: int, detections: Detections) -> None:
    path = folder / f"{dataset.ids[index]}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(path, draw_detections(dataset[index].image, detections, dataset.classes))


def _write(out: Path, dataset: ImageSet, detections: Mapping[str, Detections]) -> None:
    sizes = {annotation.image_id: annotation.image_size for annotation in dataset.annotations}
    write_detections(out / "detections.json", dataset.classes, detections, sizes)
    files = {image_id: image_id for image_id in detections}  # a folder's ids are its images' paths
    write_coco(out / "coco.json", dataset.classes, detections, sizes, files)
    taken = set[PurePosixPath]()
    for image_id, of_image in detections.items():
        name = PurePosixPath(image_id).with_suffix(".xml")
        if name in taken:  # cat.jpg and cat.png
            name = PurePosixPath(f"{image_id}.xml")
        taken.add(name)
        path = out / "voc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_voc_xml(path, image_id, sizes[image_id], dataset.classes, of_image)
