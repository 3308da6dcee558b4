"""Serve visdom on this machine, with a page that shows its windows, online or offline.

python -m tools.visdom_server

Then train with --visdom.server localhost and open http://127.0.0.1:8097; Ctrl-C ends it and keeps
the windows in --env-path. visdom ships a part of its page only. The first start adds the rest, in
seconds where npm or the internet is; for a machine without both, fill a folder on one that has
them with --save-assets DIR, bring it there, and start with --assets DIR.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.engine.command import run_command


@dataclass(frozen=True, kw_only=True)
class VisdomServerSettings:
    """Settings of one server."""

    port: int = 8097
    """Where it listens."""

    hostname: str = "127.0.0.1"
    """Address it listens on. On another one than this machine's own, everybody who reaches it can
    see, change and delete the windows: visdom asks for no password."""

    env_path: Path = Path("runs/visdom")
    """Folder of its environments; read at the start and written at the end."""

    assets: Path | None = None
    """Folder with the files that visdom does not ship, as --save-assets writes it; used when they
    are not in place yet."""

    save_assets: Path | None = None
    """Write those files into this folder for another machine, and serve nothing."""

    def __post_init__(self) -> None:
        """Refuse ports that no machine has."""
        if not 0 < self.port < 65536:
            raise ValueError(f"--port is from 1 to 65535, got {self.port}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(VisdomServerSettings, "visdom_server", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
