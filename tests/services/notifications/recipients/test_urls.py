"""Where a webhook may go: public addresses over HTTP, and the loopback where that is allowed."""

import pytest

from services.notifications.recipients.urls import check_url

INNER = [
    "http://127.0.0.1/",
    "http://127.8.9.10/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://100.64.0.1/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[64:ff9b::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://[ff02::1]/",
]
NOT_HTTP = [
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "//example.org/",
    "example.org",
    "http://",
    "http://user:pass@example.org/",
    "http://example.org:99999/",
    "http://example.org/\r\nX: y",
    "http://exa mple.org/",
    "",
]


@pytest.mark.parametrize("url", INNER + NOT_HTTP)
def test_an_endpoint_that_is_not_public_http_is_refused_when_it_is_set(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_url(url, allow_loopback=False)


def test_public_addresses_are_fine() -> None:
    for url in (
        "https://example.org/hook?x=1",
        "http://93.184.215.14:8080/",
        "https://[2606:4700::1]/",
    ):
        assert check_url(url, allow_loopback=False) == url


def test_allowing_the_loopback_allows_nothing_else() -> None:
    assert check_url("http://127.0.0.1:8/", allow_loopback=True)
    with pytest.raises(ValueError, match="not public"):
        check_url("http://10.0.0.1/", allow_loopback=True)
