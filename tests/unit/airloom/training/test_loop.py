import logging
import re

import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, ReduceLROnPlateau  # noqa: TID253

from airloom.errors import ConfigError, JobFailed
from airloom.training import EarlyStopping, TensorSource, fit

LOSS = nn.functional.cross_entropy


def make(lr=0.05, optimizer=torch.optim.SGD):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    return model, optimizer(model.parameters(), lr=lr)


def fitting(**options):
    def function(run):
        model, optimizer = make()
        made = {name: value(optimizer) if name == "schedule" else value for name, value in options.items()}
        fit(run, model, loss=LOSS, optimizer=optimizer, **{"epochs": 2, "batch_size": 32, **made})
        run.save_model(model)
        run.lr = optimizer.param_groups[0]["lr"]

    return function


def weights(sink):
    return torch.cat([part.flatten() for part in sink.model.state_dict().values()])


def test_each_epoch_is_reported_and_the_same_seed_gives_the_same_weights(start, tmp_path):
    first, again = (start(fitting(), state=tmp_path / name) for name in "ab")
    assert list(first.reports) == [0, 1]
    assert set(first.reports[0]) == {"train_loss", "validation_loss", "validation_accuracy"}
    assert torch.equal(weights(first), weights(again))


@pytest.mark.parametrize("rows", [128, 117])
def test_adding_up_batches_equals_one_large_batch_also_where_the_last_is_smaller(start, data, tmp_path, rows):
    source = TensorSource(
        {"train": [part[:rows] for part in data.tensors("train")], "validation": data.tensors("validation")}
    )
    small = start(fitting(batch_size=8, accumulate=4), source, tmp_path / "a")
    large = start(fitting(batch_size=32), source, tmp_path / "b")
    torch.testing.assert_close(weights(small), weights(large), atol=1e-6, rtol=0)
    assert small.reports[1]["validation_loss"] == pytest.approx(large.reports[1]["validation_loss"], abs=1e-6)


def test_it_equals_the_loop_that_one_would_write(start, data, tmp_path):
    """Plain SGD over the same batches, in torch alone."""
    inputs, labels = data.tensors("train")

    def by_hand(run):
        model, optimizer = make()
        loader = run.loader("train", 32)
        for _ in range(2):
            for images, targets in loader:
                optimizer.zero_grad()
                LOSS(model(images), targets).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
        run.save_model(model)

    fitted = start(fitting(clip_norm=0.5), state=tmp_path / "a")
    assert torch.equal(weights(fitted), weights(start(by_hand, state=tmp_path / "b")))
    given = start(fitting(clip_norm=0.5, data=(inputs, labels)), state=tmp_path / "c")
    assert torch.equal(weights(fitted), weights(given))


def test_a_stock_loader_and_one_without_a_length_train(start, data, tmp_path):
    from torch.utils.data import DataLoader, IterableDataset, TensorDataset

    class Stream(IterableDataset):
        def __iter__(self):
            return zip(*data.tensors("train"), strict=True)

    stock = DataLoader(TensorDataset(*data.tensors("train")), 32, shuffle=True)
    assert start(fitting(data=stock, accumulate=2), state=tmp_path / "a").run.progress.at.steps == 4
    streamed = DataLoader(Stream(), 32)
    assert start(fitting(data=streamed), state=tmp_path / "b").run.progress.at.samples == 256

    class Endless:
        def __iter__(self):
            return iter(streamed)

    with pytest.raises(ConfigError, match="known length"):
        start(fitting(data=Endless(), accumulate=2), state=tmp_path / "c")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_about_the_same(start, precision, tmp_path):
    mixed = start(fitting(precision=precision, clip_norm=1.0), state=tmp_path / "a")
    full = start(fitting(clip_norm=1.0), state=tmp_path / "b")
    assert mixed.model[1].weight.dtype == torch.float32
    torch.testing.assert_close(weights(mixed), weights(full), atol=0.02, rtol=0)
    assert not torch.equal(weights(mixed), weights(full))


def test_schedules_step_by_epoch_or_by_step(start, tmp_path):
    halve = lambda optimizer: LambdaLR(optimizer, lambda n: 0.5**n)  # noqa: E731
    assert start(fitting(schedule=halve), state=tmp_path / "a").run.lr == 0.05 / 4
    by_step = start(fitting(schedule=halve, schedule_every="step", accumulate=2), state=tmp_path / "b").run
    assert by_step.lr == 0.05 / 2**4
    cosine = start(fitting(schedule=lambda o: CosineAnnealingLR(o, 2)), state=tmp_path / "c").run
    assert cosine.lr == pytest.approx(0)
    plateau = lambda o: ReduceLROnPlateau(o, patience=0, threshold=10.0)  # noqa: E731 - nothing is an improvement
    assert start(fitting(schedule=plateau), state=tmp_path / "d").run.lr == pytest.approx(0.0005)


def test_early_stopping_ends_and_gives_the_best_weights_back(start):
    losses = iter([3.0, 1.0, 2.0, 2.0, 0.0])
    seen = []

    def function(run):
        model, optimizer = make()

        def measured(outputs, labels):
            seen.append(model[1].weight.detach().clone())
            return {"badness": next(losses)}

        early = EarlyStopping("validation_badness", patience=2)
        fit(run, model, loss=LOSS, optimizer=optimizer, epochs=9, metrics=measured, early_stopping=early)
        run.save_model(model)

    ended = start(function)
    assert list(ended.reports) == [0, 1, 2, 3]
    assert ended.run.progress.ended == "validation_badness has not improved for 2 epochs"
    assert torch.equal(ended.model[1].weight, seen[1])
    again = start(function)  # complete: nothing is trained, the best weights are in the checkpoint
    assert again.reports == {}
    assert torch.equal(again.model[1].weight, seen[1])


def test_early_stopping_on_an_unknown_metric_says_which_there_are(start):
    with pytest.raises(ConfigError, match=r"waits for 'f1'(.|\n)*train_loss, validation_loss"):
        start(fitting(early_stopping=EarlyStopping("f1")))


def test_nan_is_named(start):
    def function(run):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
        fit(run, model, loss=LOSS, optimizer=optimizer, epochs=3, batch_size=32)

    with pytest.raises(JobFailed, match=r"diverged: \w+ is (nan|inf) in epoch \d"):
        start(function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"batch_size": 500, "drop_last": True}, "smaller than one batch"),
        ({"data": (torch.zeros(3, 1, 8, 8), torch.zeros(2))}, "3 inputs do not go with 2 labels"),
    ],
)
def test_a_wrong_argument_is_named(start, options, message):
    with pytest.raises(ConfigError, match=message):
        start(fitting(**options))


def test_the_progress_line_says_speed_and_time_left(start, caplog, monkeypatch):
    monkeypatch.setattr("airloom.training.reporting.progress_line.EVERY", 0.0)
    caplog.set_level(logging.INFO)
    start(fitting())
    assert "epoch 1/2, batch 2/4, train_loss " in caplog.text
    lines = re.findall(r"epoch \d/2(?:, batch \d/4)?[,:] .* [\d,]+ samples/s, (\d+) s left", caplog.text)
    assert len(lines) == 10
    assert lines[-1] == "0"


def test_a_snapshot_trains_from_memory_and_from_its_shards_alike(shared_home, digits, start, tmp_path, monkeypatch):
    from airloom.training.source import SnapshotSplits

    source = SnapshotSplits(shared_home, digits)
    memory = start(fitting(), source, tmp_path / "a")
    monkeypatch.setattr("airloom.training.fit_data.IN_MEMORY", 0)
    shards = start(fitting(), source, tmp_path / "b")
    assert torch.equal(weights(memory), weights(shards))
    assert memory.reports == shards.reports
