"""Detections on any images, as files and drawn."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import cv2
import torch

from data.datasets.folder import one_image
from data.datasets.image_set import ImageSet
from data.images import read_image
from data.parallel import map_parallel, usable_cores
from data.proposals.propose import ProposeSettings, propose
from data.types import Detections, Proposals
from localizer.localize import localize
from tools.cli.console import echo, track
from tools.cli.signals import check_interrupted
from tools.exports.settings import DetectSettings
from tools.files.detections import write_coco, write_detections, write_voc_xml
from tools.inputs.datasets import open_dataset
from tools.inputs.rois import limit_proposals, read_proposals
from tools.inputs.settings import DataSettings
from tools.models.device import Device, choose_device
from tools.pages.draw import DETECTION, draw_boxes, write_jpeg
from tools.prediction.detector import detections_of, scores_of
from tools.prediction.localizer import heatmaps_of
from tools.prediction.opening import detector_inputs, localizer_inputs
from tools.prediction.rescoring import open_rescoring
from tools.runs.saved import SavedRun, load_run
from wsddn.detect import rescore_proposals
from wsddn.model import WSDDN

Detect = Callable[[int], Detections]


def run(settings: DetectSettings) -> None:
    """Box every image, then write all detections."""
    saved = load_run(settings.run_dir, settings.checkpoint)
    if settings.proposals is not None or settings.rescore_from is not None:
        saved.detector()
    device = choose_device(settings.device, saved.uncached_amp(settings.amp))
    dataset = _images(settings, tuple(saved.settings["classes"]))
    detect = (
        _with_proposals(saved, dataset, settings, device)
        if isinstance(saved.model, WSDDN)
        else _with_heatmap(saved, dataset, device)
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    detections: dict[str, Detections] = {}
    for index in track(range(len(dataset)), "detections", total=len(dataset)):
        check_interrupted()
        detections[dataset.ids[index]] = _keep(detect(index), settings)
        if settings.draw:
            _draw(settings.out / "images", dataset, index, detections[dataset.ids[index]])
    _write(settings.out, dataset, detections)
    count = sum(len(of_image.boxes) for of_image in detections.values())
    echo(f"{count} objects in {len(detections)} images: {settings.out}")


def _images(settings: DetectSettings, classes: tuple[str, ...]) -> ImageSet:
    """One image, or those of a folder."""
    if settings.images.is_file():
        return one_image(settings.images, classes)
    if settings.images.resolve() in (settings.out.resolve(), *settings.out.resolve().parents):
        raise ValueError(f"--out {settings.out}: lies in the folder of images")
    if not settings.images.is_dir():
        raise FileNotFoundError(f"{settings.images}: no such image or folder of images")
    of_folder = DataSettings(images=settings.images, classes=classes, on_bad=settings.on_bad)
    return open_dataset(of_folder, "all")


def _with_proposals(
    saved: SavedRun, dataset: ImageSet, settings: DetectSettings, device: Device
) -> Detect:
    if settings.proposals is not None:
        proposals = read_proposals(settings.proposals, dataset, **saved.proposal_limits)
    else:
        proposals = limit_proposals(_made(dataset, settings.processes), **saved.proposal_limits)
    inputs, module = detector_inputs(saved, dataset, proposals, device, cached=False)
    flip, support_iou = (saved.settings[name] for name in ("flip", "support_iou"))
    rescoring = open_rescoring(settings.rescore_from, saved, dataset, device, cached=False)

    def detect(index: int) -> Detections:
        boxes = proposals[dataset.ids[index]].boxes
        scores = scores_of(module, inputs, index, device, flip=flip)
        if rescoring is not None:
            scores = rescore_proposals(scores, rescoring(index, boxes))
        return detections_of(boxes, scores, support_iou)

    return detect


def _made(dataset: ImageSet, processes: int) -> Mapping[str, Proposals]:
    """Proposals of every image."""
    cv2.setNumThreads(1)  # a process that inherits a pool of threads waits forever to end it
    made = map_parallel(_propose, dataset.paths, processes=processes or usable_cores())
    every = []
    for proposals in track(made, "proposals", total=len(dataset)):
        check_interrupted()
        every.append(proposals)
    return dict(zip(dataset.ids, every, strict=True))


def _propose(path: Path) -> Proposals:
    torch.set_num_threads(1)
    return propose(read_image(path), ProposeSettings())


def _with_heatmap(saved: SavedRun, dataset: ImageSet, device: Device) -> Detect:
    inputs, module = localizer_inputs(saved, dataset, device, cached=False)
    boxes = saved.settings["boxes"]

    def detect(index: int) -> Detections:
        heatmaps = heatmaps_of(module, inputs, dataset, index, device)
        return localize(
            heatmaps,
            thresholds=boxes["thresholds"],
            mode=boxes["mode"],
            min_cells=boxes["min_cells"],
        )

    return detect


def _keep(detections: Detections, settings: DetectSettings) -> Detections:
    """Those that score high enough, highest score first."""
    order = detections.scores.argsort(descending=True, stable=True)
    order = order[detections.scores[order] >= settings.min_score][: settings.max_detections]
    return Detections(detections.boxes[order], detections.labels[order], detections.scores[order])


def _draw(folder: Path, dataset: ImageSet, index: int, detections: Detections) -> None:
    texts = [
        f"{dataset.classes[label]} {score:.2f}"
        for label, score in zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)
    ]
    path = folder / f"{dataset.ids[index]}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(path, draw_boxes(dataset[index].image, detections.boxes, DETECTION, texts))


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
