"""Proposals of many images: the same file however it came about, and nothing made twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import savemat
from torch import Tensor

from data.datasets.voc import image_ids, image_path
from data.images import read_image
from data.proposals.files import load_proposals
from data.proposals.propose import ProposeSettings
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tools.files.atomic import alone
from tools.make_proposals import main
from tools.pages.draw import write_jpeg
from tools.preparation import proposals as job
from tools.preparation.settings import MakeProposalsSettings


def words(root: Path, out: Path, *others: str) -> list[str]:
    return ["--voc-root", str(root), "--split", "val", "--out", str(out), *others]


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def made(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by one process; not to be written to."""
    out = tmp_path_factory.mktemp("made") / "val.npz"
    assert main(words(tiny_voc, out, "--processes", "1")) == 0
    return out


def test_every_image_of_the_list_has_proposals_inside_of_it(made: Path, tiny_voc: Path) -> None:
    found = load_proposals(made)

    assert list(found) == image_ids(tiny_voc, "val")
    assert all(len(proposals.boxes) > 20 for proposals in found.values())
    assert not made.with_suffix(".parts").exists()


def test_two_processes_write_the_same_file(made: Path, tiny_voc: Path, tmp_path: Path) -> None:
    assert main(words(tiny_voc, tmp_path / "val.npz", "--processes", "2")) == 0

    assert digest(tmp_path / "val.npz") == digest(made)


def test_no_annotation_is_read(made: Path, tiny_voc: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    shutil.rmtree(tmp_path / "voc" / "VOC2007" / "Annotations")

    assert main(words(tmp_path / "voc", tmp_path / "val.npz", "--processes", "1")) == 0
    assert digest(tmp_path / "val.npz") == digest(made)


def test_a_folder_without_labels_is_enough(tiny_voc: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my images"
    folder.mkdir()
    for image_id in image_ids(tiny_voc, "val")[:2]:
        shutil.copy(image_path(tiny_voc, image_id), folder)

    out = tmp_path / "p.npz"
    assert main(["--images", str(folder), "--out", str(out), "--processes", "1"]) == 0
    assert list(load_proposals(out)) == sorted(path.name for path in folder.iterdir())


def test_only_changed_images_are_made_anew(
    made: Path, tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    shutil.copy(made, tmp_path / "val.npz")
    ids = image_ids(tiny_voc, "val")
    changed = image_path(tmp_path / "voc", ids[3])
    other = image_ids(tiny_voc, "train")[0]
    shutil.copy(image_path(tiny_voc, other), changed)
    asked: list[Path] = []

    def noted(path: Path) -> Tensor:
        asked.append(path)
        return read_image(path)

    monkeypatch.setattr(job, "read_image", noted)

    assert main(words(tmp_path / "voc", tmp_path / "val.npz", "--processes", "1")) == 0
    before, after = load_proposals(made), load_proposals(tmp_path / "val.npz")
    assert asked == [changed]
    assert not after[ids[3]].boxes.equal(before[ids[3]].boxes)
    assert after[ids[1]].boxes.equal(before[ids[1]].boxes)


def test_other_settings_make_another_file(made: Path, tiny_voc: Path, tmp_path: Path) -> None:
    shutil.copy(made, tmp_path / "val.npz")
    argv = words(tiny_voc, tmp_path / "val.npz", "--processes", "1", "--max-boxes", "5")

    assert main(argv) == 0
    assert {len(found.boxes) for found in load_proposals(tmp_path / "val.npz").values()} == {5}


def test_a_foreign_file_is_refused_and_stays(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val.npz").write_bytes(b"something dear")

    assert main(words(tiny_voc, tmp_path / "val.npz")) == 2
    assert "val.npz: not a file of proposals" in capsys.readouterr().err
    assert (tmp_path / "val.npz").read_bytes() == b"something dear"


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a single core
def test_a_damaged_image_ends_two_processes_in_one_line(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    damaged = image_path(tmp_path / "voc", image_ids(tiny_voc, "val")[2])
    damaged.write_bytes(b"<html>")

    assert main(words(tmp_path / "voc", tmp_path / "val.npz", "--processes", "2")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {damaged}: the image does not decode (")
    assert "Traceback" not in last
    assert not (tmp_path / "val.npz").exists()


# A published file


def published(path: Path, boxes: dict[str, NDArray[Any]]) -> Path:
    arrays = {}
    for name, items in (("images", list(boxes)), ("boxes", list(boxes.values()))):
        arrays[name] = np.empty(len(items), dtype=object)
        arrays[name][:] = items
    savemat(path, arrays)
    return path


ONE_BOX = np.array([[1, 11, 20, 40]], np.uint16)  # y1 x1 y2 x2


def test_a_published_file_becomes_one_of_ours_and_says_where_it_is_from(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = image_ids(tiny_voc, "val")
    mat = published(tmp_path / "m.mat", dict.fromkeys(reversed([*ids, "another"]), ONE_BOX))
    out = tmp_path / "new" / "val.npz"

    assert main(words(tiny_voc, out, "--from-mat", str(mat))) == 0
    found = load_proposals(out)
    assert list(found) == ids
    assert found[ids[0]].boxes.tolist() == [[10, 0, 40, 20]]
    assert found.meta == {"format": 1, "from_mat": "m.mat", "sha256": digest(mat)}
    assert capsys.readouterr().out.endswith(f"\nproposals: {out}\n")
    before = digest(out)
    assert main(words(tiny_voc, out, "--from-mat", str(mat))) == 0
    assert digest(out) == before


def test_a_published_file_is_converted_for_a_folder_too(tiny_voc: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my images"
    folder.mkdir()
    image = image_path(tiny_voc, image_ids(tiny_voc, "val")[0])
    shutil.copy(image, folder)
    mat = published(tmp_path / "m.mat", {image.stem: ONE_BOX})
    out = tmp_path / "p.npz"

    assert main(["--images", str(folder), "--out", str(out), "--from-mat", str(mat)]) == 0
    assert list(load_proposals(out)) == [image.name]


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        (ONE_BOX - np.uint16(1), "image 000013: 100% of the boxes leave"),
        (
            None,
            "no proposals of 6 of 6 images: 000013, 000014, 000015, 000016, 000017 and 1 more",
        ),
    ],
)
def test_a_published_file_that_does_not_fit_is_refused_in_one_line(
    boxes: NDArray[Any] | None,
    says: str,
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["unknown"] if boxes is None else image_ids(tiny_voc, "val")
    mat = published(
        tmp_path / "m.mat", dict.fromkeys(names, boxes if boxes is not None else ONE_BOX)
    )

    assert main(words(tiny_voc, tmp_path / "val.npz", "--from-mat", str(mat))) == 2
    assert capsys.readouterr().err.startswith(f"error: {mat}: {says}")
    assert not (tmp_path / "val.npz").exists()


def test_a_foreign_file_stays_where_a_published_one_would_go(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val.npz").write_bytes(b"something dear")
    mat = published(tmp_path / "m.mat", {"a": ONE_BOX})

    assert main(words(tiny_voc, tmp_path / "val.npz", "--from-mat", str(mat))) == 2
    assert "val.npz: not a file of proposals" in capsys.readouterr().err
    assert (tmp_path / "val.npz").read_bytes() == b"something dear"


def test_a_published_file_that_is_not_there_is_named(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(tiny_voc, tmp_path / "val.npz", "--from-mat", str(tmp_path / "no.mat"))

    assert main(argv) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/no.mat: no such file of proposals\n"


@pytest.mark.parametrize(
    ("words_", "says"),
    [
        (["--out", "p.txt"], "--out ends in .npz"),
        (["--out", "p.npz", "--max-boxes", "0"], "--max-boxes"),
        (["--out", "p.npz", "--min-size", ".nan"], "--min-size"),
        (["--out", "p.npz", "--processes", "-1"], "--processes"),
        (["--out", "p.npz", "--min-score", "1"], "--min-score"),
    ],
)
def test_settings_that_give_nothing_are_refused(
    words_: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_making_goes_on_to_the_same_file(
    number: signal.Signals, made: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "val.npz"
    argv = [sys.executable, "-m", "tools.make_proposals", *words(tiny_voc, out)]
    process = subprocess.Popen([*argv, "--processes", "1"], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(out.with_suffix(".parts").glob("*.npz")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, number)
    code = process.wait(timeout=60)

    assert code == (-9 if number == signal.SIGKILL else 143)
    assert not out.exists()
    assert main(words(tiny_voc, out, "--processes", "1")) == 0
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
    assert page.count("<polyline") == 3 * sum(
        any(fraction is not None for fraction in lines["0.5"])
        for lines in content["sizes"].values()
    )
    assert digest(Path(out)) == digest(made)


def test_a_report_on_a_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--images", "x", "--out", "x.npz", "--report", "r"]) == 2
    assert "is not known" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--edge-sizes", "[]"), ("--search-sizes", "[0]")])
def test_working_sizes_are_above_zero(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--images", "x", "--out", "x.npz", *option]) == 2
    assert "above 0" in capsys.readouterr().err


def test_an_image_without_proposals_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    write_jpeg(tmp_path / "images" / "flat.jpg", torch.full((3, 9, 60), 128).byte())

    out = tmp_path / "flat.npz"
    assert main(["--images", str(tmp_path / "images"), "--out", str(out)]) == 0

    assert "without any proposal, 1: flat.jpg" in capsys.readouterr().err
    assert load_proposals(out)["flat.jpg"].boxes.shape == (0, 4)


def test_the_command_proposes_as_the_room_data_does_by_default() -> None:
    ours, theirs = MakeProposalsSettings(out=Path("x.npz")), ProposeSettings()

    for field in fields(ProposeSettings):
        assert getattr(ours, field.name) == getattr(theirs, field.name), field.name


def test_quality_finds_more_boxes(tiny_voc: Path, tmp_path: Path) -> None:
    counts = []
    for others in ((), ("--quality", "true")):
        out = tmp_path / f"{len(others)}.npz"
        size = ("--method", "selective_search", "--search-sizes", "[120]", "--min-score", "0")
        assert main(words(tiny_voc, out, *size, *others)) == 0
        counts.append(sum(len(found.boxes) for found in load_proposals(out).values()))

    assert counts[0] < counts[1]


def test_a_second_process_leaves_the_same_file_alone(
    tiny_voc: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(job, "LOCK_SECONDS", 0.0)
    out = tmp_path / "val.npz"

    with alone(out):
        assert main(words(tiny_voc, out)) == 2

    assert f"error: {out}: another process is writing" in capsys.readouterr().err
    assert not out.exists()


def test_a_process_that_waited_for_another_takes_what_that_one_made(
    made: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    out, parts = tmp_path / "val.npz", tmp_path / "val.parts"
    with alone(out):
        command = [sys.executable, "-m", "tools.make_proposals", *words(tiny_voc, out)]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert "images" in second.stdout.readline()  # it waits from here on
        shutil.copy(made, out)
        shutil.rmtree(parts, ignore_errors=True)  # as the first does when it is done

    words_of_second = second.communicate(timeout=120)[0]
    assert second.returncode == 0
    assert "are there already" in words_of_second
    assert digest(out) == digest(made)
