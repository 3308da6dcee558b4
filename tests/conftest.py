"""What every test may ask for: seeded randomness, a small VOC-shaped world, the real images."""

import gc
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from data.synthetic.dataset import write_synthetic_voc

settings.register_profile(
    "suite", deadline=None, derandomize=True
)  # shared cores are slow at times
settings.load_profile("suite")
# sums then do not depend on how many cores there are, here and in the processes that tests start
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
gc.freeze()  # torch and its like are not looked through for cycles, which takes seconds


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Time and content of all that lies in a folder; the same before and after mere reading."""
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def rng() -> torch.Generator:
    """torch's default generator, seeded: weights and cells drawn inside the code follow it too."""
    return torch.manual_seed(0)


@pytest.fixture(scope="session")
def cuda() -> str:
    """The device; tests that ask for it carry the marker gpu."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return "cuda"


@pytest.fixture(scope="session")
def tiny_voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ``VOC2007`` in miniature (12 train, 6 val, 6 test); tests only read it."""
    root = tmp_path_factory.mktemp("tiny_voc")
    write_synthetic_voc(root, num_train=12, num_val=6, num_test=6)
    return root


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """The folder that holds the real ``VOC2007``; tests that ask for it carry the marker voc."""
    root = os.environ.get("VOC_ROOT")
    if not root:
        pytest.skip("VOC_ROOT is not set")
    if not (Path(root) / "VOC2007").is_dir():
        pytest.skip(f"VOC_ROOT={root} holds no VOC2007")
    return Path(root)
