"""The pages over plain HTTP: what they list, what they refuse, and that no address leads out of the runs folder."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from headstart.data.corrections import read_corrections
from headstart.ui import application
from headstart.ui.runs_folder import refit_command

from .conftest import Client, Serve

SECRET = "what nobody may read"


@pytest.fixture
def root(tmp_path: Path, make_judged: Callable[..., Path]) -> Path:
    make_judged(tmp_path / "runs" / "ants", tmp_path / "data")
    return tmp_path / "runs"


@pytest.fixture
def client(root: Path, serve: Serve) -> Client:
    return serve(root).entered()


def test_runs_are_listed_also_damaged_and_oddly_named_ones(
    client: Client, root: Path, make_run: Callable[..., Path]
) -> None:
    make_run(root / "<b>&'\"", accuracy=0.5)
    make_run(root / "half", state="running")
    (make_run(root / "damaged") / "metrics.json").unlink()
    text = client.ask("/").text
    assert "0.900  0.850–0.950" in text
    assert "&lt;b&gt;&amp;&#39;&#34;" in text
    assert "<b>" not in text
    assert "interrupted" in text
    assert "metrics.json is missing" in text
    assert client.ask("/run/%3Cb%3E%26%27%22/report.html").text == "<p>report</p>"


def test_an_absent_folder_has_no_runs(serve: Serve, tmp_path: Path) -> None:
    assert "No runs in this folder yet" in serve(tmp_path / "none").entered().ask("/").text


def test_two_reports_lie_side_by_side(client: Client, root: Path, make_run: Callable[..., Path]) -> None:
    make_run(root / "bees")
    answer = client.ask("/side-by-side?run=ants&run=bees")
    assert [f'src="/run/{name}/report.html" sandbox="allow-scripts"' in answer.text for name in ("ants", "bees")] == [
        True,
        True,
    ]
    for query in ("", "?run=ants", "?run=ants&run=bees&run=ants"):
        assert client.ask(f"/side-by-side{query}").status == 400
    assert client.ask("/side-by-side?run=ants&run=../data").status == 404


PATHS = [
    "/run/..",
    "/run/../",
    "/run/%2e%2e",
    "/run/%2e%2e/report.html",
    "/run/..%2fsecret/report.html",
    "/run/%2e%2e%2fsecret/report.html",
    "/run/..%5csecret/report.html",
    "/run/%252e%252e%252fsecret/report.html",
    "/run//secret/report.html",
    "/run/ants/../../secret/report.html",
    "/run/ants/..%2f..%2fsecret%2freport.html",
    "/run/{secret}/report.html",
    "/run/{quoted}/report.html",
    "/run/ants%00/report.html",
    "/run/.headstart/report.html",
    "/run/./report.html",
    "/run/ants/report.html/",
    "/run/ants/model/model.json",
    "/run/ants/run.json",
    "/../ui.css",
    "/ui/../../secret/report.html",
    "//127.0.0.1/run/ants/report.html",
    "/run/" + "a" * 5000 + "/report.html",
    "/run/%ff%fe/report.html",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_address_leads_out_of_the_runs_folder(client: Client, tmp_path: Path, path: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("report.html", "run.json"):
        (secret / name).write_text(SECRET)
    answer = client.ask(path.format(secret=secret, quoted=str(secret).replace("/", "%2f")))
    assert SECRET not in answer.text
    assert answer.status in (400, 404)


def test_links_that_lead_out_are_not_followed(client: Client, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (root / "ants" / "report.html").unlink()
    (root / "ants" / "report.html").symlink_to(tmp_path / "secret")
    (root / "elsewhere").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "run.json").write_text("{}")
    for path in ("/run/ants/report.html", "/run/ants", "/run/ants/labels", "/run/elsewhere", "/run/elsewhere/labels"):
        answer = client.ask(path)
        assert answer.status == 409
        assert SECRET not in answer.text
        assert "leads out of" in answer.text


@pytest.mark.parametrize(
    "file", ["../../secret", "/etc/hostname", "ant/1.png/../../..", "", "file:///etc/hostname", "ant/9.png"]
)
def test_only_the_runs_own_images_are_shown(client: Client, file: str) -> None:
    answer = client.ask(f"/run/ants/picture?file={file}")
    assert answer.status == 409
    assert "has no image" in answer.text


def test_an_image_is_shown_small_while_it_is_what_it_was(client: Client, tmp_path: Path) -> None:
    answer = client.ask("/run/ants/picture?file=ant%2F1.png")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.body)).size == (40, 30)
    Image.new("RGB", (9, 9)).save(tmp_path / "data" / "ant" / "1.png")
    assert client.ask("/run/ants/picture?file=ant%2F1.png").status == 422


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 100,000 x 100,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"<html>no image</html>", "not an image"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "dropped.jpg"),
        (bomb(), "claims 100000 x 100000 pixels"),
    ],
)
def test_uploads_that_are_no_good_are_told_apart(client: Client, body: bytes, message: str) -> None:
    answer = client.post("/run/ants/try?name=dropped.jpg", body)
    assert answer.status == 422
    assert message in json.loads(answer.body)["error"]


def test_too_large_an_upload_is_refused_before_it_is_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = {"Content-Length": str(application.MOST_BYTES + 1)}
    answer = client.ask("/run/ants/try", "POST", b"", declared)  # nothing of it is ever sent
    assert answer.status == 413
    assert json.loads(answer.body)["error"].startswith("more than 64 MB were sent")
    monkeypatch.setattr(application, "MOST_BYTES", 1000)
    chunked = b"".join(b"190\r\n" + bytes(400) + b"\r\n" for _ in range(4)) + b"0\r\n\r\n"
    answer = client.ask("/run/ants/try", "POST", chunked, {"Content-Length": None, "Transfer-Encoding": "chunked"})
    assert answer.status == 413


def test_an_unfinished_run_has_no_model_to_try(client: Client, root: Path, make_run: Callable[..., Path]) -> None:
    make_run(root / "half", state="running")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    answer = client.post("/run/half/try", buffer.getvalue())
    assert answer.status == 409
    assert "interrupted" in json.loads(answer.body)["error"]
    assert "has no report" in client.ask("/run/half").text
    assert client.ask("/run/half/report.html").status == 409
    assert client.ask("/run/half/labels").status == 409


def said(client: Client, **mark: object) -> dict[str, object]:
    answer = client.post("/run/ants/labels", json.dumps(mark).encode(), "application/json")
    assert answer.status == 200, answer.text
    found: dict[str, object] = json.loads(answer.body)
    return found


def test_verdicts_are_kept_changed_and_taken_back(client: Client, root: Path) -> None:
    file = root / "ants" / "corrections.csv"
    assert said(client, file="ant/1.png", verdict="wrong", labels=["bee"])["marked"] == 1
    assert said(client, file="bee/4.png", verdict="wrong", no_class=True)["marked"] == 2
    said(client, file="bee/3.png", verdict="right")
    kept = {one.file: (one.label_given, one.verdict, one.label_corrected) for one in read_corrections(file)}
    assert kept == {
        "ant/1.png": ("ant", "wrong", "bee"),
        "bee/4.png": ("bee", "wrong", ""),
        "bee/3.png": ("bee", "right", ""),
    }
    assert said(client, file="ant/1.png", verdict="wrong", labels=["ant"])["mark"]["verdict"] == "right"  # type: ignore[index]
    assert said(client, file="bee/4.png", verdict="open") == {"mark": None, "marked": 2}
    assert {one.file for one in read_corrections(file)} == {"ant/1.png", "bee/3.png"}


def test_a_label_that_was_corrected_before_keeps_its_first_form(client: Client, root: Path) -> None:
    file = root / "ants" / "corrections.csv"
    file.write_text("file,label_given,verdict,label_corrected,time\nbee/3.png,ant,wrong,bee,\n")
    said(client, file="bee/3.png", verdict="right")  # that it is a bee
    assert [(one.label_given, one.verdict, one.label_corrected) for one in read_corrections(file)] == [
        ("ant", "wrong", "bee")
    ]
    said(client, file="bee/3.png", verdict="wrong", labels=["ant"])
    assert [(one.label_given, one.verdict) for one in read_corrections(file)] == [("ant", "right")]


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ({"file": "ant/9.png", "verdict": "right"}, "no image 'ant/9.png'"),
        ({"file": "ant/1.png", "verdict": "wrong", "labels": ["wasp"]}, "no class 'wasp'"),
        ({"file": "ant/1.png", "verdict": "wrong"}, "which class is right"),
        ({"file": "ant/1.png", "verdict": "wrong", "labels": ["ant", "bee"]}, "which class is right"),
        ({"file": "ant/1.png", "verdict": "maybe"}, "can't be read"),
        ({"file": "ant/1.png", "verdict": "right", "more": 1}, "unknown field"),
        (["ant/1.png"], "can't be read"),
    ],
)
def test_verdicts_that_mean_nothing_are_refused(client: Client, root: Path, mark: object, message: str) -> None:
    answer = client.post("/run/ants/labels", json.dumps(mark).encode(), "application/json")
    assert answer.status == 400
    assert message in json.loads(answer.body)["error"]
    assert not (root / "ants" / "corrections.csv").exists()


def test_a_verdict_as_a_form_would_send_it_is_refused(client: Client) -> None:
    body = b'{"file": "ant/1.png", "verdict": "right"}'
    assert client.post("/run/ants/labels", body, "text/plain").status == 400


def test_a_broken_file_of_corrections_is_told_and_not_replaced(client: Client, root: Path) -> None:
    (root / "ants" / "corrections.csv").write_text("notes of mine\n")
    assert client.ask("/run/ants/labels").status == 409
    body = b'{"file": "ant/1.png", "verdict": "right"}'
    assert client.post("/run/ants/labels", body, "application/json").status == 409
    assert (root / "ants" / "corrections.csv").read_text() == "notes of mine\n"


def test_the_page_shows_suspected_labels_first_and_those_of_the_test_last(
    client: Client, root: Path, make_judged: Callable[..., Path], tmp_path: Path
) -> None:
    text = client.ask("/run/ants/labels").text
    assert [text.index(f'data-file="{file}"') for file in ("bee/4.png", "ant/1.png", "bee/5.png")] == sorted(
        text.index(f'data-file="{file}"') for file in ("bee/4.png", "ant/1.png", "bee/5.png")
    )
    assert "3 labels are worth a look" in text
    assert 'data-file="bee/3.png"' not in text
    findings = [
        {
            "file": "bee/3.png",
            "kind": "suspicious_label",
            "evidence": "looks <i>odd</i>",
            "action": "look",
            "score": 0.4,
        },
        {"file": "ant/2.png", "kind": "suspicious_label", "evidence": "neighbours disagree", "score": 0.9},
        {"file": "ant/1.png", "kind": "blurred", "evidence": "blurred", "score": 1},
        {"file": "gone.png", "kind": "suspicious_label", "evidence": "gone"},
    ]
    make_judged(root / "more", tmp_path / "data", findings=findings)
    text = client.ask("/run/more/labels").text
    assert 0 < text.index('data-file="ant/2.png"') < text.index('data-file="bee/3.png"') < text.index("bee/4.png")
    assert "looks &lt;i&gt;odd" in text
    assert "gone.png" not in text


def test_the_command_to_fit_again(root: Path, tmp_path: Path, make_judged: Callable[..., Path]) -> None:
    file = Path("/a b/corrections.csv")
    command = "headstart fit '/my data' --corrections /old.csv --seed 3"
    folder = make_judged(root / "again", tmp_path / "data", command=command)
    assert refit_command(folder, file) == "headstart fit '/my data' --seed 3 --corrections '/a b/corrections.csv'"
    make_judged(root / "odd", tmp_path / "data", command="rm -rf /; headstart fit")
    assert refit_command(root / "odd", file) is None
    (folder / "run.json").unlink()
    assert refit_command(folder, file) is None


def test_other_methods_are_refused(client: Client) -> None:
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert client.ask("/run/ants", method, headers={"Origin": f"http://{client.host}"}).status == 405
    assert client.ask("/", "POST", b"", {"Origin": f"http://{client.host}"}).status == 405
