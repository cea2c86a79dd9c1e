"""A DAG written by hand with Airloom's operators; `tests/` parses and runs it."""

from airflow.sdk import dag

from airloom_operators.deploy import DeployOperator
from airloom_operators.evaluate import EvaluateOperator
from airloom_operators.gate import GateOperator
from airloom_operators.register import RegisterOperator
from airloom_operators.resolve import ResolveOperator
from airloom_operators.train import TrainOperator
from airloom_operators.tune import TuneOperator


@dag(schedule=None, tags=["airloom"], default_args={"owner": "airloom"}, doc_md="The digits, step by step.")
def digits_by_hand():
    run = ResolveOperator(task_id="resolve", pipeline_file="configs/pipelines/digits.yaml").output
    tune = TuneOperator.partial(task_id="tune", context=run).expand(arguments=[{"worker": 0}, {"worker": 1}])
    train = TrainOperator(task_id="train", context=run, multiple_outputs=True)
    model = train.output["model"]
    evaluation = EvaluateOperator(task_id="evaluate", context=run, arguments={"trained": model}).output
    decision = GateOperator(task_id="gate", context=run, arguments={"evaluation": evaluation}).output
    version = RegisterOperator(
        task_id="register", context=run, trained=model, evaluation=evaluation, decision=decision
    ).output
    tune >> train
    DeployOperator(task_id="deploy", context=run, registered=version)


made = digits_by_hand()

if __name__ == "__main__":
    made.test()
