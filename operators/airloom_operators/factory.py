"""A pipeline file becomes a DAG. DAG files call this; nothing here imports a library of the trade."""

import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, XComArg, get_parsing_context

from airloom.errors import ConfigError
from airloom.spec.gate import AgainstChampion
from airloom.spec.load import load_pipeline
from airloom.spec.pipeline import BUILT, SKIP_MISSED, Pipeline
from airloom_operators.announce import announcer_id, build_announcer
from airloom_operators.assets import each_version
from airloom_operators.connections import Place
from airloom_operators.dag_ids import dag_ids
from airloom_operators.deploy import DeployOperator
from airloom_operators.evaluate import EvaluateOperator
from airloom_operators.gate import GateOperator, OverrideOperator
from airloom_operators.monitor import build_monitor, monitor_id
from airloom_operators.predict import PredictOperator
from airloom_operators.register import RegisterOperator
from airloom_operators.resolve import ResolveOperator
from airloom_operators.train import TrainOperator
from airloom_operators.tune import TuneOperator
from airloom_operators.wrong_files import build_wrong, read_folder, wrong_id


def build_dags(folder: str | Path, connection_id: str = "") -> dict[str, DAG]:
    """A DAG for each pipeline file of a folder, and one for each of their datasets, which announces its versions.

    Call it in a file of your DAG folder: `build_dags(Path(__file__).resolve().parents[1] / "configs" / "pipelines")`.
    Airflow finds DAGs that are made while it reads a file; a task, which reads it too, gets only the DAG that it runs.

    Args:
        folder: of `*.yaml`, absolute, as the working folder of Airflow's processes is their own.
        connection_id: of a connection of type `airloom`, whose settings come before `airloom.toml` and the environment.

    A file that is wrong hides no other: its DAG has one task that says what is wrong, and no schedule. So it is with a
    pipeline that has the name of another one which this Airflow has, from another folder or DAG file.

    Returns:
        The DAGs by their id.

    Raises:
        ConfigError: the folder is not there or relative, or none of its files is right.
    """
    folder = Path(folder)
    if not folder.is_absolute() or not folder.is_dir():
        hint = 'give it from the file\'s own place: Path(__file__).resolve().parents[1] / "configs" / "pipelines"'
        raise ConfigError(f"build_dags({str(folder)!r}): there is no such folder, by an absolute path", hint)
    wanted = get_parsing_context().dag_id
    pipelines, wrong = read_folder(folder)
    with dag_ids() as ids:
        for file, pipeline in list(pipelines.items()):
            if there := ids.take(pipeline.pipeline, file):
                wrong[file] = _is_taken(pipelines.pop(file).pipeline, file, there)
        for file, pipeline in list(pipelines.items()):
            if pipeline.monitor and (there := ids.take(monitor_id(pipeline.pipeline), file)):
                wrong[file] = _is_taken(monitor_id(pipelines.pop(file).pipeline), file, there)
        announced = {announcer_id(name): name for name in sorted({one.dataset.name for one in pipelines.values()})}
        told = {wrong_id(file, ids, announced): (file, error) for file, error in wrong.items()}
    if wrong and not pipelines:
        raise next(iter(wrong.values()))
    place = Place(connection_id, "" if connection_id or os.environ.get("AIRLOOM_PROJECT") else str(folder))
    dags = [build_dag(file, place) for file, pipeline in pipelines.items() if wanted in (None, pipeline.pipeline)]
    dags += [
        build_announcer(name, **place.arguments()) for dag_id, name in announced.items() if wanted in (None, dag_id)
    ]
    dags += [
        build_monitor(pipeline, file, place)
        for file, pipeline in pipelines.items()
        if pipeline.monitor and wanted in (None, monitor_id(pipeline.pipeline))
    ]
    dags += [build_wrong(dag_id, *what) for dag_id, what in told.items() if wanted in (None, dag_id)]
    return {dag.dag_id: dag for dag in dags}


def _is_taken(name: str, file: Path, there: str) -> ConfigError:
    """What is wrong with a pipeline of another project, folder or DAG file that is called as one that is there."""
    hint = "an Airflow has each name once: rename one of them, in its file, or take out one call of build_dags"
    return ConfigError(f"{file} and {there} are both of pipeline {name!r}", hint)


def build_dag(file: Path, place: Place = Place()) -> DAG:
    """resolve → tune (mapped) → train → evaluate → gate → register → deploy, once for each dataset version.

    Of a step that the pipeline file leaves out (`tune`, `gate`, `deploy`) there is no task.
    """
    pipeline = load_pipeline(file)
    pool = pipeline.resources.pool
    with DAG(
        dag_id=pipeline.pipeline,
        schedule=each_version(pipeline.dataset.name),
        catchup=False,
        max_active_runs=1,  # promotions of one model are decided one after the other
        tags=[
            "airloom",
            BUILT,
            f"dataset:{pipeline.dataset.name}",
            *([SKIP_MISSED] if pipeline.missed == "skip" else []),
        ],
        default_args={"owner": "airloom", "retries": 2, "retry_delay": 5, **place.arguments()},
        params=_params(),
        doc_md=_docs(pipeline, file),
        render_template_as_native_obj=True,
    ) as dag:
        resolve = ResolveOperator(
            task_id="resolve",
            pipeline_file=str(file),
            dataset_version="{{ params.dataset_version }}",
            parameters="{{ params.parameters }}",
            cache="{{ params.cache }}",
            cause="{{ params.cause }}",
        )
        context = resolve.output
        trains = {name: _train(pipeline, context, name) for name in pipeline.candidates or [""]}
        models = {name: XComArg(train, key="model") for name, train in trains.items()}
        model = models if pipeline.candidates else models[""]
        evaluate = EvaluateOperator(task_id="evaluate", context=context, arguments={"trained": model}, pool=pool)
        decision = _decision(pipeline, context, evaluate)
        register = RegisterOperator(
            task_id="register",
            context=context,
            trained=model,
            evaluation=evaluate.output,
            decision=decision.output if decision else None,
        )
        list(trains.values()) >> evaluate
        (decision or evaluate) >> register
        if pipeline.deploy:
            deploy = DeployOperator(task_id="deploy", context=context, registered=register.output)
            register >> deploy >> _predict(pipeline, context, register)
    return dag


def _predict(pipeline: Pipeline, context: Any, register: RegisterOperator) -> list[PredictOperator]:
    """A task for each entry of the file's `predict`: `predict`, or of several `predict_0`, `predict_1`, …"""
    several = len(pipeline.predict) > 1
    return [
        PredictOperator(
            task_id=f"predict_{entry}" if several else "predict",
            context=context,
            arguments={"registered": register.output, "entry": entry},
            pool=pipeline.resources.pool,
        )
        for entry in range(len(pipeline.predict))
    ]


def _train(pipeline: Pipeline, context: Any, candidate: str) -> TrainOperator:
    """Study and final training of one candidate: `tune` and `train`, or `tune_cnn` and `train_cnn`."""
    end, pool = f"_{candidate}" if candidate else "", pipeline.resources.pool
    train = TrainOperator(task_id=f"train{end}", context=context, candidate=candidate, multiple_outputs=True, pool=pool)
    if pipeline.tune:
        workers = [{"worker": index} for index in range(pipeline.tune.workers)]
        tune = TuneOperator.partial(task_id=f"tune{end}", context=context, candidate=candidate, pool=pool)
        tune.expand(arguments=workers) >> train
    return train


def _decision(pipeline: Pipeline, context: Any, evaluate: EvaluateOperator) -> GateOperator | OverrideOperator | None:
    """The task that has the last word: the gate, or where the policy says so a person after it; None without a gate."""
    if pipeline.gate is None:
        return None
    arguments, pool = {"evaluation": evaluate.output}, pipeline.resources.pool
    gate = GateOperator(task_id="gate", context=context, arguments=arguments, pool=pool)
    evaluate >> gate
    if pipeline.gate.override != "ask":
        return gate
    within = pipeline.gate.override_within
    override = OverrideOperator(task_id="override", context=context, decision=gate.output, within=within)
    gate >> override  # the order is its only effect
    return override


def _params() -> dict[str, Param]:
    return {
        "dataset_version": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Dataset version",
            description="Empty: the version of the run's partition key (vN), else the newest.",
        ),
        "parameters": Param(
            {},
            type="object",
            title="Parameters",
            description="Override parameters of the pipeline file, or fix a key of its search space.",
        ),
        "cache": Param(
            True,
            type="boolean",
            title="Cache",
            description="Off: run every step, also where an earlier run had the same inputs.",
        ),
        "cause": Param(
            "",
            type="string",
            maxLength=1000,
            title="Cause",
            description="The alarm that started it: its model has to be better than the champion. Empty: none did.",
        ),
    }


def _docs(pipeline: Pipeline, file: Path) -> str:
    study = "no `tune`: it is trained once, with the file's parameters"
    if tune := pipeline.tune:
        targets = ", ".join(f"{target.direction} `{target.metric}`" for target in tune.targets)
        study = f"tunes {tune.trials} trials with {tune.workers} workers: {targets}"
    gate = "no `gate`: nobody judges the model"
    if policy := pipeline.gate:
        minimums = ", ".join(f"{name} ≥ {value}" for name, value in policy.at_least.items())
        gate = f"gate: {minimums}; {_question(policy.against_champion)} (alpha {policy.against_champion.alpha})"
    deploy = f"deploy: what the gate passes becomes {pipeline.deploy}"
    if not pipeline.deploy:
        deploy = f"no `deploy`: `airloom model promote {pipeline.pipeline}/VERSION` makes a version the champion"
    watched = [f"- monitor: `{monitor_id(pipeline.pipeline)}` watches the champion"] if pipeline.monitor else []
    answers = [f"- predict: the new champion answers `{one.dataset}`" for one in pipeline.predict]
    return "\n".join(
        [
            f"### Pipeline `{pipeline.pipeline}`",
            f"Built from `{file.name}`. Each new version of dataset **{pipeline.dataset.name}** starts one run.",
            "",
            f"- trains `{pipeline.trains}`",
            f"- {study}",
            f"- {gate}",
            f"- {deploy}",
            *answers,
            *watched,
        ]
    )


def _question(rule: AgainstChampion) -> str:
    if rule.superior:
        return f"{rule.metric} better than the champion's"
    return f"{rule.metric} worse than the champion's by less than {rule.margin}"
