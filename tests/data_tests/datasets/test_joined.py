"""Images of further folders, learned from beside those of a first source."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from data.datasets.joined import JoinedSource
from data.datasets.settings import DataSettings
from data.datasets.source import Source
from data.datasets.sources import given_or_trained, open_source, without_added

HEADER = "image,labels,split"


def write_folder(folder: Path, lines: Sequence[str], header: str = "image,labels") -> Path:
    """The images that the lines name, 8 wide and as high as their number, and their labels."""
    folder.mkdir(parents=True)
    for number, line in enumerate(lines, 1):
        Image.new("RGB", (8, number)).save(folder / line.partition(",")[0])
    (folder / "labels.csv").write_text("\n".join([header, *lines]))
    return folder


def settings_of(first: Path, *added: Path) -> DataSettings:
    return DataSettings(
        images=first,
        labels=first / "labels.csv",
        also_images=added,
        also_labels=tuple(folder / "labels.csv" for folder in added),
    )


@pytest.fixture
def first(tmp_path: Path) -> Path:
    lines = ["a.png,cat,train", "b.png,dog|person,train", "c.png,dog,val", "d.png,cat,test"]
    return write_folder(tmp_path / "first" / "images", lines, HEADER)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets" / "images", ["a.png,dog", "e.png,cat|dog", "d.png,cat"])


def joined(first: Path, *added: Path) -> Source:
    return open_source(settings_of(first, *added))


def test_a_split_holds_its_own_images_and_then_all_that_are_added(first: Path, pets: Path) -> None:
    source = joined(first, pets)

    opened = source.open("train")
    assert source.split_names == ("all", "train", "val", "test", "trainval")
    assert opened.split == "train"
    assert opened.classes == ("cat", "dog", "person")
    assert opened.ids == ["a.png", "b.png", "pets/images/a.png", "e.png", "pets/images/d.png"]
    assert opened.ids == source.ids("train") == [note.image_id for note in opened.annotations]
    assert opened.paths == [first / "a.png", first / "b.png", *(pets / f"{c}.png" for c in "aed")]
    assert opened.paths == [source.path(name) for name in opened.ids]
    assert [tuple(opened[k].image.shape) for k in (1, 2, 3)] == [(3, 2, 8), (3, 1, 8), (3, 2, 8)]


def test_classes_are_matched_by_name_and_those_that_a_folder_never_names_are_unknown_there(
    first: Path, pets: Path
) -> None:
    source = joined(first, pets)

    opened = source.open("train")
    assert opened.targets.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert opened.weights.tolist() == [[1, 1, 1]] * 2 + [[1, 1, 0]] * 3
    for name, targets, weights in zip(opened.ids, opened.targets, opened.weights, strict=True):
        assert [part.tolist() for part in source.labels(name)] == [
            targets.tolist(),
            weights.tolist(),
        ]


def test_boxes_that_are_added_keep_their_classes(first: Path, tmp_path: Path) -> None:
    header = "filename,class,xmin,ymin,xmax,ymax"
    person = write_folder(tmp_path / "p", ["p.png,person,1,1,4,1"], header)
    source = joined(first, person)

    annotation = source.open("val").annotations[1]
    assert annotation.image_id == source.annotation("p.png").image_id == "p.png"
    assert annotation.labels.tolist() == source.annotation("p.png").labels.tolist() == [2]
    assert annotation.boxes.tolist() == [[0, 0, 4, 1]]
    assert source.annotation("c.png").image_size == (3, 8)


def test_test_images_of_an_added_folder_are_not_learned_from(first: Path, tmp_path: Path) -> None:
    lines = ["f.png,cat,test", "g.png,cat,val", "h.png,dog,train"]

    source = joined(first, write_folder(tmp_path / "more", lines, HEADER))
    assert source.ids("train") == ["a.png", "b.png", "g.png", "h.png"]


def test_images_to_validate_and_test_on_are_those_of_the_first_alone(
    first: Path, pets: Path
) -> None:
    settings = settings_of(first, pets)

    assert open_source(without_added(settings)).ids("val") == ["c.png"]
    evaluated = given_or_trained(DataSettings(), settings, ("cat", "dog", "person"))
    assert open_source(evaluated).ids("train") == ["a.png", "b.png"]
    alone = DataSettings(images=pets, labels=pets / "labels.csv")
    assert len(open_source(given_or_trained(alone, settings, ("cat", "dog"))).ids("all")) == 3


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Dog", r"class 'Dog' is not one of cat, dog, person \(did you mean 'dog'\?\)"),
        ("persons", r"class 'persons' is not one of .* \(did you mean 'person'\?\)"),
        ("kiwi", r"class 'kiwi' is not one of .* \(correct the labels, or name every class"),
    ],
)
def test_an_unknown_class_is_refused_with_its_file_and_the_one_that_may_be_meant(
    name: str, problem: str, first: Path, tmp_path: Path
) -> None:
    more = write_folder(tmp_path / "more", [f"f.png,{name}", "g.png,cat"])
    source = joined(first, more)

    with pytest.raises(ValueError, match=f"^{more / 'labels.csv'}: {problem}"):
        source.open("train")
    (told,) = source.scan().problems
    assert (told.where, name in told.what) == (more / "labels.csv", True)


def test_invalid_labels_and_missing_images_are_refused_as_in_a_folder_alone(
    first: Path, pets: Path, tmp_path: Path
) -> None:
    (pets / "e.png").unlink()
    with pytest.raises(FileNotFoundError, match=rf"^{pets}: no such image: e\.png"):
        joined(first, pets).open("train")
    (pets / "labels.csv").write_text("image,labels\na.png,cat,train,more\n")

    with pytest.raises(ValueError, match=f"^{pets / 'labels.csv'}: line 2"):
        joined(first, pets).ids("train")
    (first / "labels.csv").write_text("image,labels\na.png,cat,train,more\nb.png,dog\n")
    source = joined(first, pets)
    scan = source.scan()  # tells all of it, and so does a check
    assert [one.where for one in scan.problems] == [first / "labels.csv", pets / "labels.csv"]
    assert (scan.splits["all"], scan.splits["pets/images"]) == (["b.png"], [])
    assert source.remarks()
    assert "0 of pets/images" in source.form


def test_left_out_images_are_those_of_any_source(first: Path, pets: Path) -> None:
    opened = joined(first, pets).open("train", leave_out={first / "a.png", pets / "e.png"})

    assert opened.ids == ["b.png", "pets/images/a.png", "pets/images/d.png"]


def test_a_scan_tells_each_source_apart(first: Path, pets: Path) -> None:
    scan = joined(first, pets).scan()

    assert scan.problems == []
    assert scan.splits["train"] == ["a.png", "b.png"]
    assert scan.splits["pets/images"] == ["pets/images/a.png", "e.png", "pets/images/d.png"]
    assert scan.objects["pets/images/a.png"] == {("dog", False): 1}
    assert scan.objects["a.png"] == {("cat", False): 1}


def test_what_the_folders_are_and_which_images_are_called_otherwise_is_told(
    first: Path, pets: Path
) -> None:
    source = joined(first, pets)

    assert source.form.startswith("labels.csv: ")
    assert "; 3 of pets/images (labels.csv: " in source.form
    assert "called: pets/images/a.png, pets/images/d.png" in source.remarks()[-1]


def test_folders_that_end_alike_are_numbered_and_images_of_all_are_distinct(
    first: Path, tmp_path: Path
) -> None:
    folders = [write_folder(tmp_path / k / "more" / "images", ["a.png,cat"]) for k in "12"]

    source = joined(first, *folders)
    assert isinstance(source, JoinedSource)
    names = ["more/images (1)/a.png", "more/images (2)/a.png"]
    assert source.ids("val") == ["c.png", *names]
    assert [source.path(name) for name in names] == [folder / "a.png" for folder in folders]


def test_a_folder_is_not_joined_with_itself(first: Path, pets: Path) -> None:
    with pytest.raises(ValueError, match=f"--also-images: {first} with the labels .* twice"):
        settings_of(first, pets, first)
    with pytest.raises(ValueError, match=r"--also-labels: 0 for 1 folders of --also-images"):
        DataSettings(images=first, labels=first / "labels.csv", also_images=(pets,))
