"""Which form labels have, and one more."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.datasets.folder import FolderSource
from data.datasets.labels.content import ImageLabels, Labels
from data.datasets.labels.forms import FORMS, read_labels
from data.datasets.labels.place import LabelsPlace

Save = Callable[..., Path]


def read_stars(place: LabelsPlace) -> Labels | None:
    """A line an image, with a star where it holds one."""
    if place.file is None or place.file.suffix != ".stars":
        return None
    lines = place.file.read_text().splitlines()
    rows = {line.rstrip("*"): ImageLabels(("star",) * line.endswith("*")) for line in lines}
    return Labels("stars", rows)


def test_a_form_is_one_row(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMS, "stars", read_stars)
    folder = save("a.jpg", "b.jpg")
    (folder / "night.stars").write_text("a*\nb.jpg")
    source = FolderSource(folder, folder / "night.stars")
    assert source.form == "night.stars: stars"
    assert source.open("all").targets.tolist() == [[1], [0]]


def test_a_file_of_no_form_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "labels.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"xlsx: labels are a table \(\.csv, .* or COCO's \.json"):
        read_labels(LabelsPlace(tmp_path / "labels.xlsx", tmp_path))


def test_labels_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels\.csv: no such file or folder of labels"):
        read_labels(LabelsPlace(tmp_path / "labels.csv", tmp_path))
