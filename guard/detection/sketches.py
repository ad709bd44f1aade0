"""Where a vector lies, in a few bits to compare it by.

The sign of a vector's projection on a random direction says on which side of a plane through the origin it
lies. Two vectors at an angle of θ differ in that sign with probability θ/π (Charikar, STOC 2002). So the
share of 256 signs that differ estimates the angle.

    cos .9 (26°)   a sketch differs in 37 of 256 bits
    cos .0 (90°)                    in 128

The directions come from a secret. They are the rows of H·D₁·H·D₂, where H is the Hadamard matrix and D₁, D₂
are random signs. That is a rotation, since directions at right angles estimate better than independent ones
(error of the cosine on real queries .06 to .07, against .08 to .09); and it is made of whole numbers and of
BLAKE2b's output alone, so that every machine and every release of numpy has the same. Of Gaussian draws numpy
promises that for one release only.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

DIMENSIONS = 256


class Sketches:
    """Makes sketches of vectors of 256 dimensions; the same secret gives the same."""

    def __init__(self, secret: bytes) -> None:
        self._sketching = _rotation(secret, "sketch").T.copy()

    @staticmethod
    def rotate(vectors: NDArray[np.float32], places: int = DIMENSIONS) -> NDArray[np.float32]:
        """The first coordinates of the vectors as seen from another side; no secret is in it.

        Of a text's own coordinates some say more than others; after this each says about as much.
        """
        return vectors @ _OPEN_ROTATION[:, :places]

    def sign_sketch(self, vectors: NDArray[np.float32], size: int = DIMENSIONS // 8) -> NDArray[np.uint8]:
        """256 signs of each vector, or as many as go into `size` bytes, packed, shape (n, size); compare them
        with `similarities`.

        A zero vector has all signs alike, and is like nothing: leave it out.
        """
        return np.packbits(vectors @ self._sketching[:, : 8 * size] > 0, axis=1)


def similarities(sketch: int, others: Iterable[int], size: int = DIMENSIONS // 8) -> list[float]:
    """The cosines that a sketch and each of others tell, as numbers of `size` bytes: cos(π·d/n) where d of n
    bits differ.

    The standard error at 256 bits is .07 to .08 for unrelated vectors, and less the nearer they are.
    """
    cosines = _cosines(8 * size)
    return [cosines[(sketch ^ other).bit_count()] for other in others]


@cache
def _cosines(bits: int) -> list[float]:
    """The cosine for each number of different bits: there are few."""
    cosines: list[float] = np.cos(np.pi * np.arange(bits + 1) / bits).tolist()
    return cosines


def _rotation(secret: bytes, purpose: str) -> NDArray[np.float32]:
    """H·D₁·H·D₂ of 256 rows, in whole numbers up to 256; each row is 256 long."""
    digest = blake2b(purpose.encode(), key=blake2b(secret, digest_size=64).digest(), digest_size=64).digest()
    first, second = np.unpackbits(np.frombuffer(digest, np.uint8)).reshape(2, DIMENSIONS) * 2.0 - 1
    hadamard = _hadamard(DIMENSIONS)
    rotation: NDArray[np.float64] = (hadamard * first) @ (hadamard * second)
    return rotation.astype(np.float32)


def _hadamard(size: int) -> NDArray[np.float64]:
    """Sylvester's matrix of signs, whose rows are at right angles; `size` is a power of two."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


_OPEN_ROTATION = _rotation(b"", "open").T / np.float32(DIMENSIONS)
