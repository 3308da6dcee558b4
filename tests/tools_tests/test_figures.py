"""Every figure that the five course reports show, and where a person finds it in a run of ours."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.tools_tests.conftest import Train, Words, process_as_before
from tests.worlds import fake_visdom, read_events
from tools import (
    compare_runs,
    evaluate,
    gallery,
    inspect_image,
    replay_visdom,
    train_classifier,
    view_heatmaps,
)

DETECTION = "localization and detection"
A, B, C = "ResNet18 fine-tuned", "ResNet18 frozen", "ResNet50 with five crops"
RAINFOREST = "rainforest"


class Figure(NamedTuple):
    """A row of the table.

    Attributes:
        report: that shows the figure.
        figure: what it shows.
        place: where a run of ours shows it, one of those of ``seen``.
        name: pattern of its tag, window with line or title, or of words of the page.
    """

    report: str
    figure: str
    place: str
    name: str


FIGURES = [
    Figure(DETECTION, "an image with its annotated boxes", "visdom, inspect_image", "train_0_0+1"),
    Figure(DETECTION, "its ten best proposals", "visdom, inspect_image", "train_0_0+1_proposals"),
    Figure(DETECTION, "loss of the localizer", "TensorBoard, localizer", "scalars train/loss"),
    Figure(DETECTION, "metric1 in training", "TensorBoard, localizer", "scalars train/metric1"),
    Figure(DETECTION, "metric2 in training", "TensorBoard, localizer", "scalars train/metric2"),
    Figure(DETECTION, "loss in validation", "TensorBoard, localizer", "scalars validation/loss"),
    Figure(DETECTION, "metric1 validated", "TensorBoard, localizer", "scalars validation/metric1"),
    Figure(DETECTION, "metric2 validated", "TensorBoard, localizer", "scalars validation/metric2"),
    Figure(DETECTION, "loss, training in visdom", "visdom, localizer", "loss: train"),
    Figure(DETECTION, "loss, validation beside it", "visdom, localizer", "loss: validation"),
    Figure(DETECTION, "where the steep drop ends", "visdom, localizer", "loss: baseline"),
    Figure(
        DETECTION, "metric1, both in visdom", "visdom, localizer", "metric1: (train|validation)"
    ),
    Figure(
        DETECTION, "metric2, both in visdom", "visdom, localizer", "metric2: (train|validation)"
    ),
    Figure(
        DETECTION, "heatmaps by epoch", "TensorBoard, localizer", r"images images/batch\d_.+ x2"
    ),
    Figure(DETECTION, "heatmaps, first epoch", "visdom, localizer", r"first_\S+ ep0_iter\d+_.+"),
    Figure(DETECTION, "heatmaps, last epoch", "visdom, localizer", r"last_\S+ ep1_iter\d+_.+"),
    Figure(DETECTION, "random validation images", "visdom, view_heatmaps", r"val_\d+"),
    Figure(DETECTION, "plain beside robust", "report, localizer", r"\brobust\b"),
    Figure(DETECTION, "AP of boxes by class", "report, localizer", "box mAP 11-point"),
    Figure(DETECTION, "loss of the detector", "TensorBoard, detector", "scalars train/loss"),
    Figure(DETECTION, "the same in visdom", "visdom, detector", "loss: train"),
    Figure(
        DETECTION, "mAP against iterations", "visdom, detector", "validation/box_map_11point: .+"
    ),
    Figure(
        DETECTION,
        "class-wise APs against iterations",
        "TensorBoard, detector",
        "scalars validation/box_ap/.+",
    ),
    Figure(DETECTION, "the same in visdom", "visdom, detector", "validation/box_ap: .+"),
    *(
        Figure(
            DETECTION,
            f"{kind} of {layer}",
            "TensorBoard, detector",
            rf"histograms {kind}/{layer} \(.+\)",
        )
        for kind in ("weights", "gradients")
        for layer in ("conv1", "conv2", "fc7")
    ),
    Figure(DETECTION, "boxes by epoch", "TensorBoard, detector", r"images images/\S+boxes_.+ x2"),
    Figure(
        DETECTION, "boxes, first epoch", "visdom, detector", r"first_\S+ ep0_iter\d+_\S+boxes_.+"
    ),
    Figure(DETECTION, "boxes, last epoch", "visdom, detector", r"last_\S+ ep1_iter\d+_\S+boxes_.+"),
    Figure(DETECTION, "APs of classes on test", "report, detector", "box mAP 11-point"),
    Figure(DETECTION, "precision and recall", "TensorBoard, detector", "tensors boxes/.+"),
    *(
        Figure(report, figure, place, name)
        for report in (A, B, C, RAINFOREST)
        for figure, place, name in (
            ("loss of training and validation", "report, classifier", "image loss"),
            ("the same as a drawing", "files, classifier", "image loss.svg"),
            ("mAP of training and validation", "report, classifier", "image mAP"),
            ("the same as a drawing", "files, classifier", "image mAP.svg"),
            ("AP of each class by epoch", "TensorBoard, classifier", "scalars validation/ap/.+"),
            ("AP of each class", "report, classifier", "ap, validation, by class"),
            ("tail accuracy by threshold", "report, classifier", "Tail accuracy: of the images"),
            ("images of highest and lowest score", "gallery, classifier", "Highest scores"),
        )
    ),
    Figure(RAINFOREST, "three networks beside each other", "page of compare_runs", "classifier"),
]


@pytest.fixture(scope="module")
def classifier(train: Train, words: Words) -> Path:
    whole = ("--pretrained=false", "--frozen-backbone=false")
    return train(train_classifier.main, words, "classifier", *whole)


@pytest.fixture(scope="module")
def seen(
    small_run: Path,
    robust_run: Path,
    detector_run: Path,
    classifier: Path,
    proposals_file: Path,
    tiny_voc: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[str]]:
    """What is shown at each place."""
    out, places = tmp_path_factory.mktemp("seen"), dict[str, list[str]]()
    small = ["--device=cpu", "--amp=off", f"--voc-root={tiny_voc}"]
    runs = {"localizer": small_run, "detector": detector_run, "classifier": classifier}
    robust = shutil.copytree(robust_run, out / "robust")
    for name, trained in runs.items():
        runs[name] = run_dir = Path(shutil.copytree(trained, out / name))
        places[f"TensorBoard, {name}"] = [*in_tensorboard(run_dir)]
        places[f"visdom, {name}"] = in_visdom(replay_visdom.main, f"--run-dir={run_dir}")
        report = run_dir / "evaluations" / "val"
        words = [f"--run-dir={run_dir}", "--split=val", *small]
        words += [f"--beside={robust}"] if name == "localizer" else []
        words += [f"--proposals={proposals_file}"] if name == "detector" else []
        with process_as_before():
            assert evaluate.main([*words, "--corloc-split="]) == 0
        places[f"report, {name}"] = [(report / "report.html").read_text()]
        places[f"files, {name}"] = [path.name for path in (report / "figures").iterdir()]
    image = ["--split=train", f"--voc-root={tiny_voc}", f"--proposals={proposals_file}"]
    image += [f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"]
    places["visdom, inspect_image"] = in_visdom(
        inspect_image.main, *image, f"--out={out / 'image.jpg'}"
    )
    places["visdom, view_heatmaps"] = in_visdom(
        view_heatmaps.main, f"--run-dir={runs['localizer']}", "--split=val", "--to=visdom", *small
    )
    with process_as_before():
        words = [f"--run-dir={runs['classifier']}", "--processes=1", f"--out={out / 'gallery'}"]
        assert gallery.main([*words, "--split=val", small[2]]) == 0
        both = [str(runs[name]) for name in ("localizer", "classifier")]
        assert compare_runs.main(["--runs", *both, "--split=val", f"--out={out}"]) == 0
    places["gallery, classifier"] = [(out / "gallery" / "index.html").read_text()]
    places["page of compare_runs"] = [(out / "compare.html").read_text()]
    return places


def in_tensorboard(run_dir: Path) -> Iterator[str]:
    """Kind and tag of each curve, histogram and image, with the number of its steps."""
    events = read_events(run_dir / "events")
    for kind in ("scalars", "histograms", "tensors"):
        yield from (f"{kind} {tag}" for tag in events.Tags()[kind])
    for tag in events.Tags()["images"]:
        yield f"images {tag} x{len(events.Images(tag))}"


def in_visdom(main: object, *words: str) -> list[str]:
    """Each window with its lines, an image with its title."""
    assert callable(main)
    with fake_visdom() as server:
        with process_as_before():
            assert main([*words, *server.words]) == 0
        found = []
        for event in server.events:
            title = event["opts"]["title"]
            found.append(title)
            found.append(f"{event['win']} {title}")
            found += [f"{event['win']}: {line['name']}" for line in event["data"] if "name" in line]
    return found


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.report}, {figure.figure}")
def test_a_figure_of_the_reports_is_found_where_the_table_says(
    figure: Figure, seen: dict[str, list[str]]
) -> None:
    shown = seen[figure.place]
    if len(shown) == 1:  # a page
        assert re.search(figure.name, shown[0])
    else:
        assert [name for name in shown if re.fullmatch(figure.name, name)]
