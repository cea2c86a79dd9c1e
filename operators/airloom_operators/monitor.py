"""The DAG that watches a pipeline's champion: one task looks and decides, the next one starts a run."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, DagRunTriggerException

from airloom.spec.pipeline import Pipeline
from airloom_operators.base import AirloomOperator, who
from airloom_operators.connections import Place
from airloom_operators.templates import mapping

if TYPE_CHECKING:
    from airflow.sdk import Context

LONGEST_CAUSE = 500  # characters


def monitor_id(pipeline: str) -> str:
    """The id of the DAG that watches a pipeline's champion; an alert starts it with `{"cause": …}`."""
    return f"{pipeline}_monitor"


class MonitorOperator(AirloomOperator):
    """Look at the champion of a pipeline, decide, and keep the decision; returns it.

    A retry looks at the same moment and gets the same decision. A data fault fails the task, and so the run: that is
    what pages, by whatever Airflow tells of failed runs. Where a person is asked, a note stands on the run.

    Args:
        pipeline_file: path of the pipeline file, from the project's root or absolute.
        cause: what made it look, in an alert's words; empty: the schedule, or a person.
    """

    template_fields: Sequence[str] = ("pipeline_file", "cause")

    def __init__(self, *, pipeline_file: str, cause: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline_file = pipeline_file
        self.cause = cause

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return the decision, with `run`, the id of the run that it starts, and the `conf` of that.

        Raises:
            AirflowFailException: the data are at fault.
        """
        from airloom.monitoring.decision import ASK, QUARANTINE
        from airloom.quality.monitor import BY_HAND, BY_SCHEDULE, look
        from airloom.spec.load import load_pipeline
        from airloom.spec.monitor import MonitorSection

        run = context["dag_run"]
        because = str(self.cause or "").strip()[:LONGEST_CAUSE]
        with self.step() as settings:
            pipeline = load_pipeline((settings.project / self.pipeline_file).resolve())
            section = pipeline.monitor or MonitorSection()
            found = look(
                settings,
                pipeline.pipeline,
                section,
                pipeline.dataset.name,
                by=who(context, settings),
                because=because or (BY_SCHEDULE if str(run.run_type).endswith("scheduled") else BY_HAND),
                until=run.run_after,
            )
        text = f"{pipeline.pipeline}/{found.version}: {found.action}. {found.says}"
        self.log.info("%s", text)
        for note in found.notes:
            self.log.info("%s", note)
        if found.action == QUARANTINE:
            raise AirflowFailException(f"{text}. `airloom drift {pipeline.pipeline}` shows it")
        if found.action == ASK:
            self.note(context, f"A person is asked. {text}")
        return found.to_dict() | {"run": found.run, "conf": found.conf}


class RetrainOperator(AirloomOperator):
    """Start the run of a pipeline that the monitor decided; where it decided none, or it is there, skip.

    Args:
        pipeline: the DAG's id.
        decision: what `MonitorOperator` returned.
    """

    template_fields: Sequence[str] = ("decision",)

    def __init__(self, *, pipeline: str, decision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.decision = decision

    def execute(self, context: "Context") -> None:  # noqa: ARG002 - the decision says all
        """Start it; its id is that of the cause, so that Airflow has it once, however often this is tried.

        Raises:
            DagRunTriggerException: how Airflow is told to start it.
            AirflowSkipException: no run was decided.
        """
        with self.step():
            decision = mapping("decision", self.decision)
        if not decision.get("run"):
            raise AirflowSkipException(f"{decision.get('action')}: no run is started")
        self.log.info("starting run %s of %s", decision["run"], self.pipeline)
        raise DagRunTriggerException(
            trigger_dag_id=self.pipeline,
            dag_run_id=str(decision["run"]),
            conf=mapping("conf", decision["conf"]),
            logical_date=None,
            reset_dag_run=False,
            skip_when_already_exists=True,
            wait_for_completion=False,
            allowed_states=["success"],
            failed_states=["failed"],
            poke_interval=60,
            deferrable=False,
            note=str(decision["says"])[:LONGEST_CAUSE],
        )


def build_monitor(pipeline: Pipeline, file: Path, place: Place = Place()) -> DAG:
    """The DAG that watches a pipeline's champion, as `monitor` of its file says.

    Args:
        pipeline: has a `monitor`.
        file: the pipeline file.
        place: whose settings its tasks take.
    """
    section = pipeline.monitor
    assert section is not None  # noqa: S101 - the caller asked
    with DAG(
        dag_id=monitor_id(pipeline.pipeline),
        schedule=timedelta(seconds=section.every),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["airloom", "pipeline:monitor"],
        default_args={"owner": "airloom", "retries": 2, "retry_delay": 5, **place.arguments()},
        params={
            "cause": Param("", type="string", title="Cause", description="An alert, in its own words; empty: none.")
        },
        doc_md=f"### Monitor of `{pipeline.pipeline}`\nLooks at the champion and decides; it {section.starts}. What "
        f"the run trains serves only where it is better. `airloom monitor {pipeline.pipeline}` shows every decision.",
        render_template_as_native_obj=False,
    ) as dag:
        look = MonitorOperator(task_id="look", pipeline_file=str(file), cause="{{ params.cause }}")
        RetrainOperator(task_id="retrain", pipeline=pipeline.pipeline, decision=look.output)
    return dag
