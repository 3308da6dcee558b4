"""Where a run's weights come from."""

from pathlib import Path

import pytest

from tools.runs.folder import write_settings
from tools.runs.kinds import TrainLocalizerSettings, TrainWsddnSettings
from tools.runs.saved import learned_from_voc_alone


def test_a_detector_has_learned_from_whatever_its_localizer_has_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def detector(localizer: Path) -> TrainWsddnSettings:
        return TrainWsddnSettings(run_dir=tmp_path, proposals=(tmp_path,), from_localizer=localizer)

    for name, localizer in (
        ("random", TrainLocalizerSettings(run_dir=tmp_path)),
        ("imagenet", TrainLocalizerSettings(run_dir=tmp_path, pretrained=True)),
        ("file", TrainLocalizerSettings(run_dir=tmp_path, weights=Path("a.pth"))),
    ):
        (tmp_path / name).mkdir()
        write_settings(tmp_path / name, localizer)
        assert learned_from_voc_alone(localizer) == (name == "random")
        assert learned_from_voc_alone(detector(tmp_path / name)) == (name == "random")
    assert capsys.readouterr().err == ""

    assert not learned_from_voc_alone(detector(tmp_path / "gone"))
    assert capsys.readouterr().err.startswith(f"warning: {tmp_path / 'gone'}: ")
