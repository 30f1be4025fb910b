"""A bucket is read like a folder, over the real S3 protocol."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import cv2
import numpy as np
import pytest

from ml.data.ingest import ingest
from ml.data.source import open_source
from ml.data.validate import validate
from ml.errors import SourceError, SourceSilentError
from ml.settings import Home, LineConfig


@pytest.fixture
def bucket(aws):
    client = boto3.client("s3")
    client.create_bucket(Bucket="plant")
    return client


def test_objects_below_the_prefix_are_listed_over_pages_and_read(bucket):
    for number in range(25):
        bucket.put_object(Bucket="plant", Key=f"line/ok/{number:02d}.png", Body=b"x")
    bucket.put_object(Bucket="plant", Key="other/1.png", Body=b"y")
    source = open_source("s3://plant/line")
    asked = []

    def ten_a_page(params, **_):
        asked.append(params.get("ContinuationToken"))
        params["MaxKeys"] = 10

    events = source._client.meta.events
    events.register("before-parameter-build.s3.ListObjectsV2", ten_a_page)
    keys = [item.key for item in source.list()]
    assert keys == [f"ok/{number:02d}.png" for number in range(25)]
    assert len(set(asked)) == 3
    assert source.read("ok/00.png") == b"x"


@pytest.mark.parametrize(
    "layout",
    [
        {"kind": "class_folders"},
        {"kind": "manifest", "manifest": "manifest.csv", "columns": {"label": "label"}},
    ],
)
def test_an_emptied_bucket_is_an_error_for_a_new_line_alone(bucket, tmp_path, caplog, layout):
    source = {"uri": "s3://plant", "layout": layout}
    line = LineConfig.model_validate({"name": "plant", "title": "Plant", "source": source})
    home = Home(tmp_path)

    def run():
        return ingest(home, line, source="s3://plant", until=None, threads=1)

    with pytest.raises(SourceError, match=r"s3://plant: there is no object in it"):
        run()
    picture = cv2.imencode(".png", np.arange(48 * 48, dtype=np.uint8).reshape(48, 48))[1].tobytes()
    bucket.put_object(Bucket="plant", Key="ok/a.png", Body=picture)
    bucket.put_object(Bucket="plant", Key="manifest.csv", Body=b"path,label\nok/a.png,ok\n")
    validate(home, line, run().name)
    for key in ("ok/a.png", "manifest.csv"):
        bucket.delete_object(Bucket="plant", Key=key)
    found = run()
    assert (found.name, found.listed, found.new, found.mark) == ("", 0, 0, None)
    assert "s3://plant: there is no object in it" in caplog.text


def test_a_changed_object_has_another_version(bucket):
    source = open_source("s3://plant")
    versions = []
    for body in (b"one", b"two"):
        bucket.put_object(Bucket="plant", Key="a.png", Body=body)
        versions += [item.version for item in source.list()]
    assert versions[0] != versions[1]


def test_a_missing_bucket_and_object_are_named(bucket):
    with pytest.raises(SourceError, match="s3://nobody") as listed:
        list(open_source("s3://nobody").list())
    with pytest.raises(SourceError, match="gone") as read:
        open_source("s3://plant").read("gone")
    assert not any(error.value.temporary for error in (listed, read))


@pytest.fixture
def busy_bucket(aws, monkeypatch):
    """An S3 that answers every request with 503 Slow Down."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("busy_bucket")
def test_a_busy_bucket_is_told_from_a_wrong_one():
    with pytest.raises(SourceSilentError, match="cannot be listed"):
        list(open_source("s3://plant").list())
    with pytest.raises(SourceSilentError, match="cannot be read"):
        open_source("s3://plant").read("a.png")
