"""List the features of frozen backbones that trainings keep on disk, and clear them.

python -m tools.feature_cache
python -m tools.feature_cache --clear 3f2a9c0b1d4e5f67
python -m tools.feature_cache --clear all

One line for each way in which features were computed: its folder, images, size on disk, when it was
last used, and from what (image size, weights). Features that are cleared are computed again when a
training or an evaluation needs them; do not clear what a running one uses.
"""

from tools.cli.command import Command
from tools.inputs.settings import FeatureCacheSettings

main = Command("feature_cache", FeatureCacheSettings, "tools.inputs.cache", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
