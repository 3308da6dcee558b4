"""Detections on any images, as files and drawn."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.datasets.settings import DataSettings
from data.datasets.sources import given_or_trained
from data.proposals.propose import propose_files
from data.proposals.settings import ProposeSettings
from data.shard import parse_shard
from data.types import Detections, Proposals
from tools.cli.console import echo, saying, track, warn
from tools.cli.settings import to_dict
from tools.exports.settings import DetectSettings
from tools.files.atomic import MOST_BYTES, filled_folder, shortened
from tools.files.boxed_images import BoxedImages, name_images
from tools.files.detections import read_described, write_detections
from tools.files.formats import FORMATS, check_formats
from tools.files.reviewed import Reviewed, read_reviewed
from tools.inputs.datasets import open_dataset
from tools.models.device import Device, choose_device
from tools.models.ranks import gather, is_first, joined, shard
from tools.pages.draw import draw_detections, write_jpeg
from tools.prediction.known_labels import keep_detections
from tools.prediction.opening import open_predictions
from tools.prediction.predictions import Predictions
from tools.prediction.reviewed import ReviewedImage, review_images
from tools.runs.checkpoint import weights_sha256
from tools.runs.folder import split_of_run
from tools.runs.saved import SavedRun, load_run

OWN_NAMES = ("detections.json", "images")
# Settings of a run, and of the command, that decide which boxes an image has.
OF_RUN = (
    *("kind", "classes", "resize", "evaluation_sizes", "flip", "boxes", "crop", "support_iou"),
    *("min_size", "max_proposals"),
)
OF_COMMAND = ("min_image_score", "relative_score", "max_detections", "ignore_labels")


def run(settings: DetectSettings) -> None:
    """Box every image, then write all detections."""
    check_formats(settings.formats)
    reviewed = read_reviewed(settings.reviewed) if settings.reviewed else None
    saved = load_run(settings.run_dir, settings.checkpoint)
    if settings.rescore_from:
        saved.detector()
    saved = saved.averaged_with(settings.also_runs, settings.checkpoint)
    amp = settings.amp if settings.cached else saved.uncached_amp(settings.amp)
    device = choose_device(settings.device, amp, tf32=settings.tf32)
    images = given_or_trained(settings, saved.settings, saved.settings.classes)
    named = settings.split or ("all" if settings.images is not None else "")
    split = split_of_run(named, settings.run_dir, settings)
    _check_outside(settings.out, images)
    names = [*OWN_NAMES, *(name for row in FORMATS.values() for name in row.names)]
    with joined(device.kind), _place(settings, names) as place:
        every = open_dataset(replace(images, on_bad=settings.on_bad), split)
        dataset = every.subset(parse_shard(settings.shard).of(range(len(every))))
        marks = _marks(reviewed, every) if reviewed else {}
        info = _describe(dataset, settings, len(marks.keys() & set(dataset.ids)))
        key = _made_with(saved, settings) if settings.shard or settings.made else ""
        found = _made(settings.made, key)
        missing = [i for i, image_id in enumerate(dataset.ids) if image_id not in found]
        if missing:
            found |= _box(saved, dataset.subset(missing), device, settings, marks)
        if not is_first():
            return
        detections = {image_id: found[image_id] for image_id in dataset.ids}
        if settings.draw:
            for index, of_image in track(
                enumerate(detections.values()), "drawing", total=len(dataset)
            ):
                _draw(place / "images", dataset, index, of_image)
        info |= {"made_with": key} if settings.shard else {}
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


def _made_with(saved: SavedRun, settings: DetectSettings) -> str:
    """A hash of what the boxes of an image depend on beside it: of runs and settings."""
    runs = [saved, *saved.others, *map(load_run, settings.rescore_from)]
    key = [
        (
            weights_sha256(run.model.state_dict()),
            {name: to_dict(getattr(run.settings, name, None)) for name in OF_RUN},
        )
        for run in runs
    ]
    chosen = {name: getattr(settings, name) for name in OF_COMMAND}
    if settings.reviewed:
        chosen["reviewed"] = sha256(settings.reviewed.read_bytes()).hexdigest()
    return sha256(json.dumps([key, chosen], sort_keys=True).encode()).hexdigest()[:16]


def _made(results: Sequence[Path], key: str) -> dict[str, Detections]:
    """Detections by image id of earlier results.

    Raises:
        FileNotFoundError: a folder holds none.
        ValueError: it is not one of ``--shard`` by the same runs with the same settings; names it.
    """
    found = dict[str, Detections]()
    for path in (folder / "detections.json" for folder in results):
        _, detections, info = read_described(path)
        if info.get("made_with") != key:
            raise ValueError(f"{path}: not made by detect --shard with this run and these settings")
        found |= detections
    return found


def _marks(reviewed: Reviewed, dataset: ImageSet) -> dict[str, ReviewedImage]:
    """What a person has said of the images, by their ids; others in the file are warned of."""
    sizes = {annotation.image_id: annotation.image_size for annotation in dataset.annotations}
    if unknown := sorted(reviewed.boxes.keys() - sizes.keys()):
        warn(f"{reviewed.path}: images that are not among these: {name_first(unknown)}")
    return review_images(reviewed, sizes, dataset.classes)


def _box(
    saved: SavedRun,
    dataset: ImageSet,
    device: Device,
    settings: DetectSettings,
    marks: Mapping[str, ReviewedImage],
) -> dict[str, Detections]:
    """The detections of every image by its id; each rank boxes its part."""
    part, found = shard().of(range(len(dataset))), dict[str, Detections]()
    if part:
        dataset = dataset.subset(part)
        predictions = _predictions(saved, dataset, device, settings)
        for index, image_id in track(enumerate(dataset.ids), "detections", total=len(dataset)):
            found[image_id] = _keep(predictions, index, settings, marks.get(image_id))
    return {image_id: boxes for of_rank in gather(found) for image_id, boxes in of_rank.items()}


def _place(settings: DetectSettings, names: Sequence[str]) -> AbstractContextManager[Path]:
    """Where the result is made; only rank 0 makes one."""
    if is_first():
        return filled_folder(settings.out, names=names, replace=settings.replace)
    return nullcontext(settings.out)


def _predictions(
    saved: SavedRun, dataset: ImageSet, device: Device, settings: DetectSettings
) -> Predictions:
    """Of the run; proposals are made on the way where it takes some and none are given."""
    proposals: Sequence[Path] | Iterator[Proposals] = settings.proposals
    if saved.takes_proposals and not proposals:
        proposals = propose_files(dataset.paths, ProposeSettings(), processes=settings.processes)
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
