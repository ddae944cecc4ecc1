"""The page in a real browser, by clicking: reports, a dropped image, labels that are judged and fitted again."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.planning.options import Options

from .conftest import Client, Serve

pytestmark = pytest.mark.real

HOSTILE = """<body><script>
const tried = {};
const attempt = (name, act) => { try { tried[name] = String(act()); } catch (error) { tried[name] = "refused"; } };
attempt("parent", () => parent.document.title);
attempt("cookie", () => document.cookie);
attempt("storage", () => localStorage.length);
fetch("/run/ants/labels", {method: "POST", body: "{}"}).then(() => "sent", () => "refused").then((said) => {
  tried.fetch = said;
  document.body.textContent = JSON.stringify(tried);
});
</script></body>"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser, one for all tests of this module."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives a browser, is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with api.sync_playwright() as playwright:
        unconfined = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to confine what root runs
        browser = playwright.chromium.launch(executable_path=program, args=unconfined)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page on which nothing may go wrong unseen: errors of scripts, and what its policy forbids."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860})
    found = context.new_page()
    faults: list[str] = []
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    found.set_default_timeout(20_000)
    yield found
    context.close()
    expected = ("status of 4", "/run/ants/labels")  # what is refused, and what the hostile report tries
    assert [fault for fault in faults if not any(one in fault for one in expected)] == []


@pytest.fixture(scope="module")
def data(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 digits of two classes, two of them in the other one's folder."""
    folder = tmp_path_factory.mktemp("swapped") / "digits"
    for name, other in (("0", "8"), ("8", "0")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        first, *others = sorted((digits / name).iterdir())[:45]
        for number, path in enumerate(others, 1):
            shutil.copy(path, folder / name / f"{number}.png")
        (folder / other).mkdir(exist_ok=True)
        shutil.copy(first, folder / other / "swapped0.png")
    return folder


@pytest.fixture(scope="module")
def root(
    data: Path, warm_cache: Path, tmp_path_factory: pytest.TempPathFactory, make_judged: Callable[..., Path]
) -> Path:
    """A run on them, and one that somebody else wrote."""
    root = tmp_path_factory.mktemp("shown") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        headstart.fit(data, Options(strategy="linear_probe"), out=root / "digits")
    make_judged(root / "ants", root.parent / "ants")
    (root / "ants" / "report.html").write_text(HOSTILE)
    return root


@pytest.fixture
def client(root: Path, serve: Serve, warm: None) -> Client:
    return serve(root)


@pytest.fixture
def opened(page: Any, client: Client) -> Any:
    """The list of runs, entered by the link."""
    page.goto(client.site.entry.link())
    page.wait_for_selector("text=digits")
    return page


def test_two_runs_are_chosen_and_their_reports_cannot_reach_out(opened: Any, client: Client) -> None:
    assert opened.url == f"http://{client.host}/"
    button = opened.get_by_role("button", name="Side by side")
    assert button.is_disabled()
    opened.get_by_label("Choose digits").check()
    assert "1 chosen" in opened.text_content("#picked")
    opened.get_by_label("Choose ants").check()
    button.click()
    good = opened.frame_locator('iframe[title="Report of digits"]')
    good.get_by_role("heading", name="Scores").wait_for()
    hostile = opened.frame_locator('iframe[title="Report of ants"]').locator("body")
    hostile.get_by_text("fetch").wait_for()
    assert set(json.loads(hostile.text_content()).values()) == {"refused"}


def dropped(page: Any, name: str, content: bytes) -> None:
    """Drop a file on the page."""
    page.wait_for_load_state()
    transfer = page.evaluate_handle(
        """([name, text]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
          return transfer;
        }""",
        [name, base64.b64encode(content).decode()],
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})


def test_a_dropped_image_is_answered_with_map_and_neighbours(opened: Any, data: Path) -> None:
    opened.get_by_role("link", name="digits").click()
    opened.get_by_role("link", name="Try an image").click()
    dropped(opened, "notes.txt", b"no image at all")
    opened.wait_for_selector("#status.fault")
    assert "notes.txt: not an image" in opened.text_content("#status")
    assert opened.is_hidden("#result")
    dropped(opened, "eight.png", (data / "8" / "7.png").read_bytes())
    opened.wait_for_selector("#result:visible", timeout=60_000)
    assert opened.text_content("#said").startswith("8, ")
    assert opened.get_by_role("img", name="What speaks for 8").evaluate("image => image.naturalWidth") > 16
    assert opened.locator("#neighbours figure").count() == 5
    assert opened.locator("#neighbours strong").first.text_content() == "8"
    opened.set_input_files("input[type=file]", str(data / "0" / "7.png"))
    opened.locator("#said", has_text=re.compile("^0, ")).wait_for()


def test_labels_are_judged_by_mouse_and_keyboard_and_the_fit_follows(
    opened: Any, root: Path, data: Path, tmp_path: Path
) -> None:
    opened.get_by_role("link", name="digits").click()
    opened.get_by_role("link", name="Check labels").click()
    first = opened.locator('.card[data-file="8/swapped0.png"]')
    second = opened.locator('.card[data-file="0/swapped0.png"]')
    assert first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    first.get_by_role("button", name="It is 0").click()
    first.get_by_text("Wrong: 8 becomes 0.").wait_for()
    second.get_by_role("button", name="Label is right").focus()
    opened.keyboard.press("Tab")
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    second.get_by_text("None of the classes").wait_for()
    second.get_by_role("button", name="Take back").click()
    second.locator(".mark:empty").wait_for(state="attached")
    second.get_by_role("button", name="It is 8").click()
    second.get_by_text("Wrong: 0 becomes 8.").wait_for()
    opened.reload()
    first.get_by_text("Wrong: 8 becomes 0.").wait_for()
    assert opened.text_content("#marked") == "2"
    file = root / "digits" / "corrections.csv"
    assert str(file) in opened.text_content("#command")
    with file.open(newline="") as lines:
        assert {row["file"]: row["label_corrected"] for row in csv.DictReader(lines)} == {
            "8/swapped0.png": "0",
            "0/swapped0.png": "8",
        }
    again = headstart.fit(data, Options(strategy="linear_probe", corrections=str(file)), out=tmp_path / "again")
    record = json.loads(again.path("run.json").read_text())
    assert record["request"]["labels_changed"] == 2
    assert f"--corrections {file}" in record["command"]
    notes = json.loads(again.path("audit.json").read_text())["notes"]
    assert "By corrections.csv, 2 labels were changed, 0 confirmed." in notes
    assert again.path("corrections.csv").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_telephone(page: Any, client: Client, scheme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.goto(client.site.entry.link())
    page.wait_for_selector("text=digits")
    pages = ("/", "/run/digits", "/run/digits/try", "/run/digits/labels", "/run/nothing")
    for path in (*pages, "/side-by-side?run=digits&run=ants"):
        page.goto(f"http://{client.host}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (np.mean(lightness) > 128) == (scheme == "light")


@pytest.mark.parametrize("wait", [0, 1500], ids=["script first", "picture first"])
def test_a_picture_that_is_gone_is_said_to_be(page: Any, client: Client, root: Path, wait: int) -> None:
    Image.new("RGB", (5, 5)).save(root.parent / "ants" / "bee" / "4.png")  # no longer what the run saw
    page.route("**/*.js", lambda route: (page.wait_for_timeout(wait), route.continue_()))
    page.goto(client.site.entry.link())
    page.wait_for_selector("text=digits")
    page.goto(f"http://{client.host}/run/ants/labels")
    page.locator('.card[data-file="bee/4.png"]').get_by_text("no longer there").wait_for()
