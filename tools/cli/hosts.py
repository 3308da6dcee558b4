"""Which requests a server on this machine answers: those of its own pages, and of no other page.

A page of any other server that a browser shows can send requests to this machine too. It then says
where it is from (``Origin``), or has given its own name this machine's address (``Host``).
"""

import ipaddress
import socket
from urllib.parse import urlsplit

THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = ("", "0.0.0.0", "::")  # as a host name: the server listens on all of them


def is_foreign(host: str, origin: str | None, hostname: str) -> bool:
    """Whether a request is for another server, or from a page of another one.

    Args:
        host: header ``Host``, a name or address and maybe a port.
        origin: header ``Origin``, with which browsers say whose page sends a request; None without.
        hostname: that the server listens on. Of every address it is asked by any of them, which no
            other page can use as its name, and by the name of this machine.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        is_of_own_page = origin is None or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # such as an address in a single bracket
        return True
    is_own = name in (*THIS_MACHINE, hostname.lower())
    if hostname in EVERY_ADDRESS:
        own = {socket.gethostname().lower(), socket.getfqdn().lower()}
        is_own = is_own or name in own or _is_address(name)
    return not (is_own and is_of_own_page)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
