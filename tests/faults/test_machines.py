"""A cluster that loses a machine in the middle of its shards, and a command that is stopped."""

import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.faults.commands import patience, started
from tests.worlds import files_of
from tools import detect, make_proposals

pytestmark = pytest.mark.slow
SHARDS = 8


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without cores and two machines with one each."""
    module = pytest.importorskip("ray.cluster_utils")
    cluster = module.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def words_of(command: str, words: list[str], out: Path, cluster: Any) -> list[str]:
    options = [word.removeprefix("--") for word in words]
    place = ["--out", str(out), "--shards", str(SHARDS), "--ray-address", cluster.address]
    return ["--command", command, "--options", *options, *place]


def records(out: Path) -> list[Path]:
    return sorted(out.glob("*-of-*.json"))


def wait_for_records(out: Path, count: int, process: BaseProcess, output: Path) -> None:
    deadline = time.monotonic() + patience(120)
    while len(records(out)) < count:
        assert process.is_alive(), output.read_text()[-2000:]
        assert time.monotonic() < deadline, output.read_text()[-2000:]
        time.sleep(0.05)


def test_a_killed_machine_costs_no_shard_and_makes_none_twice(
    cluster: Any, detector_run: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    voc = [f"--voc-root={tiny_voc}", f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"]
    boxed = [f"--run-dir={detector_run}", f"--voc-root={tiny_voc}", "--split=trainval"]
    boxed += ["--draw=false"]
    for command, words, ending, run in (
        ("make_proposals", voc, ".npz", make_proposals.main),
        ("detect", boxed, "", detect.main),
    ):
        out, output = tmp_path / command, tmp_path / f"{command}.txt"
        argv = words_of(command, words, out, cluster)
        with started("run_shards", argv, output) as process:
            wait_for_records(out, 2, process, output)
            cluster.remove_node(cluster.machines.pop(), allow_graceful=False)
            assert len(records(out)) < SHARDS
            process.join(patience(300))
            assert process.exitcode == 0, output.read_text()[-2000:]
        assert len(records(out)) == SHARDS
        assert output.read_text().count(" is made (") == SHARDS
        cluster.machines.append(cluster.add_node(num_cpus=1))

        joined, alone = (
            tmp_path / f"joined_{command}{ending}",
            tmp_path / f"alone_{command}{ending}",
        )
        parts = sorted(str(path.with_suffix(ending)) for path in records(out))
        assert run([*words, "--out", str(joined), "--made", *parts]) == 0
        assert run([*words, "--out", str(alone)]) == 0
        if ending:
            assert joined.read_bytes() == alone.read_bytes()
        else:
            assert files_of(joined) == files_of(alone)


def test_a_stopped_command_ends_and_continues(cluster: Any, tiny_voc: Path, tmp_path: Path) -> None:
    out, output = tmp_path / "parts", tmp_path / "output.txt"
    words = [f"--voc-root={tiny_voc}", f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"]
    argv = words_of("make_proposals", words, out, cluster)
    with started("run_shards", argv, output) as process:
        assert process.pid
        wait_for_records(out, 1, process, output)
        process._popen.terminate()  # type: ignore[attr-defined]
        process.join(patience(30))
        assert process.exitcode == 128 + signal.SIGTERM, output.read_text()[-2000:]
    made = {path: path.stat().st_mtime_ns for path in records(out)}
    assert len(made) < SHARDS
    with started("run_shards", argv, output) as process:
        process.join(patience(300))
        assert process.exitcode == 0, output.read_text()[-2000:]
    assert len(records(out)) == SHARDS
    assert {path: path.stat().st_mtime_ns for path in made} == made
