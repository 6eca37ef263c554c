"""One adjoint by the instrument's passes, without the checks that `gradient_curve` adds."""

from gradlab.gradient.adjoint import MEMORY_BUDGET, adjoints
from gradlab.gradient.losses import with_gradient
from gradlab.gradient.segments import Segments, segments_of


def adjoint(
    cell, params, inputs, loss, carry=None, *, kind="total", at=None, last=False, budget=MEMORY_BUDGET, method=None
):
    start = cell.carry(params, inputs.shape[1]) if carry is None else carry
    segments: Segments = segments_of(cell, params, start, inputs)
    source, asked = with_gradient(loss), {"curve": (kind, at)}
    return adjoints(segments, params, inputs, start, source, asked, last=last, budget=budget, method=method)[
        "curve"
    ]
