"""The instrument: the gradient of a loss at every state, without a floor."""

from gradlab.gradient.adjoint import adjoint
from gradlab.gradient.curve import GradientCurve
from gradlab.gradient.measure import gradient_curve

__all__ = ["GradientCurve", "adjoint", "gradient_curve"]
