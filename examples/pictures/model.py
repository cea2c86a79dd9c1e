"""ResNet-18 (He et al. 2015, arXiv 1512.03385) on JPEG files of many sizes; less wide for small pictures."""

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above

from airloom.training import Picture, TrainingRun, fit


class Block(nn.Module):
    """Two convolutions, and the input beside them."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.ways = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
        same = stride == 1 and channels == out
        straight = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.straight = nn.Identity() if same else straight

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.ways(x) + self.straight(x))


class ResNet18(nn.Module):
    """Images float32 (B, 3, height, width) to logits float32 (B, classes)."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        stem = [
            nn.Conv2d(3, width, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        channels, blocks = width, list[nn.Module]()
        for out, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            blocks += [Block(channels, out, stride), Block(out, out, 1)]
            channels = out
        self.layers = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def mirrored(images: Tensor) -> Tensor:
    """An augmentation: half of the pictures, mirrored."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(-1), images)


def train(run: TrainingRun) -> None:
    """Train on the parameters size, width, lr, epochs and batch_size."""
    size = run.params.get("size", 64)
    run.pictures(Picture(height=size, width=size))
    model = ResNet18(len(run.classes), run.params.get("width", 64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.params.get("lr", 1e-3))
    fit(run, model, loss=nn.functional.cross_entropy, optimizer=optimizer, transform=mirrored)
    run.save_model(model)
