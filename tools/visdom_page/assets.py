"""All files that visdom's page loads; its package holds only a part of them.

The others are in npm packages (``packages.yaml``), whose archives are fetched from npm's registry,
or taken from a folder filled on another machine. visdom's own downloader would end in a traceback
without internet access, and does not notice an error page.
"""

import hashlib
import importlib.util
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import yaml

from tools.cli.console import echo
from tools.cli.signals import stop_at_once
from tools.files.atomic import write_atomically

BUILT = "version.built"  # holds the version of visdom whose page is complete
REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org")  # as npm takes it
TIMEOUT_S = 30.0  # without a byte
MOST_BYTES = 200_000_000  # of a package
VERSIONS = ("0.2.4", "0.3.0")  # of visdom
Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package and the files that the page loads from it.

    Attributes:
        name: name and version, as npm takes them.
        sha256: of the archive.
        files: path below ``static`` by path in the package.
        visdom: the only version that needs it; None for all.
    """

    name: str
    sha256: str
    files: Mapping[str, str]
    visdom: str | None = None

    @property
    def path(self) -> str:
        """Of the archive, below the address of the registry."""
        name, _, version = self.name.partition("@")
        return f"{name}/-/{name}-{version}.tgz"


def packages_for(version: str) -> list[Package]:
    """The packages that complete the page of a version of visdom.

    Raises:
        ValueError: an unknown version of visdom.
    """
    if version not in VERSIONS:
        raise ValueError(f"visdom {version}: only the pages of {' and '.join(VERSIONS)} are known")
    rows = yaml.safe_load(Path(__file__).with_name("packages.yaml").read_text(encoding="utf-8"))
    return [one for row in rows if (one := Package(**row)).visdom in (None, version)]


def visdom_folder() -> Path:
    """The installed package.

    Raises:
        ModuleNotFoundError: visdom is not installed.
    """
    spec = importlib.util.find_spec("visdom")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("visdom is not installed (pip install '.[visdom]')")
    return Path(spec.origin).parent


def complete_page(
    assets: Path | None,
    folder: Path,
    *,
    packages: Sequence[Package] | None = None,
    registry: str = REGISTRY,
) -> Path:
    """A folder with all files that visdom's page loads; visdom's package stays as it is.

    Args:
        assets: a folder laid out as visdom's ``static``, filled on another machine.
        folder: of the package visdom.
        packages: those that complete its page; the known ones when not given.
        registry: address below which npm packages are.

    Returns:
        A folder in the user's cache (``$XDG_CACHE_HOME``), or the package's ``static`` where that
        is complete.

    Raises:
        ValueError: an unknown version of visdom, or ``assets`` lacks files.
        FileNotFoundError: the registry does not give the files.
        OSError: the cache is not writable.
    """
    version = (folder / "VERSION").read_text(encoding="utf-8").strip()
    known = packages_for(version)
    wanted = wanted_files(known)
    installed, cached = folder / "static", _cache_folder(version)
    for static in (installed, cached):
        if _version_of(static) == version and not _lacking(static, wanted):
            echo(f"visdom {version}: its page is complete in {static}")
            return static
    if assets is not None:
        files, source = _from_folder(assets, version, wanted), str(assets)
    else:
        files, source = _from_registry(packages or known, registry, version), registry
    shipped = (path for path in installed.rglob("*") if path.is_file())
    copied = {path.relative_to(installed).as_posix(): path.read_bytes() for path in shipped}
    place(cached, copied | files, version)
    echo(f"visdom {version}: {len(wanted)} files of its page, from {source}, are now in {cached}")
    return cached


def save_assets(static: Path, folder: Path) -> None:
    """Copy the added files of a complete page, for ``--assets`` on another machine."""
    version = _version_of(static)
    wanted = wanted_files(packages_for(version))
    place(folder, {name: (static / name).read_bytes() for name in wanted}, version)


def wanted_files(packages: Iterable[Package]) -> list[str]:
    """Files that the page loads and visdom's package lacks, as paths below ``static``."""
    return [name for package in packages for name in package.files.values()]


def place(static: Path, files: Files, version: str) -> None:
    """Write each file; ``version.built`` is the last."""
    (static / BUILT).unlink(missing_ok=True)
    for name, content in {**files, BUILT: version.encode()}.items():
        (static / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(static / name, content)


def _cache_folder(version: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "wsddn-localizer" / f"visdom-{version}"


def _version_of(static: Path) -> str:
    """The version of visdom whose page is complete; empty where nobody has said so."""
    built = static / BUILT
    return built.read_text(encoding="utf-8").strip() if built.is_file() else ""


def _lacking(folder: Path, wanted: Iterable[str]) -> list[str]:
    """Names of files that are absent, empty, or an error page under the name of a script.

    visdom's downloader writes ``version.built`` even if a file failed, so all are looked at.
    """
    return [name for name in wanted if not _is_usable(folder / name)]


def _is_usable(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(100).strip()
    return bool(start) and not (path.suffix in (".js", ".css") and start.startswith(b"<"))


def _from_folder(folder: Path, version: str, wanted: Sequence[str]) -> Files:
    if _version_of(folder) not in ("", version):
        other = _version_of(folder)
        raise ValueError(f"--assets {folder}: for visdom {other}, installed is {version}")
    if lacking := _lacking(folder, wanted):
        raise ValueError(
            f"--assets {folder}: {len(lacking)} of {len(wanted)} files are absent, empty or "
            f"error pages, the first is {lacking[0]}"
        )
    return {name: (folder / name).read_bytes() for name in wanted}


def _from_registry(packages: Sequence[Package], registry: str, version: str) -> Files:
    """Fetch the packages and read the files out of them."""
    echo(f"fetching {len(packages)} packages for visdom's page, 30 MB, from {registry}")
    files: Files = {}
    for package in packages:
        url = f"{registry.rstrip('/')}/{package.path}"
        try:
            with stop_at_once(), urlopen(url, timeout=TIMEOUT_S) as answer:
                files |= read_package(answer.read(MOST_BYTES), package)
        except (OSError, HTTPException) as error:
            raise FileNotFoundError(
                f"visdom {version}: files of its page are missing ({url}: {error}); on a machine "
                "with internet run python -m tools.visdom_server --save-assets DIR, copy DIR to "
                "this one, and start with --assets DIR"
            ) from error
    return files


def read_package(archive: bytes, package: Package) -> Files:
    """The files that the page loads from a package, by their path below ``static``.

    Raises:
        ConnectionError: another sha256.
    """
    digest = hashlib.sha256(archive).hexdigest()
    if digest != package.sha256:
        raise ConnectionError(f"sha256 {digest}, not {package.sha256}")
    wanted = {f"package/{path}": name for path, name in package.files.items()}
    with tarfile.open(fileobj=BytesIO(archive)) as content:
        return {
            wanted[member.name]: content.extractfile(member).read()  # type: ignore[union-attr]
            for member in content
            if member.name in wanted  # regular files, as the hash says
        }
