"""Evaluate a trained localizer or detector and write its report.

python -m tools.evaluate --run-dir runs/lite0 --split test
python -m tools.evaluate --run-dir runs/wsddn --split test --proposals runs/proposals/test.npz
python -m tools.evaluate --run-dir runs/lite0 --choose-threshold true

Writes detections.json, coco.json (the known boxes) and coco_results.json, scores.npz, ranked.npz
(the names and scores of each class's images, highest score first), the text files of the VOC
devkit, report.html, its curves as figures/NAME.svg, and report.json into RUN/evaluations/SPLIT (all
but the report and its curves into those of --beside as well). Prints image mAP, F2, recall, box mAP
by both rules, CorLoc and, of a localizer, point accuracy and heatmap coverage. The report also
holds accuracy, tail accuracy and loss of the image scores, and what the top-scoring boxes are:
hits, parts, groups, background. With --name several evaluations of one split stand side by side.
--choose-threshold keeps the threshold of a localizer's boxes in RUN/box_threshold.json for every
later command. Half a minute for 320 + 992 images whose features are cached, a few minutes for a
detector.
"""

from tools.cli.command import Command
from tools.evaluation.settings import EvaluateSettings

main = Command("evaluate", EvaluateSettings, "tools.evaluation.evaluate", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
