"""``recall.json`` for programs and ``recall.html`` for a person: how proposals cover objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data.proposals.recall import COUNTS, find_objects
from data.types import Annotation, Proposals
from tools.files.atomic import write_json
from tools.pages.charts import draw, embedded, line_charts
from tools.pages.page import write_page

INFINITE = float("inf")
SIZES = {
    "all": (0.0, INFINITE),
    "small": (0.0, 32.0),
    "medium": (32.0, 96.0),
    "large": (96.0, INFINITE),
}
"""Square root of the object's area in pixels, divided as COCO divides objects."""

OVERLAPS = {"0.5": "IoU .5", "0.7": "IoU .7", "average": "average of IoU .5 to .95"}


def write_recall_report(
    folder: Path,
    title: str,
    proposals: Mapping[str, Proposals],
    annotations: Sequence[Annotation],
    classes: Sequence[str],
) -> str:
    """Write both files.

    Returns:
        A summary in one line.

    Raises:
        KeyError: an image that is not among the proposals.
    """
    objects = find_objects(proposals, annotations)
    sizes = {
        name: objects.recall(chosen=(low <= objects.sides) & (objects.sides < high))
        for name, (low, high) in SIZES.items()
    }
    per_class = {
        name: objects.recall(chosen=objects.labels == label) for label, name in enumerate(classes)
    }
    facts = {
        "images": len(annotations),
        "objects": len(objects.labels),
        "boxes": objects.boxes,
        "empty": objects.empty,
        "counts": COUNTS,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "recall.json", {**facts, "sizes": sizes, "per_class": per_class})
    curves = {
        f"recall, {heading}": {
            name: list(zip(map(float, COUNTS), fractions[key], strict=True))
            for name, fractions in sizes.items()
        }
        for key, heading in OVERLAPS.items()
    }
    groups = {"by size": sizes, "by class": per_class}
    charts = line_charts(curves, x="boxes an image")
    content = {"title": title, "groups": groups, "overlaps": OVERLAPS}
    content["charts"] = embedded(draw(charts)).values()
    write_page(folder / "recall.html", "recall.html", **content, **facts)
    whole = objects.recall((INFINITE,))
    return (
        f"recall {whole['0.5'][0]:.3f} at IoU .5, {whole['0.7'][0]:.3f} at .7 "
        f"of {len(objects.labels)} objects with {objects.boxes:.0f} boxes an image; "
        f"{len(objects.empty)} images have none"
    )
