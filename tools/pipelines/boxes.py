"""From labeled images to boxes and a gallery, stage by stage; what is finished stays."""

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from data.datasets.settings import DataSettings
from data.datasets.sources import open_source
from tools.cli.command import config_file, parse_settings
from tools.cli.console import echo, suggest
from tools.evaluation.evaluate import run as evaluate
from tools.evaluation.settings import EvaluateSettings
from tools.exports.detect import run as detect
from tools.exports.settings import DetectSettings
from tools.files.formats import check_formats
from tools.files.reviewed import read_reviewed
from tools.inputs.datasets import looking_once
from tools.models.device import choose_device
from tools.pages.gallery.build import run as make_gallery
from tools.pages.settings import GallerySettings, ViewHeatmapsSettings
from tools.pages.view_heatmaps import run as view_heatmaps
from tools.pipelines.reviewed_labels import write_corrected_labels
from tools.pipelines.settings import BoxesSettings
from tools.pipelines.stages import Stage, make_stages
from tools.preparation.check import run as check_data
from tools.preparation.proposals import run as make_proposals
from tools.preparation.settings import CheckDataSettings, MakeProposalsSettings
from tools.runs.folder import evaluation_folder, locked_run, read_settings
from tools.runs.kinds import TrainLocalizerSettings, TrainWsddnSettings
from tools.runs.settings import TrainSettings
from tools.training.localizer import run as train_localizer
from tools.training.wsddn import run as train_wsddn

STAGES = "stages.json"  # in --out: what each finished stage was made from
LOCALIZER, DETECTOR = Path("runs", "localizer"), Path("runs", "detector")
STATES, BOXES, PAGE = "images.json", Path("boxes", "detections.json"), Path("gallery", "index.html")
CORRECTED = "corrected_labels.csv"
ALL = "all"  # the split that every source of a folder has

Training = TypeVar("Training", bound=TrainSettings)


@dataclass(frozen=True, slots=True)
class Models:
    """Which runs box the images.

    Attributes:
        run_dir: of the run whose boxes are written.
        takes_proposals: whether it is a detector's.
        rescore_from: runs of localizers that rescore.
    """

    run_dir: Path
    takes_proposals: bool
    rescore_from: tuple[Path, ...]


def run(settings: BoxesSettings) -> None:
    """Check, train, box, and make the gallery."""
    check_formats(settings.formats)
    choose_device(settings.device, settings.amp)
    recipes = [
        config_file(name).read_text(encoding="utf-8")
        for name in (settings.localizer, settings.detector)
    ]
    reviewed = read_reviewed(settings.reviewed) if settings.reviewed else None
    source, out = open_source(DataSettings(**_place(settings))), settings.out
    if out.resolve().is_relative_to(source.root.resolve()):
        raise ValueError(f"--out {out}: lies in the folder of images")
    if out.is_dir() and any(out.iterdir()) and not (out / STAGES).is_file():
        raise FileExistsError(f"--out {out}: holds something else (name a new folder)")
    models = _models(settings, len(source.classes))
    with locked_run(out):
        if settings.labels is not None and len(source.classes) == 1:
            echo(f"one class, {source.classes[0]}: a detector needs several, the localizer boxes")
        made_from = [recipes, settings.epochs, settings.seed, _contents(settings)]
        if settings.labels is not None and reviewed is not None:
            made_from.append(write_corrected_labels(out / CORRECTED, source, reviewed))
            settings = replace(settings, labels=out / CORRECTED)
        if settings.on_bad != "refuse":
            made_from.append(settings.on_bad)
        if settings.run_dir is not None:
            made_from.append(_contents_of(models.run_dir / "training.json"))
        with looking_once(out / STATES):
            make_stages(_stages(settings, models), out / STAGES, made_from)
        _say_where(settings)


def _place(settings: BoxesSettings) -> dict[str, Any]:
    """Where the images are, and what becomes of bad ones, for the settings of any command."""
    place = {"voc_root": None, "images": settings.images, "labels": settings.labels}
    return {**place, "on_bad": settings.on_bad}


def _models(settings: BoxesSettings, count: int) -> Models:
    """The runs of this command for images of so many classes, or those that ``--run-dir`` names.

    Raises:
        FileNotFoundError: no run is there.
        ValueError: the earlier command has not finished its trainings.
    """
    fast = settings.quality == "fast"
    if settings.labels is not None:
        localizer, detector = settings.out / LOCALIZER, settings.out / DETECTOR
        if fast or count == 1:
            return Models(localizer, False, ())
        return Models(detector, True, (localizer,))
    assert settings.run_dir is not None
    inside = [settings.run_dir / name for name in (DETECTOR, LOCALIZER)[fast:]]
    found = [folder for folder in inside if (folder / "settings.yaml").is_file()]
    run_dir = found[0] if found else settings.run_dir
    if found and not (run_dir / "training.json").is_file():
        raise ValueError(f"{run_dir}: its training is not finished (type its command again)")
    takes_proposals = isinstance(read_settings(run_dir), TrainWsddnSettings)
    if fast and takes_proposals:
        raise ValueError(f"--quality fast: {run_dir} is a detector's run (name a localizer's)")
    rescores = takes_proposals and len(found) > 1
    return Models(run_dir, takes_proposals, (found[-1],) if rescores else ())


def _stages(settings: BoxesSettings, models: Models) -> list[Stage]:
    """Those that the models need, in their order."""
    out, trained, made = settings.out, "training.json", _proposals(settings)
    stages = [
        Stage("check", out / STATES, lambda: _check(settings)),
        Stage("localizer", out / LOCALIZER / trained, lambda: _train_localizer(settings)),
        Stage("proposals", made, lambda: _make_proposals(settings)),
        Stage("detector", out / DETECTOR / trained, lambda: _train_detector(settings)),
        Stage("boxes", out / BOXES, lambda: _write_boxes(settings, models), _chosen(settings)),
        Stage("gallery", out / PAGE, lambda: _write_gallery(settings, models)),
    ]
    left_out = set[str]()
    if settings.labels is None:
        left_out |= {"check", "localizer", "detector"}
    if not models.takes_proposals:
        left_out.add("detector")
    return [stage for stage in stages if stage.name not in left_out]


def _chosen(settings: BoxesSettings) -> list[str]:
    """What the boxes alone are made from."""
    quality = [] if settings.quality == "best" else [settings.quality]
    reviewed = [_contents_of(settings.reviewed)] if settings.reviewed is not None else []
    return [*settings.formats, *quality, *reviewed]


def _contents(settings: BoxesSettings) -> str:
    """Hash of names, sizes and times of the images and of what holds the labels."""
    out, digest = settings.out.resolve(), sha256()
    labels = [settings.labels] if isinstance(settings.labels, Path) else []
    for place in (settings.images, *labels):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not path.resolve().is_relative_to(out):
                state = path.stat()
                line = f"{path.absolute()} {state.st_size} {state.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
    return f"{settings.labels} {digest.hexdigest()}"


def _contents_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _check(settings: BoxesSettings) -> None:
    check_data(CheckDataSettings(**_place(settings), cache=settings.out / STATES))


def _train_localizer(settings: BoxesSettings) -> None:
    words = ["--config", settings.localizer, "--run-dir", str(settings.out / LOCALIZER)]
    trained = parse_settings(TrainLocalizerSettings, "train_localizer", words)
    _train(settings, trained, train_localizer)


def _train_detector(settings: BoxesSettings) -> None:
    words = ["--config", settings.detector, "--run-dir", str(settings.out / DETECTOR)]
    words += ["--proposals", str(_proposals(settings))]
    trained = parse_settings(TrainWsddnSettings, "train_wsddn", words)
    _train(settings, trained, train_wsddn)


def _train(settings: BoxesSettings, trained: Training, train: Callable[[Training], None]) -> None:
    """Train on all labeled images, or what is left of it."""
    loop = trained.loop
    try:
        train(
            replace(
                trained,
                **_place(settings),
                split=trained.split or "trainval",
                val_split=trained.val_split or "",
                feature_cache=settings.out / "features",
                loop=replace(loop, epochs=settings.epochs or loop.epochs),
                seed=settings.seed,
                device=settings.device,
                amp=settings.amp,
                resume="auto",
            )
        )
    except ValueError as error:  # its folder is chosen here
        raise ValueError(str(error).replace("another --run-dir", "another --out")) from error


def _proposals(settings: BoxesSettings) -> Path:
    return settings.out / "proposals.npz"


def _make_proposals(settings: BoxesSettings) -> None:
    make_proposals(
        MakeProposalsSettings(
            **_place(settings),
            out=_proposals(settings),
            split=ALL,
            processes=settings.processes,
        )
    )


def _write_boxes(settings: BoxesSettings, models: Models) -> None:
    detect(
        DetectSettings(
            **_place(settings),
            run_dir=models.run_dir,
            out=(settings.out / BOXES).parent,
            replace=True,
            formats=settings.formats,
            reviewed=settings.reviewed,
            proposals=(_proposals(settings),),
            rescore_from=models.rescore_from,
            cached=True,
            device=settings.device,
            amp=settings.amp,
            processes=settings.processes,
        )
    )


def _write_gallery(settings: BoxesSettings, models: Models) -> None:
    """The page of the boxes that were written, ordered by the scores of an evaluation."""
    out, name = settings.out, ALL
    if settings.run_dir is not None:  # the run may have evaluations of other images
        name = f"{out.resolve().name}-{sha256(str(out.resolve()).encode()).hexdigest()[:8]}"
        shutil.rmtree(evaluation_folder(models.run_dir, name), ignore_errors=True)
    images = _place(settings) | {"run_dir": models.run_dir, "split": ALL, "name": name}
    images["proposals"] = (_proposals(settings),)
    evaluate(
        EvaluateSettings(
            **images,
            corloc_split="",
            rescore_from=models.rescore_from,
            device=settings.device,
            amp=settings.amp,
        )
    )
    make_gallery(
        GallerySettings(
            **images,
            heatmaps=_write_heatmaps(settings, models, name),
            out=(out / PAGE).parent,
            detections=out / BOXES,
            reviewed=settings.reviewed,
            processes=settings.processes,
        )
    )


def _write_heatmaps(settings: BoxesSettings, models: Models, name: str) -> Path | None:
    """Those of a localizer for every image; returns their folder, None without a localizer."""
    localizers = models.rescore_from if models.takes_proposals else (models.run_dir,)
    if not localizers:
        return None
    view_heatmaps(
        ViewHeatmapsSettings(
            **_place(settings),
            run_dir=localizers[0],
            split=ALL,
            name=name,
            count=sys.maxsize,
            device=settings.device,
            amp=settings.amp,
        )
    )
    return evaluation_folder(localizers[0], name) / "heatmaps"


def _say_where(settings: BoxesSettings) -> None:
    out = settings.out
    suggest()  # what a stage has suggested is done already
    files = ", ".join(("images/ with the boxes drawn", "detections.json", *settings.formats))
    echo(f"boxes: {(out / BOXES).parent} ({files})", f"to look at: {out / PAGE}")
    if settings.labels is not None:
        words = ("--run-dir", f"{out}", "--images", "NEW_IMAGES", "--out", f"{out}_new")
        echo(f"next: {shlex.join(['python', '-m', 'tools.boxes', *words])}")
