"""Where a run's weights come from."""

from pathlib import Path

import pytest

from tools.runs.folder import write_settings
from tools.runs.saved import learned_from_voc_alone


def test_a_detector_has_learned_from_whatever_its_localizer_has_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = {"pretrained": False, "weights": None}
    for name, changed in (
        ("random", {}),
        ("imagenet", {"pretrained": True}),
        ("file", {"weights": "a.pth"}),
    ):
        (tmp_path / name).mkdir()
        write_settings(tmp_path / name, alone | changed)
        assert learned_from_voc_alone(alone | changed) == (name == "random")
        detector = alone | {"from_localizer": str(tmp_path / name)}
        assert learned_from_voc_alone(detector) == (name == "random")
    assert capsys.readouterr().err == ""

    assert not learned_from_voc_alone(alone | {"from_localizer": str(tmp_path / "gone")})
    assert capsys.readouterr().err.startswith(f"warning: {tmp_path / 'gone'}: ")
