"""List the features of frozen backbones that trainings keep on disk, and clear them.

python -m tools.feature_cache
python -m tools.feature_cache --clear 3f2a9c0b1d4e5f67
python -m tools.feature_cache --clear all

One line for each way in which features were computed: its folder, images, size on disk, when it was
last used, and from what (image size, weights). Features that are cleared are computed again when a
training or an evaluation needs them; do not clear what a running one uses.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.inputs.settings import FeatureCacheSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command("feature_cache", FeatureCacheSettings, "tools.inputs.cache", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
