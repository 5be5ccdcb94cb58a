"""The drum network: two spectrograms in, an activation and a velocity for each class and frame out."""

import torch
from torch import nn

CLASSES = 6
_BANDS = 80
_WIDTHS = (32, 48)
_CONTEXT_WIDTH = 112
_MEAN_WIDTH = 24
_DILATIONS = (1, 2, 4, 8, 16, 32)
_SURROUNDINGS_FRAMES = 63  # on either side, whose mean says what is played at the time
CONTEXT_FRAMES = len(_WIDTHS) + _SURROUNDINGS_FRAMES + sum(_DILATIONS)  # what a frame sees on either side


class DrumNetwork(nn.Module):
    """Two convolutions that take the 80 bands to 10, the mean of what surrounds a frame, then dilated convolutions over
    time with shortcuts around them.

    Takes (batch, 2, frames, 80): mixture and drum stem. Gives logits (batch, 2 · CLASSES, frames): the activations of
    all classes, then their velocities.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spectral = nn.ModuleList(
            [
                _convolution(2, _WIDTHS[0], (3, 8), stride=(1, 4), padding=(1, 2)),
                _convolution(_WIDTHS[0], _WIDTHS[1], (3, 3), stride=(1, 2), padding=(1, 1)),
            ]
        )
        self.join = _convolution(_WIDTHS[1], _CONTEXT_WIDTH, (1, _BANDS // 8))
        self.squeeze = _convolution(_CONTEXT_WIDTH, _MEAN_WIDTH, (1, 1))
        self.mean = nn.AvgPool2d((2 * _SURROUNDINGS_FRAMES + 1, 1), stride=1, padding=(_SURROUNDINGS_FRAMES, 0))
        self.surroundings = _convolution(_MEAN_WIDTH, _CONTEXT_WIDTH, (1, 1))
        self.context = nn.ModuleList(
            _convolution(_CONTEXT_WIDTH, _CONTEXT_WIDTH, (3, 1), padding=(d, 0), dilation=(d, 1)) for d in _DILATIONS
        )
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Conv2d(_CONTEXT_WIDTH, 2 * CLASSES, 1)
        nn.init.constant_(self.head.bias[:CLASSES], -3.0)  # hits are rare

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        x = log_mel
        for layer in self.spectral:
            x = torch.relu(layer(x))
        x = self.dropout(torch.relu(self.join(x)))
        x = x + torch.relu(self.surroundings(self.mean(torch.relu(self.squeeze(x)))))
        for layer in self.context:
            x = x + torch.relu(layer(x))
        return self.head(self.dropout(x)).squeeze(3)


def _convolution(width_in: int, width_out: int, kernel: tuple[int, int], **options) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width_out, kernel, bias=False, **options), nn.BatchNorm2d(width_out))
