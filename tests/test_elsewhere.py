"""Every operator of the table, and random networks, against JAX and PyTorch, which differentiate by themselves."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import funcnet as fn
from funcnet import tree
from tests.networks.test_network import solved
from tests.support.battery import subject_of
from tests.support.budget import examples
from tests.support.cases import CASES, Case
from tests.support.elsewhere import FRAMEWORKS, Framework, disagreement, function_of, network_in, pulled, worst
from tests.support.strategies import PATTERNS, Problem, pattern, problems

TOLERANCE = {np.float64: 1e-13, np.float32: 5e-6}
TIMES = {("layer_norm of one feature", "torch"): 20.0}
"""Of one feature the derivatives by x and by the scale are exactly 0, and so are ours and JAX's. PyTorch's are
differences of rounded numbers times 1 / sqrt(epsilon) = 316: up to 1.8e-13, and 6.1e-5 in float32."""


@pytest.fixture(scope="module", params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    pytest.importorskip(request.param)
    return FRAMEWORKS[request.param]()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
def test_every_operator_agrees(case: Case, dtype: Any, framework: Framework) -> None:
    tolerance = TOLERANCE[dtype] * TIMES.get((case.name, framework.numpy), 1.0)
    assert np.max(disagreement(case, dtype, framework)) <= tolerance


INFINITE = {np.float64: 1e-11, np.float32: 1e-4}
UNLIKE: dict[str, str] = {
    # the book's formulas: no least variance; of equal numbers the last is the largest; a later key of NaN is not seen
    "jax": "gaussian_nll|^max|that is causal",
    # refuses variances below 0; lets the gradient pass at the least variance; finite where scores are inf;
    # of equal numbers the first is the largest
    "torch": "gaussian_nll|attention|^max_pool",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
def test_every_operator_agrees_at_infinite_inputs(case: Case, dtype: Any, framework: Framework) -> None:
    if re.search(UNLIKE[framework.numpy.split(".")[0]], case.name):
        pytest.skip("means another function there")
    layer, params, inputs = subject_of(case, dtype)
    rng = np.random.default_rng(5)
    for place, x in enumerate(inputs):
        for signs in ([np.inf], [-np.inf], [np.inf, -np.inf]) if x.dtype.kind == "f" else ():
            hit = rng.random(x.shape) < 0.2
            given = [
                *inputs[:place],
                np.where(hit, rng.choice(np.array(signs, dtype), x.shape), x),
                *inputs[place + 1 :],
            ]
            output, pullback = layer.apply.vjp(params, *given)
            cotangent = tree.map(lambda y: np.asarray(rng.normal(size=np.shape(y)), dtype), output)
            theirs, expected = pulled(function_of(case, framework), params, given, cotangent, framework)
            found = [*tree.leaves(output), *tree.leaves(pullback(cotangent)), *tree.leaves(layer.apply(params, *given))]
            for a, b in zip(found, [*tree.leaves(theirs), *expected, *tree.leaves(theirs)], strict=True):
                finite = np.isfinite(b)
                np.testing.assert_allclose(a[finite], b[finite], rtol=INFINITE[dtype], atol=INFINITE[dtype])


def test_every_function_is_of_a_row(framework: Framework) -> None:
    names = {case.name for case in CASES}
    assert framework.functions.keys() <= names | {name.split(" ")[0] for name in names}


def test_nan_is_no_agreement() -> None:
    one, nan = np.ones(2), np.array([1.0, np.nan])
    assert worst([one, one], [one, one]) == 0.0
    assert np.isnan([worst([one, nan], [one, one]), worst([nan, one], [one, one]), worst([one, one], [one, nan])]).all()


def check_network(problem: Problem, framework: Framework) -> None:
    s = solved(problem)
    output, pullback = s.network.apply.vjp(s.params, *s.inputs)
    cotangent = s.cotangents if isinstance(problem.net.output, list) else s.cotangents[0]
    function = network_in(problem.net, framework)
    expected, cotangents = pulled(function, s.params, list(s.inputs), cotangent, framework)
    assert worst(tree.leaves(output), tree.leaves(expected)) <= s.tolerance
    assert worst(tree.leaves(pullback(cotangent)), cotangents) <= s.tolerance


@settings(max_examples=examples(12))
@given(problem=problems())
def test_random_networks_agree(problem: Problem, framework: Framework) -> None:
    check_network(problem, framework)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_agree(name: str, framework: Framework) -> None:
    check_network(pattern(name), framework)


@pytest.mark.parametrize("causal", [False, True])
def test_params_of_multihead_attention_in_torch(causal: bool) -> None:
    """Its three weights are one, transposed, and its masks are True where a key may NOT be seen."""
    torch: Any = pytest.importorskip("torch")
    theirs = torch.nn.MultiheadAttention(6, 2, batch_first=True).double()
    torch.nn.init.normal_(theirs.in_proj_bias)  # that of the keys, which has no counterpart, changes nothing
    state = {name: p.detach().numpy() for name, p in theirs.named_parameters()}
    w_q, w_k, w_v = (w.T for w in np.split(state["in_proj_weight"], 3))
    b_q, _, b_v = np.split(state["in_proj_bias"], 3)
    output = fn.Affine(state["out_proj.weight"].T, state["out_proj.bias"])
    params = fn.Attention(fn.Affine(w_q, b_q), fn.Weight(w_k), fn.Affine(w_v, b_v), output)
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(3, 5, 6)), rng.random((3, 5)) < 0.6
    mask[:, 0] = True
    hidden = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1) if causal else None
    given = torch.from_numpy(x)
    y, _ = theirs(given, given, given, key_padding_mask=torch.from_numpy(~mask), attn_mask=hidden)
    found = fn.attention(2, causal=causal, masked=True).apply(params, x, mask)
    np.testing.assert_allclose(found, y.detach().numpy(), atol=1e-12)
