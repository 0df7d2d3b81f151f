"""The OpenAPI document is true: whatever it allows, and much that it does not, gets an answer that it describes."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

EXAMPLES = {GenerationMode.POSITIVE: 8, GenerationMode.NEGATIVE: 3}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_AUTH = "authorization"


@pytest.fixture(scope="module")
def operations(desk: Any) -> list[Any]:
    """Every operation of the document."""
    schema = schemathesis.openapi.from_dict(desk.operator.done("GET", "/openapi.json"))
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
def test_every_operation_answers_as_it_says(desk: Any, operations: list[Any], mode: GenerationMode) -> None:
    assert len(operations) > 35
    firm = desk.found(f"documented-{mode.value}")
    members = firm.owner.walk(f"/organisations/{firm.id}/members")
    ids = {"org_id": firm.id, "project_id": firm.project_id, "member_id": members[-1]["id"]}
    answered = set()
    for operation in operations:
        if "holders/" in operation.path:
            continue

        def ask(case: Any) -> None:
            case.path_parameters = {**(case.path_parameters or {}), **{k: v for k, v in ids.items() if k in (case.path_parameters or {})}}
            answer = case.call(base_url=str(desk.operator.client.base_url), headers={_AUTH: f"Bearer {desk.operator.key}"})
            answered.add(answer.status_code // 100)
            case.validate_response(answer, checks=CHECKS)

        run(operation.as_strategy(generation_mode=mode), EXAMPLES[mode], ask)
    assert answered >= ({2, 4} if mode is GenerationMode.POSITIVE else {4})
    assert desk.operator.done("GET", "/ledger/check")["right"]


def run(cases: st.SearchStrategy[Any], examples: int, ask: Callable[[Any], None]) -> None:
    """Ask some of these."""
    checks = [HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=checks)
    @given(cases)
    def try_all(case: Any) -> None:
        ask(case)

    try_all()
