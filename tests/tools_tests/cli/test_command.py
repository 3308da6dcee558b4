"""What every command promises: quick help, plain refusals, exit codes, signals."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localizer.settings import BoxSettings
from tests.worlds import YAML_BOMB
from tools import train_localizer
from tools.cli.command import CONFIGS, Command, parse_settings
from tools.cli.console import echo, suggest
from tools.cli.signals import Interrupted, check_interrupted
from tools.runs.folder import write_settings
from tools.runs.kinds import TrainClassifierSettings, TrainLocalizerSettings, TrainWsddnSettings
from tools.runs.settings import OptimSettings

TOOLS = Path(train_localizer.__file__).parent
COMMANDS = sorted(path.stem for path in TOOLS.glob("[!_]*.py"))
RunJob = Callable[..., int]


@dataclass(frozen=True)
class SmallSettings:
    """Settings of a command that exists in this test only."""

    out_dir: Path = Path("out")
    optim: OptimSettings = field(default_factory=OptimSettings)


@pytest.fixture
def run_job(monkeypatch: pytest.MonkeyPatch) -> RunJob:
    """Run a function as the job of a command with some words."""

    def run(job: Callable[[Any], None], *words: str) -> int:
        monkeypatch.setitem(sys.modules, "small_job", SimpleNamespace(run=job))
        return Command("small", SmallSettings, "small_job", "A small command.")(words)

    return run


def failing(error: Exception) -> Callable[[Any], None]:
    def job(settings: Any) -> None:
        raise error

    return job


def train_code(*words: str) -> int:
    """What the shell would see: a code that is returned or one that ends the process."""
    try:
        return train_localizer.main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_help_comes_within_two_seconds_and_without_torch(name: str) -> None:
    before = os.times()
    asked = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"tools.{name}", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    after = os.times()

    imported = {line.rpartition("|")[2].strip() for line in asked.stderr.splitlines()}
    assert asked.returncode == 0
    assert "tools.cli.command" in imported
    assert not {"torch", "numpy", "cv2", "tensorboard", "rich"} & imported
    seconds = [times.children_user + times.children_system for times in (before, after)]
    assert seconds[1] - seconds[0] < 2


def test_help_begins_with_the_docstring_and_writes_options_with_dashes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = train_code("--help")

    text = capsys.readouterr().out
    assert code == 0
    assert "python -m tools.train_localizer --config tools/configs/localizer_lite0.yaml" in text
    assert "--run-dir" in text
    assert "--loop.batch-size" in text
    assert "--run_dir" not in text
    assert "Images to learn from." in text


def test_what_the_encoding_of_the_output_lacks_is_written_as_an_escape() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tools.detect", "--run-dir=ä", "--out=out", "--print-config"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
        check=True,
    )

    assert b"run_dir: \\xe4\n" in shown.stdout


# Exit codes and messages


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("a.xml: two\n  lines (hint)"), 2, "a.xml: two lines (hint)"),
        (TypeError("wrong"), 2, "wrong"),
        (FileNotFoundError(errno.ENOENT, "gone", "two\nlines.jpg"), 2, r"two\nlines.jpg: gone"),
        (FileExistsError("wrong"), 2, "wrong"),
        (ModuleNotFoundError("wrong"), 2, "wrong"),
        (PermissionError(errno.EACCES, "wrong", "a.xml"), 2, "a.xml: wrong"),
        (ValueError("\x1b[31mred\udcff.jpg"), 2, r"\x1b[31mred\udcff.jpg"),
        (RuntimeError("broke"), 1, "broke"),
        (FloatingPointError("nan"), 1, "nan"),
        (OSError(errno.ENOSPC, "full"), 1, "[Errno 28] full"),
        (MemoryError(), 1, "MemoryError"),
    ],
)
def test_bad_input_gives_2_and_a_failure_1_in_one_line_without_traceback(
    error: Exception, code: int, line: str, run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(failing(error)) == code
    assert capsys.readouterr() == ("", f"error: {line}\n")


def test_debug_puts_the_traceback_before_the_last_line(
    run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_job(failing(ValueError("wrong")), "--debug")

    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "error: wrong"


# Signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_job_where_it_checks_and_gives_128_more(
    number: signal.Signals, code: int, run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []

    def job(settings: Any) -> None:
        signal.raise_signal(number)
        done.append("the step")
        check_interrupted()
        done.append("the next step")

    assert run_job(job) == code
    assert done == ["the step"]
    assert capsys.readouterr().err == f"stopped by {number.name}\n"


def test_signals_are_noted_before_the_job_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "slow_import.py").write_text(
        "import signal\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "from tools.cli.signals import check_interrupted\n"
        "def run(settings): check_interrupted()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert Command("small", SmallSettings, "slow_import", "")([]) == 143
    del sys.modules["slow_import"]


def test_a_command_does_not_see_the_signal_of_the_one_before_and_ends_with_0(
    run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(settings: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise Interrupted(signal.SIGTERM)

    assert run_job(stop) == 143
    capsys.readouterr()
    assert run_job(lambda settings: check_interrupted()) == 0
    assert capsys.readouterr() == ("", "")


def test_a_second_signal_ends_the_process_at_once() -> None:
    program = (
        "import signal\n"
        "from tools.cli.signals import install_signal_handlers\n"
        "install_signal_handlers()\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "print('still here', flush=True)\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "print('never')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)

    assert ended.returncode == -signal.SIGINT
    assert ended.stdout == b"still here\n"


# Settings


@pytest.mark.parametrize(
    ("word", "unknown", "hint"),
    [
        ("--optim.lrr=0.1", "optim.lrr", "did you mean --optim.lr?"),
        ("--batch-size=3", "batch-size", "did you mean --loop.batch-size?"),
        ("--run-folder=3", "run-folder", "did you mean --run-dir?"),
        ("--zzz", "zzz", "see --help"),
        ("optim: {lrr: 0.1}", "optim.lrr", "did you mean --optim.lr?"),
        ("imagesize: 3", "imagesize", "did you mean --image-sizes?"),
    ],
)
def test_an_unknown_setting_is_refused_with_a_suggestion(
    word: str, unknown: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not word.startswith("--"):
        (tmp_path / "my.yaml").write_text(word)
        word = f"--config={tmp_path}/my.yaml"

    assert train_code("--run-dir", "run", word) == 2
    assert capsys.readouterr().err == f"error: unknown setting --{unknown} ({hint})\n"


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("--optim.lr=fast", "--optim.lr is a number, got 'fast'"),
        ("--loop.epochs=1.5", "--loop.epochs is a whole number, got '1.5'"),
        ("--flip=maybe", "--flip is true or false, got 'maybe'"),
        ("--amp=half", "--amp is one of auto, off, bf16, fp16, got 'half'"),
        ("--image-sizes=[64,large]", "--image-sizes is a whole number, got 'large'"),
        ("--feature-cache-limit=x", "--feature-cache-limit is a number, got 'x'"),
        ("--model=3", "--model: "),
    ],
)
def test_a_value_of_another_type_is_refused_in_words_of_settings(
    word: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_code("--run-dir", "run", word) == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--optim.lr .nan", "--optim.lr"),
        ("--optim.lr 0", "--optim.lr"),
        ("--optim.lr fast", "lr"),
        ("--optim.momentum 1", "momentum"),
        ("--optim.weight-decay .inf", "--optim.weight-decay"),
        ("--optim.gamma 0", "gamma"),
        ("--optim.step-epochs 0", "--optim.step-epochs"),
        ("--optim.average 1", "--optim.average"),
        ("--optim.warmup-epochs .nan", "--optim.warmup-epochs"),
        ("--optim.name lamb", "adamw"),
        ("--loop.epochs 1.5", "loop.epochs"),
        ("--loop.batch-size 0", "--loop.batch-size"),
        ("--loop.workers -1", "--loop.workers"),
        ("--loop.log-every 0", "--loop.log-every"),
        ("--loop.checkpoint-every 0", "--loop.checkpoint-every"),
        ("--loop.histogram-every 0", "--loop.histogram-every"),
        ("--boxes.thresholds []", "--boxes.thresholds"),
        ("--boxes.thresholds [0.5,1.1]", "--boxes.thresholds"),
        ("--image-sizes []", "--image-sizes"),
        ("--eval-image-sizes [64,-1]", "--eval-image-sizes"),
        ("--frozen-backbone true", "--weights FILE"),
        ("stray", "stray"),
    ],
)
def test_settings_without_sense_are_refused_before_any_work(
    words: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tools.training.localizer", None)  # its import would fail

    assert train_code("--run-dir", "run", *words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line


@pytest.mark.parametrize("words", ["--out-dir a-b_c", "--out_dir=a-b_c", "--out-dir=a-b_c"])
def test_dashes_and_underscores_name_the_same_option_and_other_defaults_are_kept(
    words: str, run_job: RunJob
) -> None:
    seen: list[SmallSettings] = []

    assert run_job(seen.append, *words.split(), "--optim.weight-decay=0.5") == 0
    assert seen == [SmallSettings(Path("a-b_c"), OptimSettings(weight_decay=0.5))]


def read_words(*words: str) -> Any:
    return parse_settings(TrainLocalizerSettings, "train_localizer", words)


def test_what_a_run_writes_is_valid_for_config(tmp_path: Path) -> None:
    settings = TrainLocalizerSettings(
        run_dir=tmp_path / "run with spaces",
        voc_root=None,
        boxes=BoxSettings(thresholds=(0.25, 1.0)),
        weights=Path("some.pth"),
    )
    write_settings(tmp_path, settings)

    assert read_words("--config", str(tmp_path / "settings.yaml")) == settings


@pytest.mark.parametrize("name", ["localizer_lite0", "localizer_report"])
def test_shipped_configs_are_valid(name: str) -> None:
    path = Path(train_localizer.__file__).parent / "configs" / f"{name}.yaml"

    assert read_words("--config", str(path), "--run-dir", "run").pretrained


@pytest.mark.parametrize(
    ("settings_type", "name", "needed"),
    [
        (TrainWsddnSettings, "wsddn_lite0", ["--proposals", "p.npz"]),
        (TrainClassifierSettings, "classifier_lite0", []),
    ],
)
def test_defaults_are_the_recipe_that_the_results_begin_with(
    settings_type: type[Any], name: str, needed: list[str]
) -> None:
    path = Path(train_localizer.__file__).parent / "configs" / f"{name}.yaml"
    argv = ["--run-dir", "run", *needed]

    settings = [
        parse_settings(settings_type, name, words)
        for words in (argv, ["--config", str(path), *argv])
    ]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("word", ["--config localizer_lite0", "--config=localizer_lite0.yaml"])
def test_a_shipped_config_is_found_by_its_name_from_any_folder(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = read_words("--config", str(CONFIGS / "localizer_lite0.yaml"), "--run-dir", "run")
    monkeypatch.chdir(tmp_path)

    assert read_words(*word.split(), "--run-dir", "run") == named


def test_a_file_of_the_working_folder_comes_before_a_shipped_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "localizer_lite0.yaml").write_text("seed: 7")

    assert read_words("--config", "localizer_lite0.yaml", "--run-dir", "run").seed == 7
    assert read_words("--config", "localizer_lite0", "--run-dir", "run").seed == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("localizer_lite", "did you mean --config localizer_lite0?"),
        ("tools/configs/localizer_lite0.yaml", "did you mean --config localizer_lite0?"),
        ("zzz.yaml", f"by name: those of {CONFIGS}"),
    ],
)
def test_a_config_that_is_not_there_is_refused_with_a_suggestion(
    name: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert train_code("--run-dir", "run", "--config", name) == 2
    assert capsys.readouterr().err == f"error: --config {name}: no such file ({hint})\n"


@pytest.mark.parametrize("kind", ["localizer", "cat"])
def test_settings_of_another_kind_of_model_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"kind: {kind}\nrun_dir: run\nproposals: p.npz\n")

    with pytest.raises(ValueError, match="kind"):
        parse_settings(TrainWsddnSettings, "train_wsddn", ["--config", str(path)])


def test_an_option_after_the_config_overrides_it(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("run_dir: one\nseed: 7\n")

    settings = read_words("--config", str(tmp_path / "my.yaml"), "--run-dir", "other")

    assert (settings.run_dir, settings.seed) == (Path("other"), 7)


def test_without_its_folder_a_command_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.yaml").write_text("seed: 7")

    assert train_code("--config", str(tmp_path / "my.yaml")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize(
    "content",
    [
        *("run_dir: [unclosed", "hello", "\x00", "", "- 1", "\xff\xfe"),
        *(YAML_BOMB, f"{YAML_BOMB}m: {{<<: [*a8, *a8]}}", "model: &all [*all]"),
        *("model: " + "[" * 20_000, "- " * 3000, "seed: !!python/name:os.system"),
    ],
    ids=range(12),
)
def test_a_config_without_settings_is_refused_by_name_in_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(content, encoding="latin-1")

    assert train_code("--run-dir", "run", "--config", str(path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: not a file of settings (")


@pytest.mark.parametrize(
    "text",
    [
        "model: {class_path: planted_module.Model}",
        "visdom: planted_module.Model",
        "optim: {class_path: planted_module.Model, init_args: {}}",
        "boxes: planted_module.Model",
    ],
)
def test_a_config_imports_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "planted_module.py").write_text("class Model: ...")
    (tmp_path / "my.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    assert train_code("--run-dir", "run", "--config", str(tmp_path / "my.yaml")) == 2
    assert "planted_module" not in sys.modules
    assert "planted_module.Model" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--model", "--visdom", "--optim", "--boxes"])
def test_an_option_imports_nothing(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "planted_module.py").write_text("class Model: ...")
    monkeypatch.syspath_prepend(tmp_path)

    assert train_code("--run-dir", "run", option, "planted_module.Model") == 2
    assert "planted_module" not in sys.modules
    assert "planted_module.Model" in capsys.readouterr().err


def test_a_config_runs_no_code(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "my.yaml").write_text(f"seed: !!python/object/apply:os.mkdir ['{trace}']")

    assert train_code("--run-dir", "run", "--config", str(tmp_path / "my.yaml")) == 2
    assert not trace.exists()


def test_the_data_folder_comes_from_the_environment_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(os.environ, "VOC_ROOT", "/from/environment")

    assert read_words("--run-dir", "run").voc_root == Path("/from/environment")
    assert read_words("--run-dir", "run", "--voc-root", "/told").voc_root == Path("/told")


HERE = Path(__file__).parent  # holds no VOC


@pytest.mark.parametrize(
    ("words", "named"), [((), "--voc-root"), ((f"--voc-root={HERE}",), str(HERE))]
)
def test_a_data_folder_that_is_not_named_or_holds_no_voc_is_refused(
    words: tuple[str, ...],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)

    assert train_code("--run-dir", str(tmp_path / "run"), *words) == 2
    assert capsys.readouterr().err.startswith(f"error: {named}: ")
    assert not (tmp_path / "run").exists()


def test_the_next_command_is_the_last_line_of_one_that_succeeds(
    run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(settings: SmallSettings) -> None:
        suggest("python", settings.out_dir)
        echo("done")
        if settings.optim.lr > 1:
            raise ValueError("too fast")

    assert run_job(job, "--out-dir", "my run", "--optim.lr", "2") == 2
    assert capsys.readouterr().out == "done\n"
    assert run_job(lambda settings: None) == 0
    assert capsys.readouterr().out == ""
    assert run_job(job, "--out-dir", "my run") == 0
    assert capsys.readouterr().out == "done\nnext: python 'my run'\n"
