"""Trainings on the images of a second folder, which are never evaluated on."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from data.datasets.voc_layout import image_path
from data.proposals.files import load_proposals
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.tools_tests.conftest import Words
from tests.worlds import digest_of, noise_image, write_proposals
from tools import check_data, evaluate, make_proposals, train_localizer, train_wsddn
from tools.files.scores import read_scores
from tools.runs.folder import read_settings
from tools.runs.saved import learned_from_voc_alone

COUNT = 5
NAMES = [f"{number}.png" for number in range(COUNT)]


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images that hold the first class or none."""
    folder = tmp_path_factory.mktemp("more")
    for number, name in enumerate(NAMES):
        noise_image(60 + number, 80).save(folder / name)
    lines = [f"{name},{SYNTHETIC_CLASSES[0] * (k % 2)}" for k, name in enumerate(NAMES)]
    (folder / "labels.csv").write_text("\n".join(["image,labels", *lines]))
    return folder


def also(folder: Path) -> list[str]:
    return ["--also-images", str(folder), "--also-labels", str(folder / "labels.csv")]


def evaluated(run_dir: Path, voc_root: Path) -> list[str]:
    """The images of an evaluation that is told where VOC is, and nothing else."""
    words = [f"--run-dir={run_dir}", f"--voc-root={voc_root}", "--device=cpu", "--amp=off"]
    assert evaluate.main(words) == 0
    return list(read_scores(run_dir / "evaluations" / "val" / "scores.npz").ids)


def test_a_localizer_learns_from_both_and_is_evaluated_on_the_first(
    words: Words, tiny_voc: Path, more: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, copy = tmp_path / "run", Path(shutil.copytree(more, tmp_path / "copy"))
    short = [*also(copy), "--loop.epochs=1"]
    assert train_localizer.main(words(run_dir, *short)) == 0

    out = capsys.readouterr().out
    assert f"train: {12 + COUNT} images; {COUNT} of {copy.parent.name}/copy (labels.csv: " in out
    assert "val: 6 images\n" in out
    assert json.loads((run_dir / "training.json").read_text())["step"] == 5  # of 4 images, or 1
    settings = yaml.safe_load((run_dir / "settings.yaml").read_text())
    assert settings["also_images"] == [str(copy)]
    assert not learned_from_voc_alone(read_settings(run_dir))

    assert train_localizer.main(words(run_dir, *short, "--resume=auto")) == 0
    assert len(evaluated(run_dir, tiny_voc)) == 6
    (copy / "labels.csv").write_text(f"image,labels\n0.png,{SYNTHETIC_CLASSES[0]}\n")
    assert train_localizer.main(words(run_dir, *short, "--resume=auto")) == 2
    assert "--split train: not the same content as when" in capsys.readouterr().err


def test_a_detector_takes_the_proposals_of_added_images_from_a_second_file_or_the_same(
    detector_words: Words,
    tiny_voc: Path,
    some_proposals: dict[str, Proposals],
    more: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = [*also(more), "--loop.epochs=1"]
    corners = torch.tensor([[0.0, 0.0, 40.0, 40.0], [20.0, 10.0, 60.0, 60.0]])
    boxes = Proposals(corners, torch.tensor([0.75, 0.5]))
    second = write_proposals(tmp_path / "more.npz", dict.fromkeys(NAMES, boxes))
    both = some_proposals | dict.fromkeys(NAMES, boxes)
    one = write_proposals(tmp_path / "both.npz", both)

    assert train_wsddn.main(detector_words(tmp_path / "without", *short)) == 2
    assert f": no proposals of {NAMES[0]}, {NAMES[1]}" in capsys.readouterr().err
    first = write_proposals(tmp_path / "first.npz", some_proposals)
    for name, files in (("two", [first, second]), ("one", [one])):
        given = ["--proposals", *map(str, files)]
        assert train_wsddn.main(detector_words(tmp_path / name, *short, *given)) == 0
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")

    second.unlink()  # the images of val are in the first
    assert len(evaluated(tmp_path / "two", tiny_voc)) == 6


def test_proposals_are_made_of_a_split_and_of_all_that_is_added(
    tiny_voc: Path, more: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.npz"
    words = [f"--voc-root={tiny_voc}", "--split=val", f"--out={out}", "--processes=1", *also(more)]
    words += ["--method=selective_search", "--search-sizes=50"]
    assert make_proposals.main(words) == 0

    assert list(load_proposals(out))[6:] == NAMES
    assert len(load_proposals(out)) == 6 + COUNT


def test_a_check_lists_each_source_and_images_that_are_learned_and_validated_on(
    tiny_voc: Path, more: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(more, tmp_path / "w" / "more"))
    classes = f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"
    words = [f"--voc-root={tiny_voc}", f"--cache={tmp_path / 'states.json'}", classes]
    assert check_data.main([*words, *also(folder)]) == 0

    out = capsys.readouterr().out
    assert "train (12)" in out
    assert f"w/more ({COUNT})" in out
    assert f"{24 + COUNT} images, no problems" in out
    of_val = image_path(tiny_voc, "000013")
    shutil.copy(of_val, folder / NAMES[0])
    lines = (folder / "labels.csv").read_text().replace(SYNTHETIC_CLASSES[0], "Kiwi")
    (folder / "labels.csv").write_text(lines)
    assert check_data.main([*words, *also(folder)]) == 2
    out = capsys.readouterr().out
    assert f"{folder / 'labels.csv'}: class 'Kiwi' is not one of " in out
    assert f"{of_val}: the same file as {folder / NAMES[0]}, which is learned from" in out
