from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from guard.detection.cells import SemanticCells, hamming

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECRET = b"a secret of the operator's"
CELLS = [[665, 795, 1102, 970], [726, 1867, 787, 297], [714, 1359, 552, 1173]]
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


def cells_of(cells: SemanticCells, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.array([cells.cells(vector) for vector in vectors])


@pytest.mark.parametrize(("tables", "bits"), [(4, 11), (1, 1), (8, 12), (30, 15)])
def test_a_vector_has_one_cell_in_each_table(tables: int, bits: int) -> None:
    cells = cells_of(SemanticCells(SECRET, tables=tables, bits=bits), unit_vectors(500))
    assert cells.shape == (500, tables)
    assert cells.min() >= 0
    assert cells.max() < 2**bits
    for table in cells.T:
        assert len(np.unique(table)) > 0.75 * min(2**bits, 500)
    assert len(np.unique(cells.T, axis=0)) == tables


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.9, 0.98])
def test_two_vectors_share_a_cell_as_often_as_their_angle_says(cosine: float) -> None:
    cells = SemanticCells(SECRET, tables=8, bits=4)
    vectors = unit_vectors(4_000)
    shared = (cells_of(cells, vectors) == cells_of(cells, at_cosine(vectors, cosine))).mean()
    assert shared == pytest.approx((1 - np.arccos(cosine) / np.pi) ** 4, abs=0.02)


def test_length_does_not_matter() -> None:
    cells = SemanticCells(SECRET)
    vectors = unit_vectors(100)
    np.testing.assert_array_equal(cells_of(cells, vectors), cells_of(cells, vectors * np.float32(16)))


def test_a_zero_vector_is_in_no_cell() -> None:
    assert SemanticCells(SECRET, tables=2, bits=15).cells(np.zeros(256, np.float32)) == ()


def test_no_vectors_have_no_sketches() -> None:
    assert SemanticCells(SECRET).sign_sketch(unit_vectors(0)).shape == (0, 32)


def test_who_does_not_know_the_secret_does_not_know_the_cells() -> None:
    vectors = unit_vectors(1_000)
    ours, theirs = (SemanticCells(secret) for secret in (SECRET, SECRET + b"?"))
    assert (cells_of(ours, vectors) == cells_of(theirs, vectors)).mean() < 0.01
    bits_alike = np.unpackbits(ours.sign_sketch(vectors) ^ theirs.sign_sketch(vectors)).mean()
    assert bits_alike == pytest.approx(0.5, abs=0.02)


def test_cells_and_sketches_stay_as_they_are() -> None:
    """They are kept in stores, so they may not change with a machine, or a release of ours or of numpy."""
    vectors = np.sin(np.arange(1, 3 * 256 + 1, dtype=np.float64) ** 2).reshape(3, 256).astype(np.float32)
    cells = SemanticCells(SECRET)
    assert cells_of(cells, vectors).tolist() == CELLS
    assert hashlib.sha256(cells.sign_sketch(vectors).tobytes()).hexdigest() == SKETCHES


def test_a_part_of_a_sketch_or_of_a_rotation_is_its_beginning() -> None:
    cells, vectors = SemanticCells(SECRET), unit_vectors(100)
    np.testing.assert_array_equal(cells.sign_sketch(vectors, 16), cells.sign_sketch(vectors)[:, :16])
    np.testing.assert_allclose(cells.rotate(vectors, 64), cells.rotate(vectors)[:, :64], atol=1e-6)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.3, 0.7, 0.95])
def test_sketches_tell_the_cosine(cosine: float) -> None:
    cells = SemanticCells(SECRET)
    vectors = unit_vectors(2_000)
    told = hamming(cells.sign_sketch(vectors), cells.sign_sketch(at_cosine(vectors, cosine)))
    assert told.mean() == pytest.approx(cosine, abs=0.01)
    assert np.sqrt(((told - cosine) ** 2).mean()) < 0.1


def test_one_sketch_is_compared_with_many() -> None:
    sketches = SemanticCells(SECRET).sign_sketch(unit_vectors(5))
    assert sketches.shape == (5, 32)
    assert sketches.dtype == np.uint8
    told = hamming(sketches[2], sketches)
    assert told.shape == (5,)
    assert told.argmax() == 2
    assert told[2] == 1.0
    assert hamming(sketches[0], ~sketches[0]) == -1.0


@pytest.mark.parametrize("options", [{"tables": 0}, {"bits": 0}, {"bits": 16}])
def test_cells_that_would_not_fit_are_refused(options: dict[str, int]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=f"{name} = {value} is not"):
        SemanticCells(SECRET, **options)
