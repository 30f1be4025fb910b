"""Reports and the dashboard: the files meant to be seen, and nothing else of the disk."""

import pytest

from ml import files
from serving import create_app


@pytest.fixture
def report(home):
    files.write_bytes(home.root / "reports" / "tiny" / "page.html", b"<h1>Report</h1>")
    files.write_bytes(home.root / "secret.html", b"secret")


@pytest.fixture
def build(home):
    folder = home.root.parent / "dist"
    files.write_bytes(folder / "index.html", b"<div id=root>")
    files.write_bytes(folder / "assets" / "index-abc123.js", b"1")
    files.write_bytes(folder.parent / "secret.html", b"secret")


def test_a_report_is_shown_in_a_sandbox(client, report):
    answer = client.get("/reports/tiny/page.html")
    assert answer.data == b"<h1>Report</h1>"
    assert answer.mimetype == "text/html"
    assert "sandbox allow-scripts" in answer.headers["Content-Security-Policy"]
    assert "allow-same-origin" not in answer.headers["Content-Security-Policy"]
    assert "X-Loupe-Report" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "../secret.html",
        "..%2fsecret.html",
        "%2e%2e/secret.html",
        "tiny/../../secret.html",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "..%5csecret.html",
        "tiny",
        "",
        "tiny/missing.html",
        "link.html",
        "tiny/page.html%00.png",
        "x" * 300 + ".html",
    ],
)
def test_nothing_outside_the_reports_is_shown(client, home, report, path):
    (home.root / "reports" / "link.html").symlink_to(home.root / "secret.html")
    answer = client.get(f"/reports/{path}")
    assert answer.status_code == 404
    assert b"secret" not in answer.data.replace(b"secret.html", b"")


def test_an_unbuilt_dashboard_says_how_to_build_it(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "make dashboard" in answer.get_data(as_text=True)


def test_a_plain_address_leads_to_the_dashboards_own(client, build):
    answer = client.get("/lines/tiny")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/#/lines/tiny")


def test_the_index_is_asked_for_anew(client, build):
    answer = client.get("/")
    assert answer.data == b"<div id=root>"
    assert (
        "max-age=0" in answer.headers["Cache-Control"]
        or "no-cache" in answer.headers["Cache-Control"]
    )


def test_assets_are_kept_by_browsers_and_missing_ones_are_404(client, build):
    answer = client.get("/assets/index-abc123.js")
    assert "immutable" in answer.headers["Cache-Control"]
    assert client.get("/assets/index-old.js").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/../secret.html", "/..%2fsecret.html", "/assets/../../secret.html", f"/{'x' * 300}.js"],
)
def test_nothing_outside_the_build_is_shown(client, build, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.data != b"secret"


def test_airflow_on_loopback_may_frame_the_pages(client, config):
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*" in policy
    other = create_app(config | {"LOUPE_FRAME_ANCESTORS": "https://airflow.plant"}).test_client()
    assert (
        other.get("/")
        .headers["Content-Security-Policy"]
        .endswith("frame-ancestors https://airflow.plant")
    )


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/lines", "/v1/nothing"])
def test_every_answer_has_the_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
