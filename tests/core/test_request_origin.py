"""Host, Origin and Sec-Fetch-Site as browsers and programs send them, and as an attacker would."""

import pytest

from covid_monai.core.request_origin import (
    host_name,
    is_foreign_page,
    is_loopback_name,
    joined_headers,
    normal_origin,
)

LOOPBACK = ("localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8501", "127.9.9.9", "[::1]", "[::1]:65535")
ELSEWHERE = (
    *("", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "10.0.0.1"),
    *(
        "0.0.0.0",
        "[::]",
        "[::ffff:10.0.0.1]",
        "2130706433",
        "0x7f000001",
        "127.1",
        "localhost.",
        "xn--lcalhost",
    ),
    *(
        "[::1",
        "::1",
        "[::1]x",
        "[[::1]]",
        "[localhost]",
        "[:::]",
        "[fe80::1%25lo]",
        "127.0.0.1:",
        "127.0.0.1:x",
    ),
    *(
        "a@localhost",
        "localhost@evil.example",
        "localhost/",
        "localhost\\",
        "localhost#",
        "localhost?",
        "%6cocalhost",
    ),
    *("localhost,evil.example", "localhost, localhost", "localhost localhost", "localhost\t", "localhost\0"),
    *(
        "localhost:8501:8501",
        "localhost:999999",
        "localhost:\u0663",
        "l\u043ecalhost",
        "\uff4cocalhost",
        "-localhost",
        "localhost-",
    ),
)


@pytest.mark.parametrize("host", LOOPBACK)
def test_every_name_of_loopback_is_one(host):
    assert is_loopback_name(host_name(host))


@pytest.mark.parametrize("host", ELSEWHERE)
def test_no_other_host_is_taken_for_loopback(host):
    assert not is_loopback_name(host_name(host))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:8501"},
        {"origin": "HTTP://LOCALHOST:8501", "sec-fetch-site": "same-origin"},
        {"host": "pacs.example", "origin": "http://pacs.example"},
        {"host": "pacs.example", "origin": "https://images.example"},  # a proxy in front of us speaks TLS
        {"host": "pacs.example", "origin": "https://IMAGES.example:443"},
        {"host": "[0:0::1]:80", "origin": "http://[::1]"},
        {"host": "[::1]:80", "origin": "http://[::1]"},
    ],
)
def test_programs_and_our_own_pages_are_not_foreign(headers):
    assert not is_foreign_page(
        {"host": "localhost:8501"} | headers, {normal_origin("https://images.example")}
    )


@pytest.mark.parametrize(
    "headers",
    [
        *({"sec-fetch-site": site} for site in ("cross-site", "same-site", "", "none,cross-site", "new")),
        *(
            {"origin": origin}
            for origin in (
                *("null", "", "http://evil.example", "http://localhost:3000", "http://127.0.0.1:8501"),
                *("http://localhost", "http://localhost:8501.evil.example", "http://evil@localhost:8501"),
                *("file://", "chrome-extension://abc", "ws://localhost:8501", "http://localhost:8501/"),
                *("http://localhost:8501,http://evil.example", "http://[::1", "localhost:8501"),
                *("https://localhost:8501", "http://images.example", "https://images.example:8501"),
            )
        ),
        {"origin": "http://localhost:8501", "sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:443", "host": "localhost"},
    ],
)
def test_pages_of_other_origins_are_foreign(headers):
    assert is_foreign_page({"host": "localhost:8501"} | headers, {normal_origin("https://images.example")})


def test_several_values_of_one_header_are_all_seen():
    headers = joined_headers([(b"Host", b"localhost"), (b"HOST", b"evil.example"), (b"Origin", b" null ")])
    assert headers == {"host": "localhost,evil.example", "origin": "null"}
    assert host_name(headers["host"]) is None
