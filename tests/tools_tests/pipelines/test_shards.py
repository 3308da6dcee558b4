"""Shards of a command on a cluster, and one of them here."""

import json
import os
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from tests.tools_tests.conftest import Words
from tests.worlds import files_of, free_port, noise_image
from tools import detect, make_proposals
from tools.pipelines.settings import RunShardsSettings
from tools.pipelines.shard_job import make_shard
from tools.pipelines.shards import _job
from tools.run_shards import main

SMALL = ("--search-sizes", "60", "--edge-sizes", "60", "--max-boxes", "50")
OPTIONS = ("search-sizes=[60]", "edge-sizes=[60]", "max-boxes=50")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    for name in ("a.png", "below/b.png", "c.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise_image(60, 80).save(path)
    (folder / "notes.txt").write_text("no image")
    return folder


def options(images: Path, out: Path, *others: str) -> list[str]:
    place = ["--images", str(images), "--out", str(out)]
    return [*place, "--command", "make_proposals", "--options", *OPTIONS, *others]


def options_of(words: list[str]) -> tuple[str, ...]:
    """``--a 1 --b=2`` as ``a=1`` and ``b=2``."""
    return tuple("=".join(part.split(" ", 1)) for part in " ".join(words)[2:].split(" --"))


def one(settings: RunShardsSettings, names: list[str], number: int = 1) -> tuple[int, str]:
    """Make one shard in a process of its own, without a cluster."""
    return make_shard(_job(settings, names), number, names)


def test_a_cluster_makes_what_shards_by_hand_are_and_only_what_is_missing(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    out, place = tmp_path / "parts", images.as_uri()
    words = [*options(images, out), "--images", place, "--out", out.as_uri(), "--shards", "2"]
    handler = signal.getsignal(signal.SIGTERM)
    assert main(words) == 0
    assert "(2 of 2)" in capsys.readouterr().out
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    signal.signal(signal.SIGTERM, handler)

    for number in (1, 2):
        by_hand, stem = tmp_path / f"{number}.npz", f"0000{number}-of-00002"
        argv = ["--images", str(images), "--out", str(by_hand), "--shard", f"{number}/2", *SMALL]
        assert make_proposals.main(argv) == 0
        made = (out / f"{stem}.npz").read_bytes()
        assert made == by_hand.read_bytes()
        record = json.loads((out / f"{stem}.json").read_text())
        assert record["sha256"] == {"": sha256(made).hexdigest()}

    (out / "00002-of-00002.json").unlink()
    (out / "00002-of-00002.npz").unlink()
    (out / "00002-of-00002.json.part").mkdir()  # where its record cannot be written
    assert main(words) == 1
    captured = capsys.readouterr()
    assert "1 of 2 shards are there already" in captured.out
    assert "error: 1 of 2 shards failed, shard 2: " in captured.err.splitlines()[-1]
    assert "00002-of-00002.json.part" in captured.err.splitlines()[-1]
    (out / "00002-of-00002.json.part").rmdir()
    assert main(words) == 0

    before = files_of(out)
    assert main(words) == 0  # nothing is left to be made, so no cluster is asked for
    assert "2 of 2 shards are there already" in capsys.readouterr().out
    assert files_of(out) == before


def test_a_shard_of_a_detection_has_the_files_that_the_command_writes(
    small_run: Path, images: Path, tmp_path: Path
) -> None:
    chosen = (f"run-dir={small_run}", "formats=[coco]", "draw=false")
    settings = RunShardsSettings(
        command="detect", options=chosen, images=str(images), out=str(tmp_path / "parts")
    )
    names = ["a.png", "below/b.png", "c.png"]
    assert one(settings, names) == (0, "")

    by_hand = ["--images", str(images), "--out", str(tmp_path / "by_hand")]
    by_hand += [f"--{option}" for option in chosen]
    assert detect.main([*by_hand, "--shard", "1/1", "--processes", "1"]) == 0
    made = tmp_path / "parts" / "00001-of-00003"
    assert files_of(made) == files_of(tmp_path / "by_hand")
    record = json.loads(made.with_suffix(".json").read_text())
    assert record["sha256"] == {
        name: sha256(content).hexdigest() for name, content in files_of(made).items()
    }


def test_a_shard_of_features_fills_the_folder_that_all_share(words: Words, tmp_path: Path) -> None:
    frozen = ("--model.backbone=efficientnet_lite0", "--pretrained=true", "--frozen-backbone=true")
    argv = words(tmp_path / "run", f"--feature-cache={tmp_path / 'features'}", *frozen)
    settings = RunShardsSettings(
        command="train_localizer",
        options=options_of(argv),
        out=str(tmp_path / "parts"),
        shards=6,
    )
    (tmp_path / "parts").mkdir()
    assert one(settings, [], number=6) == (0, "")

    assert len(list((tmp_path / "features").rglob("*.npz"))) == 3
    assert files_of(tmp_path / "parts").keys() == {"00006-of-00006.json"}
    assert not (tmp_path / "run").exists()


def test_what_a_lost_machine_has_left_is_replaced_and_what_it_has_ended_is_kept(
    images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    left = out / "00001-of-00001.npz"
    left.parent.mkdir()
    left.write_bytes(b"half a file")
    settings = RunShardsSettings(
        command="make_proposals", options=OPTIONS, images=str(images), out=str(out), shards=1
    )
    assert one(settings, ["a.png"]) == (0, "")
    assert left.read_bytes() != b"half a file"

    left.write_bytes(b"not to be made again")
    assert one(settings, ["a.png"]) == (0, "")
    assert left.read_bytes() == b"not to be made again"


def test_a_bad_image_is_named_by_the_error_of_its_shard(images: Path, tmp_path: Path) -> None:
    (images / "c.png").write_bytes(b"no image")
    settings = RunShardsSettings(
        command="make_proposals", options=OPTIONS, images=str(images), out=str(tmp_path / "parts")
    )
    code, message = one(settings, ["c.png"], number=3)
    assert code == 2
    assert "c.png: the image does not decode" in message
    assert files_of(tmp_path / "parts") == {}


def test_shards_of_another_command_are_not_mixed_with(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts"
    out.mkdir()
    record = out / "00001-of-00003.json"
    for content in ('{"key": "another"}', "{", "[]"):
        record.write_text(content)
        assert main(options(images, out)) == 2
        assert f"{record}: of another command" in capsys.readouterr().err


def test_names_that_lead_out_of_the_folder_are_refused_before_anything_is_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = MemoryFileSystem()
    store.store["/photographs/../../evil.jpg"] = MemoryFile(store, "/photographs/../../evil.jpg")
    try:
        words = options(Path("x"), tmp_path / "parts", "--images", "memory://photographs")
        assert main(words) == 2
    finally:
        store.store.clear()
    assert "'../../evil.jpg' leads out of the folder" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_told_at_once(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    address = f"127.0.0.1:{free_port()}"
    assert main(options(images, tmp_path / "parts", "--ray-address", address)) == 1
    assert f"error: --ray-address {address}: no cluster answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda words: [*words, "--command", "evaluate"],
            "--command is one of make_proposals, detect",
        ),
        (
            lambda words: [*words, "--options", "out=x.npz"],
            "--options: out is for run_shards to give",
        ),
        (
            lambda words: [*words, "--options", "shard=1/2"],
            "--options: shard is for run_shards to give",
        ),
        (
            lambda words: [*words, "--options", "images=x"],
            "--options: images is for run_shards to give",
        ),
        (
            lambda words: [*words, "--options", "max-box=3"],
            "--options: unknown setting --max-box (did you mean --max-boxes?)",
        ),
        (
            lambda words: [*words, "--command", "train_wsddn"],
            "--images: train_wsddn reads images and labels by its own options",
        ),
        (lambda words: [*words, "--shards", "0"], "--shards is above 0, got 0"),
        (lambda words: [*words, "--cores", "0"], "--cores is above 0, got 0"),
        (lambda words: [*words, "--gpus=-1"], "--gpus is 0 or more, got -1"),
        (lambda words: [*words, "--out", ""], "--out is empty"),
        (lambda words: [*words, "--ray-address", "head"], "--ray-address is HOST:PORT or auto"),
        (lambda words: [*words, "--images", "nowhere"], "nowhere: no images in it"),
        (lambda words: [*words, "--out", "nothing://a"], "Protocol not known: nothing"),
    ],
)
def test_what_cannot_be_run_is_refused_before_a_cluster_is_asked_for(
    change: Callable[[list[str]], list[str]],
    message: str,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(change(options(images, tmp_path / "parts"))) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "parts").exists()
