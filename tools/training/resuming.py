"""Whether a run may be continued, and from where."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from data.datasets.image_set import ImageSet
from tools.cli.console import echo, track
from tools.cli.settings import flatten
from tools.files.digest import file_sha256
from tools.runs.checkpoint import check_lists, load_checkpoint, read_checkpoint
from tools.training.state import TrainingState

# A resumed run must be the run that was interrupted; these may differ from it.
FREE_TO_CHANGE = frozenset(
    (
        *("run_dir", "voc_root", "images", "labels", "proposals"),
        *("also_images", "also_labels"),
        *("resume", "feature_cache", "feature_cache_limit", "only_features", "weights", "device"),
        *("eval_image_sizes", "support_iou", "loop.workers", "loop.checkpoint_every"),
        *("loop.evaluate_every", "deterministic", "compile", "tf32"),
    )
)
FREE_PREFIXES = ("boxes.", "visdom.")
DIGESTS = "digests."


def dataset_digest(dataset: ImageSet) -> str:
    """Of names, labels and contents of the images; not of where they are."""
    digest = sha256()
    files = zip(dataset.ids, dataset.paths, strict=True)
    for image_id, path in track(files, f"checksums of {dataset.split}", total=len(dataset)):
        digest.update(f"{image_id}\n{file_sha256(path)}\n".encode(errors="surrogateescape"))
    for labels in (dataset.targets, dataset.weights):
        digest.update(labels.numpy().tobytes())
    return digest.hexdigest()


def split_digests(dataset: ImageSet, validation: ImageSet | None) -> dict[str, str]:
    """Digests of the images that are trained and validated on, by option."""
    digests = {f"--split {dataset.split}": dataset_digest(dataset)}
    if validation is not None:
        digests[f"--val-split {validation.split}"] = dataset_digest(validation)
    return digests


def resume(state: TrainingState, which: str, checkpoints: Path) -> bool:
    """Load what ``--resume`` names; False when there is nothing to continue.

    Args:
        state: changed in place.
        which: ``auto`` for the newest good checkpoint of the run, or the path of one; may be empty.
        checkpoints: folder of those of the run.

    Raises:
        ValueError: the checkpoint is of a run with other settings, or of another model.
    """
    if not which:
        return False
    check_lists(checkpoints)
    content = load_checkpoint(checkpoints) if which == "auto" else read_checkpoint(Path(which))
    if content is None:
        return False
    _refuse_other_settings(content["settings"], state.settings)
    state.load(content, context=f"{checkpoints if which == 'auto' else which}")
    echo(f"continuing from step {state.step} (epoch {state.epoch + 1}, batch {state.batch})")
    return True


def _refuse_other_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = flatten(before), flatten(now)
    for name, value in new.items():
        if name in FREE_TO_CHANGE or name.startswith(FREE_PREFIXES):
            continue
        if old.get(name) == value:
            continue
        if name.startswith(DIGESTS):
            raise ValueError(
                f"{name.removeprefix(DIGESTS)}: not the same content as when the run was started "
                "(start another --run-dir)"
            )
        raise ValueError(
            f"--{name.replace('_', '-')}: the run was started with {old.get(name)}, now "
            f"{value} (resume with the same settings, or start another --run-dir)"
        )
