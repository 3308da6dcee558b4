"""Settings of visdom. Light: ``--help`` imports this."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class VisdomSettings:
    """Where live plots are shown during a run."""

    server: str = ""
    """Host name or address of a visdom server, such as localhost; empty shows nothing."""

    port: int = 8097
    """Port of that server."""

    env: str = "main"
    """Name of the visdom environment that receives the windows."""

    @property
    def place(self) -> str:
        """Where a person finds the windows; visdom stores a name with _ in the place of each /."""
        return f"{self.server}:{self.port}, environment {self.env.replace('/', '_')}"


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
