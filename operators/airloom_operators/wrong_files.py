"""A pipeline file that is wrong, as a DAG that says so.

An import error would hide the others: Airflow takes every DAG of a file with one for stale, and starts none of them.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airloom.errors import ConfigError
from airloom.spec.load import load_pipeline, pipeline_files
from airloom.spec.pipeline import Pipeline
from airloom_operators.base import AirloomOperator
from airloom_operators.dag_ids import DagIds

WRONG = "pipeline:wrong"  # the tag of such a DAG


class WrongFileOperator(AirloomOperator):
    """Fails at once, and says what is wrong with a pipeline file.

    Args:
        message: what is wrong, and what to do.
    """

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Any) -> None:  # noqa: ARG002 - it knows the message
        """Say it.

        Raises:
            AirflowFailException: always.
        """
        raise AirflowFailException(self.message)


def read_folder(folder: Path) -> tuple[dict[Path, Pipeline], dict[Path, ConfigError]]:
    """The pipelines of a folder by their files, and the files that are wrong.

    Two files of one pipeline are both wrong: nothing says which of them is meant.
    """
    pipelines, wrong = dict[Path, Pipeline](), dict[Path, ConfigError]()
    for file in pipeline_files(folder):
        try:
            pipelines[file] = load_pipeline(file)
        except ConfigError as error:
            wrong[file] = error
    for name in {pipeline.pipeline for pipeline in pipelines.values()}:
        same = [file for file, pipeline in pipelines.items() if pipeline.pipeline == name]
        if len(same) > 1:
            message = f"{' and '.join(map(str, same))} are both of pipeline {name!r}"
            wrong |= dict.fromkeys(same, ConfigError(message, "rename one of them"))
    return {file: pipeline for file, pipeline in pipelines.items() if file not in wrong}, wrong


def wrong_id(file: Path, ids: DagIds, reserved: Collection[str]) -> str:
    """Take an id for the DAG of a wrong file: the file's name, as the DAG that it had is mostly called.

    Args:
        file: the pipeline file.
        ids: that others have.
        reserved: further ids of the same call.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", file.stem)[:200]
    names = (name, f"{name}.wrong", *(f"{name}.wrong{number}" for number in range(2, 1000)))
    return next(one for one in names if one not in reserved and not ids.take(one, file))


def build_wrong(dag_id: str, file: Path, error: ConfigError) -> DAG:
    """A DAG without a schedule, whose page, name and only task say what is wrong with a pipeline file.

    Args:
        dag_id: see `wrong_id`.
        file: the pipeline file.
        error: what is wrong with it.
    """
    with DAG(
        dag_id=dag_id,
        schedule=None,
        dag_display_name=f"{dag_id}: its pipeline file is wrong",
        tags=["airloom", WRONG],
        default_args={"owner": "airloom", "retries": 0},
        doc_md=f"### `{file.name}` is wrong\n\n```text\n{error}\n```\n\nOnce it is mended, its DAG is back here.",
    ) as dag:
        WrongFileOperator(task_id="read_the_pipeline_file", message=str(error))
    return dag
