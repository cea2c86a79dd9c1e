"""What a study's end leaves in MLflow."""

from airloom.tuning.summary import _figures


def test_importances_are_drawn_of_more_than_one_trial() -> None:
    import optuna

    study = optuna.create_study()
    for number, drawn in ((1, False), (2, True)):
        study.add_trial(
            optuna.create_trial(
                params={"x": 0.1 * number},
                distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
                value=0.5 * number,
            )
        )
        assert ("importances" in _figures(study, ["score"])) == drawn
