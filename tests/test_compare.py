"""What one backend wrote against what another wrote: by the op's bound, with NaN and infinity told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wgpu_infer.backends.compare import compare
from wgpu_infer.contracts.table import OPS

NAN, INF = np.nan, np.inf


def judge(got, want, allowed=0.1, slack=1.0):
    op = replace(OPS["add"], bound=lambda *_: allowed)
    return compare(op, "x", {}, np.array(got, np.float32), np.array(want, np.float32), {}, slack)


@pytest.mark.parametrize(
    "got, want",
    [([1.0, 2.0], [1.05, 2.0]), ([NAN, 1], [NAN, 1]), ([INF, -INF], [INF, -INF]), ([], []), ([[3.0]], [[3.0]])],
)
def test_agreement(got, want):
    assert judge(got, want) is None


@pytest.mark.parametrize("got, want", [(1.2, 1.0), (NAN, 1), (1, NAN), (INF, 1), (1, INF), (INF, -INF), (NAN, INF)])
def test_disagreement_names_the_element(got, want):
    found = judge([[0.0, 0.05], [0.0, got]], [[0.0, 0.0], [0.0, want]])
    assert found.element == (1, 1) and found.op == "add" and found.operand == "x"
    np.testing.assert_equal((found.got, found.want), (np.float32(got), np.float32(want)))
    assert "add: x[1, 1]" in str(found)


def test_the_worst_is_named_and_slack_widens_the_bound():
    assert judge([1.0, 1.0], [1.3, 1.5]).element == (1,)
    assert judge([1.0], [1.15]) is not None and judge([1.0], [1.15], slack=2.0) is None


def test_a_bound_that_is_no_number_lets_only_equal_values_pass():
    assert judge([1.0, NAN], [1.0, NAN], allowed=NAN) is None
    assert judge([1.0, NAN], [1.1, NAN], allowed=NAN).element == (0,)
