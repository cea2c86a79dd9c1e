import os
import signal
import time

import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253
from torch.utils.data import DataLoader  # noqa: TID253

from airloom.errors import ConfigError, JobFailed, StoppedByRequest
from airloom.training.checkpointing.checkpoints import Pace
from airloom.training.stopping import Budget

EPOCHS = 3


@pytest.fixture(autouse=True)
def _always_save(monkeypatch):
    """Each step is worth a checkpoint."""
    monkeypatch.setattr(Pace, "due", lambda self: True)


def make():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 10))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def step(model, optimizer, images, labels):
    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


class Crash(Exception):
    pass


def training(kind, crash_at=None):
    """A loop as users write it; `crash_at` counts its batches in this attempt."""

    def function(run):
        model, optimizer = make()
        total, seen = torch.zeros(()), 0
        loader = run.loader("train", 32) if kind == "loader" else DataLoader(run.data("train"), 32, shuffle=True)
        for epoch in run.epochs(EPOCHS, model=model, optimizer=optimizer, total=total):
            total.zero_()
            for images, labels in loader if kind == "loader" else run.batches(loader):
                if seen == crash_at:
                    raise Crash
                seen += 1
                total += step(model, optimizer, images, labels)
            run.report(epoch, loss=total)
        run.weights = [part.clone() for part in model.state_dict().values()]

    return function


@pytest.mark.parametrize("kind", ["loader", "stock"])
@pytest.mark.parametrize("crashes", [[0], [1, 2], [4, 1], [7]])
def test_a_loop_goes_on_within_the_epoch_with_sums_and_generators(start, kind, crashes, tmp_path):
    expected = start(training(kind), state=tmp_path / "undisturbed")
    reports = {}
    for crash in crashes:
        with pytest.raises(JobFailed, match="Crash"):
            start(training(kind, crash))
        reports |= start.last.reports
    ended = start(training(kind))
    assert reports | ended.reports == expected.reports
    for one, other in zip(ended.run.weights, expected.run.weights, strict=True):
        assert torch.equal(one, other)
    assert ended.run.progress.at.steps == EPOCHS * 4


def test_gradients_added_up_over_batches_are_never_cut(start, tmp_path):
    def function(crash_at=None):
        def train(run):
            model, optimizer = make()
            seen = 0
            for _ in run.epochs(2, model=model, optimizer=optimizer):
                for number, (images, labels) in enumerate(run.loader("train", 16)):
                    if seen == crash_at:
                        raise Crash
                    seen += 1
                    nn.functional.cross_entropy(model(images), labels).backward()
                    if number % 4 == 3:
                        optimizer.step()
                        optimizer.zero_grad()
            run.weights = model[1].weight.detach().clone()

        return train

    expected = start(function(), state=tmp_path / "undisturbed").run.weights
    for crash in (2, 6, 3):
        with pytest.raises(JobFailed, match="Crash"):
            start(function(crash))
    assert torch.equal(start(function()).run.weights, expected)


def test_a_loop_of_steps_goes_on_with_its_loader(start, tmp_path):
    def forever(loader):
        while True:
            yield from loader

    def function(crash_at=None):
        def train(run):
            model, optimizer = make()
            loader = run.loader("train", 48)
            batches = forever(loader)
            for number in run.steps(10, model=model, optimizer=optimizer, loader=loader):
                if number == crash_at:
                    raise Crash
                step(model, optimizer, *next(batches))
            run.weights = model[1].weight.detach().clone()

        return train

    expected = start(function(), state=tmp_path / "undisturbed").run.weights
    for crash in (1, 4, 8):
        with pytest.raises(JobFailed, match="Crash"):
            start(function(crash))
    assert torch.equal(start(function()).run.weights, expected)


def test_several_loops_one_after_another(start, tmp_path):
    def function(crash_at=None):
        def train(run):
            model, optimizer = make()
            done = []
            for phase in (0, 1):
                for epoch in run.epochs(2, model=model, optimizer=optimizer):
                    if (phase, epoch) == crash_at:
                        raise Crash
                    done.append((phase, epoch))
                    for images, labels in run.loader("train", 64):
                        step(model, optimizer, images, labels)
            run.done, run.weights = done, model[1].weight.detach().clone()

        return train

    expected = start(function(), state=tmp_path / "undisturbed").run.weights
    with pytest.raises(JobFailed, match="Crash"):
        start(function((1, 1)))
    ended = start(function()).run
    assert ended.done == [(1, 1)]
    assert torch.equal(ended.weights, expected)


def test_a_complete_training_is_not_trained_again(start):
    first = start(training("loader")).run.weights
    again = start(training("loader", crash_at=0))
    assert all(torch.equal(one, other) for one, other in zip(again.run.weights, first, strict=True))


def test_sigterm_saves_after_the_step_and_ends(start):
    def function(run):
        model, optimizer = make()
        for _ in run.epochs(EPOCHS, model=model, optimizer=optimizer):
            for images, labels in run.loader("train", 32):
                if run.progress.at.steps == 5:
                    os.kill(os.getpid(), signal.SIGTERM)
                step(model, optimizer, images, labels)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedByRequest, match="after 6 steps"):
        start(function)
    assert signal.getsignal(signal.SIGTERM) == before
    run = start.last.run
    saved = run.progress.checkpoints.load(run.progress.checkpoints.newest())
    assert (saved["position"]["steps"], saved["position"]["index"], saved["position"]["batch"]) == (6, 1, 2)


def test_sigterm_outside_a_loop_ends_at_once(start):
    went_on = []

    def function(run):
        os.kill(os.getpid(), signal.SIGTERM)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.01)
        went_on.append(True)

    with pytest.raises(StoppedByRequest):
        start(function)
    assert not went_on


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(steps=6), "budget met: steps 6"),
        (Budget(seconds=1e-9), "seconds"),
        (Budget(device_seconds=1e-9), "device"),
    ],
)
def test_a_budget_ends_the_training_well_with_its_checkpoint(start, budget, reason):
    ended = start(training("loader"), budget=budget).run
    assert reason in ended.progress.ended
    assert ended.progress.at.steps == (budget.steps or 1)
    assert ended.progress.checkpoints.newest()
    again = start(training("loader", crash_at=0), budget=budget).run  # it is met already
    assert again.progress.at.steps == ended.progress.at.steps


def test_a_larger_budget_goes_on(start, tmp_path):
    expected = start(training("loader"), state=tmp_path / "undisturbed").run.weights
    start(training("loader"), budget=Budget(steps=6))
    ended = start(training("loader")).run.weights
    assert all(torch.equal(one, other) for one, other in zip(ended, expected, strict=True))


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_budget_of_nothing_is_refused(value):
    with pytest.raises(ConfigError, match="steps is"):
        Budget(steps=value)


def test_finish_ends_the_loop_after_the_epoch_and_stays_so(start):
    def function(run):
        model, optimizer = make()
        for epoch in run.epochs(10, model=model, optimizer=optimizer):
            run.report(epoch, loss=1.0)
            if epoch == 2:
                run.finish("enough")

    assert list(start(function).reports) == [0, 1, 2]
    again = start(function)
    assert again.reports == {}
    assert again.run.progress.ended == "enough"


def test_other_objects_than_the_checkpoint_s_are_named(start):
    def function(size, **more):
        def train(run):
            model = nn.Linear(size, 2)
            for _ in run.epochs(1, model=model, **more):
                pass

        return train

    start(function(4))
    with pytest.raises(ConfigError, match=r"model does not fit its state(.|\n)*clear the task"):
        start(function(5))
    with pytest.raises(ConfigError, match="holds model; the training keeps model, count"):
        start(function(4, count={}))


def test_what_cannot_be_kept_is_named(start):
    with pytest.raises(ConfigError, match="count cannot be kept in a checkpoint: it is a int"):
        start(lambda run: list(run.epochs(1, count=3)))


def test_a_loop_inside_a_loop_is_refused(start):
    def function(run):
        for _ in run.epochs(2):
            list(run.steps(2))

    with pytest.raises(ConfigError, match="inside another"):
        start(function)


def test_a_dict_is_kept(start):
    def function(crash_at=None):
        def train(run):
            best = {"loss": 9.0}
            for epoch in run.epochs(3, best=best):
                if epoch == crash_at:
                    raise Crash
                best["loss"] -= 1
            run.best = best

        return train

    with pytest.raises(JobFailed):
        start(function(2))
    assert start(function()).run.best == {"loss": 6.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_a_report_of_nan_names_metric_and_step(start, value):
    with pytest.raises(JobFailed, match=r"diverged: loss is (nan|inf) in step 3"):
        start(lambda run: run.report(3, loss=value))
