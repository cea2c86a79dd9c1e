"""A small U-Net (Ronneberger et al. 2015, arXiv 1505.04597)."""

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above

from airloom.training import TrainingRun, fit

CLASSES = 3


def block(channels: int, out: int) -> nn.Sequential:
    """Two convolutions of one size."""
    layers: list[nn.Module] = []
    for before in (channels, out):
        layers += [nn.Conv2d(before, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Images float32 (B, 1, height, width) to scores float32 (B, classes, height, width); sides are multiples of 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.ModuleList([block(1, width), block(width, 2 * width)])
        self.bottom = block(2 * width, 4 * width)
        self.wider = nn.ModuleList(
            [nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)]
        )
        self.up = nn.ModuleList([block(4 * width, 2 * width), block(2 * width, width)])
        self.scores = nn.Conv2d(width, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        beside, now = [], images
        for layer in self.down:
            now = layer(now)
            beside.append(now)
            now = nn.functional.max_pool2d(now, 2)
        now = self.bottom(now)
        for wider, layer in zip(self.wider, self.up, strict=True):
            now = layer(torch.cat([wider(now), beside.pop()], dim=1))
        scores: Tensor = self.scores(now)
        return scores


def loss(scores: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy of each pixel, masks of any whole type."""
    return nn.functional.cross_entropy(scores, masks.long())


def train(run: TrainingRun) -> None:
    """Train on the parameters width, lr, epochs and batch_size."""
    model = UNet(run.params.get("width", 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.params.get("lr", 3e-3))
    fit(run, model, loss=loss, optimizer=optimizer)
    run.save_model(model)
