from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from guard.detection.sketches import Sketches, similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECRET = b"a secret of the operator's"
SKETCHES = "14285093d8c7cbf4a35e80bb698d795fe3dca7353a62e2e99bb53202a53e9479"


def unit_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, 256), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def at_cosine(vectors: NDArray[np.float32], cosine: float) -> NDArray[np.float32]:
    """Others at a fixed angle to each."""
    others = unit_vectors(len(vectors), seed=1)
    others -= (others * vectors).sum(axis=1, keepdims=True) * vectors
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    others *= np.float32((1 - cosine**2) ** 0.5)
    others += np.float32(cosine) * vectors
    return others


def numbers(sketches: Sketches, vectors: NDArray[np.float32]) -> list[int]:
    """The sketch of each, as it is compared."""
    return [int.from_bytes(sketch.tobytes()) for sketch in sketches.sign_sketch(vectors)]


def test_no_vectors_have_no_sketches() -> None:
    assert Sketches(SECRET).sign_sketch(unit_vectors(0)).shape == (0, 32)


def test_who_does_not_know_the_secret_does_not_know_the_sketch() -> None:
    vectors = unit_vectors(1_000)
    ours, theirs = (Sketches(secret) for secret in (SECRET, SECRET + b"?"))
    bits_alike = np.unpackbits(ours.sign_sketch(vectors) ^ theirs.sign_sketch(vectors)).mean()
    assert bits_alike == pytest.approx(0.5, abs=0.02)


def test_sketches_stay_as_they_are() -> None:
    """They are kept in stores, so they may not change with a machine, or a release of ours or of numpy."""
    vectors = np.sin(np.arange(1, 3 * 256 + 1, dtype=np.float64) ** 2).reshape(3, 256).astype(np.float32)
    sketches = Sketches(SECRET)
    assert hashlib.sha256(sketches.sign_sketch(vectors).tobytes()).hexdigest() == SKETCHES


def test_a_part_of_a_sketch_or_of_a_rotation_is_its_beginning() -> None:
    sketches, vectors = Sketches(SECRET), unit_vectors(100)
    np.testing.assert_array_equal(sketches.sign_sketch(vectors, 16), sketches.sign_sketch(vectors)[:, :16])
    np.testing.assert_allclose(sketches.rotate(vectors, 64), sketches.rotate(vectors)[:, :64], atol=1e-6)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.3, 0.7, 0.95])
def test_sketches_tell_the_cosine(cosine: float) -> None:
    sketches = Sketches(SECRET)
    vectors = unit_vectors(2_000)
    pairs = zip(numbers(sketches, vectors), numbers(sketches, at_cosine(vectors, cosine)), strict=True)
    told = np.array([similarities(one, [other]) for one, other in pairs])
    assert told.mean() == pytest.approx(cosine, abs=0.01)
    assert np.sqrt(((told - cosine) ** 2).mean()) < 0.1


def test_one_sketch_is_compared_with_many() -> None:
    made = numbers(Sketches(SECRET), unit_vectors(5))
    told = similarities(made[2], made)
    assert len(told) == 5
    assert max(told) == told[2] == 1.0
    assert similarities(made[0], [made[0] ^ (1 << 256) - 1]) == [-1.0]
