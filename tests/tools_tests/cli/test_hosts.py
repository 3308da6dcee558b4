"""Which requests belong to a server's own pages."""

import pytest

from tools.cli.hosts import is_foreign


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8097", "localhost:1", "LOCALHOST", "[::1]:8097", "box:8097"]
)
def test_this_machine_and_the_served_name_are_own(host: str) -> None:
    assert not is_foreign(host, None, "box")
    assert not is_foreign(host, f"http://{host}", "box")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "192.0.2.1", "", "[", "localhost.", "[::1"]
)
def test_any_other_host_is_foreign(host: str) -> None:
    assert is_foreign(host, None, "127.0.0.1")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://localhost", "http://localhost:2", "http://["],
)
def test_a_page_of_another_server_is_foreign(origin: str) -> None:
    assert is_foreign("localhost:1", origin, "127.0.0.1")


@pytest.mark.parametrize("hostname", ["0.0.0.0", "::", ""])
def test_a_server_on_every_address_is_asked_by_addresses_and_not_by_names_of_others(
    hostname: str,
) -> None:
    for host in ("192.0.2.1:8097", "[2001:db8::1]:8097", "localhost"):
        assert not is_foreign(host, None, hostname)
    assert is_foreign("evil.example:8097", None, hostname)
