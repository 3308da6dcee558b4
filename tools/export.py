"""Write the model of a trained run for other programs, each file proved equal to the run.

python -m tools.export --run-dir runs/lite0 --out lite0
python -m tools.export --run-dir runs/lite0 --out lite0 --format safetensors torch_export onnx

safetensors   model.safetensors: weights. In Python they and model.json are a model again:
              from tools.exports.model import load_exported; model = load_exported(Path("lite0"))
torch_export  model.pt2: a graph for torch.export.load; nothing of this project is needed to run it.
onnx          model.onnx: a graph for ONNX Runtime and others (pip install ".[onnx]").

model.json beside them says how an image becomes an input (size, multiple, mean and deviation), what
the outputs are, the classes, and where the cells of a heatmap lie in the image.

A localizer or classifier takes any number of images of any size, padded to whole multiples on the
right and at the bottom, and the sizes without this padding. A detector takes one image and any
number of proposals in its pixels.

Prints by how much the outputs of a file differ from those of the run at several sizes, as a
fraction of the largest value; ends with exit code 1 where that is over 1e-4. Nothing is written
then, or where a backbone cannot be exported. A minute for each graph on two cores.
"""

from tools.cli.command import Command
from tools.exports.settings import ExportSettings

main = Command("export", ExportSettings, "tools.exports.model", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
