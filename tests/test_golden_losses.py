"""What three recipes compute, in float32 on one thread, to half a per cent, by which versions of torch differ: a change that is to move no number must not move these."""

from __future__ import annotations

import itertools

import pytest
import torch

from fmnist_tune.config import read_space
from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.tasks.modular_addition.config import ModularConfig
from fmnist_tune.tasks.modular_addition.run import ModularRun
from fmnist_tune.training.precision import Precision
from fmnist_tune.training.results import EpochResult
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData
from tests.conftest import make_pictures

MLP = """\
study: golden-mlp
model: {name: mlp, hidden: [32, 16], norm: batch, dropout: 0.2, activation: gelu}
training:
  epochs: 3
  batch_size: 32
  optimizer: {name: adamw, lr: 1e-2, weight_decay: 1e-2}
  schedule: one_cycle
  label_smoothing: 0.1
data: {val_size: 100}
"""
CNN = """\
study: golden-cnn
model: {name: cnn, channels: [8, 16], residual: true, dropout2d: 0.1, head: [16]}
training:
  epochs: 3
  batch_size: 64
  average_weights: true
  optimizer: {name: sgd, lr: 0.05, momentum: 0.9, nesterov: true}
  schedule: cosine
  augment: {flip: true, shift: 2, erase: 0.2}
data: {val_size: 100, keep: {3: 0.5}, mitigation: class_weights}
"""
PAIRS = """\
study: golden-pairs
task: modular-addition
model: {name: embedding_mlp, embedding: 16, hidden: [32]}
training: {steps: 60, eval_every: 20, optimizer: {name: adamw, lr: 1e-2, weight_decay: 1.0}}
data: {modulus: 13, fraction: 0.6}
"""


def train(text: str) -> list[EpochResult]:
    torch.set_num_threads(1)
    config = read_space(text, "recipe").config({})
    if isinstance(config, ModularConfig):
        return list(itertools.islice(ModularRun(config, seed=0).progress(), 3))
    assert isinstance(config, ImageConfig)
    images, labels = make_pictures(600, 0)
    data = TrainingData.from_images(images.astype("uint8"), labels.astype("int64"), config.data, "cpu")
    run = TrainingRun(config, data, seed=0, precision=Precision(bf16=False, channels_last=False))
    return list(run.epochs())


@pytest.mark.parametrize(
    ("text", "losses"),
    [
        (MLP, [(1.77792, 0.594857), (1.06906, 0.260659), (0.829985, 0.309616)]),
        (CNN, [(2.23233, 1.94988), (1.50855, 1.022), (1.19464, 0.797706)]),
        (PAIRS, [(1.69847, 3.9644), (0.760135, 6.05198), (0.256346, 7.83059)]),
    ],
    ids=["mlp", "cnn", "modular-addition"],
)
def test_a_recipe_gives_the_losses_that_it_always_gave(text: str, losses: list[tuple[float, float]]) -> None:
    found = train(text)
    assert [(r.train_loss, r.val_loss) for r in found] == [pytest.approx(pair, rel=5e-3) for pair in losses]
