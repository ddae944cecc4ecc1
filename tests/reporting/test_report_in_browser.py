"""The page's script at work in a real browser: under its own policy, and by clicking."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.reporting.report import write_report

Build = Callable[..., Path]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

CLICKS = """
const seen = () => Array.from(document.querySelectorAll("ul.album li:not([hidden])"));
const told = () => document.querySelector("#album [role=status]").textContent;
const pick = (at, value) => {
  const select = document.querySelectorAll(".choices select")[at];
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const result = {};
const link = document.querySelector('.matrix a[data-truth="1"][data-answer="0"]');
link.click();
result.clicked = seen().map((card) => [card.dataset.truth, card.dataset.answer]);
result.count = link.textContent;
result.status = told();
result.open = document.querySelector("#album details").open;
result.focus = document.activeElement.id;
document.querySelector(".choices button").click();
result.all = seen().length;
pick(3, "unsure");
result.sure = seen().map((card) => Number(card.dataset.sure));
pick(2, "0");
result.wrong = seen().map((card) => card.dataset.right);
const head = document.querySelectorAll("table.classes thead th")[1];
head.querySelector("button").click();
result.sorted = [head.getAttribute("aria-sort")];
const rows = Array.from(document.querySelectorAll("table.classes tbody tr"));
result.column = rows.map((row) => row.children[1].textContent);
head.querySelector("button").click();
result.sorted.push(head.getAttribute("aria-sort"));
const out = document.createElement("pre");
out.id = "result";
out.textContent = JSON.stringify(result);
document.body.append(out);
"""


def shown(path: Path, profile: Path) -> str:
    """The document as it is once its script has run."""
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    return subprocess.run([*command, path.as_uri()], check=True, capture_output=True, text=True, timeout=120).stdout


def test_its_own_script_runs_and_no_other(build_run: Build, noise: bytes, tmp_path: Path) -> None:
    path = write_report(build_run(skill=3.0), lambda image: noise)
    source = path.read_text().replace("</main>", "</main><script>document.title = 'taken over'</script>")
    path.write_text(source)
    document = shown(path, tmp_path / "profile")
    assert re.search(r'<div class="choices small"[^>]*>', document)
    assert not re.search(r'<div class="choices small"[^>]*hidden', document)
    assert "150 of 150 pictures" in document
    assert "<title>taken over" not in document


def test_a_click_on_the_matrix_leads_to_its_images(build_run: Build, noise: bytes, tmp_path: Path) -> None:
    path = write_report(build_run(skill=3.0), lambda image: noise)
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text())
    path.write_text(source.replace("</body>", f"<script>{CLICKS}</script></body>"))
    found = re.search(r'<pre id="result">(.*?)</pre>', shown(path, tmp_path / "profile"), re.S)
    assert found
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert result["clicked"] == [["1", "0"]] * int(result["count"])
    assert result["status"] == f"{result['count']} of 150 pictures"
    assert result["open"] is True
    assert result["focus"] == "album-title"
    assert result["all"] == 150
    assert result["sure"] == sorted(result["sure"])
    assert set(result["wrong"]) == {"0"}
    assert result["sorted"] == ["ascending", "descending"]
    assert [int(one) for one in result["column"]] == sorted(int(one) for one in result["column"])
