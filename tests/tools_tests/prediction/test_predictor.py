"""A run in Python: the boxes that evaluate and detect find, from a file or a tensor."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from data.datasets.voc import VOCSource
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tools import detect
from tools.files.detections import read_detections
from tools.prediction.predictor import Predictor

README = (Path(__file__).parents[3] / "README.md").read_text()


@pytest.fixture
def image(tiny_voc: Path) -> Path:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("test").paths[0]


@pytest.mark.parametrize("run", ["small_run", "detector_run"])
def test_a_file_and_a_tensor_give_the_boxes_of_detect(
    run: str, request: pytest.FixtureRequest, image: Path, tmp_path: Path
) -> None:
    run_dir: Path = request.getfixturevalue(run)
    options = ["--device", "cpu", "--amp", "off", "--draw", "false"]
    options += ["--min-image-score", "0", "--relative-score", "0"]
    place = ["--run-dir", str(run_dir), "--images", str(image), "--out", str(tmp_path)]
    assert detect.main([*place, *options]) == 0
    _, written = read_detections(tmp_path / "detections.json")

    predictor = Predictor.from_run(run_dir, device="cpu", amp="off")
    from_file, from_tensor = predictor.predict(image), predictor.predict(read_image(image))

    assert predictor.classes == SYNTHETIC_CLASSES
    assert from_file.detections.boxes.equal(written[image.name].boxes)
    assert from_file.detections.scores.equal(written[image.name].scores)
    assert from_tensor.detections.boxes.equal(from_file.detections.boxes)
    assert (from_file.heatmaps is None) == (run == "detector_run")
    assert from_file.image_scores.shape == (len(SYNTHETIC_CLASSES),)


def test_what_is_no_image_is_refused(small_run: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_run(small_run, device="cpu", amp="off")
    (tmp_path / "a.jpg").write_text("no image")

    with pytest.raises(ValueError, match=r"a\.jpg"):
        predictor.predict(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"b\.jpg"):
        predictor.predict(str(tmp_path / "b.jpg"))
    with pytest.raises(ValueError, match=r"\[3, H, W\] uint8"):
        predictor.predict(torch.zeros(3, 4, 4))


def test_the_python_of_the_readme_runs(
    detector_run: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (block,) = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    shutil.copytree(detector_run, tmp_path / "runs" / "wsddn")
    (tmp_path / "photographs").mkdir()
    shutil.copyfile(image, tmp_path / "photographs" / "cat.jpg")
    monkeypatch.chdir(tmp_path)

    exec(block, {})

    assert "tensor(" in capsys.readouterr().out
