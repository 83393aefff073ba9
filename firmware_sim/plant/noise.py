"""Noise without state: the same seed, channel and step give the same number, in any order, on any machine."""

_MASK = 2**64 - 1


def uniform(seed: int, channel: int, step: int) -> float:
    """A number in [0, 1) that belongs to (seed, channel, step).

    Source: finaliser of SplitMix64, Steele, Lea and Flood, OOPSLA 2014, figure 16.
    """
    z = (seed * 0x9E3779B97F4A7C15 + channel * 0xD1B54A32D192ED03 + step * 0x8CB92BA72F3D8DD7) & _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return ((z ^ z >> 31) >> 11) / 2**53


def wobble(seed: int, channel: int, step: int) -> float:
    """A bell-shaped number in (-1, 1), standard deviation 0.41: the mean of two uniform ones, doubled."""
    return uniform(seed, channel, 2 * step) + uniform(seed, channel, 2 * step + 1) - 1.0
