"""`fit` on batches as dicts, on several losses, on data without labels; averaged, compiled and recomputed."""

import dataclasses
import shutil

import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253

from airloom.errors import ConfigError
from airloom.training import EarlyStopping, TensorSource, fit
from airloom.training.named import Taker

LOSS = nn.functional.cross_entropy


def make(**more):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 10))
    return model, torch.optim.SGD(model.parameters(), lr=0.05, **more)


def fitting(**options):
    def function(run):
        model, optimizer = make()
        fit(run, model, **{"loss": LOSS, "optimizer": optimizer, "epochs": 2, "batch_size": 32, **options})
        run.model = model
        run.save_model(model)

    return function


def weights(sink):
    return torch.cat([part.flatten().float() for part in sink.model.state_dict().values()])


def test_dicts_train_as_pairs_do(start, tmp_path):
    seen = []

    def loss(outputs, batch):
        seen.append(set(batch))
        return LOSS(outputs, batch["label"])

    pairs = start(fitting(), state=tmp_path / "a")
    dicts = start(fitting(named=True, loss=loss), state=tmp_path / "b")
    assert torch.equal(weights(pairs), weights(dicts))
    assert seen[0] == {"input", "label"}
    assert dicts.reports[1]["validation_loss"] == pytest.approx(pairs.reports[1]["validation_loss"], abs=1e-6)
    assert set(dicts.reports[0]) == {"train_loss", "validation_loss"}  # nobody says which column is the class
    assert dicts.run.progress.at.samples == pairs.run.progress.at.samples == 256


def test_a_model_gets_the_columns_that_its_forward_names(start, data):
    @dataclasses.dataclass
    class Answer:
        logits: torch.Tensor

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, image, *, scale=None, shift=0.0):
            assert scale is not None
            return Answer(self.linear(image.flatten(1)) * scale + shift)

    inputs, labels = data.tensors("train")
    batches = [{"image": inputs[at : at + 32], "scale": torch.ones(1), "label": labels[at : at + 32]} for at in (0, 32)]

    def function(run):
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = lambda answer, batch: LOSS(answer.logits, batch["label"])  # noqa: E731
        fit(run, model, loss=loss, optimizer=optimizer, epochs=3, data=batches, validation=batches)

    reports = start(function).reports
    assert reports[2]["validation_loss"] < reports[0]["validation_loss"]


def test_inputs_that_are_a_dict_go_to_the_parameters_of_their_names(start, data):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, image, scale):
            return self.linear(image.flatten(1)) * scale

    inputs, labels = data.tensors("train")
    batches = [({"scale": torch.ones(1), "image": inputs[:32]}, labels[:32])]

    def function(run):
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        fit(run, model, loss=LOSS, optimizer=optimizer, epochs=3, data=batches, validation=batches)

    reports = start(function).reports
    assert reports[2]["validation_loss"] < reports[0]["validation_loss"]
    assert reports[2]["validation_accuracy"] > 0
    taken = Taker(nn.Linear(4, 1)).take(({"other": inputs}, labels), "cpu")  # a model that takes the dict as it is
    assert list(taken.inputs[0]) == ["other"]


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ({"image": torch.zeros(2, 64)}, r"forward takes input; the batch has the columns image"),
        ((torch.zeros(2, 64), torch.zeros(2), torch.zeros(2)), "a batch is a tuple of 3"),
        (torch.zeros(2, 64), "a batch is a Tensor"),
    ],
)
def test_a_batch_that_fits_no_model_is_named(start, batch, says):
    with pytest.raises(ConfigError, match=says):
        start(fitting(data=[batch], validation=[batch]))


def test_several_losses_are_summed_and_each_is_reported(start, tmp_path):
    def both(outputs, labels):
        return {"right": LOSS(outputs, labels), "small": 0.1 * outputs.square().mean()}

    def summed(outputs, labels):
        return sum(both(outputs, labels).values())

    several, one = start(fitting(loss=both), state=tmp_path / "a"), start(fitting(loss=summed), state=tmp_path / "b")
    assert torch.equal(weights(several), weights(one))
    reports = several.reports[1]
    assert set(reports) == set(one.reports[1]) | {
        f"{k}_{n}" for k in ("train", "validation") for n in ("right", "small")
    }
    for kind in ("train", "validation"):
        total = reports[f"{kind}_right"] + reports[f"{kind}_small"]
        assert total == pytest.approx(reports[f"{kind}_loss"]) == pytest.approx(one.reports[1][f"{kind}_loss"])


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda outputs, labels: {}, "no loss"),
        (lambda outputs, labels: {"loss": LOSS(outputs, labels)}, "a loss of the name `loss`"),
        (lambda outputs, labels: {"accuracy": LOSS(outputs, labels)}, "'accuracy' is both a loss and a metric"),
        (lambda outputs, labels: {str(n): outputs.mean() for n in range(17)}, "at most 16"),
    ],
)
def test_losses_without_a_name_of_their_own_are_refused(start, loss, says):
    with pytest.raises(ConfigError) as caught:
        start(fitting(loss=loss))
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_losses_have_the_same_names_in_every_batch(start):
    names = iter("aab")
    with pytest.raises(ConfigError, match="the losses are b, and were a"):
        start(fitting(loss=lambda outputs, labels: {next(names): LOSS(outputs, labels)}))


def test_data_without_labels_train_against_their_own_inputs(start, data):
    inputs, _ = data.tensors("train")
    source = TensorSource({"train": (inputs, None), "validation": (data.tensors("validation")[0], None)})
    targets = []

    def function(run):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8)))

        def loss(outputs, target):
            targets.append(target)
            return nn.functional.mse_loss(outputs, target)

        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        fit(run, model, loss=loss, optimizer=optimizer, epochs=3, batch_size=32, transform=torch.zeros_like)
        run.save_model(model)

    reports = start(function, source).reports
    assert set(reports[0]) == {"train_loss", "validation_loss"}
    assert reports[2]["train_loss"] < reports[0]["train_loss"]
    assert all(target.abs().sum() > 0 for target in targets)  # as they were before the transform


def test_averaged_weights_are_torchs_own_average_and_are_judged(start, tmp_path):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    def by_hand(run):
        model, optimizer = make()
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
        loader = run.loader("train", 32)
        for _ in range(2):
            model.train()
            for images, labels in loader:
                optimizer.zero_grad()
                LOSS(model(images), labels).backward()
                optimizer.step()
                average.update_parameters(model)
        inputs, labels = run.tensors("validation")
        run.loss = LOSS(average.module.eval()(inputs), labels).item()
        run.save_model(average.module)

    fitted, hand = start(fitting(ema=0.8), state=tmp_path / "a"), start(by_hand, state=tmp_path / "b")
    assert torch.equal(weights(fitted), weights(hand))
    assert fitted.reports[1]["validation_loss"] == pytest.approx(hand.run.loss, abs=1e-6)
    assert torch.equal(weights(start(fitting(ema=0.8), state=tmp_path / "a")), weights(fitted))  # complete already
    plain = start(fitting(), state=tmp_path / "c")
    assert not torch.equal(weights(fitted), weights(plain))


def test_the_best_averaged_weights_are_given_back(start):
    badness, seen = iter([1.0, 3.0, 3.0]), []

    def function(run):
        model, optimizer = make()

        def measured(outputs, labels):
            seen.append(outputs)
            return {"badness": next(badness)}

        early = EarlyStopping("validation_badness", patience=2)
        fit(run, model, loss=LOSS, optimizer=optimizer, epochs=9, metrics=measured, early_stopping=early, ema=0.9)
        run.answer = model.eval()(run.tensors("validation")[0])

    ended = start(function)
    assert len(ended.reports) == 3
    torch.testing.assert_close(ended.run.answer, seen[0])


@pytest.mark.parametrize("ema", [0, 1, 1.5, -0.1])
def test_an_average_of_nothing_is_refused(start, ema):
    with pytest.raises(ConfigError, match=f"ema is {ema}"):
        start(fitting(ema=ema))


def test_activations_that_are_computed_again_change_no_bit(start, tmp_path):
    calls = []

    class Counted(nn.Module):
        def forward(self, x):
            calls.append(self.training)
            return x * torch.sigmoid(x)

    def function(layers):
        def train(run):
            model, optimizer = make()
            model.append(Counted())
            chosen = [model[1], model[-1]] if layers == "some" else layers
            fit(run, model, loss=LOSS, optimizer=optimizer, epochs=2, batch_size=32, gradient_checkpointing=chosen)
            assert not any("forward" in vars(module) for module in model.modules())
            run.save_model(model)

        return train

    kept = start(function(False), state=tmp_path / "a")
    once, calls[:] = len([training for training in calls if training]), []
    for layers in (True, "some"):
        again = start(function(layers), state=tmp_path / str(layers))
        assert torch.equal(weights(kept), weights(again))
        assert len([training for training in calls if training]) == 2 * once
        calls[:] = []


@pytest.mark.parametrize(("layers", "says"), [(True, "names no layers"), ([nn.Linear(1, 1)], "is not of the model")])
def test_layers_that_are_none_are_refused(start, layers, says):
    def function(run):
        model = nn.Linear(64, 10)
        fit(run, model, loss=LOSS, optimizer=None, epochs=1, gradient_checkpointing=layers)

    with pytest.raises(ConfigError, match=says):
        start(function)


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.long,
                pytest.mark.timeout(900),
                pytest.mark.skipif(shutil.which("g++") is None, reason="it needs a C++ compiler"),
            ],
        ),
    ],
)
def test_a_compiled_model_learns_about_the_same(start, tmp_path, monkeypatch, backend):
    asked = []

    def compiling(model, **options):
        asked.append(options)
        return compile_(model, backend=backend, **options)

    compile_ = torch.compile
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", compiling)
    compiled = start(fitting(compile=True, batch_size=48, gradient_checkpointing=True), state=tmp_path / "a")
    plain = start(fitting(batch_size=48), state=tmp_path / "b")
    assert asked == [{"dynamic": True}]
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())
    assert compiled.reports[1]["validation_loss"] == pytest.approx(plain.reports[1]["validation_loss"], rel=0.05)


def test_a_checkpoint_of_an_earlier_release_has_no_losses_by_name(start, tmp_path, monkeypatch):
    from airloom.training.stepper import Stepper

    began = Stepper.__init__

    def earlier(self, *arguments, **named):
        began(self, *arguments, **named)
        self.sums = {name: self.sums[name] for name in ("loss_sum", "rows")}

    undisturbed = start(fitting(), state=tmp_path / "a")
    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "__init__", earlier)
        start(fitting(epochs=1), state=tmp_path / "b")
    assert torch.equal(weights(start(fitting(), state=tmp_path / "b")), weights(undisturbed))
