"""Images by hash: small, cached for good, and nothing else of the disk."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from live_line import LINE, png

from ml import files


def keep(home, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    files.write_bytes(home.object(name), content)
    return name


def test_an_image_is_a_png_of_at_most_512_pixels(client, home):
    answer = client.get(f"/v1/lines/{LINE}/images/{keep(home, png(side=1024))}")
    assert answer.mimetype == "image/png"
    shown = cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (512, 512, 3)


def test_a_browser_keeps_it_and_asks_in_vain(client, home):
    path = f"/v1/lines/{LINE}/images/{keep(home, png())}"
    first = client.get(path)
    assert "immutable" in first.headers["Cache-Control"]
    second = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.data) == (304, b"")


@pytest.mark.parametrize("sha256", ["0" * 64, "..%2f..%2fsecret.png", "../../secret.png", "A" * 64])
def test_what_is_not_kept_is_a_404(client, home, sha256):
    files.write_bytes(home.root / "secret.png", png())
    answer = client.get(f"/v1/lines/{LINE}/images/{sha256}")
    assert answer.status_code == 404
    assert not answer.data.startswith(b"\x89PNG")


def test_an_object_that_is_no_image_is_an_error_not_a_crash(client, home):
    answer = client.get(f"/v1/lines/{LINE}/images/{keep(home, b'text')}")
    assert answer.status_code == 422
    assert answer.get_json()["error"]["code"] == "not_an_image"


def test_a_deep_image_is_shown_by_the_bits_of_the_line(client, home, config):
    deep = np.linspace(0, 4095, 1024).astype(np.uint16).reshape(32, 32)
    path = f"/v1/lines/{LINE}/images/{keep(home, cv2.imencode('.png', deep)[1].tobytes())}"
    assert client.get(path).get_json()["error"]["code"] == "source_bits"
    file = Path(config["LOUPE_LINES"], "tiny.toml")
    file.write_text(file.read_text().replace("[source]", "[source]\nbits = 12"))
    shown = cv2.imdecode(np.frombuffer(client.get(path).data, np.uint8), cv2.IMREAD_COLOR)
    assert (shown.min(), shown.max()) == (0, 255)
