"""A person's approval: only where the policy asks for it, only with a name and a reason, and recorded."""

import json
from pathlib import Path

import pytest

from airloom.contracts import Decision
from airloom.errors import GateError
from airloom.evaluation.gate.evidence import OVERRIDE
from airloom.evaluation.gate.override import override
from airloom.tracking import runs

REFUSED = Decision(False, ["REFUSED: accuracy 0.1, at least 0.5"], "e", None)


def test_an_approval_is_recorded_and_the_refusal_stays(world, tmp_path: Path) -> None:
    ctx, policy = world.ctx(), world.pipeline.gate.model_copy(update={"override": "ask"})
    made = override(world.settings, policy, ctx, REFUSED, by="Ada", reason=" a leak ", at="2026-01-01")
    assert (made.passed, made.promotes, made.reasons) == (False, True, REFUSED.reasons)
    client = runs.client(world.settings)
    kept = json.loads(Path(client.download_artifacts(ctx.mlflow_run, OVERRIDE, str(tmp_path))).read_text())
    assert kept == {"by": "Ada", "reason": "a leak", "at": "2026-01-01", "refused": REFUSED.reasons}
    assert client.get_run(ctx.mlflow_run).data.tags["airloom.gate"] == "overridden"


@pytest.mark.parametrize(("by", "reason"), [("", "because"), ("Ada", ""), ("  ", "because"), ("Ada", " \n")])
def test_without_a_name_and_a_reason_there_is_no_approval(world, by: str, reason: str) -> None:
    policy = world.pipeline.gate.model_copy(update={"override": "ask"})
    with pytest.raises(GateError, match="a name and a reason"):
        override(world.settings, policy, world.ctx(), REFUSED, by=by, reason=reason, at="now")


def test_a_policy_without_overrides_refuses_the_person_too(world) -> None:
    with pytest.raises(GateError, match="knows no override"):
        override(world.settings, world.pipeline.gate, world.ctx(), REFUSED, by="Ada", reason="because", at="now")
