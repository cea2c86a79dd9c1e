"""SIGKILL at seeded random moments, of real processes, through the whole final training with a real MLflow store."""

import random
import signal

import pytest


@pytest.fixture(scope="module")
def undisturbed(make_training, make_home, tmp_path_factory):
    """The digest of the weights without a kill, by function and ranks."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = make_home(folder)
    found = {}

    def digest(function, ranks, epochs=6):
        name = f"{function}-{ranks}-{epochs}"
        if name not in found:
            found[name] = make_training(settings, folder / name, function, ranks, pause=0, epochs=epochs).complete()
        return found[name]

    return digest


def kill_and_compare(training, expected, kills, seed, epochs):
    chance = random.Random(seed)
    for _ in range(kills):
        victim = chance.randrange(training.ranks)
        ended = training.attempt(at=chance.randint(10, 60), more=chance.uniform(0, 0.02), victim=victim)
        assert ended["codes"][victim] == -signal.SIGKILL, training.text("log.txt")[-3000:]
        assert ended["seconds"] < 10
    assert training.complete() == expected
    assert training.steps() == list(range(epochs))
    began = [int(batch) for batch in training.text("began").split()]
    assert any(began[1:]), "no attempt went on inside an epoch"


KILLED = [("with_fit", 4, 6), ("own_loop", 3, 4), ("by_name", 3, 6)]
FEWER = [("with_fit", 2, 4), ("own_loop", 2, 4)]  # by name: with ranks, below


@pytest.mark.matrix(("function", "kills", "epochs"), KILLED, sample=FEWER)
def test_killed_trainings_end_with_the_same_bits(
    make_training, undisturbed, make_home, tmp_path, function, kills, epochs
):
    training = make_training(make_home(tmp_path), tmp_path / "killed", function, epochs=epochs)
    kill_and_compare(training, undisturbed(function, 1, epochs), kills, 7, epochs)


@pytest.mark.matrix(("kills", "epochs"), [(3, 6)], sample=[(2, 4)])
def test_kills_of_ranks_change_no_bit(make_training, undisturbed, make_home, tmp_path, kills, epochs):
    training = make_training(make_home(tmp_path), tmp_path / "killed", "with_fit", ranks=2, epochs=epochs)
    kill_and_compare(training, undisturbed("with_fit", 2, epochs), kills, 11, epochs)


@pytest.mark.matrix("epochs", [6], sample=[4])
def test_kills_of_ranks_change_no_loss_by_name(make_training, undisturbed, make_home, tmp_path, epochs):
    training = make_training(make_home(tmp_path), tmp_path / "killed", "by_name", ranks=2, epochs=epochs)
    kill_and_compare(training, undisturbed("by_name", 2, epochs), 2, 13, epochs)
    assert training.steps("train_right") == training.steps("validation_small") == list(range(epochs))


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 2])
def test_twenty_kills_change_no_bit(make_training, undisturbed, make_home, tmp_path, ranks):
    training = make_training(make_home(tmp_path), tmp_path / "killed", "with_fit", ranks=ranks, epochs=24)
    kill_and_compare(training, undisturbed("with_fit", ranks, 24), 20, 23, 24)
    began = [int(batch) for batch in training.text("began").split()]
    assert sum(batch > 0 for batch in began[1:]) >= 10
