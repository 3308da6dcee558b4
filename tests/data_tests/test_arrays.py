"""Arrays from files of any origin: a damaged one is refused by name."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data.arrays import read_arrays


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", names=np.array(["a", "b"]), values=np.arange(6.0).reshape(2, 3))
    return tmp_path / "a.npz"


def read(path: Path) -> list[np.ndarray]:
    return read_arrays(path, ("values", "names"), description="a file of values")


def test_the_arrays_come_in_the_order_of_their_names(path: Path) -> None:
    values, names = read(path)

    assert values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert names.tolist() == ["a", "b"]


def npy(kind: str, rest: str) -> bytes:
    """An array whose 40 bytes have all bits set, described by this text."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {rest}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"\xff" * 40


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("values.npy", b"no array"),
        ("values.npy", npy("<f8", "(2, 3,")),
        ("values.npy", npy("<f8", "(02, 3), }")),
        ("values.npy", npy("<f8", "(2, 1000000000, 100000), }")),
        ("values.npy", npy("<f8", "(2, 3), }")),
        ("names.npy", npy("<U1", "(2,), }")),
    ],
    ids=["no array", "not ended", "not Python", "huge", "cut", "no characters"],
)
def test_a_damaged_array_is_refused_by_the_name_of_its_file(
    member: str, content: bytes, path: Path
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(file, "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, content if name == member else whole.read(name))
    path.write_bytes(file.getvalue())

    with pytest.raises(ValueError, match=r"a\.npz: not a file of values "):
        read(path)


def test_an_encrypted_file_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    entry = whole.rfind(b"PK\x01\x02", 0, whole.rfind(b"names.npy"))
    path.write_bytes(whole[: entry + 8] + b"\x01" + whole[entry + 9 :])  # its first flag

    with pytest.raises(ValueError, match="encrypted"):
        read(path)
