"""Settings of visdom. Light: ``--help`` imports this."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

MAIN = "main"  # the environment that visdom shows when none is named


@dataclass(frozen=True)
class VisdomSettings:
    """Where live plots are shown during a run."""

    server: str = ""
    """Host name or address of a visdom server, such as localhost; empty shows nothing."""

    port: int = 8097
    """Port of that server."""

    env: str = ""
    """Name of the visdom environment that receives the windows; that of the run's folder when
    empty, main without a run."""

    def named_after(self, run_dir: Path) -> Self:
        """The same with an environment."""
        return replace(self, env=self.env or run_dir.resolve().name)

    @property
    def place(self) -> str:
        """Where a person finds the windows; visdom stores a name with _ in the place of each /."""
        return f"{self.server}:{self.port}, environment {(self.env or MAIN).replace('/', '_')}"


@dataclass(frozen=True, kw_only=True)
class ReplayVisdomSettings:
    """Settings of one replay."""

    run_dir: Path
    """Folder of the run."""

    visdom: VisdomSettings = field(default_factory=lambda: VisdomSettings(server="localhost"))

    def __post_init__(self) -> None:
        """Refuse an empty server."""
        if not self.visdom.server:
            raise ValueError("--visdom.server: empty (localhost is a server on this machine)")
