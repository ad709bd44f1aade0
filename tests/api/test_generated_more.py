"""Requests that are made up from docs/openapi.json, right ones and wrong ones, against the real program."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import schemathesis
from api_client import TOKENS
from commands import guard_started, open_store
from patience import PATIENCE_SECONDS
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from guard.admin.tokens import digest_of
from guard.api.app import OPERATIONS
from guard.api.openapi import document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis.schemas import BaseSchema

    from guard.api.operations import Operation

TOKEN = {"authorization": f"Bearer {TOKENS['ann'][0]}"}
EXAMPLES = 60
EXCLUDED = [
    positive_data_acceptance,  # no schema says which names are holders, and which dates are over
    ignored_auth,  # it takes the token that it is given for one that it has made up; test_doors.py looks
]
LIMITS = '[[tiers.default.limits]]\nname = "requests"\nunit = "requests"\nrate = "10/hour"\n'


KINDS = [
    (operation, mode)
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.takes.model_fields
]
"""Right and wrong requests of each operation; what takes nothing can be asked in no wrong way."""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    """The description that `guard admin serve` gives of itself."""
    folder = tmp_path_factory.mktemp("generated")
    token = f'[[admin.tokens]]\nname = "ann"\nsha256 = "{digest_of(TOKENS["ann"][0])}"\nrole = "operate"\n'
    (folder / "guard.toml").write_text(token + LIMITS)
    open_store(folder)
    with guard_started("admin", "serve", "--port", "0", folder=folder) as process:
        assert process.stderr is not None
        listening = re.search(r"http://\S+:\d+", process.stderr.readline())
        assert listening is not None
        described = schemathesis.openapi.from_dict(document(OPERATIONS))
        described.config.update(base_url=listening[0])
        described.config.generation.update(with_security_parameters=False)
        described.config.checks.negative_data_rejection.expected_statuses = ["4XX"]
        yield described
        process.terminate()


@pytest.mark.parametrize(("operation", "mode"), KINDS, ids=lambda each: getattr(each, "path", each))
def test_every_answer_is_as_described(
    operation: Operation, mode: GenerationMode, described: BaseSchema
) -> None:
    cases = described[operation.where][operation.method].as_strategy(generation_mode=mode)

    @hypothesis.given(case=cases)
    @hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=list(hypothesis.HealthCheck))
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers=TOKEN, excluded_checks=EXCLUDED, timeout=PATIENCE_SECONDS)

    check()
