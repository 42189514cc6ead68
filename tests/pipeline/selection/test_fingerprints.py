"""The fingerprint of a picture: the same for copies, another for other pictures."""

import io

import numpy as np
from PIL import Image
from scipy.fft import dctn

from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.pictures.fingerprints import fingerprint_of
from tests.pipeline.selection.pictures import copies, scene


def seen(data: bytes):
    return fingerprint_of(decode_image(data, name="x").pixels)


def test_the_hash_is_the_signs_of_scipys_dct_against_their_median():
    pixels = np.asarray(scene(1))
    small = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX, reducing_gap=2.0)
    spectrum = dctn(np.asarray(small.convert("L"), float), norm="ortho")
    order = sorted((u + v, u, v) for u in range(32) for v in range(32))[1:65]
    values = np.array([spectrum[u, v] for _, u, v in order])
    bits = "".join("1" if value > np.median(values) else "0" for value in values)
    assert fingerprint_of(pixels).perceptual_hash == int(bits, 2)


def test_copies_are_near_and_other_pictures_far():
    hashes = [fingerprint_of(np.asarray(scene(seed))).perceptual_hash for seed in range(40)]
    far = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    near = [
        (hashes[seed] ^ seen(data).perceptual_hash).bit_count()
        for seed in range(0, 40, 4)
        for _, data in copies(scene(seed))
    ]
    assert max(near) <= 10 < min(far)


def test_the_pixels_hash_tells_pixels_and_size_and_nothing_else():
    picture = scene(3)
    png, other = io.BytesIO(), io.BytesIO()
    picture.save(png, "PNG")
    picture.save(other, "BMP")
    first, second = seen(png.getvalue()), seen(other.getvalue())
    assert first == second
    turned = np.asarray(picture).reshape(160, 120, 3)  # the same bytes in another shape
    assert fingerprint_of(turned).pixels_sha256 != first.pixels_sha256


def test_a_picture_of_one_tone_has_no_perceptual_hash():
    rng = np.random.default_rng(0)
    flat = np.full((90, 120, 3), 200, np.uint8)
    noisy = flat + rng.integers(0, 3, flat.shape, np.uint8)
    assert fingerprint_of(flat).perceptual_hash is None
    assert fingerprint_of(noisy).perceptual_hash is None
    assert fingerprint_of(flat).tones == bytes([200]) * 48
