"""Detections on any images, as files and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.datasets.settings import DataSettings
from data.datasets.sources import given_or_trained
from data.proposals.propose import propose_files
from data.proposals.settings import ProposeSettings
from data.types import Detections, Proposals
from tools.cli.console import echo, saying, track, warn
from tools.exports.settings import DetectSettings
from tools.files.atomic import MOST_BYTES, filled_folder, shortened
from tools.files.boxed_images import BoxedImages, name_images
from tools.files.detections import write_detections
from tools.files.formats import FORMATS, check_formats
from tools.files.reviewed import read_reviewed
from tools.inputs.datasets import open_dataset
from tools.models.device import Device, choose_device
from tools.pages.draw import draw_detections, write_jpeg
from tools.prediction.known_labels import keep_detections
from tools.prediction.opening import open_predictions
from tools.prediction.predictions import Predictions
from tools.prediction.reviewed import ReviewedImage, review_images
from tools.runs.folder import split_of_run
from tools.runs.saved import SavedRun, load_run

OWN_NAMES = ("detections.json", "images")


def run(settings: DetectSettings) -> None:
    """Box every image, then write all detections."""
    check_formats(settings.formats)
    reviewed = read_reviewed(settings.reviewed) if settings.reviewed else None
    saved = load_run(settings.run_dir, settings.checkpoint)
    if settings.rescore_from:
        saved.detector()
    saved = saved.averaged_with(settings.also_runs, settings.checkpoint)
    amp = settings.amp if settings.cached else saved.uncached_amp(settings.amp)
    device = choose_device(settings.device, amp)
    images = given_or_trained(settings, saved.settings, saved.settings.classes)
    named = settings.split or ("all" if settings.images is not None else "")
    split = split_of_run(named, settings.run_dir, settings)
    _check_outside(settings.out, images)
    names = [*OWN_NAMES, *(name for row in FORMATS.values() for name in row.names)]
    with filled_folder(settings.out, names=names, replace=settings.replace) as place:
        dataset = open_dataset(replace(images, on_bad=settings.on_bad), split)
        sizes = {annotation.image_id: annotation.image_size for annotation in dataset.annotations}
        marks = {}
        if reviewed is not None:
            marks = review_images(reviewed, sizes, dataset.classes)
            if unknown := sorted(reviewed.boxes.keys() - sizes.keys()):
                warn(f"{reviewed.path}: images that are not among these: {name_first(unknown)}")
        predictions = _predictions(saved, dataset, device, settings)
        detections = dict[str, Detections]()
        for index, image_id in track(enumerate(dataset.ids), "detections", total=len(dataset)):
            kept = _keep(predictions, index, settings, marks.get(image_id))
            detections[image_id] = kept
            if settings.draw:
                _draw(place / "images", dataset, index, kept)
        info = _describe(dataset, settings, len(marks))
        with saying("writing the files"):
            _write(place, dataset, detections, info, settings)
    count = sum(len(of_image.boxes) for of_image in detections.values())
    echo(info["description"], f"{count} objects in {len(detections)} images: {settings.out}")
    if settings.draw:
        echo(f"to look at: {settings.out / 'images'}")


def _check_outside(out: Path, images: DataSettings) -> None:
    """Refuse a folder among the images."""
    folder = images.images or images.voc_root
    if folder is not None and folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(f"--out {out}: lies in the folder of images")


def _predictions(
    saved: SavedRun, dataset: ImageSet, device: Device, settings: DetectSettings
) -> Predictions:
    """Of the run; proposals are made on the way where it takes some and none are given."""
    proposals: Sequence[Path] | Mapping[str, Proposals] = settings.proposals
    if saved.takes_proposals and not proposals:
        made = propose_files(dataset.paths, ProposeSettings(), processes=settings.processes)
        named = zip(dataset.ids, made, strict=True)
        proposals = dict(track(named, "proposals", total=len(dataset)))
    return open_predictions(
        saved,
        dataset,
        device,
        cached=settings.cached,
        proposals=proposals,
        rescore_from=settings.rescore_from,
    )


def _keep(
    predictions: Predictions, index: int, settings: DetectSettings, marks: ReviewedImage | None
) -> Detections:
    """Those of one image that marks, its labels and the scores allow, highest score first."""
    dataset, prediction = predictions.dataset, predictions[index]
    targets, weights = dataset.targets[index], dataset.weights[index]
    if settings.ignore_labels:
        weights = torch.zeros_like(weights)
    if marks is not None:
        targets, weights = marks.to_find(targets, weights)
        prediction = replace(
            prediction,
            detections=marks.leave(prediction.detections),
            top1=marks.leave(prediction.top1),
        )
    kept = keep_detections(
        prediction,
        targets,
        weights,
        dataset.annotations[index].image_size,
        min_image_score=settings.min_image_score,
        relative_score=settings.relative_score,
        max_detections=settings.max_detections,
    )
    return kept if marks is None else marks.complete(kept)


def _draw(folder: Path, dataset: ImageSet, index: int, detections: Detections) -> None:
    path = folder / f"{dataset.ids[index]}.jpg"
    path = path.with_name(f"{shortened(path.stem, MOST_BYTES - 4)}.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(path, draw_detections(dataset[index].image, detections, dataset.classes))


def _describe(dataset: ImageSet, settings: DetectSettings, reviewed: int) -> dict[str, Any]:
    """How the boxes were chosen, in words and in numbers."""
    labeled = int((dataset.weights > 0).any(dim=1).sum())
    used = labeled > 0 and not settings.ignore_labels
    words = (
        f"boxes of classes whose image score is {settings.min_image_score} or more, from "
        f"{settings.relative_score} of the best score of their image and class"
    )
    if used:
        others = "" if labeled == len(dataset) else f"; of the other images {words}"
        words = (
            f"labels of {labeled} images are known: no box of an absent class, at least one of "
            f"each present class, others from {settings.relative_score} of the best score of "
            f"their image and class{others}"
        )
    elif labeled:
        words += f"; labels of {labeled} images are known and ignored"
    if reviewed:
        words += f"; {reviewed} images are reviewed"
    return {
        "description": words,
        "labels_used": used,
        "min_image_score": settings.min_image_score,
        "relative_score": settings.relative_score,
        "max_detections": settings.max_detections,
    }


def _write(
    out: Path,
    dataset: ImageSet,
    detections: Mapping[str, Detections],
    info: Mapping[str, Any],
    settings: DetectSettings,
) -> None:
    sizes = {annotation.image_id: annotation.image_size for annotation in dataset.annotations}
    write_detections(out / "detections.json", dataset.classes, detections, sizes, info)
    boxed = BoxedImages(
        dataset.classes,
        name_images(dataset, detections),
        dataset.split,
        settings.run_dir.resolve().name,
        info,
        settings.image_url,
    )
    for name in settings.formats:
        FORMATS[name].write(out, boxed)
