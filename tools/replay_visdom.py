"""Show a run's curves and images in visdom again, for example on a new server.

python -m tools.replay_visdom --run-dir runs/lite0 --visdom.server localhost --visdom.env lite0

Reads metrics.jsonl and events/ of the run folder; images and checkpoints are not needed. It shows
all curves, and the images of the first and of the last epoch with images, in at most 60 windows.
Takes seconds.
"""

from tools.cli.command import Command
from tools.loggers.settings import ReplayVisdomSettings

main = Command("replay_visdom", ReplayVisdomSettings, "tools.loggers.replay", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
