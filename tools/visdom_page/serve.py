"""A visdom server in the foreground, until a signal ends it."""

import asyncio
import logging
import socket
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any

from tools.cli.console import echo, warn
from tools.cli.hosts import THIS_MACHINE, is_foreign
from tools.cli.signals import check_interrupted, is_interrupted
from tools.visdom_page.assets import complete_page, save_assets, visdom_folder
from tools.visdom_page.settings import VisdomServerSettings

MAX_EVENT = 1 << 30  # bytes, as visdom allows at its start


def run(settings: VisdomServerSettings, *, package: Path | None = None) -> None:
    """Complete the page; then serve it, or save the added files.

    Args:
        settings: of the command.
        package: folder of visdom; the installed one when not given.
    """
    package = package or visdom_folder()
    if settings.save_assets is not None:
        save_assets(complete_page(settings.assets, package), settings.save_assets)
        echo(f"copied into {settings.save_assets}, for --assets on another machine")
        return
    import tornado  # comes with visdom

    if tornado.version_info >= (6, 6):
        raise ValueError(
            f"tornado {tornado.version}: every page of visdom would answer 403 (pip install "
            "'tornado<6.6')"
        )
    with _listen(settings.hostname, settings.port) as listener:
        settings.env_path.mkdir(parents=True, exist_ok=True)
        static = complete_page(settings.assets, package)
        asyncio.run(_serve(settings, listener, static))
    check_interrupted()


def _listen(hostname: str, port: int) -> socket.socket:
    """A socket at which connections wait until they are served.

    Raises:
        ValueError: the port is taken, or this machine has no such address.
    """
    if hostname not in THIS_MACHINE:
        warn(
            f"--hostname {hostname}: anyone who can reach port {port} of this machine can see, "
            "change and delete the windows"
        )
    try:
        addresses = socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM)
        family, *_, address = min(addresses, key=lambda info: info[0] == socket.AF_INET6)
        listener = socket.create_server(address, family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise ValueError(f"--port {port} on {hostname}: {reason}") from error
    listener.setblocking(False)
    return listener


async def _serve(settings: VisdomServerSettings, listener: socket.socket, static: Path) -> None:
    """Serve until a signal is received, then save the environments."""
    from tornado.httpclient import AsyncHTTPClient, HTTPClientError
    from tornado.httpserver import HTTPServer

    app = _application(settings, static)
    server = HTTPServer(app, max_buffer_size=MAX_EVENT)
    server.add_socket(listener)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        await AsyncHTTPClient().fetch(address)
    except (HTTPClientError, OSError) as error:
        raise ConnectionError(f"{address}: visdom does not serve its page ({error})") from error
    echo(f"visdom is at {address} (Ctrl-C ends it)")
    while not is_interrupted():
        await asyncio.sleep(0.1)
    server.stop()
    _save_environments(app)
    echo(f"the windows are saved in {settings.env_path}")


def _application(settings: VisdomServerSettings, static: Path) -> Any:
    """visdom's application with the page in ``static``.

    visdom's start would download, listen on every address, and restart when a source changes.
    """
    from tornado.web import ErrorHandler

    visdom_app: Any = import_module("visdom.server.app")  # without annotations

    class OwnPagesAlone(visdom_app.Application):  # type: ignore[misc]  # as above
        """Refuses what a page of another server sends, web sockets too."""

        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            origin = request.headers.get("Origin")
            if is_foreign(request.host, origin, settings.hostname):
                refused = {"status_code": HTTPStatus.FORBIDDEN}
                return self.get_handler_delegate(request, ErrorHandler, refused)
            return super().find_handler(request, **kwargs)

    # The page requests the user's style sheet below static/ too, where it never exists.
    logging.getLogger("tornado.general").setLevel(logging.CRITICAL)
    folder = str(static)
    visdom_app.tornado_settings |= {
        "static_path": folder,
        "template_path": folder,
        "autoreload": False,
        "serve_traceback": False,
    }
    return OwnPagesAlone(port=settings.port, env_path=str(settings.env_path))


def _save_environments(app: Any) -> None:
    """Write the environments that were opened; visdom would write null for the others."""
    opened = [name for name, env in app.state.items() if getattr(env, "_raw_dict", env) is not None]
    if hasattr(app, "storage"):  # visdom 0.3
        app.storage.save_envs(app.state, opened)
    else:
        saver: Any = import_module("visdom.utils.server_utils")
        saver.serialize_env(app.state, opened, env_path=app.env_path)
