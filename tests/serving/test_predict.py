"""An upload gets a verdict from the live bundle, or `review`; never `pass` because it broke."""

import base64
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from live_line import LINE, png, promote, seal


def post(client, content=None, line=LINE, **fields):
    data = {"line": line, **fields}
    if content is not None:
        data["image"] = (io.BytesIO(content), "part.png")
    return client.post("/v1/predict", data=data, content_type="multipart/form-data")


def jpeg() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def flat(level: int) -> bytes:
    """What a camera with its cap on, or without a part, gives."""
    return cv2.imencode(".png", np.full((32, 32, 3), level, np.uint8))[1].tobytes()


def forged_header() -> bytes:
    """A few bytes that say they are a PNG of 20,000 x 20,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


def two_pages() -> bytes:
    page = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    return cv2.imencodemulti(".tiff", [page, page])[1].tobytes()


@pytest.mark.parametrize(("strength", "verdict"), [(0, "pass"), (100, "fail"), (27, "review")])
def test_the_verdict_follows_the_models(client, bundle, strength, verdict):
    answer = post(client, png(strength))
    assert answer.status_code == 200
    body = answer.get_json()
    assert body["verdict"] == verdict
    assert body["bundle"] == bundle.name
    assert set(body["scores"]) == set(body["calibrated"]) == {"classifier", "segmenter"}
    assert 0 <= body["p_defect"] <= 1
    for name, score in body["scores"].items():
        # This bundle's calibration is the identity on log-odds.
        assert body["calibrated"][name] == pytest.approx(1 / (1 + np.exp(-score)))
    assert body["defect_type"] == "red"
    assert body["elapsed_ms"] > 0
    assert "heat_map" not in body


def test_the_api_decides_as_the_night_does(client, bundle):
    from ml.imaging import decode_rgb
    from ml.inference.engine import Inspector

    night = Inspector(bundle, threads=1).inspect([decode_rgb(png(80))])[0]
    body = post(client, png(80)).get_json()
    assert body["p_defect"] == pytest.approx(night.decision.p_defect, abs=1e-9)
    assert body["area"] == night.scored.area


def test_an_explanation_is_a_png_that_shows_where(client, bundle):
    body = post(client, png(100), explain="1").get_json()
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(body["heat_map"]), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture.shape == (32, 32, 3)
    # The red square lies at 8..16; inferno is brightest at the hottest place.
    assert picture[8:16, 8:16].mean() > 2 * picture[20:, 20:].mean()


def test_regions_say_where_the_defect_is_and_how_large(client, bundle):
    (region,) = post(client, png(100)).get_json()["regions"]
    assert region["box"] == [8, 8, 8, 8]
    assert (region["area"], region["area_mm2"], region["weak"]) == (64, None, False)
    assert post(client, png()).get_json()["regions"] == []


def test_regions_of_a_segmenter_that_learned_from_weak_masks_say_so(client, home):
    promote(home, seal(home, facts={"unmasked_defects": 3}))
    (region,) = post(client, png(100)).get_json()["regions"]
    assert region["weak"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (jpeg()[:-200], "truncated"),
        (png()[:-30], "truncated"),
        (b"this is text, whatever its name says", "not_an_image"),
        (b"", "empty"),
        (cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(), "too_small"),
        (forged_header(), "too_large"),
        (two_pages(), "several_images"),
        (png(side=40), "wrong_size"),
        (flat(0), "brightness"),
        (flat(255), "brightness"),
        (flat(120), "contrast"),
    ],
    ids=[
        "cut jpeg",
        "cut png",
        "text",
        "empty",
        "1x1",
        "20000x20000",
        "two pages",
        "wrong size",
        "black",
        "white",
        "grey",
    ],
)
def test_an_image_that_cannot_be_inspected_is_held_for_review(client, bundle, content, code):
    answer = post(client, content)
    assert answer.status_code == 422
    body = answer.get_json()
    assert (body["verdict"], body["reason"], body["p_defect"]) == ("review", code, None)
    assert body["error"]["code"] == code


def test_sixteen_bits_are_inspected_like_eight(client, bundle):
    eight = cv2.imdecode(np.frombuffer(png(100), np.uint8), cv2.IMREAD_COLOR)
    sixteen = cv2.imencode(".png", eight.astype(np.uint16) * 257)[1].tobytes()
    assert post(client, sixteen).get_json()["p_defect"] == pytest.approx(
        post(client, png(100)).get_json()["p_defect"], abs=1e-6
    )


def test_twelve_bits_are_read_as_in_training_or_held(client, home, bundle):
    eight = cv2.imdecode(np.frombuffer(png(100), np.uint8), cv2.IMREAD_COLOR)
    twelve = cv2.imencode(".png", (eight * (4095 / 255)).round().astype(np.uint16))[1].tobytes()
    held = post(client, twelve)
    assert (held.status_code, held.get_json()["reason"]) == (422, "source_bits")
    assert "source.bits" in held.get_json()["error"]["message"]
    promote(home, seal(home, seed=1, bits=12))
    assert post(client, twelve).get_json()["p_defect"] == pytest.approx(
        post(client, png(100)).get_json()["p_defect"], abs=1e-3
    )


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"content": png(), "line": "elsewhere"}, 404, "unknown_line"),
        ({"content": png(), "line": ""}, 400, "missing_line"),
        ({"content": None}, 400, "missing_image"),
        ({"content": b"\0" * 1_100_000}, 413, "upload_too_large"),
    ],
)
def test_a_wrong_request_is_refused_and_says_review(client, bundle, fields, status, code):
    answer = post(client, **fields)
    assert answer.status_code == status
    assert answer.get_json()["error"]["code"] == code
    assert answer.get_json()["verdict"] == "review"


def test_an_unknown_line_is_named(client, bundle):
    message = post(client, png(), line="elsewhere").get_json()["error"]["message"]
    assert "'elsewhere'" in message
    assert LINE in message


def test_without_a_live_bundle_every_part_is_held(client):
    answer = post(client, png())
    assert answer.status_code == 503
    assert answer.get_json()["verdict"] == "review"
    assert answer.get_json()["reason"] == "no_live_bundle"


@pytest.mark.parametrize("loaded_before", [False, True])
@pytest.mark.parametrize("name", ["segmenter.onnx", "card.json", "MANIFEST", "SIGNATURE"])
def test_one_flipped_byte_in_the_bundle_stops_all_verdicts(client, bundle, name, loaded_before):
    if loaded_before:
        assert post(client, png()).get_json()["verdict"] == "pass"
    path = bundle.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    answer = post(client, png())
    assert answer.status_code == 503
    assert answer.get_json()["verdict"] == "review"
    assert answer.get_json()["error"]["code"] == "bundle_not_verified"


@pytest.mark.parametrize("loaded_before", [False, True])
def test_an_unsigned_bundle_and_one_whose_key_lost_its_trust_give_no_verdict(
    client, home, bundle, loaded_before
):
    if loaded_before:
        assert post(client, png()).get_json()["verdict"] == "pass"
    trusted = home.trusted_keys / f"{bundle.signer}.pub"
    for path, word in ((bundle.folder / "SIGNATURE", "not signed"), (trusted, "not trusted")):
        content = path.read_bytes()
        path.unlink()
        answer = post(client, png())
        assert (answer.status_code, answer.get_json()["verdict"]) == (503, "review")
        assert word in answer.get_json()["error"]["message"]
        path.write_bytes(content)
        assert post(client, png()).get_json()["verdict"] == "pass"


def test_the_api_needs_no_private_key(client, home, bundle):
    home.signing_key.unlink()
    assert post(client, png()).get_json()["verdict"] == "pass"
    assert not home.signing_key.exists()


def test_a_promotion_takes_effect_without_a_restart(client, home, bundle):
    assert post(client, png()).get_json()["bundle"] == bundle.name
    challenger = seal(home, seed=1)
    promote(home, challenger)
    assert post(client, png()).get_json()["bundle"] == challenger.name != bundle.name


def test_a_live_file_that_cannot_be_read_stops_all_verdicts(client, home, bundle):
    home.live(LINE).write_text("{")
    answer = post(client, png())
    assert (answer.status_code, answer.get_json()["verdict"]) == (503, "review")


def test_a_bundle_of_another_line_gives_no_verdict(client, home):
    promote(home, seal(home, line="elsewhere"))
    answer = post(client, png())
    assert (answer.status_code, answer.get_json()["verdict"]) == (503, "review")
    assert "is of line elsewhere, not of tiny" in answer.get_json()["error"]["message"]


def test_a_bug_in_the_middle_still_says_review(app, client, bundle, monkeypatch):
    def explode(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("serving.predict._describe", explode)
    answer = post(client, png())
    assert answer.status_code == 500
    assert answer.get_json()["verdict"] == "review"
    assert "boom" not in answer.get_data(as_text=True)


def test_the_reasons_are_the_ingests_own_words():
    from ml.data.validate import suite
    from ml.settings.line import ChecksConfig

    words = {one.reason for one in suite(ChecksConfig(sizes=((32, 32),)))}
    assert {"wrong_size", "too_small", "brightness", "contrast"} <= words
