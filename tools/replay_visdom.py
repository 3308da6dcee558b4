"""Show a run's curves and images in visdom again, for example on a new server.

python -m tools.replay_visdom --run-dir runs/lite0 --visdom.server localhost --visdom.env lite0

Reads metrics.jsonl and events/ of the run folder; images and checkpoints are not needed. It shows
all curves, and the images of the first and of the last epoch with images, in at most 60 windows.
Takes seconds.
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
