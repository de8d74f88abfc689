"""The plaintext's size from the body's alone (docs/format.md, 3)."""

CHUNK = 65_536
SEALED_CHUNK = CHUNK + 28
STEP = 5 * 1024 * 1024
SEALED_STEP = 80 * SEALED_CHUNK + 128
MOST_STEPS = 9999
LARGEST = 50 * 1024**4
LEAST_TRAILER = 320


def ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)


def steps(plain: int) -> int:
    return min(plain // STEP, MOST_STEPS)


def sealed_size(plain: int) -> int:
    """T(P)."""
    return LEAST_TRAILER + 128 * steps(plain) + plain + 28 * ceil_div(plain, CHUNK)


def plain_size(body: int) -> int | None:
    """P, or None for a size that no object has."""
    left = body - LEAST_TRAILER
    if left < 0:
        return None
    count = min(left // SEALED_STEP, MOST_STEPS)
    rest = left - count * SEALED_STEP
    plain = count * STEP + rest - 28 * ceil_div(rest, SEALED_CHUNK)
    return plain if 0 <= plain <= LARGEST and sealed_size(plain) == body else None


def chunks_size(plain: int) -> int:
    """A part's bytes in the body."""
    return plain + 28 * ceil_div(plain, CHUNK)
