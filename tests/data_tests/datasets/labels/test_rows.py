"""A column of labels: lines, separators, headers, and every problem of a file at once."""

from pathlib import Path

import pytest

from data.datasets.labels.content import ImageLabels, Labels
from data.datasets.labels.forms import read_labels
from data.datasets.labels.place import LabelsPlace


def read(folder: Path, content: str | bytes, *classes: str) -> Labels:
    """What is read of a file of labels beside no images at all."""
    path = folder / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(LabelsPlace(path, folder, classes))


def labels(folder: Path, content: str, *classes: str) -> dict[str, tuple[str, ...]]:
    """The labels of each image of a file without problems."""
    result = read(folder, content, *classes)
    assert result.problems == ()
    return {image: row.labels for image, row in result.rows.items()}


def problems(folder: Path, content: str, *classes: str) -> list[str]:
    return [problem.what for problem in read(folder, content, *classes).problems]


# Lines


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("b.jpg,dog|cat", ("b.jpg", ImageLabels(("dog", "cat")))),
        ("b.jpg,dog|cat|dog", ("b.jpg", ImageLabels(("dog", "cat")))),
        ("b.jpg,  ", ("b.jpg", ImageLabels(()))),
        (" a b.jpg , cat | hot dog ", ("a b.jpg", ImageLabels(("cat", "hot dog")))),
        ('"a,b.jpg","say ""miau"""', ("a,b.jpg", ImageLabels(('say "miau"',)))),
        (
            "2024/für später/图 1.jpg,猫|Bär",
            ("2024/für später/图 1.jpg", ImageLabels(("猫", "Bär"))),
        ),
        ("./a//b.jpg,cat", ("a/b.jpg", ImageLabels(("cat",)))),
        ("a\\b.jpg,cat", ("a/b.jpg", ImageLabels(("cat",)))),
    ],
)
def test_a_line_is_an_image_with_its_labels_in_one_spelling(
    tmp_path: Path, line: str, row: tuple[str, ImageLabels]
) -> None:
    rows = read(tmp_path, f" image , labels \nz.jpg,cat\n{line}").rows
    assert list(rows.items()) == [("z.jpg", ImageLabels(("cat",))), row]


def test_a_column_of_splits_is_read_in_any_letters(tmp_path: Path) -> None:
    text = "image,labels,Split\na.jpg,cat,Train\nb.jpg,,test\nc.jpg,cat,Valid\nd.jpg,cat,2023"
    splits = {image: row.split for image, row in read(tmp_path, text).rows.items()}
    assert splits == {"a.jpg": "train", "b.jpg": "test", "c.jpg": "val", "d.jpg": "2023"}


def test_a_byte_order_mark_crlf_and_blank_lines_are_fine(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbfimage,labels\r\n\r\na.jpg,cat\r\n   \r\n\r\nb.jpg,dog"
    assert list(read(tmp_path, text).rows) == ["a.jpg", "b.jpg"]


# Headers and separators


@pytest.mark.parametrize(
    "text",
    [
        "image,labels\na.jpg,cat|dog\nb.jpg,cat",
        "image,labels\na.jpg,cat;dog\nb.jpg,cat",
        'image,labels\na.jpg,"cat,dog"\nb.jpg,cat',
        'file_name, label\na.jpg, "cat, dog"\nb.jpg, cat',  # blanks after the commas
        "filename\ttags\na.jpg\tcat,dog\nb.jpg\tcat",
        "Image Name;Class\na.jpg;cat|dog\nb.jpg;cat",
        "path,classes\na.jpg,\"['cat', 'dog']\"\nb.jpg,\"['cat']\"",  # a list of pandas
        'image,labels\na.jpg,"[""cat"", ""dog""]"\nb.jpg,"[""cat""]"',  # a list of JSON
        "labels,image\ncat|dog,a.jpg\ncat,b.jpg",
        "image,class\na.jpg,cat\na.jpg,dog\nb.jpg,cat",  # a row for each label
        "image,note,labels\na.jpg,sunny,cat|dog\nb.jpg,,cat",
        "image_id,filename,class\n7,a.jpg,cat\n7,a.jpg,dog\n8,b.jpg,cat",
    ],
)
def test_headers_and_separators_that_people_use_are_read(tmp_path: Path, text: str) -> None:
    assert labels(tmp_path, text) == {"a.jpg": ("cat", "dog"), "b.jpg": ("cat",)}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("image,labels\na.jpg,cat\nb.jpg,dog", "one row an image"),
        ("image,labels\na.jpg,cat;dog", "one row an image, ; between its labels"),
        ("image,labels\na.jpg,cat\na.jpg,dog", "one row a label"),
        ("image,w,h,labels\na.jpg,4,5,cat", "one row an image; columns that are not read: w, h"),
    ],
)
def test_the_form_is_told_in_one_line(tmp_path: Path, text: str, form: str) -> None:
    assert read(tmp_path, text).form == form


def test_a_cell_that_is_a_named_class_is_one_label(tmp_path: Path) -> None:
    text = 'image,labels\na.jpg,"bird, small"\nb.jpg,cat dog\nc.jpg,"cat,dog"'
    found = labels(tmp_path, text, "bird, small", "cat dog", "cat", "dog")
    assert list(found.values()) == [("bird, small",), ("cat dog",), ("cat", "dog")]


# Files that are refused as a whole

HEADER = "the first line names the columns, such as image,labels or image,labels,split"
NOT_CSV = "not a CSV file in UTF-8"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", HEADER),
        (b"\xef\xbb\xbf\n\r\n  \n", HEADER),
        (b"a.jpg,cat\nb.jpg,dog", f"{HEADER}; it is a.jpg,cat"),
        (b"image\na.jpg", HEADER),
        (b"image,split\na.jpg,train", HEADER),
        (b"image,,dog\na.jpg,0,1", HEADER),
        (b"image,dog,dog\na.jpg,0,1", HEADER),
        (b"image,split,set,labels\na.jpg,val,val,cat", r"which column is meant, split, set\?"),
        (b"image,label,class\na.jpg,3,cat", r"which column is meant, label, class\?"),
        (b"image_name,tags\na,haze primary", "labels between blanks"),
        (b"image,labels\n\n", "no images are listed$"),
        ("image,labels\na.jpg,Bär".encode("latin-1"), NOT_CSV),
        (b"\xff\xfei\0m\0", NOT_CSV),
        (b'image,labels\na.jpg,"cat\nb.jpg,dog', NOT_CSV),  # a quote without end
        (b'image,labels\n"a.jpg"x,cat', NOT_CSV),
        (b"image,labels\n" + b"a" * 200_000, NOT_CSV),
    ],
)
def test_a_file_that_does_not_list_labels_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    with pytest.raises(ValueError, match=rf"labels\.csv: .*{problem}"):
        read(tmp_path, content)


# Lines that are wrong


@pytest.mark.parametrize(
    ("head", "line", "what"),
    [
        ("image,labels", "a.jpg", "1 columns instead of 2"),
        ("image,labels", "a.jpg,cat,train", "3 columns instead of 2"),
        ("image,labels,split", "a.jpg,cat", "2 columns instead of 3"),
        ("image,labels,split", "a.jpg,cat,", "the split is empty"),
        ("image,labels,split", "a.jpg,cat,all", "the split 'all' is every image already"),
        ("image,labels,split", "x.jpg,dog,val", "'x.jpg' is in train and in val"),
        ("image,labels", ",cat", "'' is not a path below the folder of images"),
        ("image,labels", "b/../../a.jpg,cat", "'b/../../a.jpg' is not a path below the folder"),
        ("image,labels", "..\\a.jpg,cat", "'..\\\\a.jpg' is not a path below the folder"),
        ("image,labels", "\\\\server\\a.jpg,cat", "is not a path below the folder"),
        ("image,labels", "C:\\a.jpg,cat", "'C:\\\\a.jpg' is not a path below the folder"),
        ("image,labels", "/etc/passwd,cat", "'/etc/passwd' is not a path below the folder"),
        ("image,labels", "a\0.jpg,cat", "'a\\x00.jpg' is not a path below the folder"),
        ("image,labels", "a.jpg,cat||dog", "an empty class name in 'cat||dog'"),
        ("image,labels", "a.jpg,cat| ", "an empty class name in 'cat|'"),
        ("image,labels", "./x.jpg,", "'x.jpg' is listed with a label and without one"),
        ("image,labels", "./x.jpg,dog|cow", "'x.jpg' is listed twice (other lines have |"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, head: str, line: str, what: str) -> None:
    first = "x.jpg,cat,train" if head.endswith("split") else "x.jpg,cat"
    (found,) = problems(tmp_path, f"{head}\n\n{first}\n{line}")
    assert found.startswith("line 4: ")
    assert what in found


def test_all_bad_lines_are_told_in_their_order_and_the_good_ones_are_read(tmp_path: Path) -> None:
    lines = ["image,labels", "a.jpg,cat|dog", "b.jpg,cat,dog", "/c.jpg,cat", "d.jpg", "e.jpg,dog"]
    result = read(tmp_path, "\n".join(lines))
    assert [p.what.split(":")[0] for p in result.problems] == ["line 3", "line 4", "line 5"]
    assert list(result.rows) == ["a.jpg", "e.jpg"]


def test_a_second_separator_is_named(tmp_path: Path) -> None:
    text = "image,labels\na.jpg,cat|dog\nb.jpg,cow;dog"
    assert problems(tmp_path, text) == [
        "line 3: ; in 'cow;dog', labels of other lines have | between"
    ]


# Classes that are probably meant otherwise


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["cat", "dog", "cat dog"], "class 'cat dog' of image 2.jpg is made of the labels cat"),
        (["cat", "dog", "cat/dog"], "class 'cat/dog' of image 2.jpg is made of the labels cat"),
        (["cat", "dog & cat", "dog"], "class 'dog & cat' of image 1.jpg is made of the labels"),
        (["hazy primary", "primary hazy"], "holds the words of class 'hazy primary' in another"),
        (["Cat", "cat", "cat"], "class 'cat' of 2 images, such as 1.jpg, differs from class 'Cat'"),
    ],
)
def test_classes_that_look_like_several_or_like_another_are_problems(
    tmp_path: Path, lines: list[str], what: str
) -> None:
    text = "\n".join(["image,labels", *(f"{k}.jpg,{line}" for k, line in enumerate(lines))])
    (found,) = problems(tmp_path, text)
    assert what in found
    assert problems(tmp_path, text, *lines) == []  # named classes are meant


def test_names_of_two_words_are_fine_where_the_words_are_no_classes(tmp_path: Path) -> None:
    text = "image,labels\na.jpg,hot dog\nb.jpg,dog\nc.jpg,brown bear\nd.jpg,polar bear"
    assert len(labels(tmp_path, text)) == 4
