"""One file from mirrors that cut, lie, hang or are down; kills and signals while it comes."""

import hashlib
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.worlds import forked
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.files.atomic import locked
from tools.files.download import TRIES, RemoteFile, fetch

CONTENT = b"a" + random.Random(0).randbytes(199_999)
HALF = len(CONTENT) // 2
FILE = RemoteFile("some.tar", len(CONTENT), hashlib.md5(CONTENT).hexdigest())
PAGE = b"\n <!DOCTYPE html><title>Log in</title>"


class Server(ThreadingHTTPServer):
    """Listens from the start, answers within ``serving``; the first folder of a URL is its mood."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0
        self.is_over = threading.Event()

    def mirror(self, mood: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{mood}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is what many tests are about


class Request(BaseHTTPRequestHandler):
    """One method a mood, called with the position that is asked for."""

    server: Server

    def do_GET(self) -> None:
        mood, span = self.path.split("/")[1], self.headers["Range"]
        self.server.asked.append((mood, span))
        getattr(self, mood)(int(re.findall(r"\d+", span)[0]) if span else 0)

    def answer(self, body: bytes, start: int = 0, status: int = 200, **headers: object) -> None:
        self.send_response(206 if start else status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.server.sent += len(body)
        self.wfile.write(body)

    def good(self, start: int) -> None:
        self.answer(CONTENT[start:], start, Content_Length=FILE.size - start)

    def unmeasured(self, _: int) -> None:  # without a length, and longer than expected
        self.answer(CONTENT + b"and more")

    def without_ranges(self, _: int) -> None:
        self.good(0)

    def refusing_ranges(self, start: int) -> None:
        self.answer(PAGE, status=416) if start else self.good(0)

    def cut_once(self, start: int) -> None:
        body = CONTENT[start:] if start else CONTENT[:HALF]
        self.answer(body, start, Content_Length=FILE.size - start)

    def cut_always(self, start: int) -> None:
        self.answer(CONTENT[start : start + 20_000], start, Content_Length=FILE.size - start)

    def altered(self, start: int) -> None:
        self.answer(CONTENT[::-1][start:], start, Content_Length=FILE.size - start)

    def shorter(self, start: int) -> None:
        self.answer(CONTENT[start:-9], start, Content_Length=FILE.size - 9 - start)

    def longer(self, start: int) -> None:
        self.answer(CONTENT[start:] + b"more", start, Content_Length=FILE.size + 4 - start)

    def page(self, start: int) -> None:
        body = PAGE.ljust(FILE.size - start)
        self.answer(body, start, Content_Type="text/html", Content_Length=len(body))

    def untyped_page(self, _: int) -> None:
        self.answer(PAGE)

    def missing(self, _: int) -> None:
        self.answer(PAGE, status=404)

    def babbling(self, _: int) -> None:
        self.wfile.write(b"220 ready\r\n")

    def silent(self, _: int) -> None:
        self.server.is_over.wait(60)

    def stalling(self, start: int) -> None:
        self.answer(CONTENT[start:HALF], start, Content_Length=FILE.size - start)
        self.server.is_over.wait(60)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(server: Server) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.is_over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that does not answer yet: forking is for processes without threads."""
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        yield server


@pytest.fixture
def server(listening: Server) -> Iterator[Server]:
    with serving(listening):
        yield listening


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "the archives"


@pytest.fixture
def part(folder: Path) -> Path:
    folder.mkdir()
    return folder / "some.tar.part"


def fetch_from(folder: Path, *mirrors: str, timeout: float = 5) -> Path:
    return fetch(FILE, folder, mirrors, timeout=timeout)


def assert_whole(folder: Path) -> None:
    """The file is there, whole, and nothing else but the lock."""
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    assert visible == [folder / FILE.name]
    assert visible[0].read_bytes() == CONTENT


# Whole and resumed


@pytest.mark.parametrize("mood", ["good", "unmeasured"])
def test_a_file_comes_from_the_first_mirror_that_gives_it(
    mood: str, server: Server, folder: Path
) -> None:
    path = fetch_from(folder, server.mirror(mood) + "/", server.mirror("missing"))

    assert path == folder / FILE.name
    assert server.asked == [(mood, None)]
    assert_whole(folder)


def test_a_file_that_is_there_is_not_asked_for(server: Server, folder: Path) -> None:
    folder.mkdir()
    (folder / FILE.name).write_bytes(CONTENT)

    assert fetch_from(folder, server.mirror("good")) == folder / FILE.name
    assert server.asked == []


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT[::-1]])
def test_another_file_of_that_name_is_refused_and_left_alone(
    content: bytes, server: Server, folder: Path
) -> None:
    folder.mkdir()
    (folder / FILE.name).write_bytes(content)

    with pytest.raises(ValueError, match=r"some\.tar: "):
        fetch_from(folder, server.mirror("good"))
    assert (folder / FILE.name).read_bytes() == content
    assert server.asked == []


def test_a_cut_connection_is_resumed_where_it_was(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_from(folder, server.mirror("cut_once"))

    assert server.asked == [("cut_once", None), ("cut_once", f"bytes={HALF}-")]
    assert server.sent == len(CONTENT)
    assert f"cut after {HALF} of {len(CONTENT)} bytes" in capsys.readouterr().err
    assert_whole(folder)


def test_what_came_in_an_earlier_run_is_not_asked_for_again(
    server: Server, folder: Path, part: Path
) -> None:
    part.write_bytes(CONTENT[:HALF])
    fetch_from(folder, server.mirror("good"))

    assert server.asked == [("good", f"bytes={HALF}-")]
    assert server.sent == len(CONTENT) - HALF
    assert_whole(folder)


def test_the_next_mirror_goes_on_where_one_that_always_cuts_was_left(
    server: Server, folder: Path
) -> None:
    fetch_from(folder, server.mirror("cut_always"), server.mirror("good"))

    assert [mood for mood, _ in server.asked] == ["cut_always"] * TRIES + ["good"]
    assert server.asked[-1] == ("good", f"bytes={TRIES * 20_000}-")
    assert server.sent == len(CONTENT)
    assert_whole(folder)


@pytest.mark.parametrize("mood", ["without_ranges", "refusing_ranges"])
def test_a_mirror_that_cannot_resume_starts_over(
    mood: str, server: Server, folder: Path, part: Path
) -> None:
    part.write_bytes(CONTENT[:HALF])
    fetch_from(folder, server.mirror(mood))

    assert server.asked[0] == (mood, f"bytes={HALF}-")
    assert_whole(folder)


# Wrong content


@pytest.mark.parametrize(
    "content",
    [CONTENT + b"more", CONTENT[::-1], CONTENT[::-1][:HALF]],
    ids=["longer", "altered", "altered half"],
)
def test_a_wrong_part_is_thrown_away_and_the_same_mirror_asked_again(
    content: bytes, server: Server, folder: Path, part: Path
) -> None:
    part.write_bytes(content)
    fetch_from(folder, server.mirror("good"))

    assert server.asked[-1] == ("good", None)
    assert_whole(folder)


def test_a_whole_part_needs_no_mirror_to_answer(server: Server, folder: Path, part: Path) -> None:
    part.write_bytes(CONTENT)
    fetch_from(folder, server.mirror("missing"))

    assert server.asked == []
    assert_whole(folder)


def test_a_wrong_md5_leaves_nothing_and_leads_to_the_next_mirror(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConnectionError):
        fetch_from(folder, server.mirror("altered"))
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []
    server.asked.clear()
    capsys.readouterr()

    fetch_from(folder, server.mirror("altered"), server.mirror("good"))

    md5 = hashlib.md5(CONTENT[::-1]).hexdigest()
    url = f"{server.mirror('altered')}/{FILE.name}"
    assert capsys.readouterr().err == f"warning: {url}: md5 {md5}, not {FILE.md5}\n"
    assert server.asked == [("altered", None), ("good", None)]
    assert_whole(folder)


@pytest.mark.parametrize("mood", ["page", "missing", "longer"])
def test_a_refused_answer_does_not_touch_what_came_before(
    mood: str, server: Server, folder: Path, part: Path
) -> None:
    part.write_bytes(CONTENT[:HALF])
    with pytest.raises(ConnectionError):
        fetch_from(folder, server.mirror(mood))

    assert part.read_bytes() == CONTENT[:HALF]
    assert server.asked == [(mood, f"bytes={HALF}-")]


# Mirrors that fail


@pytest.mark.parametrize(
    ("mood", "refusal"),
    [
        ("page", "a page"),
        ("untyped_page", "a page"),
        ("shorter", f"{len(CONTENT) - 9} bytes"),
        ("longer", f"{len(CONTENT) + 4} bytes"),
        ("missing", "HTTP 404"),
        ("babbling", r"220 ready\r\n"),
        ("silent", "timed out"),
        ("stalling", "timed out"),
    ],
)
def test_a_mirror_that_fails_is_named_in_one_line_and_the_next_one_tried(
    mood: str, refusal: str, server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    fetch_from(folder, server.mirror(mood), server.mirror("good"), timeout=0.3)

    assert time.monotonic() - began < 5
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith(f"warning: {server.mirror(mood)}/{FILE.name}: ")
        assert refusal in line
    assert_whole(folder)


def test_a_mirror_that_is_down_is_passed_over(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_from(folder, "http://127.0.0.1:1", "http://a host", server.mirror("good"))

    first, second = capsys.readouterr().err.splitlines()
    assert "Connection refused" in first
    assert second.startswith("warning: http://a host/some.tar: ")
    assert_whole(folder)


def test_when_every_mirror_fails_one_line_says_what_to_put_where(
    server: Server, folder: Path
) -> None:
    with pytest.raises(ConnectionError) as refusal:
        fetch_from(folder, server.mirror("missing"), server.mirror("missing"))

    for fact in (f"{folder / FILE.name}: ", f"{FILE.size} bytes", FILE.md5, f"into {folder}"):
        assert fact in str(refusal.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_names_the_file_and_is_no_failure_of_the_mirror(
    server: Server, folder: Path, part: Path
) -> None:
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as refusal:
        fetch_from(folder, server.mirror("good"), server.mirror("good"))

    assert refusal.value.filename == str(part)
    assert server.asked == [("good", None)]


def test_two_downloads_of_one_file_do_not_mix(server: Server, folder: Path) -> None:
    with locked(folder / FILE.name), pytest.raises(FileExistsError, match=r"some\.tar: "):
        fetch_from(folder, server.mirror("good"))


def test_a_line_now_and_then_says_how_far_it_is(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(FILE, folder, [server.mirror("good")], timeout=5, interval=0.0)

    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"downloading {server.mirror('good')}/{FILE.name}"
    assert re.fullmatch(r"some\.tar: 0/0 MB, \d+\.\d MB/s, 0 s left", said[-1])


# Kills and signals


def download_or_stop(folder: Path, *mirrors: str) -> None:
    install_signal_handlers()
    try:
        fetch_from(folder, *mirrors, timeout=60)
    except Interrupted as stop:
        sys.exit(stop.exit_code)


def wait_for(is_there: Callable[[], object], process: BaseProcess) -> None:
    deadline = time.monotonic() + 30
    while not is_there() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def holds_something(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_download_that_is_stopped_goes_on_where_it_was(
    number: int, code: int, listening: Server, folder: Path, part: Path
) -> None:
    stalling = listening.mirror("stalling")
    with forked(download_or_stop, folder, stalling) as process, serving(listening):
        wait_for(holds_something(part), process)
        assert process.pid
        os.kill(process.pid, number)
        process.join(10)
        came = part.read_bytes()
        fetch_from(folder, listening.mirror("good"))

    assert process.exitcode == code
    assert came == CONTENT[: len(came)]
    assert listening.asked[-1] == ("good", f"bytes={len(came)}-")
    assert_whole(folder)


def test_a_signal_does_not_wait_for_a_mirror_that_never_answers(
    listening: Server, folder: Path
) -> None:
    silent = listening.mirror("silent")
    with forked(download_or_stop, folder, silent) as process, serving(listening):
        wait_for(lambda: listening.asked, process)
        assert process.pid
        os.kill(process.pid, signal.SIGTERM)
        process.join(10)

    assert process.exitcode == 143


def test_a_signal_that_came_before_asks_no_mirror(server: Server, folder: Path) -> None:
    install_signal_handlers()
    signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        fetch_from(folder, server.mirror("good"))
    assert server.asked == []
