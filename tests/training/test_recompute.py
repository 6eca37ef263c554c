"""Where the backward pass of training cuts a sequence into segments."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab.training.recompute import cut, join, segment_length


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40))
def test_what_is_cut_can_be_joined(timesteps, size):
    rows = {"a": jnp.arange(2 * timesteps).reshape(timesteps, 2), "b": None}
    head, rest = cut(rows, size)
    assert 1 <= len(head["a"]) <= size and rest["a"].shape[1:] == (size, 2)
    np.testing.assert_array_equal(join(head, rest)["a"], rows["a"])


def test_segments_are_used_beyond_the_budget_alone():
    assert segment_length(10_000, 1, budget=10_000) == 10_000
    assert segment_length(10_000, 1, budget=9_999) == 100
