"""Show a run's curves and images in visdom once more, for example in a fresh server.

python -m tools.replay_visdom --run-dir runs/lite0 --visdom.server localhost --visdom.env lite0

Reads metrics.jsonl and events/ of the run folder and needs neither images nor checkpoints. Shown
are all curves, and the images of the first and of the last epoch that logged some; at most 60
windows. Seconds.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.loggers.settings import ReplayVisdomSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command("replay_visdom", ReplayVisdomSettings, "tools.loggers.replay", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
