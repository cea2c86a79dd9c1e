"""From an evaluation to what serves: the gate, registration and deployment."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airloom.contracts import Decision, Evaluation, RegisteredVersion, RunContext, TrainedModel
from airloom.names import shown_model
from airloom.pipeline.steps.base import Step, light
from airloom.pipeline.steps.evaluate import by_name
from airloom.settings import Settings, load
from airloom.spec.load import definition

if TYPE_CHECKING:
    from airloom.deployment.record import Deployment
    from airloom.deployment.rollouts import Ended

GATE = Step("gate", "airloom.pipeline.steps.promote:gate", resources=light)


def gate(context: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
    """Job entry: decide whether the candidate may pass. Returns a `Decision` as a dict."""
    from airloom.evaluation.gate.evidence import gate as decide

    ctx = RunContext.from_dict(context)
    return decide(load(), definition(ctx), ctx, Evaluation.from_dict(evaluation)).to_dict()


def nothing_new(settings: Settings, context: RunContext, trained: dict[str, Any]) -> Decision | None:
    """The decision where the only candidate is the champion already, so that nothing is to be evaluated; else None.

    Of several candidates the evaluation has to say first which is the best; the gate looks then.

    Args:
        settings: of this installation.
        context: of the pipeline run.
        trained: the candidate, or several by name.

    Raises:
        RegistryError: MLflow does not answer.
    """
    from airloom.evaluation.gate import nothing_new as gate_nothing_new

    models = by_name(trained)
    if len(models) != 1:
        return None
    model = TrainedModel.from_dict(next(iter(models.values())))
    return gate_nothing_new.look(settings, context, model.model_uri, model.digests)


def chosen(trained: dict[str, Any], evaluation: Evaluation) -> tuple[str, TrainedModel]:
    """The candidate that the evaluation chose and its model: the only one, or of several by name the best."""
    models = by_name(trained)
    best = evaluation.candidates[0] if evaluation.candidates else next(iter(models.values()))["model_uri"]
    name = next(name for name, model in models.items() if model["model_uri"] == best)
    return name, TrainedModel.from_dict(models[name])


def not_judged(settings: Settings, context: RunContext, evaluation: Evaluation) -> Decision:
    """The decision of a pipeline without a gate: neither passed nor refused.

    Args:
        settings: of this installation.
        context: of the pipeline run.
        evaluation: of the candidate.

    Raises:
        GateError: the pipeline has a gate.
        RegistryError: MLflow does not answer.
    """
    from airloom.evaluation.gate.not_judged import keep

    return keep(settings, context, evaluation)


def register(
    settings: Settings, context: RunContext, trained: TrainedModel, evaluation: Evaluation, decision: Decision
) -> RegisteredVersion:
    """Make the candidate a registered model version with its lineage: an accepted one, or one without a gate.

    Args:
        settings: of this installation.
        context: of the pipeline run.
        trained: the candidate.
        evaluation: of it.
        decision: of the gate, or of a person over it.

    Raises:
        RegistryError: the gate refused it, or MLflow does not answer.
    """
    from airloom.registry.register import register as make_version

    return make_version(settings, context, trained, evaluation, decision)


def left_to_people(settings: Settings, context: RunContext, registered: RegisteredVersion) -> str:
    """What is said where the pipeline file has no `deploy`: who has to make the version serve, and how.

    Args:
        settings: of this installation.
        context: of the pipeline run.
        registered: the version.
    """
    from airloom.registry import models, python_models

    version = f"{shown_model(registered.model, settings.installation)}/{registered.version}"
    if python_models.is_python(models.get_version(settings, registered.model, registered.version).tags):
        return f"{version} is registered; it {python_models.NOT_SERVED}: {python_models.INSTEAD}"
    whose = "" if definition(context).gate else "nobody judged it, and "
    return (
        f"{version} is registered; {whose}the pipeline file has no `deploy`, so that no run makes it serve: "
        f"`airloom model promote {version}` makes it the champion"
    )


def begin_deployment(settings: Settings, context: RunContext, registered: RegisteredVersion) -> "Deployment":
    """Make the version the champion, or let it answer beside the champion, as the pipeline file's `deploy` says.

    Args:
        settings: of this installation.
        context: of the pipeline run.
        registered: the version.

    Raises:
        RegistryError: another version of the model is on its way, or another deployment was faster.
        ConfigError: the file has stages, and no model server was ever started here.
    """
    from airloom.deployment import rollouts
    from airloom.deployment.rollout import Rollout
    from airloom.spec.deploy import DeploySection

    section = definition(context).deploy or DeploySection()
    wanted = Rollout.of(registered.version, section, by=f"run {context.key}")
    return rollouts.begin(settings, registered.model, wanted)


def end_deployment(
    settings: Settings,
    registered: RegisteredVersion,
    begun: dict[str, Any],
    log_line: Callable[[str], None],
    timeout: float = 60,
) -> "Ended":
    """Wait until a version that is on its way is the champion, or is not to be; of a champion, until it serves.

    Args:
        settings: of this installation.
        registered: the version.
        begun: the record that `begin_deployment` returned, as a dict.
        log_line: gets each line of progress.
        timeout: seconds to wait for the model server.

    Raises:
        StackError: the server does not answer with the new champion.
    """
    from airloom.deployment import rollouts, serving
    from airloom.deployment.record import Deployment

    model, version = registered.model, registered.version
    ended = rollouts.wait(settings, model, Deployment.from_dict(begun), version, log_line)
    if ended.promoted:
        serving.wait_until_served(settings, model, version, timeout, log_line)
    return ended
