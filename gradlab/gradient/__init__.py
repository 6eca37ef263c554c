"""The instrument: the gradient of a loss at every state, without a floor.

What reads stored curves needs no jax, so `gradient_curve` is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

from gradlab.gradient.curve import GradientCurve

if TYPE_CHECKING:
    from gradlab.gradient.measure import gradient_curve as gradient_curve

__all__ = ["GradientCurve", "gradient_curve"]


def __getattr__(name: str) -> Any:
    if name != "gradient_curve":
        raise AttributeError(f"module 'gradlab.gradient' has no attribute {name!r}")
    from gradlab.gradient.measure import gradient_curve

    return gradient_curve
