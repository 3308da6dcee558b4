"""Five thousand steps, seen from outside: memory, threads and open files of a training stay."""

import contextlib
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median

import pytest
import torch

from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES, write_synthetic_voc
from data.types import Proposals
from tests.faults.commands import started
from tests.tools_tests.conftest import Words, make_words
from tests.worlds import fake_visdom, random_boxes, write_proposals
from tools.loggers.metrics_file import read_metrics

PER_EPOCH, EPOCHS, SETTLED = 125, 40, 1000  # steps, epochs, steps
NEAR, MOST = 500, 30.0  # steps between two looks, megabytes

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="/proc tells what is held"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC with as many images as an epoch has steps."""
    root = tmp_path_factory.mktemp("world")
    write_synthetic_voc(root, num_train=PER_EPOCH, num_val=4, num_test=1)
    return root


@pytest.fixture(scope="module")
def long_words(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Words]:
    """Words of a training by its command; a step is one small image."""
    folder = tmp_path_factory.mktemp("proposals")
    generator = torch.Generator().manual_seed(0)
    ids = VOCSource(world, classes=SYNTHETIC_CLASSES).open("trainval").ids
    boxes = {name: Proposals(random_boxes(20, generator), torch.rand(20)) for name in ids}
    options = {
        "train_localizer": ("--model.backbone=squeezenet1_1", "--loop.batch-size=1"),
        "train_wsddn": (
            f"--proposals={write_proposals(folder / 'all.npz', boxes)}",
            *("--model.backbone=squeezenet1_1", "--model.width=16", "--model.pool-size=2"),
            *("--model.box-score=0", "--pretrained=false", "--frozen-backbone=false"),
            "--optim.lr=1e-4",
        ),
    }
    small = ("--image-sizes=[64]", f"--loop.epochs={EPOCHS}", "--loop.log-every=25")
    return lambda kind: make_words(world, *options[kind], *small, "--loop.checkpoint-every=500")


def held(pid: int) -> tuple[float, int, int]:
    """Megabytes of memory, threads and open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(values["VmRSS"].split()[0]) / 1024, int(values["Threads"]), files


def growth(steps: Sequence[int], memory: Sequence[float]) -> float:
    """Megabytes in 1000 steps: the median between any two looks that are near each other.

    A line through all would take a jump for a slope: where histograms are logged, every 2000 steps,
    memory goes back to the system, and 14 MB of it are taken again at once or much later.
    """
    looks = list(zip(steps, memory, strict=True))
    pairs = [(t - s, after - before) for (s, before), (t, after) in combinations(looks, 2)]
    return 1000 * median(change / apart for apart, change in pairs if 0 < apart <= NEAR)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(("kind", "workers"), [("train_localizer", 1), ("train_wsddn", 0)])
def test_five_thousand_steps_keep_memory_threads_and_files(
    kind: str, workers: int, long_words: Callable[[str], Words], tmp_path: Path
) -> None:
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    metrics, samples = run_dir / "metrics.jsonl", list[tuple[int, float, int, int]]()
    with fake_visdom() as server:
        argv = long_words(kind)(run_dir, f"--loop.workers={workers}", *server.words)
        with started(kind, argv, output) as process:
            assert process.pid
            while process.is_alive():
                server.events.clear()
                time.sleep(0.5)
                losses = read_metrics(metrics).get("train/loss") if metrics.exists() else None
                with contextlib.suppress(OSError, KeyError):  # it has just ended
                    samples += [(losses[-1][0], *held(process.pid))] if losses else []
            process.join()
            assert process.exitcode == 0, output.read_text()[-2000:]

    settled = [sample for sample in samples if SETTLED <= sample[0] < PER_EPOCH * EPOCHS]
    steps, memory, threads, files = zip(*settled, strict=True)
    half = len(settled) // 2
    slope = growth(steps, memory)
    print(f"{kind}: {memory[0]:.1f} to {memory[-1]:.1f} MB, {slope:.3f} MB in 1000 steps")
    assert "warning" not in output.read_text()
    for counted in (threads, files):  # more of them come and go with workers and checkpoints
        assert min(counted[half:]) <= min(counted[:half])
    assert slope < 1
    assert memory[-1] - memory[0] < MOST


def test_growth_is_that_of_a_leak_and_not_of_a_jump() -> None:
    steps = range(1000, 5000, 25)
    assert growth(steps, [0.001 * step for step in steps]) == pytest.approx(1)
    assert growth(steps, [14.0 * (2000 < step < 4000) for step in steps]) == 0
