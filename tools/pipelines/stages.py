"""Work in stages, of which a command that is typed again repeats no finished one."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from data.json_files import read_json
from tools.cli.console import echo
from tools.files.atomic import write_json


@dataclass(frozen=True, slots=True)
class Stage:
    """A step that is made again only after a change.

    Attributes:
        name: shown and remembered.
        product: its last file; without it the stage is not finished.
        work: does it, or what is left of it.
        made_from: plain values that this stage and no other is made from.
    """

    name: str
    product: Path
    work: Callable[[], None]
    made_from: Sequence[Any] = ()


def make_stages(stages: Sequence[Stage], record: Path, made_from: Any) -> None:
    """Every stage that is unfinished, was made from something else, or comes after such a one.

    Args:
        stages: in their order.
        record: file that remembers what each finished one was made from.
        made_from: plain values that all of them are made from.

    Raises:
        ValueError: the file is no such record; names it.
    """
    done: dict[str, str] = {}
    if record.is_file():
        done = read_json(record, description="a record of stages")
        if not isinstance(done, dict):
            raise ValueError(f"{record}: not a record of stages (remove it to begin anew)")
    for number, stage in enumerate(stages, start=1):
        key = sha256(json.dumps([made_from, list(stage.made_from)]).encode()).hexdigest()
        line = f"stage {number} of {len(stages)}: {stage.name}"
        if done.get(stage.name) == key and stage.product.exists():
            echo(f"{line}, done already")
            continue
        for later in stages[number - 1 :]:
            done.pop(later.name, None)
        write_json(record, done)
        echo(line)
        stage.work()
        write_json(record, done := {**done, stage.name: key})
