"""Show a run's curves and pictures in visdom once more, for example in a fresh server.

python -m tools.replay_visdom --run-dir runs/lite0 --visdom.server localhost --visdom.env lite0

Reads metrics.jsonl and events/ of the run folder and needs neither pictures nor checkpoints. Shown
are all curves, and the pictures of the first and of the last epoch that logged some; at most 60
windows. Seconds.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.engine.command import run_command
from tools.engine.settings import VisdomSettings


@dataclass(frozen=True, kw_only=True)
class ReplayVisdomSettings:
    """Settings of one replay."""

    run_dir: Path
    """Folder of the run."""

    visdom: VisdomSettings = field(default_factory=lambda: VisdomSettings(server="localhost"))

    def __post_init__(self) -> None:
        """Refuse to show it nowhere."""
        if not self.visdom.server:
            raise ValueError("--visdom.server: where? (localhost for one on this machine)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(ReplayVisdomSettings, "replay_visdom", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
