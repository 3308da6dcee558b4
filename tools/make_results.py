"""Train and evaluate every row of the result tables, one after another.

python -m tools.make_results --weights-dir ../weights

A row is one entry of tools/configs/results.yaml with one seed. Its numbers are written into
tools/results/ROW-seedN.json; rows that have a file are skipped, interrupted ones continue. After
each row the tables in tools/results/README.md are written anew from those files. A row takes two to
twenty minutes on two cores, the first one of a frozen backbone ten more for its features. Tables of
your own experiments: --rows FILE --results FOLDER.
"""

from tools.cli.command import Command
from tools.pipelines.settings import MakeResultsSettings

main = Command("make_results", MakeResultsSettings, "tools.pipelines.results", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
