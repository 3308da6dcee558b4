"""A training whose visdom is of any kind: exit 0, one warning, and the weights of any other run."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.commands import patience
from tests.tools_tests.conftest import Words
from tests.worlds import VisdomRequest, digest_of, fake_visdom, free_port
from tools.train_localizer import main

Answer = Callable[[VisdomRequest, int], None]
LONGEST = 40  # seconds of a training


def after(count: int, answer: Answer) -> Answer:
    """Right for so many requests, then so."""

    def change(request: VisdomRequest, number: int) -> None:
        if number <= count:
            request.reply(request.right_answer)
        else:
            answer(request, number)

    return change


def hang(request: VisdomRequest, _: int) -> None:
    request.rfile.read(1)
    request.close_connection = True


def wait(request: VisdomRequest, _: int) -> None:
    time.sleep(0.5)
    request.reply(request.right_answer)


def drip(request: VisdomRequest, _: int) -> None:
    request.send_response(200)
    request.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(100):
            request.wfile.write(b"x")
            time.sleep(0.1)


def reset(request: VisdomRequest, _: int) -> None:
    linger = struct.pack("ii", 1, 0)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.connection.close()


def close(request: VisdomRequest, _: int) -> None:
    request.close_connection = True


def say(text: bytes) -> Answer:
    def answer(request: VisdomRequest, _: int) -> None:
        request.wfile.write(text)
        request.close_connection = True

    return answer


def status(code: int) -> Answer:
    return lambda request, _: request.reply("trouble", code)


BAD: dict[str, Answer] = {
    "hangs": hang,
    "slow": wait,
    "drips": drip,
    "resets": reset,
    "closes": close,
    "500": status(500),
    "403": status(403),
    "404": status(404),
    "another page": lambda request, _: request.reply("<html>Welcome</html>"),
    "JSON": lambda request, _: request.reply(json.dumps({"win": 1})),
    "noise": say(b"\x00\xff noise\r\n\r\n"),
    "short": say(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"),
    "endless": say(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_000_000)),
    "hangs later": after(5, hang),
    "dies later": after(5, reset),
    "500 later": after(5, status(500)),
}


@contextlib.contextmanager
def silent_listener() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def assert_trained(
    words: list[str],
    run_dir: Path,
    whole: Path,
    printed: Callable[[], str],
    expected: tuple[int, ...],
) -> None:
    began = time.monotonic()
    assert main(words) == 0
    assert time.monotonic() - began < patience(LONGEST)
    warnings = [line for line in printed().splitlines() if line.startswith("warning: ")]
    assert len(warnings) in expected
    assert all("visdom is switched off" in warning for warning in warnings)
    assert digest_of(run_dir) == digest_of(whole)
    assert threading.active_count() < 50


@pytest.mark.slow
@pytest.mark.parametrize("mode", BAD)
def test_a_bad_server_changes_nothing_but_a_warning(
    mode: str, small_run: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_visdom(BAD[mode]) as server:
        argv = words(tmp_path / "run", *server.words)
        expected = (0, 1) if mode == "slow" else (1,)  # it may have kept up
        printed = capsys.readouterr
        assert_trained(argv, tmp_path / "run", small_run, lambda: printed().err, expected)


@pytest.mark.slow
@pytest.mark.parametrize("listens", [False, True])
def test_a_server_that_is_not_there_or_never_speaks_changes_nothing_but_a_warning(
    listens: bool, small_run: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with silent_listener() if listens else contextlib.nullcontext(free_port()) as port:
        options = ("--visdom.server=127.0.0.1", f"--visdom.port={port}")
        argv = words(tmp_path / "run", *options)
        assert_trained(argv, tmp_path / "run", small_run, lambda: capsys.readouterr().err, (1,))
