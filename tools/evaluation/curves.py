"""What trainings have logged, as the charts of a report."""

from data.evaluation.metrics import METRICS
from tools.loggers.metrics_file import read_metrics
from tools.runs.saved import SavedRun

Lines = dict[str, list[tuple[int, float]]]  # points (iteration, value) by name


def learning_curves(
    runs: list[SavedRun],
) -> tuple[dict[str, Lines], dict[str, dict[str, Lines]]]:
    """Learning curves of every run: those of all classes together, and those of each.

    A curve's heading is its tag, or the metric's where training logs a metric: that chart holds the
    lines of training and validation. Tags like ``validation/ap/CLASS`` are charts of classes. The
    only term of a loss, which is that loss once more, is left out, and so is a metric of the
    validation that has the name of training too. A loss stands beside that of a
    model that answers every image alike.
    """
    curves = dict[str, Lines]()
    of_classes = dict[str, dict[str, Lines]]()
    logged = {name for saved in runs for name in saved.settings.metrics_in_training.values()}
    for saved in runs:
        metric_of = {f"validation/{name}": name for name in logged}
        metric_of |= saved.settings.metrics_in_training
        again = {tag.replace("train/", "validation/") for tag in saved.settings.metrics_in_training}
        every = read_metrics(saved.run_dir / "metrics.jsonl")
        loss = every.get("train/loss", [])
        for tag, points in every.items():
            part, _, rest = tag.partition("/")
            is_again = (tag != "train/loss" and points == loss) or tag in again
            if part == "baseline" or len(points) < 2 or is_again:
                continue
            quantity, _, class_name = rest.partition("/")
            if class_name in saved.settings.classes:
                charts = of_classes.setdefault(f"{quantity}, {part}, by class", {})
                charts.setdefault(class_name, {})[saved.settings.name] = points
            elif tag in metric_of:
                line = f"{saved.settings.name}, {part}"
                curves.setdefault(METRICS[metric_of[tag]].heading, {})[line] = points
            else:
                curves.setdefault(tag, {})[saved.settings.name] = points
        if len(loss) > 1 and "baseline/loss" in every:
            _, alike = every["baseline/loss"][-1]
            heading = METRICS[metric_of["train/loss"]].heading
            ends = [(loss[0][0], alike), (loss[-1][0], alike)]
            curves[heading][f"{saved.settings.name}, every image alike"] = ends
    return curves, of_classes
