"""Proposals of many images: the same file however it came about, and nothing made twice."""

import json
import os
import shutil
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from data.datasets.voc_layout import image_ids, image_path
from data.proposals.files import load_proposals
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.worlds import forked, noise_image
from tools.files.atomic import locked
from tools.make_proposals import main
from tools.pages.draw import write_jpeg
from tools.preparation.proposals import run
from tools.preparation.settings import MakeProposalsSettings

SMALL = ("--search-sizes", "[120]", "--edge-sizes", "[120]", "--processes", "1")


def words(root: Path, out: Path, *others: str) -> list[str]:
    return ["--voc-root", str(root), "--split", "val", "--out", str(out), *SMALL, *others]


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def published(path: Path, boxes: dict[str, NDArray[Any]]) -> Path:
    arrays = {}
    for name, items in (("images", list(boxes)), ("boxes", list(boxes.values()))):
        arrays[name] = np.empty(len(items), dtype=object)
        arrays[name][:] = items
    savemat(path, arrays)
    return path


ONE_BOX = np.array([[1, 11, 20, 40]], np.uint16)  # y1 x1 y2 x2


@pytest.fixture(scope="module")
def made(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by one process; not to be written to."""
    out = tmp_path_factory.mktemp("made") / "val.npz"
    assert main(words(tiny_voc, out)) == 0
    return out


def test_every_image_of_the_list_has_proposals_inside_of_it(made: Path, tiny_voc: Path) -> None:
    proposals = load_proposals(made)

    assert list(proposals) == image_ids(tiny_voc, "val")
    assert all(len(of_image.boxes) > 20 for of_image in proposals.values())
    assert not made.with_suffix(".parts").exists()


def test_two_processes_write_the_same_file(made: Path, tiny_voc: Path, tmp_path: Path) -> None:
    assert main(words(tiny_voc, tmp_path / "val.npz", "--processes", "2")) == 0

    assert digest(tmp_path / "val.npz") == digest(made)


def test_shards_join_to_the_same_file_and_what_none_holds_is_made(
    made: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [tmp_path / f"{number}.npz" for number in (1, 2, 3)]
    for number, shard in enumerate(shards, start=1):
        assert main(words(tiny_voc, shard, "--shard", f"{number}/3")) == 0
    assert list(load_proposals(shards[1])) == image_ids(tiny_voc, "val")[1::3]

    for given, done in ((shards, 6), (shards[:2], 4)):
        out = tmp_path / f"joined{done}.npz"
        capsys.readouterr()
        assert main(words(tiny_voc, out, "--made", *map(str, given))) == 0
        assert f"{done} of 6 are done already" in capsys.readouterr().out
        assert digest(out) == digest(made)


def test_a_shard_that_is_not_there_and_one_that_is_none_are_refused(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_voc, tmp_path / "a.npz", "--made", str(tmp_path / "b.npz"))) == 2
    assert "b.npz: no such file of proposals" in capsys.readouterr().err
    assert main(words(tiny_voc, tmp_path / "a.npz", "--shard", "4/3")) == 2
    assert "--shard is a number of a part and of all, such as 3/8, got '4/3'" in (
        capsys.readouterr().err
    )


def test_bad_images_are_left_out_on_request_before_any_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where what is known of images is kept
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        noise_image(60, 80).save(folder / name)
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:900])
    arguments = ["--images", str(folder), "--out", str(tmp_path / "p.npz"), *SMALL]

    assert main(arguments) == 2
    assert "b.jpg: the image does not decode" in capsys.readouterr().err
    assert main([*arguments, "--on-bad", "skip"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("2 images, 1 bad ones left out\n")
    assert "b.jpg: left out: " in captured.err
    assert list(load_proposals(tmp_path / "p.npz")) == ["a.jpg", "c.jpg"]
    for name in ("a.jpg", "c.jpg"):
        (folder / name).unlink()
    assert main([*arguments, "--on-bad", "skip"]) == 2
    assert "all: no image is left" in capsys.readouterr().err


def test_only_changed_images_are_made_anew_and_no_annotation_is_read(
    made: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    shutil.rmtree(tmp_path / "voc" / "VOC2007" / "Annotations")
    shutil.copy(made, tmp_path / "val.npz")
    ids = image_ids(tiny_voc, "val")
    other = image_path(tiny_voc, image_ids(tiny_voc, "train")[0])
    shutil.copy(other, image_path(tmp_path / "voc", ids[3]))

    assert main(words(tmp_path / "voc", tmp_path / "val.npz")) == 0
    before, after = load_proposals(made), load_proposals(tmp_path / "val.npz")
    assert "5 of 6" in capsys.readouterr().out
    for image_id in ids:
        assert after[image_id].boxes.equal(before[image_id].boxes) == (image_id != ids[3])


@pytest.fixture
def folder(tiny_voc: Path, tmp_path: Path) -> Path:
    """Two images."""
    folder = tmp_path / "my images"
    folder.mkdir()
    for image_id in image_ids(tiny_voc, "val")[:2]:
        shutil.copy(image_path(tiny_voc, image_id), folder)
    return folder


def test_a_folder_without_labels_is_enough(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.npz"
    assert main(["--images", str(folder), "--out", str(out), *SMALL]) == 0
    assert list(load_proposals(out)) == sorted(path.name for path in folder.iterdir())


def test_other_settings_make_another_file(made: Path, tiny_voc: Path, tmp_path: Path) -> None:
    shutil.copy(made, tmp_path / "val.npz")

    assert main(words(tiny_voc, tmp_path / "val.npz", "--max-boxes", "5")) == 0
    assert {
        len(proposals.boxes) for proposals in load_proposals(tmp_path / "val.npz").values()
    } == {5}


@pytest.mark.parametrize("is_published", [False, True])
def test_a_foreign_file_is_refused_and_stays(
    is_published: bool, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val.npz").write_bytes(b"foreign")
    mat = published(tmp_path / "m.mat", {"a": ONE_BOX})
    others = ["--from-mat", str(mat)] if is_published else []

    assert main(words(tiny_voc, tmp_path / "val.npz", *others)) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/val.npz: ")
    assert (tmp_path / "val.npz").read_bytes() == b"foreign"


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a single core
def test_a_damaged_image_ends_two_processes_in_one_line(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    damaged = image_path(tmp_path / "voc", image_ids(tiny_voc, "val")[2])
    damaged.write_bytes(b"<html>")

    assert main(words(tmp_path / "voc", tmp_path / "val.npz", "--processes", "2")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {damaged}: ")
    assert "Traceback" not in last
    assert not (tmp_path / "val.npz").exists()


# A published file


def test_a_published_file_becomes_one_of_ours_and_says_where_it_is_from(
    made: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = image_ids(tiny_voc, "val")
    mat = published(tmp_path / "m.mat", dict.fromkeys(reversed([*ids, "another"]), ONE_BOX))
    out = tmp_path / "val.npz"
    shutil.copy(made, out)  # of proposals of our own, which may be replaced

    assert main(words(tiny_voc, out, "--from-mat", str(mat))) == 0
    proposals = load_proposals(out)
    assert list(proposals) == ids
    assert proposals[ids[0]].boxes.tolist() == [[10, 0, 40, 20]]
    assert proposals.meta == {"format": 1, "from_mat": "m.mat", "sha256": digest(mat)}
    assert capsys.readouterr().out.endswith(f"\nproposals: {out}\n")


@pytest.mark.parametrize(
    ("name", "named"), [("unknown", "6 of 6 images: 000013, 000014"), (None, "no such file")]
)
def test_a_published_file_that_is_not_there_or_does_not_fit_is_refused(
    name: str | None,
    named: str,
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mat = tmp_path / "m.mat"
    if name is not None:
        published(mat, {name: ONE_BOX})

    assert main(words(tiny_voc, tmp_path / "val.npz", "--from-mat", str(mat))) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {mat}: ")
    assert named in line
    assert not (tmp_path / "val.npz").exists()


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--out=p.txt", "--out"),
        ("--max-boxes=0", "--max-boxes"),
        ("--min-size=.nan", "--min-size"),
        ("--processes=-1", "--processes"),
        ("--min-score=1", "--min-score"),
        ("--edge-sizes=[]", "--edge-sizes"),
        ("--search-sizes=[0]", "--search-sizes"),
    ],
)
def test_settings_that_give_nothing_are_refused(
    option: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--images=x", "--out=p.npz", option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


def test_a_report_of_images_without_boxes_is_refused_before_any_proposal_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise_image(48, 64).save(tmp_path / "a.jpg")
    argv = ["--images", tmp_path, "--out", tmp_path / "p.npz", "--report", tmp_path / "r"]
    assert main([str(word) for word in argv]) == 2
    assert capsys.readouterr().err == f"error: --report: {tmp_path} has no annotated objects\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def make(argv: list[str]) -> None:
    sys.exit(main(argv))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_stopped_making_goes_on_to_the_same_file(
    number: signal.Signals, code: int, made: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "val.npz"
    with forked(make, words(tiny_voc, out)) as process:
        while not list(out.with_suffix(".parts").glob("*.npz")):
            assert process.is_alive()
            time.sleep(0.005)
        assert process.pid
        os.kill(process.pid, number)
        process.join(60)

    assert process.exitcode == code
    assert not out.exists()
    assert main(words(tiny_voc, out)) == 0
    assert digest(out) == digest(made)


def test_the_report_says_what_the_file_finds(
    made: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copy(made, tmp_path / "val.npz")
    report = tmp_path / "new" / "report"
    options = ("--report", str(report), "--classes", json.dumps(list(SYNTHETIC_CLASSES)))

    assert main(words(tiny_voc, Path(out), *options)) == 0

    content = json.loads((report / "recall.json").read_text())
    fractions = content["sizes"]["all"]
    assert content["images"] == 6
    assert list(content["per_class"]) == list(SYNTHETIC_CLASSES)
    assert fractions["0.5"] == sorted(fractions["0.5"])
    assert 0.5 < fractions["0.5"][-1] <= 1
    assert f"recall {fractions['0.5'][-1]:.3f} at IoU .5" in capsys.readouterr().out
    page = (report / "recall.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count('role="img" aria-label="recall, ') == 3
    assert digest(Path(out)) == digest(made)


def test_an_image_without_proposals_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    write_jpeg(tmp_path / "images" / "flat.jpg", torch.full((3, 9, 60), 128).byte())

    out = tmp_path / "flat.npz"
    assert main(["--images", str(tmp_path / "images"), "--out", str(out)]) == 0

    assert "flat.jpg" in capsys.readouterr().err
    assert load_proposals(out)["flat.jpg"].boxes.shape == (0, 4)


def test_quality_finds_more_boxes(folder: Path, tmp_path: Path) -> None:
    counts = []
    for others in ((), ("--quality", "true")):
        out = tmp_path / f"{len(others)}.npz"
        search = ("--method", "selective_search", "--min-score", "0")
        assert main(["--images", str(folder), "--out", str(out), *SMALL, *search, *others]) == 0
        counts.append(sum(len(proposals.boxes) for proposals in load_proposals(out).values()))

    assert counts[0] < counts[1]


def test_a_second_process_leaves_the_same_file_alone(tiny_voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "val.npz"
    settings = MakeProposalsSettings(voc_root=tiny_voc, split="val", out=out)

    with locked(out), pytest.raises(FileExistsError, match=f"{out}: "):
        run(settings, lock_timeout=0.0)

    assert not out.exists()


def hold_and_finish(out: Path, made: Path) -> None:
    """What another process does that makes the same file."""
    with locked(out):
        out.with_suffix(".locked").touch()
        time.sleep(1)
        shutil.copy(made, out)


def test_a_process_that_waited_for_another_takes_what_that_one_made(
    made: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "val.npz"
    with forked(hold_and_finish, out, made) as first:
        while not out.with_suffix(".locked").exists():
            assert first.is_alive()
        assert main(words(tiny_voc, out)) == 0

    assert "6 of 6" in capsys.readouterr().out
    assert digest(out) == digest(made)


def test_one_file_holds_the_images_of_every_split_unless_one_is_named(
    tiny_voc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all.npz"

    assert main(["--voc-root", str(tiny_voc), "--out", str(out), *SMALL]) == 0

    every = {name for split in ("train", "val", "test") for name in image_ids(tiny_voc, split)}
    assert set(load_proposals(out)) == every > set(image_ids(tiny_voc, "val"))


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", None),
        ("--labels labels.csv", "--labels=labels.csv"),
        ("--labels labels.csv --split all", "--labels=labels.csv"),
        ("--labels labels.csv --split train", "--labels=labels.csv --split train"),
        ("--labels labels.csv --split val", None),
    ],
)
def test_a_training_is_suggested_where_there_is_something_to_learn(
    words: str,
    options: str | None,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.delenv("VOC_ROOT", raising=False)
    (folder.parent / "runs" / "wsddn").mkdir(parents=True)
    one, other = sorted(path.name for path in folder.iterdir())
    Path("labels.csv").write_text(f"image,labels,split\n{one},cat,train\n{other},dog,val")

    assert main(["--images", folder.name, "--out", "p.npz", *words.split(), *SMALL]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    expected = (
        f"next: python -m tools.train_wsddn --proposals p.npz '--images={folder.name}' {options} "
        "--run-dir runs/wsddn_2"
    )
    assert last == (expected if options else "proposals: p.npz")
