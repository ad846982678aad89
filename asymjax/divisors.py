"""How work is cut into equal parts."""


def largest_divisor(total: int, at_most: int) -> int:
    """Return the largest divisor of ``total`` that is at most ``at_most``, from 1."""
    return max(size for size in range(1, max(1, min(total, at_most)) + 1) if total % size == 0)
