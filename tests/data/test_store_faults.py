"""A bucket that fails, drags or cuts bodies short: nothing damaged is accepted, nothing is lost."""

import contextlib
import errno
import os
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest

from ml.data import reading, source
from ml.data.ingest import ingest
from ml.data.layout import hides_truth
from ml.data.reading import ReadLimit, read_all
from ml.data.validate import validate
from ml.errors import SourceError, SourceSilentError
from ml.settings.source import LayoutConfig
from tests.data.conftest import make_line

# What to do with the answer to a GET of an object, by its key and how often it was asked for.
Fault = Callable[[str, int], str]


class Proxy:
    """Passes requests on to an S3 server, and spoils the answers that `fault` names."""

    def __init__(self, target: str) -> None:
        self.fault: Fault = lambda key, times: "none"
        self.asked: Counter[str] = Counter()
        lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with lock:
                    key = self.path.partition("?")[0]
                    proxy.asked[key] += 1
                    fault = proxy.fault(key, proxy.asked[key])
                # The client may lose its patience, as it should.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._answer(fault)

            def _answer(self, fault: str) -> None:
                self.close_connection = True
                if fault.isdigit():
                    self.send_response(int(fault))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                request = urllib.request.Request(target + self.path, headers=dict(self.headers))
                with urllib.request.urlopen(request) as answer:
                    body = answer.read()
                    self.send_response(answer.status)
                    for name in ("ETag", "Last-Modified", "Content-Type"):
                        if name in answer.headers:
                            self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if fault == "cut":
                    self.wfile.write(body[: len(body) // 2])
                    return
                if fault == "slow":
                    self.wfile.write(body[:100])
                    self.wfile.flush()
                    time.sleep(0.3)
                    body = body[100:]
                if fault == "stall":
                    time.sleep(1.5)
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def bucket(aws, monkeypatch):
    """A client of a bucket that goes past the proxy."""
    monkeypatch.setattr(reading, "_FIRST_PAUSE_S", 0.01)
    client = boto3.client("s3")
    client.create_bucket(Bucket="faults")
    return client


@pytest.fixture
def proxy(aws, bucket, plant, monkeypatch):
    for path in plant.source.rglob("*.*"):
        key = path.relative_to(plant.source).as_posix()
        bucket.put_object(Bucket="faults", Key=key, Body=path.read_bytes())
    made = Proxy(aws)
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.address)
    yield made
    made.stop()


def _ingest(plant):
    return ingest(plant.home, plant.line, source="s3://faults", until=None, threads=2)


@pytest.mark.parametrize("fault", ["500", "503", "cut", "slow"])
def test_a_passing_fault_costs_a_second_try_and_no_image(plant, proxy, fault):
    proxy.fault = lambda key, times: fault if key.endswith("part1.png") and times == 1 else "none"
    batch = _ingest(plant)
    assert (batch.new, batch.held) == (6, 0)
    assert proxy.asked["/faults/ok/part1.png"] == (1 if fault == "slow" else 2)


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_an_object_that_never_comes_whole_is_held_and_taken_later(plant, proxy, fault):
    proxy.fault = lambda key, times: fault if key.endswith("part1.png") else "none"
    batch = _ingest(plant)
    assert (batch.listed, batch.new, batch.held) == (6, 5, 1)
    assert validate(plant.home, plant.line, batch.name).accepted == 5
    proxy.fault = lambda key, times: "none"
    later = _ingest(plant)
    assert (later.new, later.held) == (1, 0)
    assert validate(plant.home, plant.line, later.name).accepted == 1


def test_a_stalled_body_is_given_up_and_asked_for_again(plant, proxy, monkeypatch):
    monkeypatch.setattr(source, "_PATIENCE_S", 0.5)
    proxy.fault = lambda key, times: "stall" if key.endswith("part1.png") and times == 1 else "none"
    assert _ingest(plant).new == 6


def test_a_store_that_is_down_stops_the_ingest_for_a_retry(plant, proxy):
    proxy.fault = lambda key, times: "503" if key != "/faults" else "none"
    with pytest.raises(SourceSilentError, match="503"):
        _ingest(plant)
    assert not list((plant.home.root / "staging").glob("*/*"))
    proxy.fault = lambda key, times: "none"
    assert _ingest(plant).new == 6


def test_what_changes_or_goes_between_listing_and_reading_is_held(plant, proxy, bucket):
    def change(key: str, times: int) -> str:
        if times == 1 and key.endswith("ok/part1.png"):
            body = (plant.source / "ok/part2.png").read_bytes()
            bucket.put_object(Bucket="faults", Key="ok/part1.png", Body=body)
        if times == 1 and key.endswith("ok/part3.png"):
            bucket.delete_object(Bucket="faults", Key="ok/part3.png")
        return "none"

    proxy.fault = change
    batch = _ingest(plant)
    assert (batch.new, batch.held) == (4, 2)
    later = _ingest(plant)
    assert (later.listed, later.held) == (5, 0)


def test_an_upload_in_parts_is_seen_when_it_is_complete(plant, proxy, bucket):
    assert _ingest(plant).new == 6
    body = plant.picture("ok/large.png", 9).read_bytes()
    name = {"Bucket": "faults", "Key": "ok/large.png"}
    upload = bucket.create_multipart_upload(**name)["UploadId"]
    part = bucket.upload_part(**name, UploadId=upload, PartNumber=1, Body=body)
    assert _ingest(plant).listed == 6
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    bucket.complete_multipart_upload(**name, UploadId=upload, MultipartUpload=parts)
    assert _ingest(plant).listed == 7


def test_a_slow_store_is_read_with_fewer_reads_at_once_and_then_with_more():
    limit = ReadLimit(16)
    for expected in (8, 4, 2, 1, 1):
        limit.slower()
        assert limit.allowed == expected
    running = threading.Semaphore(0)
    with limit.turn():
        second = threading.Thread(target=lambda: _take(limit, running))
        second.start()
        assert not running.acquire(timeout=0.1)
    assert running.acquire(timeout=5)
    second.join()
    for _ in range(3):
        limit.good()
    assert limit.allowed == 3


def _take(limit: ReadLimit, running: threading.Semaphore) -> None:
    with limit.turn():
        running.release()


def test_reads_at_once_are_bounded(plant, proxy, bucket, monkeypatch):
    for seed in range(10, 40):
        plant.picture(f"ok/part{seed}.png", seed)
        body = (plant.source / f"ok/part{seed}.png").read_bytes()
        bucket.put_object(Bucket="faults", Key=f"ok/part{seed}.png", Body=body)
    proxy.fault = lambda key, times: "slow"
    fetch, lock = source.BucketSource.fetch, threading.Lock()
    running, most = [], []

    def counted(place, item):
        with lock:
            running.append(item)
            most.append(len(running))
        try:
            return fetch(place, item)
        finally:
            with lock:
                running.remove(item)

    monkeypatch.setattr(source.BucketSource, "fetch", counted)
    assert _ingest(plant).new == 36
    assert 4 < max(most) <= source.BucketSource.parallel


def test_a_file_that_cannot_be_read_is_held_with_its_reason_and_the_others_go_on(plant, caplog):
    broken = plant.source / "ok/broken.png"
    broken.symlink_to("/proc/self/mem")  # to be read from its start: an I/O error
    batch = plant.ingest()
    assert (batch.new, batch.held, batch.mark) == (6, 1, None)
    assert f"{broken}: cannot be read: [Errno 5] Input/output error; held" in caplog.text
    assert validate(plant.home, plant.line, batch.name).accepted == 6
    assert plant.ingest().held == 1  # nothing else is new, which is no error
    broken.unlink()
    plant.picture("ok/broken.png", 9)
    assert plant.ingest().new == 1


def test_a_folder_of_which_nothing_can_be_read_is_an_error(plant):
    for path in plant.source.rglob("*.*"):
        path.unlink()
        path.symlink_to("/proc/self/mem")
    with pytest.raises(SourceError, match="Input/output error"):
        plant.ingest()


class Denying:
    """A source that gives only what `opens` says of a key, and counts what it is asked for."""

    parallel = 4

    def __init__(self, opens: Callable[[int], bool]) -> None:
        self.opens = opens
        self.left_out: list[str] = []
        self.asked = 0

    def list(self, prefixes=None) -> Iterator[source.Listed]:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        for key in range(2000):
            yield source.Listed(str(key), 1, "1", start + timedelta(minutes=key))

    def read(self, key: str) -> bytes:
        raise SourceError(key)

    def fetch(self, item: source.Listed) -> bytes:
        self.asked += 1
        if not self.opens(int(item.key)):
            raise SourceError(f"{item.key}: denied")
        return b"x"


def test_a_source_that_denies_everything_is_not_read_to_its_end(caplog):
    place = Denying(lambda key: False)
    with pytest.raises(SourceError, match="denied"):
        list(read_all(place, [[one] for one in place.list()], ReadLimit(4)))
    assert place.asked < 200
    assert len(caplog.records) == 100


def test_what_came_before_a_source_denies_the_rest_is_kept(caplog):
    place = Denying(lambda key: key < 500)
    found = list(read_all(place, [[one] for one in place.list()], ReadLimit(4)))
    assert found == [[b"x"]] * 500 + [None] * 1500
    assert place.asked < 700
    assert "the rest is held unread" in caplog.text


def test_many_old_objects_that_are_denied_do_not_hide_a_new_one():
    place = Denying(lambda key: key >= 1990)
    found = list(read_all(place, [[one] for one in place.list()], ReadLimit(4)))
    assert found == [None] * 1990 + [[b"x"]] * 10


@contextmanager
def somebody() -> Iterator[None]:
    """Who may not read everything, as root may."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_what_may_not_be_listed_is_left_out_and_said(caplog):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for key in ("open/a.png", "seen/b.png", "shut/c.png"):
            (root / key).parent.mkdir()
            (root / key).write_bytes(b"x")
        for path, mode in ((root, 0o755), (root / "seen", 0o744), (root / "shut", 0)):
            path.chmod(mode)
        with somebody():
            assert [one.key for one in source.FolderSource(root).list()] == ["open/a.png"]
            with pytest.raises(SourceError, match="cannot be listed"):
                list(source.FolderSource(root / "shut").list())
        (root / "shut").chmod(0o755)
        (root / "seen").chmod(0o755)
    assert "seen/b.png'; left out of this listing" in caplog.text
    assert "shut'; left out of this listing" in caplog.text


def test_a_name_that_is_not_utf_8_is_left_out_and_the_others_go_on(plant, caplog):
    odd = plant.source / os.fsdecode(b"ok/fl\xe4che.png")
    (plant.source / "ok/part0.png").rename(odd)
    batch = plant.ingest()
    assert (batch.new, batch.left_out, batch.mark) == (5, 1, None)
    assert r"ok/fl\xe4che.png: the name is not UTF-8, rename it; left out" in caplog.text
    odd.rename(plant.source / "ok/fläche.png")
    batch = plant.ingest()
    assert (batch.new, batch.left_out) == (6, 0)


def test_a_linked_folder_is_listed_once(plant, tmp_path):
    outside = tmp_path / "disk"
    (plant.source / "scratch").rename(outside)
    (plant.source / "scratch").symlink_to(outside)
    (plant.source / "latest").symlink_to(plant.source / "ok")
    (outside / "back").symlink_to(plant.source)
    (outside / "round").symlink_to(outside)
    keys = [one.key for one in source.FolderSource(plant.source).list()]
    assert keys == [
        *(f"ok/part{number}.png" for number in range(4)),
        *(f"scratch/part{number}.jpg" for number in (4, 5)),
    ]


def test_a_link_out_of_the_source_to_a_folder_around_it_is_not_followed(plant):
    before = [one.key for one in source.FolderSource(plant.source).list()]
    (plant.source.parent / "private").mkdir()
    (plant.source.parent / "private/note.png").write_bytes(b"")
    (plant.source / "ok/up").symlink_to(plant.source.parent)
    assert [one.key for one in source.FolderSource(plant.source).list()] == before


def test_images_behind_a_link_to_a_hidden_folder_come_in(plant):
    (plant.source / "scratch").rename(plant.source / ".disk")
    (plant.source / "scratch").symlink_to(plant.source / ".disk")
    (plant.source / ".disk/back").symlink_to(plant.source / ".disk")
    keys = [one.key for one in source.FolderSource(plant.source).list()]
    assert keys[-2:] == [f"scratch/part{number}.jpg" for number in (4, 5)]
    assert len(keys) == 6


def test_two_links_to_one_folder_outside_are_named(plant, tmp_path, caplog):
    outside = tmp_path / "disk"
    (plant.source / "scratch").rename(outside)
    links = [plant.source / "scratch", plant.source / "ok/scratch"]
    for link in links:
        link.symlink_to(outside)
    place = source.FolderSource(plant.source)
    for _ in range(2):
        caplog.clear()
        assert len(list(place.list())) == 8
        (said,) = caplog.messages
        assert all(str(path) in said for path in (*links, outside))
        assert "come twice" in said
    links[1].unlink()
    caplog.clear()
    assert len(list(place.list())) == 6
    assert not caplog.messages


@contextmanager
def unlistable(name: str) -> Iterator[None]:
    """A folder of this name gives an I/O error when it is listed."""
    scandir = os.scandir

    def broken(path):
        if Path(path).name == name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", broken)
        yield


def test_a_listing_that_left_a_folder_out_does_not_move_the_watermark(plant, tmp_path):
    plant.source, plant.line = tmp_path / "days", make_line(days="%Y/%m/%d/")
    plant.picture("2026/03/01/ok/a.png", 1)
    plant.picture("2026/03/02/ok/b.png", 2)
    with unlistable("01"):
        batch = plant.ingest()
    assert (batch.new, batch.left_out, batch.mark) == (1, 1, None)
    with unlistable("2026"), pytest.raises(SourceSilentError, match="2026 cannot be"):
        plant.ingest()
    batch = plant.ingest()
    assert (batch.new, batch.left_out) == (2, 0)
    assert batch.mark is not None


def test_no_image_comes_in_without_its_mask_as_the_masks_were_not_listed(plant, tmp_path):
    plant.source, plant.line = tmp_path / "masked", make_line(kind="masks")
    plant.picture("images/a.png", 1)
    plant.picture("masks/a.png", 2)
    plant.picture("images/lost+found/b.png", 3)
    with unlistable("masks"), pytest.raises(SourceSilentError, match="masks cannot be listed"):
        plant.ingest()
    with unlistable("lost+found"):
        assert (plant.ingest().new, plant.ingest().left_out) == (1, 1)


@pytest.mark.parametrize(
    ("layout", "left_out", "expected"),
    [
        ({"kind": "mvtec"}, "ground_truth/scratch", True),
        ({"kind": "mvtec"}, "train/good", False),
        ({"kind": "masks", "masks": "truth/masks"}, "truth", True),
        ({"kind": "class_folders"}, "ok", False),
        ({"kind": "manifest", "manifest": "m/all.csv"}, "m", True),
        ({"kind": "manifest", "manifest": "all.csv"}, "m", False),
        ({"kind": "manifest", "manifest": "all.csv", "columns": {"mask": "mask"}}, "m", True),
    ],
)
def test_labels_are_hidden_where_masks_or_the_manifest_may_lie(layout, left_out, expected):
    config = LayoutConfig.model_validate(layout)
    assert hides_truth(config, [left_out]) == expected


def test_a_file_that_is_still_being_written_is_held(plant, monkeypatch):
    fetch = source.FolderSource.fetch

    def grown(place, item):
        if item.key == "ok/part1.png":
            with (place.root / item.key).open("ab") as file:
                file.write(b"more")
        return fetch(place, item)

    with monkeypatch.context() as patch:
        patch.setattr(source.FolderSource, "fetch", grown)
        batch = plant.ingest()
    assert (batch.new, batch.held) == (5, 1)
    assert plant.ingest().new == 6  # nothing was validated yet
