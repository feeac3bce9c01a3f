"""The service answers images as the checkpoint's predictor does, and refuses the rest in one line."""

import io
import json
import logging
import re
import socket
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from exported_files import LIMITS, OVERLAP, PLAIN, TILE, exported, serving, trained
from numpy.typing import NDArray

from faults.exchange import exchange, request
from unetkit.data import Preprocessing
from unetkit.data.rle import decode_rle
from unetkit.plots.images import encode_png
from unetkit.prediction.predictor import Predictor
from unetkit.serve import limited
from unetkit.serve.answers import format_of

Array = NDArray[Any]
PREDICTOR = Predictor(trained(), PLAIN, 0.45, tile=TILE, overlap=OVERLAP)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of `PREDICTOR`."""
    return exported(tmp_path_factory.mktemp("serve"), PREDICTOR, class_names=["rest", "salt"])


@pytest.fixture(scope="module")
def port(file: Path) -> Iterator[int]:
    """The port of a service of `PREDICTOR`."""
    with serving(file) as port:
        yield port


def ask(port: int, content: bytes, query: str = "", **headers: str) -> tuple[int, Message, bytes]:
    """Posts an image; gives status, headers and content of the answer."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/predict{query}", content, names)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def mask_of(port: int, content: bytes, query: str = "", **headers: str) -> Array:
    status, kept, answer = ask(port, content, query, **headers)
    assert (status, kept["content-type"]) == (200, "image/png"), answer
    return np.asarray(cv2.imdecode(np.frombuffer(answer, np.uint8), cv2.IMREAD_UNCHANGED))


def noise(height: int, width: int, *channels: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(height).integers(0, 256, (height // 4 + 1, width // 4 + 1, *channels), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (30, 47), (64, 64), (101, 230)], ids=str)
def test_mask_probabilities_and_run_lengths_are_those_of_the_checkpoint(port: int, size: tuple[int, int]) -> None:
    """The largest is predicted in tiles."""
    image = noise(*size)
    wanted = PREDICTOR(image)
    np.testing.assert_array_equal(mask_of(port, encode_png(image)), wanted.mask * 255)
    np.testing.assert_array_equal(mask_of(port, npy(image)), wanted.mask * 255)
    found = np.load(io.BytesIO(ask(port, encode_png(image), "?format=npy")[2]))
    assert (found.dtype, found.shape) == (np.float16, size)
    np.testing.assert_allclose(found, wanted.probability, atol=1e-3)
    said = json.loads(ask(port, encode_png(image), accept="application/json")[2])
    assert [said["height"], said["width"], said["masks"][0]["name"]] == [*size, "salt"]
    np.testing.assert_array_equal(decode_rle(said["masks"][0]["rle"], *size), wanted.mask)


def test_a_form_and_another_threshold_are_taken(port: int) -> None:
    image = noise(40, 50)
    form = b'--B\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n%s\r\n--B--\r\n'
    mask = mask_of(port, form % encode_png(image), "?threshold=0.6", content_type="multipart/form-data; boundary=B")
    wanted = replace(PREDICTOR, threshold=0.6)(image).mask
    assert 0 < wanted.mean() < PREDICTOR(image).mask.mean()
    np.testing.assert_array_equal(mask, wanted * 255)


def test_images_that_come_at_the_same_time_get_their_own_masks(port: int) -> None:
    images = [noise(20 + number % 3, 40 + number % 2 * 90) for number in range(24)]
    with ThreadPoolExecutor(16) as pool:
        masks = list(pool.map(lambda image: mask_of(port, encode_png(image)), images))
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(mask, PREDICTOR(image).mask * 255)


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header announces a huge image."""
    content = bytearray(encode_png(noise(8, 8)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


FIELD = b'--B\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--B--\r\n'
BAD = {
    "nothing": (b"", 422, "the upload is empty (0 bytes); send another image"),
    "text": (b"hello" * 20, 422, "the upload can't be read as an image; send another image"),
    "cut": (encode_png(noise(50, 50))[:400], 422, "the upload can't be read as an image (it is damaged"),
    "bomb": (bomb(60_000, 60_000), 422, "the upload has 60,000 x 60,000 pixels, more than 90,000 in all"),
    "large": (encode_png(np.zeros((301, 300), np.uint8)), 422, "; cut it into tiles, or raise max_pixels=90000"),
    "heavy": (bytes(2**20 + 5000), 413, "the upload has more than max_upload_mib=1; send a smaller image"),
    "deep": (encode_png(noise(9, 9).astype(np.uint16)), 422, "is uint16, but the training images are 8-bit"),
    "channels": (npy(np.zeros((9, 9, 5), np.uint8)), 422, "has 5 channels, but the network takes 1"),
    "nan": (npy(np.full((9, 9), np.nan, np.float32)), 422, "holds NaN or infinite values"),
    "pickle": (npy(np.array([[print]], object)), 422, "can't be read as an image"),
    "cube": (npy(np.zeros((2, 3, 4, 5), np.uint8)), 422, "holds uint8 of shape (2, 3, 4, 5)"),
    "steering": (b"\x1b[2J\n\n\x00" * 9, 422, "the upload can't be read as an image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_upload_is_refused_in_one_line(port: int, name: str, caplog: pytest.LogCaptureFixture) -> None:
    content, status, said = BAD[name]
    found, headers, answer = ask(port, content)
    assert (found, headers["content-type"]) == (status, "application/json")
    detail = json.loads(answer)["detail"]
    assert said in detail
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == [f"refused POST /predict: {status}, {detail}"]
    assert not [record for record in caplog.records if record.exc_info]
    assert mask_of(port, encode_png(noise(9, 9))).shape == (9, 9)


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (request("POST", "/predict?format=gif"), 422, "format=gif: Input should be 'png', 'npy' or 'rle'"),
        (request("POST", "/predict?threshold=1"), 422, "threshold=1: Input should be less than 1"),
        (request("POST", "/predict?threshold=nan"), 422, "threshold=nan"),
        (request("POST", "/predict", b"x", "Accept: text/html"), 406, "Accept: text/html names none of image/png"),
        (request("POST", "/predict", b"x", "Content-Type: multipart/form-data"), 400, "Missing boundary"),
        (request("POST", "/predict", FIELD, "Content-Type: multipart/form-data; boundary=B"), 422, "has no file"),
        (request("GET", "/predict"), 405, "Method Not Allowed"),
        (request("GET", "/../../etc/passwd"), 404, "Not Found"),
        (request("POST", "/predict%E2%80%AE%00%0aX"), 404, "Not Found"),
    ],
)
def test_other_bad_requests_are_refused_in_one_line(
    port: int, content: bytes, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = exchange(("127.0.0.1", port), content, seconds=20)
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert said in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert said in line
    assert re.fullmatch(r"[\x20-\x7e]+", line)


def test_an_upload_that_is_broken_off_is_one_line(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request("POST", "/predict", b"x").replace(b"Content-Length: 1", b"Content-Length: 99"))
    deadline = time.monotonic() + 20
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.01)
    assert mask_of(port, encode_png(noise(9, 9))).shape == (9, 9)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["refused POST /predict: 400, the upload was broken off"]


def test_an_upload_that_never_ends_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "SECONDS", 0.2)
    content = request("POST", "/predict", b"x").replace(b"Content-Length: 1", b"Content-Length: 99")
    answer = exchange(("127.0.0.1", port), content, seconds=20)
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_more_requests_than_the_limit_are_told_to_ask_again(file: Path) -> None:
    with serving(file, replace(LIMITS, requests=0)) as port:
        status, headers, answer = ask(port, encode_png(noise(9, 9)))
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(answer)["detail"] == "max_requests=0 wait already; ask again later"


def test_health_and_the_description_say_what_is_answered(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
        health = json.loads(answer.read())
    assert health == {
        "status": "ok",
        "model": "model.onnx",
        "input": "uint8",
        "channels": 1,
        "threshold": 0.45,
        "class_names": ["rest", "salt"],
        "requests": 0,
    }
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json") as answer:
        described = json.loads(answer.read())["paths"]["/predict"]["post"]
    stated = described["responses"]["200"]["content"]
    content = encode_png(noise(9, 9))
    answered = {ask(port, content, f"?format={name}")[1]["content-type"] for name in ("png", "npy", "rle")}
    assert answered == set(stated)
    assert set(described["requestBody"]["content"]) == {"application/octet-stream", "image/*", "multipart/form-data"}
    statuses = {str(status) for _, status, _ in BAD.values()} | {"503", "408", "406"}
    assert statuses <= set(described["responses"])


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "png"),
        ("image/png", "png"),
        ("text/html, application/json;q=0.8, image/*;q=0.9", "png"),
        ("application/json, */*;q=0.1", "rle"),
        ("image/png;q=0, application/octet-stream", "npy"),
        ("image/png;q=x", None),
        ("text/html", None),
    ],
)
def test_the_header_accept_chooses_the_format(accept: str, form: str | None) -> None:
    assert format_of(accept) == form


WIDE = replace(PLAIN, value_range=(-1500.0, 3000.0), resize=(80, 64))
KINDS = {
    "classes": (Predictor(trained(3, 3), Preprocessing(3, None, (0.4,) * 3, (0.2,) * 3)), noise(90, 70, 3)),
    "labels": (Predictor(trained(3), WIDE, 0.5, is_multilabel=True), noise(90, 170) * np.float32(16)),
    "valid": (Predictor(trained(padding="valid"), PLAIN), noise(150, 170)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_all_kinds_are_served_as_they_predict(kind: str, tmp_path: Path) -> None:
    predictor, image = KINDS[kind]
    predictor = replace(predictor, tile=TILE, overlap=OVERLAP)
    wanted = predictor(image)
    assert len(np.unique(wanted.mask)) > 1
    with serving(exported(tmp_path, predictor)) as port:
        assert (mask_of(port, npy(image)) == wanted.mask * (255 if wanted.is_binary else 1)).mean() > 0.999
        found = np.load(io.BytesIO(ask(port, npy(image), "?format=npy")[2]))
        expected = wanted.probability if wanted.probability.ndim == 2 else np.moveaxis(wanted.probability, 0, -1)
        np.testing.assert_allclose(found, expected, atol=2e-3)
        parts = json.loads(ask(port, npy(image), "?format=rle")[2])["masks"]
        assert len(parts) == {"classes": 2, "labels": 3}.get(kind, 1)
        if kind == "classes":
            status, _, answer = ask(port, npy(image), "?threshold=0.5")
            assert (status, b"is for binary masks" in answer) == (422, True)
