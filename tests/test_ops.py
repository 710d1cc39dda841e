"""Every case of every op on every backend, judged by the reference. The same list, written once, for all of them."""

from __future__ import annotations

import pytest
from op_runner import check_case

from wgpu_infer.contracts.contract import KINDS, lower_cpu, lower_webgpu
from wgpu_infer.contracts.table import OPS

CASES = [pytest.param(op, case, id=f"{op.name}-{case.id}") for op in OPS.values() for case in op.cases()]


def case_format(case):
    for value in case.operands.values():
        if hasattr(value, "format"):
            return value.format
        if hasattr(value, "table"):
            return value.dtype
    return None


@pytest.mark.parametrize("backend_name", ["reference", "cpu", pytest.param("webgpu", marks=pytest.mark.webgpu)])
@pytest.mark.parametrize("op, case", CASES)
def test_case(op, case, backend_name, open_once):
    backend = open_once(backend_name)
    if reason := backend.missing(op, case_format(case)):
        pytest.skip(f"docs/ops.md lists it as missing: {reason}")
    check_case(backend, op, case)


@pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
def test_contract_is_well_formed(op):
    assert all(o.kind in KINDS for o in op.operands)
    assert len(lower_webgpu(op)) <= 8, "at most 8 storage bindings an op"
    assert len(set(lower_cpu(op))) == len(lower_cpu(op))
    ids = [case.id for case in op.cases()]
    assert len(ids) == len(set(ids))
    for case in op.cases():
        assert set(case.params) == set(op.param_names())
        assert {o.name for o in op.operands if o.access != "w"} == set(case.operands)
