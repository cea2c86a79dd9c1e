"""The result of `airloom run`: with several candidates it is about the one that the evaluation chose."""

from airloom.contracts import Evaluation
from airloom.pipeline.run import of_chosen
from airloom.pipeline.steps.promote import chosen


def trained(name: str) -> dict:
    model = {"mlflow_run": name, "model_uri": f"models:/m-{name}", "digests": {}, "metrics": {}, "parameters": {}}
    return {"tune": [], "study": {"study": f"pair/run/{name}"}, "model": model}


def test_the_chosen_candidate_is_shown_and_not_the_first() -> None:
    candidates = {"cnn": trained("cnn"), "mlp": trained("mlp")}
    evaluation = Evaluation({}, "", {}, "p", 1, candidates=["models:/m-mlp", "models:/m-cnn"])
    name, model = chosen({name: result["model"] for name, result in candidates.items()}, evaluation)
    result = of_chosen(candidates, name)
    assert (result["candidate"], result["model"], result["study"]) == (
        "mlp",
        model.to_dict(),
        {"study": "pair/run/mlp"},
    )
    assert result["candidates"] == candidates


def test_the_only_training_has_no_candidate() -> None:
    assert of_chosen({"": trained("x")}, "") == trained("x")
