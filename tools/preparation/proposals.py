"""Proposals of a set of images: made in parallel, stored image by image, joined at the end.

Or converted from a published file.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import cv2

from data.checks import name_first
from data.datasets.sources import open_source
from data.proposals.files import FORMAT, load_proposals, pack_proposals
from data.proposals.mat_files import convert_mat
from data.proposals.propose import REVISION, propose_files
from data.proposals.settings import ProposeSettings
from data.shard import parse_shard
from data.types import Proposals
from tools.cli.console import echo, saying, track, warn
from tools.cli.settings import to_dict
from tools.cli.signals import stop_at_once
from tools.files.atomic import locked, pack_arrays, write_atomically
from tools.files.digest import file_sha256
from tools.inputs.datasets import bad_images
from tools.pages.recall import write_recall_report
from tools.preparation.settings import MakeProposalsSettings
from tools.preparation.training_command import suggest_training

LOCK_SECONDS = 10.0


def run(settings: MakeProposalsSettings, *, lock_timeout: float = LOCK_SECONDS) -> None:
    """Write the file of proposals, then its recall if ``--report`` is given.

    Args:
        settings: of the command.
        lock_timeout: seconds to wait for another process that writes the same file.
    """
    source = open_source(settings)
    split = settings.split or "all"
    every = source.ids(split) if settings.split else source.every_id()
    ids, left_out = parse_shard(settings.shard).of(every), ""
    if settings.on_bad == "skip":
        bad = bad_images(source, ids, annotated=settings.report is not None)
        ids = [image_id for image_id in ids if source.path(image_id) not in bad]
        left_out = f", {len(bad)} bad ones left out" if bad else ""
    if not ids:
        raise ValueError(f"{split}: no image is left")
    echo(f"{len(ids)} images{left_out}")
    images = {image_id: source.path(image_id) for image_id in ids}
    # the only step that reads annotations
    annotations = [source.annotation(name) for name in ids] if settings.report else []
    if settings.report and not any(len(annotation.boxes) for annotation in annotations):
        raise ValueError(f"--report: {source.root} has no annotated objects")
    if settings.from_mat is not None:
        _convert(images, settings.out, settings.from_mat)
    else:
        _make(images, settings, lock_timeout)
    if settings.report is not None:
        title = f"Recall of {settings.out.name} on {split}"
        proposals = load_proposals(settings.out)
        with saying("writing the report"):
            words = write_recall_report(
                settings.report, title, proposals, annotations, source.classes
            )
        echo(words)
        echo(f"report: {settings.report / 'recall.html'}")
    if len(source.classes) > 1:  # a detector needs several
        options = ("--proposals", str(settings.out))
        suggest_training(
            "train_wsddn",
            *options,
            name="wsddn",
            settings=settings,
            source=source,
            split=settings.split,
        )


def _make(images: Mapping[str, Path], settings: MakeProposalsSettings, lock_timeout: float) -> None:
    """Make the missing proposals and write all of them into one file."""
    propose_settings = ProposeSettings(
        **{field.name: getattr(settings, field.name) for field in fields(ProposeSettings)}
    )
    # Everything that the boxes depend on, besides the image.
    made_with = {
        "settings": to_dict(propose_settings),
        "revision": REVISION,
        "opencv": cv2.__version__,
        "format": FORMAT,
    }
    checked = track(images.items(), "checksums", total=len(images))
    keys = {image_id: _key(path, made_with) for image_id, path in checked}
    # the workers of a process that was killed end within five seconds
    with locked(settings.out, wait=lock_timeout):
        known = _by_key(settings.out) if settings.out.exists() else {}
        for path in settings.made:
            known |= _by_key(path)
        folder = settings.out.with_suffix(".parts")
        folder.mkdir(exist_ok=True)
        parts = {key: folder / f"{key}.npz" for key in keys.values() if key not in known}
        missing = {
            parts[key]: images[image_id]
            for image_id, key in keys.items()
            if key in parts and not parts[key].is_file()
        }
        _make_parts(missing, propose_settings, processes=settings.processes, total=len(images))
        with saying("joining the proposals"):
            every = known | {key: load_proposals(part)["part"] for key, part in parts.items()}
        proposals = {image_id: every[key] for image_id, key in keys.items()}
        _write(settings.out, proposals, {**made_with, "keys": list(keys.values())})
        shutil.rmtree(folder)


def _convert(images: Mapping[str, Path], out: Path, mat: Path) -> None:
    """Write the proposals that a published file holds of the images."""
    if out.exists():
        load_proposals(out)  # a file of another kind is not overwritten
    with saying(f"converting {mat}"), stop_at_once():
        proposals = convert_mat(mat, images)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, proposals, {"from_mat": mat.name, "sha256": file_sha256(mat)})


def _write(out: Path, proposals: dict[str, Proposals], meta: dict[str, object]) -> None:
    with saying(f"writing {out}"):
        content = _bytes(proposals, meta)
        write_atomically(out, content)
    count = sum(len(of_image.boxes) for of_image in proposals.values())
    empty = [image_id for image_id, of_image in proposals.items() if not len(of_image.boxes)]
    if empty:
        warn(f"images without any proposal, {len(empty)}: {name_first(empty)}")
    echo(f"{count / len(proposals):.0f} boxes an image, sha256 {sha256(content).hexdigest()}")
    echo(f"proposals: {out}")


def _key(image: Path, made_with: dict[str, object]) -> str:
    """Hash of an image's content and everything else that its boxes depend on."""
    if not image.is_file():
        raise FileNotFoundError(f"{image}: no such image")
    conditions = json.dumps(made_with, sort_keys=True).encode()
    return sha256(sha256(image.read_bytes()).digest() + conditions).hexdigest()[:24]


def _by_key(path: Path) -> dict[str, Proposals]:
    """Proposals of a file by key; they need not be made again."""
    known = load_proposals(path)
    return dict(zip(known.meta.get("keys", ()), known.values(), strict=False))


def _make_parts(
    missing: dict[Path, Path], settings: ProposeSettings, *, processes: int, total: int
) -> None:
    """Write a file for every missing image.

    Args:
        missing: images by the file to write.
        settings: of the proposals.
        processes: number of parallel processes, 0 for one per core.
        total: number of images, with those that are done already.
    """
    made = propose_files(list(missing.values()), settings, processes=processes)
    done = total - len(missing)
    if done:
        echo(f"{done} of {total} are done already")
    parts = zip(missing, made, strict=True)
    for part, proposals in track(parts, "proposals", total=total, done=done):
        write_atomically(part, _bytes({"part": proposals}, {}))


def _bytes(proposals: dict[str, Proposals], meta: dict[str, object]) -> bytes:
    """A file of proposals; the same bytes for the same content."""
    return pack_arrays(**pack_proposals(proposals, meta))
