"""Compare finished runs: a table for the terminal, for a README and for a browser, and curves.

python -m tools.compare_runs --runs runs/lite0 runs/wsddn --split test --out runs/compare

Reads the report.json of one evaluation of each run (--split, or --name) and the metrics.jsonl that
the trainings wrote; no model is loaded.
Writes compare.html (table and overlaid curves), compare.md and compare.json, and prints the table.
"""

from tools.cli.command import Command
from tools.pages.settings import CompareRunsSettings

main = Command("compare_runs", CompareRunsSettings, "tools.pages.compare", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
