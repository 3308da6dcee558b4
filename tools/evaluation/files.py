"""The files of an evaluation beside its report: detections and scores, which are read again."""

from pathlib import Path

import numpy as np

from data.datasets.image_set import ImageSet
from tools.evaluation.metrics import Evaluation
from tools.files.atomic import write_scores
from tools.files.boxed_images import BoxedImages, name_images
from tools.files.detections import write_detections, write_devkit_files
from tools.files.formats import FORMATS
from tools.files.scores import rank_scores, read_scores
from tools.runs.saved import SavedRun, learned_from_voc_alone


def check_same_images(folder: Path, dataset: ImageSet) -> None:
    """Refuse to replace the evaluation of other images.

    Raises:
        FileExistsError: the folder holds one.
    """
    path = folder / "scores.npz"
    if path.exists() and set(read_scores(path).ids) != set(dataset.ids):
        raise FileExistsError(f"{folder}: holds the evaluation of other images (--name)")


def write_files(folder: Path, saved: SavedRun, dataset: ImageSet, evaluation: Evaluation) -> None:
    """Detections in every form and scores of the images, in the place of earlier ones.

    Args:
        folder: of the evaluation; made if missing.
        saved: the run, which says in which competition of the devkit its detections are.
        dataset: the images.
        evaluation: of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {annotation.image_id: annotation.image_size for annotation in dataset.annotations}
    write_detections(folder / "detections.json", dataset.classes, evaluation.detections, sizes)
    competition = "comp3" if learned_from_voc_alone(saved.settings) else "comp4"
    for earlier in (folder / "devkit").glob("comp[34]_det_*.txt"):
        earlier.unlink()
    write_devkit_files(
        folder / "devkit", competition, dataset.split, dataset.classes, evaluation.detections
    )
    boxed = BoxedImages(
        dataset.classes,
        name_images(dataset, evaluation.detections),
        dataset.split,
        saved.settings.name,
        {"description": f"objects of {dataset.split}; coco_results.json holds the detections"},
        known=dataset.annotations,
    )
    FORMATS["coco"].write(folder, boxed)
    write_scores(
        folder / "scores.npz",
        ids=np.array(dataset.ids),
        classes=np.array(dataset.classes),
        scores=evaluation.scores,
        targets=dataset.targets.numpy(),
        weights=dataset.weights.numpy(),
    )
    names, scores = rank_scores(dataset.ids, evaluation.scores)
    classes = np.array(dataset.classes)
    write_scores(folder / "ranked.npz", classes=classes, names=names, scores=scores)
