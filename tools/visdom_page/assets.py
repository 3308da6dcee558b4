"""All files that visdom's page loads; its package holds only a part of them.

The others are taken from a folder filled on another machine, from npm packages, or from visdom's
downloader, which would end in a traceback without internet access.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.cli.console import echo
from tools.cli.signals import check_interrupted
from tools.visdom_page.packages import PACKAGES, Package

BUILT = "version.built"  # holds the version of visdom whose page is complete
SHIPPED = ("index.html", "css/style.css", "js/main.js")  # some files of its package
TIMEOUT_S = 300.0  # for 30 MB
DOWNLOAD = "from visdom.server.build import download_scripts; download_scripts(install_dir='.')"
Files = dict[str, bytes]
Packages = Mapping[str, Sequence[Package]]  # by version of visdom


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
    assets: Path | None = None,
    *,
    package: Path | None = None,
    packages: Packages = PACKAGES,
    downloader: str = DOWNLOAD,
    timeout: float = TIMEOUT_S,
) -> Path:
    """A folder with all files that visdom's page loads; missing ones are added.

    Args:
        assets: a folder laid out as visdom's ``static``, filled on another machine.
        package: folder of visdom; the installed one when not given.
        packages: npm packages with the files, by version of visdom.
        downloader: Python program that downloads the files into ``static`` where it runs.
        timeout: seconds for npm, and for the downloader.

    Returns:
        The package's ``static``, or a folder in the user's cache where that is not writable.

    Raises:
        ModuleNotFoundError: visdom is not installed.
        ValueError: an unknown version of visdom, or ``assets`` lacks files.
        FileNotFoundError: no source has the files; the message names each problem.
    """
    package = package or visdom_folder()
    version = (package / "VERSION").read_text().strip()
    installed, cached = package / "static", _cache_folder(version)
    wanted = wanted_files(version)
    for static in (installed, cached):
        if _is_complete(static, wanted, version):
            echo(f"visdom {version}: its page is complete in {static}")
            return static
    if assets is not None:
        files, source = _from_folder(assets, version, wanted), str(assets)
    else:
        sources: dict[str, Callable[[], Files]] = {
            "npm": lambda: _from_npm(packages[version], timeout),
            "the network": lambda: _from_network(wanted, downloader, timeout),
        }
        files, source = _from_first(sources, version, wanted)
    if os.access(installed, os.W_OK):
        static = installed
    else:
        static = cached
        shipped = (path for path in installed.rglob("*") if path.is_file())
        copied = {path.relative_to(installed).as_posix(): path.read_bytes() for path in shipped}
        files = copied | files
    place(static, files, version)
    echo(f"visdom {version}: {len(wanted)} files of its page, from {source}, are now in {static}")
    return static


def save_assets(static: Path, folder: Path) -> None:
    """Copy the added files of a complete page, for ``--assets`` on another machine."""
    version = (static / BUILT).read_text().strip()
    place(folder, {name: (static / name).read_bytes() for name in wanted_files(version)}, version)


def wanted_files(version: str) -> list[str]:
    """Files that the page loads and visdom's package lacks, as paths below ``static``.

    Raises:
        ValueError: an unknown version of visdom.
    """
    if version not in PACKAGES:
        known = " and ".join(PACKAGES)
        raise ValueError(f"visdom {version}: only the pages of {known} are known")
    return [name for package in PACKAGES[version] for name in package.files.values()]


def place(static: Path, files: Files, version: str) -> None:
    """Write each file under a temporary name, then rename it; ``version.built`` is the last."""
    (static / BUILT).unlink(missing_ok=True)
    for name, content in {**files, BUILT: version.encode()}.items():
        path = static / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _cache_folder(version: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "wsddn-localizer" / f"visdom-{version}"


def _is_complete(static: Path, wanted: Collection[str], version: str) -> bool:
    """visdom's downloader writes ``version.built`` even if a file failed: all files are checked."""
    built = static / BUILT
    is_built = built.is_file() and built.read_text().strip() == version
    return is_built and not _lacking(static, (*SHIPPED, *wanted))


def _lacking(folder: Path, wanted: Collection[str]) -> list[str]:
    """Names of files that are absent, empty, or an error page under the name of a script."""
    return [name for name in wanted if not _is_usable(folder / name)]


def _is_usable(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(100).strip()
    return bool(start) and not (path.suffix in (".js", ".css") and start.startswith(b"<"))


def _from_first(
    sources: Mapping[str, Callable[[], Files]], version: str, wanted: Sequence[str]
) -> tuple[Files, str]:
    """The files from the first source that has them all, and the name of that source."""
    problems = []
    for name, take in sources.items():
        try:
            return take(), name
        except ConnectionError as error:
            problems.append(f"{name}: {error}")
    raise FileNotFoundError(
        f"visdom {version}: {len(wanted)} files of its page are missing ({'; '.join(problems)}); "
        "on a machine with internet run python -m tools.visdom_server --save-assets DIR, copy "
        "DIR to this one, and start with --assets DIR"
    )


def _from_folder(folder: Path, version: str, wanted: Sequence[str]) -> Files:
    built = folder / BUILT
    if built.is_file() and (other := built.read_text().strip()) != version:
        raise ValueError(f"--assets {folder}: for visdom {other}, installed is {version}")
    if lacking := _lacking(folder, wanted):
        raise ValueError(
            f"--assets {folder}: {len(lacking)} of {len(wanted)} files are absent, empty or "
            f"error pages, the first is {lacking[0]}"
        )
    return {name: (folder / name).read_bytes() for name in wanted}


def _from_npm(packages: Sequence[Package], timeout: float) -> Files:
    """Fetch the packages with npm and read the files out of them."""
    npm = shutil.which("npm")
    if npm is None:
        raise ConnectionError("not installed")
    echo(f"npm fetches {len(packages)} packages for visdom's page, 30 MB")
    names = [package.name for package in packages]
    quick = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000"]
    command = [npm, "pack", "--ignore-scripts", *quick, *names]
    with _finished_in_folder(command, timeout) as folder:
        files: dict[str, bytes] = {}
        for package in packages:
            path = folder / package.archive
            if not path.is_file():
                raise ConnectionError(f"wrote no {package.archive}")
            files |= read_package(path.read_bytes(), package)
        return files


def read_package(archive: bytes, package: Package) -> dict[str, bytes]:
    """The files that the page loads from a package, by their path below ``static``.

    Raises:
        ConnectionError: another sha256, or a file is missing.
    """
    digest = hashlib.sha256(archive).hexdigest()
    if digest != package.sha256:
        raise ConnectionError(f"{package.archive} has sha256 {digest}, not {package.sha256}")
    files = {}
    with tarfile.open(fileobj=BytesIO(archive)) as content:
        for member in content:
            name = package.files.get(member.name.partition("/")[2])
            file = content.extractfile(member) if name and member.isreg() else None
            if name and file is not None:
                files[name] = file.read()
    if lacking := package.files.values() - files.keys():
        raise ConnectionError(f"{package.archive} lacks {min(lacking)}")
    return files


def _from_network(wanted: Sequence[str], downloader: str, timeout: float) -> Files:
    """Run visdom's downloader in a temporary folder, and check its files."""
    echo("visdom downloads the files of its page")
    with _finished_in_folder([sys.executable, "-c", downloader], timeout) as folder:
        if lacking := _lacking(folder / "static", wanted):
            raise ConnectionError(f"{len(lacking)} files are missing, the first is {lacking[0]}")
        return {name: (folder / "static" / name).read_bytes() for name in wanted}


@contextmanager
def _finished_in_folder(command: Sequence[str], timeout: float) -> Iterator[Path]:
    """A temporary folder in which a program has run to its end.

    Raises:
        ConnectionError: it failed or took too long; with the first error that it printed.
        Interrupted: a signal was received; the program and its children have been ended.
    """
    with TemporaryDirectory() as name:
        log = Path(name) / "log.txt"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                command,
                cwd=name,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # its children end with it
            ) as child,
        ):
            try:
                code = _wait(child, timeout)
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
        if code:
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
            errors = (line for line in lines if "err" in line.lower())
            raise ConnectionError(next(errors, f"ended with {code}")[:150])
        yield Path(name)


def _wait(child: subprocess.Popen[bytes], timeout: float) -> int:
    end = time.monotonic() + timeout
    while (code := child.poll()) is None:
        check_interrupted()
        if time.monotonic() > end:
            raise ConnectionError(f"not done after {timeout:.0f} s")
        time.sleep(0.05)
    return code
