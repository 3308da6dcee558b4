"""Divide the filters of a trained run's convolutions by their deviation, with the same output.

python -m tools.standardize --run-dir runs/resnet --out runs/resnet_standardized
python -m tools.standardize --run-dir runs/resnet --out runs/resnet_standardized --mode A

Batch norms behind the convolutions are converted, so a backbone without them (alexnet, vgg16,
squeezenet1_1) is refused. Prints by how much the logits of eight images differ, as a fraction of
the largest logit, and ends with exit code 1 where that is over 1e-5 in float32 or 1e-10 in float64.
Less than a minute on two cores.

Writes weights.pt, a state dictionary, and standardized.json with the settings and that proof.
In Python, the model that they hold is

    from tools.exports.standardize import load_standardized
    model = load_standardized(Path("runs/resnet_standardized"))

or ``localizer.weight_standardization.standardize`` of a model of the same kind, into which
``load_state_dict`` loads weights.pt.
"""

from tools.cli.command import Command
from tools.exports.settings import StandardizeSettings

main = Command("standardize", StandardizeSettings, "tools.exports.standardize", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
