"""What the analyses beside the curves found, as sentences, from the object `analyses` of `done.json`."""

from collections.abc import Iterator, Mapping
from typing import Any

from gradlab.gradient.summary import in_decades
from gradlab.runs.jsonable import number

Found = Mapping[str, Any]


def sentences(analyses: Mapping[str, Found], length: int) -> Iterator[tuple[str, str, str]]:
    """Checkpoint, name of the analysis, and its sentence.

    Args:
        analyses: by checkpoint and name. length: T, the timesteps of a sequence.
    """
    for when, each in analyses.items():
        for name, found in each.items():
            yield when, name, sentence(name, found, length)


def sentence(name: str, found: Found, length: int) -> str:
    """The finding of one analysis.

    Example:
        >>> sentence("remembrance", {"change": [-1.0, -9.0], "horizon": 40, "horizon_reached": False}, 100)
        'an exchanged input moves the last output by more than a thousandth of what the last one does up to lag 40'
    """
    return f"not worked out: {found['failed']}" if "failed" in found else _SENTENCES[name](found, length)


def _spectrum(found: Found, length: int) -> str:
    largest, smallest = map(number, found["exponents"])
    first, _, last = map(number, found["singular_values"])
    return (
        f"of {found['entries']} directions one changes by {largest:+.3g} decades per timestep, the largest "
        f"exponent, and one by {smallest:+.3g}, the smallest; back to lag {length} a gradient changes by between "
        f"{in_decades(last, sign=True)} and {in_decades(first, sign=True)} decades"
    )


def _credit(found: Found, length: int) -> str:
    cut = str(found["truncated_at"])
    if cut in found["share"]:
        share, missing, cosine = (number(found[name][cut]) for name in ("share", "missing", "cosine"))
        return (
            f"training that goes back {cut} of {length} timesteps goes {share:.0%} of the way along the gradient "
            f"of the weights and misses {missing:.0%} of its norm (cosine {cosine:.2f}); with "
            f"{found['window']} it misses less than 10%"
        )
    shares = ", ".join(f"{number(share):.0%} from the last {lag}" for lag, share in found["share"].items())
    start, end = map(number, found["agreement"])
    text = f"the last {found['window']} of {length} timesteps give the gradient of the weights"
    text += " but for 10% of its norm"
    text += f" (along it {shares})" if shares else ""
    return f"{text}; the cosine between two examples is {start:.2f} at lag 1 and {end:.2f} at lag {length}"


def _paths(found: Found, length: int) -> str:
    alone = {path: number(share) for path, share in found["alone_share"].items()}
    mixed = 1 - sum(alone.values())
    carried = alone.pop("carried")
    best = max(alone, key=lambda path: abs(alone[path]))
    return (
        f"at lag {length} {carried:.0%} of the gradient came through the carried state alone, "
        f"{alone[best]:.0%} through {best} alone, {mixed:.0%} changed its path"
    )


def _remembrance(found: Found, length: int) -> str:
    if not found["change"]:
        return "all examples have the same inputs, so that none can be exchanged"
    first, last = found.get("lags") or (1, length)  # at some lags all examples may have the same input
    of = "the last one" if first == 1 else f"that at lag {first}"
    reach = f"at every lag up to {last}" if found["horizon_reached"] else f"up to lag {found['horizon']}"
    reach = reach if found["horizon"] else "at no lag"
    return f"an exchanged input moves the last output by more than a thousandth of what {of} does {reach}"


def _precision(found: Found, length: int) -> str:
    return "; ".join(_in_dtype(dtype, each, length) for dtype, each in found.items())


def _in_dtype(dtype: str, found: Found, length: int) -> str:
    leaves, zero, scale = found["plain_leaves_at"], found["plain_zero_from"], found["loss_scale"]
    if leaves is None:
        return f"in {dtype} plain differentiation is right up to lag {length}"
    # Where exponents beside the numbers do not help, what they are off by is no underflow, and no scale helps.
    rounded = found["carried_leaves_at"] is not None and found["carried_leaves_at"] <= leaves
    text = f"in {dtype} plain differentiation is off from lag {leaves}{' by rounding' * rounded}"
    text += f", 0 from lag {zero}" if zero else ""
    if scale is None:
        return f"{text}; no scale of the loss brings all of it into range"
    if not scale or (rounded and not zero):
        return text
    return f"{text}, {'the latter ' * rounded}unless the loss is scaled by 2^{scale}"


_SENTENCES = {
    "spectrum": _spectrum,
    "credit": _credit,
    "paths": _paths,
    "remembrance": _remembrance,
    "precision": _precision,
}
