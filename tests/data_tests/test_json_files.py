"""JSON of any origin."""

from pathlib import Path

import pytest

from data.json_files import read_json


def test_values_come_back_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 0.5, null, "é"]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json", description="a file") == {"a": [1, 0.5, None, "é"]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.json: not a report \("):
        read_json(tmp_path / "a.json", description="a report")
