"""Who gets in: only this machine's own pages, with the key; and what binds every answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headstart.errors import OptionError
from headstart.ui.entry import Entry
from headstart.ui.server import Site

from .conftest import Client, Serve

MARK = b'{"file": "ant/1.png", "verdict": "right"}'


@pytest.fixture(scope="module")
def client(serve: Serve, tmp_path_factory: pytest.TempPathFactory, make_judged: Callable[..., Path]) -> Client:
    root = tmp_path_factory.mktemp("guarded")
    make_judged(root / "runs" / "ants", root / "data")
    return serve(root / "runs")


@pytest.fixture(scope="module")
def entered(client: Client) -> Client:
    return client.entered()


def test_nothing_is_shown_without_the_key(client: Client) -> None:
    for path in ("/", "/run/ants", "/run/ants/report.html", "/ui.js", "/nothing"):
        answer = client.ask(path)
        assert answer.status == 403
        assert "link that headstart ui has printed" in answer.text
    assert client.ask("/?token=wrong").status == 403
    assert client.ask("/?token=").status == 403
    assert client.ask("/", headers={"Cookie": f"{client.site.entry.cookie}=guess"}).status == 403
    assert client.ask("/", headers={"Cookie": "a=b; ;;=\x7f"}).status == 403


def test_the_link_gives_a_cookie_that_no_script_and_no_other_site_can_use(client: Client) -> None:
    link = urlsplit(client.site.entry.link())
    assert link.hostname == "127.0.0.1"
    given = client.ask(f"/?{link.query}").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in given.split(";")}
    assert client.site.entry.token not in given
    assert client.entered().ask("/").status == 200


def test_a_pass_is_good_once(client: Client) -> None:
    query = urlsplit(client.site.entry.single_link()).query
    assert client.ask(f"/?{query}").status == 200
    assert client.ask(f"/?{query}").status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", "", None]
)
def test_another_host_is_refused_even_with_the_key(entered: Client, host: str | None) -> None:
    port = entered.site.entry.port
    answer = entered.ask("/", headers={"Host": host and host.format(port=port)})
    assert answer.status in (400, 421)
    assert "ants" not in answer.text


def test_this_machines_other_name_is_answered(entered: Client) -> None:
    assert entered.ask("/", headers={"Host": f"localhost:{entered.site.entry.port}"}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{host}", "", None])
def test_a_change_that_another_page_asks_for_is_refused(entered: Client, origin: str | None) -> None:
    headers = {"Origin": origin and origin.format(host=entered.host), "Content-Type": "application/json"}
    for path in ("/run/ants/labels", "/run/ants/try"):
        assert entered.ask(path, "POST", MARK, headers).status == 403
    assert '<strong id="marked">0</strong>' in entered.ask("/run/ants/labels").text


def test_a_change_with_this_origin_is_taken(entered: Client) -> None:
    assert entered.post("/run/ants/labels", MARK, "application/json").status == 200


def test_every_answer_is_bound(entered: Client) -> None:
    for path in ("/", "/run/ants", "/nothing", "/ui.css", "/run/..%2f"):
        headers = entered.ask(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_a_report_runs_in_an_origin_of_its_own(entered: Client) -> None:
    policy = entered.ask("/run/ants/report.html").headers["content-security-policy"]
    assert "sandbox allow-scripts;" in policy
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy  # so that default-src 'none' holds
    assert "default-src 'none'" in policy


def test_no_page_names_another_server(entered: Client) -> None:
    for path in ("/", "/run/ants", "/run/ants/try", "/run/ants/labels", "/ui.js", "/ui.css", "/look.css"):
        text = entered.ask(path).text
        assert "http://" not in text
        assert "https://" not in text
        assert "//" not in text.replace("://", "").replace("/// ", "").replace("// ", "")
        assert "style=" not in text


def test_only_the_loopback_is_listened_on(client: Client) -> None:
    assert client.site._socket.getsockname()[0] == "127.0.0.1"


def test_a_taken_port_is_an_error_with_a_way_out(client: Client, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"port \d+ can't be had .*--port"):
        Site(tmp_path, port=client.site.entry.port)


def test_keys_differ_and_odd_ones_are_refused() -> None:
    first, second = Entry(1), Entry(1)
    assert not first.admits(second.token)
    assert not first.admits("ü\udcff")
    assert not first.knows(second.set_cookie().partition(";")[0])
