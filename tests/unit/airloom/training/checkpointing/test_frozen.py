"""A checkpoint holds what was trained; what is frozen must be what it was."""

import copy

import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253

from airloom.errors import ConfigError, JobFailed
from airloom.training import EarlyStopping, fit
from airloom.training.checkpointing.checkpoints import Checkpoints, Pace
from airloom.training.checkpointing.frozen import Frozen, sha256_of
from airloom.training.checkpointing.state import KeptObjects
from airloom.training.world import World


@pytest.fixture(autouse=True)
def _always_save(monkeypatch):
    """Each step is worth a checkpoint."""
    monkeypatch.setattr(Pace, "due", lambda self: True)


class Net(nn.Module):
    """A base that is given, and a head that is learned; batch statistics are buffers, and change in training."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.base = nn.Linear(64, 16)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 10)
        for parameter in self.base.parameters():
            nn.init.normal_(parameter, generator=generator, std=0.1)
        self.base.requires_grad_(False)

    def forward(self, images):
        return self.head(self.norm(self.base(images.flatten(1))))


class Crash(Exception):
    pass


def checkpoint(run_state):
    kept = Checkpoints(run_state / "checkpoints")
    return kept.load(kept.newest())


def training(crash_at=None, seed=0, before_epoch=lambda epoch, model: None, after_step=lambda model: None):
    def function(run):
        model = Net(seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        seen = 0
        for epoch in run.epochs(3, model=model, optimizer=optimizer):
            before_epoch(epoch, model)
            for images, labels in run.loader("train", 32):
                if seen == crash_at:
                    raise Crash
                seen += 1
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
                after_step(model)
        run.after = {name: value.clone() for name, value in model.state_dict().items()}

    return function


def resumed(start, tmp_path, **options):
    """Killed at two places and gone on with; the state at the end of that, and of a training that nobody disturbed."""
    expected = start(training(**options), state=tmp_path / "undisturbed").run.after
    for crash in (2, 5):
        with pytest.raises(JobFailed, match="Crash"):
            start(training(crash, **options), state=tmp_path / "killed")
    ended = start(training(**options), state=tmp_path / "killed").run.after
    assert all(torch.equal(ended[name], expected[name]) for name in expected)
    return checkpoint(tmp_path / "killed")["objects"]["model"]


def test_what_is_frozen_is_not_in_it_and_the_training_goes_on_to_the_same_bits(start, tmp_path) -> None:
    held = resumed(start, tmp_path)
    assert [name for name in held["state"] if name.startswith("base")] == []
    assert {"head.weight", "norm.running_mean"} <= set(held["state"])
    assert held["frozen"] == {name: sha256_of(getattr(Net().base, name[5:])) for name in ("base.weight", "base.bias")}


def test_another_base_is_refused_by_name(start, tmp_path) -> None:
    with pytest.raises(JobFailed, match="Crash"):
        start(training(2), state=tmp_path / "killed")
    with pytest.raises(ConfigError, match=r"base\.weight is frozen, and not what it was"):
        start(training(seed=1), state=tmp_path / "killed")


def test_a_base_that_is_unfrozen_later_is_in_it_from_then_on(start, tmp_path) -> None:
    held = resumed(start, tmp_path, before_epoch=lambda epoch, model: model.base.requires_grad_(epoch > 0))
    assert "base.weight" in held["state"]
    assert "frozen" not in held


def test_a_base_that_is_frozen_again_stays_in_it(start, tmp_path) -> None:
    held = resumed(start, tmp_path, before_epoch=lambda epoch, model: model.base.requires_grad_(epoch == 1))
    assert "base.weight" in held["state"]


def test_what_follows_by_a_moving_average_is_in_it(start, tmp_path) -> None:
    def follow(model):
        model.base.weight.data.mul_(0.9)  # behind torch's count of writes

    held = resumed(start, tmp_path, after_step=follow)
    assert "base.weight" in held["state"]
    assert list(held["frozen"]) == ["base.bias"]


def test_a_base_that_an_earlier_loop_trained_is_in_it(start, tmp_path) -> None:
    def function(crash=False):
        def train(run):
            model = Net()
            for loop, learned in enumerate((model.base, model.head)):
                model.requires_grad_(False)
                learned.requires_grad_(True)
                optimizer = torch.optim.SGD(learned.parameters(), lr=0.1)
                for epoch in run.epochs(2, model=model, optimizer=optimizer):
                    for images, labels in run.loader("train", 64):
                        if crash and (loop, epoch) == (1, 1):
                            raise Crash
                        optimizer.zero_grad()
                        nn.functional.cross_entropy(model(images), labels).backward()
                        optimizer.step()
            run.after = [value.clone() for value in model.state_dict().values()]

        return train

    expected = start(function(), state=tmp_path / "undisturbed").run.after
    with pytest.raises(JobFailed, match="Crash"):
        start(function(crash=True), state=tmp_path / "killed")
    ended = start(function(), state=tmp_path / "killed").run.after
    assert all(torch.equal(one, other) for one, other in zip(ended, expected, strict=True))


def test_a_checkpoint_of_an_earlier_release_holds_all_of_it_and_opens() -> None:
    trained, fresh = Net(seed=3), Net()
    saved = {"model": {"state": trained.state_dict(), "training": [part.training for part in trained.modules()]}}
    frozen = Frozen()
    kept = KeptObjects({"model": fresh}, World(), frozen)
    frozen.note(kept.modules())
    kept.restore(saved)
    assert torch.equal(fresh.base.weight, trained.base.weight)
    assert "base.weight" in kept.state()["model"]["state"]  # it is not what the function begins with


def test_a_module_of_other_parts_does_not_fit() -> None:
    frozen = Frozen()
    kept = KeptObjects({"model": Net()}, World(), frozen)
    frozen.note(kept.modules())
    saved = copy.deepcopy(kept.state())
    del saved["model"]["state"]["head.bias"]
    with pytest.raises(ConfigError, match=r"model does not fit .* missing \['head.bias'\]"):
        KeptObjects({"model": Net()}, World()).restore(saved)


def test_early_stopping_keeps_its_best_without_what_is_frozen(start, tmp_path) -> None:
    def function(crash=False):
        def train(run):
            model, stopping = Net(), EarlyStopping(metric="train_loss", mode="max", patience=9)  # the first is the best
            calls = []

            def loss(outputs, labels):
                calls.append(1)
                if crash and len(calls) == 14:
                    raise Crash
                return nn.functional.cross_entropy(outputs, labels)

            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            fit(run, model, loss=loss, optimizer=optimizer, epochs=3, batch_size=32, early_stopping=stopping)
            run.after = [value.clone() for value in model.state_dict().values()]

        return train

    expected = start(function(), state=tmp_path / "undisturbed").run.after
    with pytest.raises(JobFailed, match="Crash"):
        start(function(crash=True), state=tmp_path / "killed")
    held = checkpoint(tmp_path / "killed")["objects"]["early_stopping"]["weights"]
    assert "head.weight" in held
    assert "base.weight" not in held
    ended = start(function(), state=tmp_path / "killed").run.after
    assert all(torch.equal(one, other) for one, other in zip(ended, expected, strict=True))


def test_a_checkpoint_is_guessed_by_what_is_trained() -> None:
    model = nn.Sequential(nn.Linear(1000, 1000), nn.Linear(10, 10))
    model[0].requires_grad_(False)
    assert KeptObjects({"model": model}, World()).size() == 3 * 4 * 110
