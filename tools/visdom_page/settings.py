"""Settings of the commands of this room. Light: ``--help`` imports this."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class VisdomServerSettings:
    """Settings of one server."""

    port: int = 8097
    """Port of the server."""

    hostname: str = "127.0.0.1"
    """Address of the server. With an address that other machines can reach, anyone there can see,
    change and delete the windows: visdom asks for no password."""

    env_path: Path = Path("runs/visdom")
    """Folder of the environments; read at the start and written at the end."""

    assets: Path | None = None
    """Folder with the files that visdom's package lacks, as --save-assets writes it; copied into
    the user's cache when they are not there yet."""

    save_assets: Path | None = None
    """Write those files into this folder for another machine, and serve nothing."""

    def __post_init__(self) -> None:
        """Refuse an invalid port."""
        if not 0 < self.port < 65536:
            raise ValueError(f"--port is from 1 to 65535, got {self.port}")
