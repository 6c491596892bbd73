"""What both hand-written scripts share: the three spaces, the model, the data and the training loop of the tutorials.

Nothing of fmnist-tune is used here, but its split into 50,000 and 10,000 images, which is read from a file, so that
all are measured on the same ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

EPOCHS = 12
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU}


def suggest_training(trial: optuna.Trial) -> dict[str, Any]:
    """Suggest what the CNN and the MLP space share."""
    return {
        "activation": trial.suggest_categorical("activation", ["relu", "leaky_relu", "gelu"]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
        "batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
        "optimizer": trial.suggest_categorical("optimizer", ["adam", "sgd"]),
        "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
    }


def suggest_cnn(trial: optuna.Trial) -> dict[str, Any]:
    """Suggest a configuration of the CNN space."""
    return {
        "model": "cnn",
        "blocks": trial.suggest_int("blocks", 1, 3),
        "base_channels": trial.suggest_categorical("base_channels", [16, 32, 64]),
        "head": trial.suggest_categorical("head", [64, 128, 256, 512]),
        **suggest_training(trial),
    }


def suggest_mlp(trial: optuna.Trial) -> dict[str, Any]:
    """Suggest a configuration of the MLP space."""
    return {
        "model": "mlp",
        "depth": trial.suggest_int("depth", 1, 4),
        "width": trial.suggest_int("width", 32, 1024, log=True),
        **suggest_training(trial),
    }


def suggest_conditional(trial: optuna.Trial) -> dict[str, Any]:
    """Suggest a configuration of the space with conditions."""
    config: dict[str, Any] = {"model": trial.suggest_categorical("model", ["mlp", "cnn"])}
    if config["model"] == "mlp":
        config["depth"] = trial.suggest_int("depth", 1, 4)
        config["width"] = trial.suggest_int("width", 32, 1024, log=True)
    else:
        config["blocks"] = trial.suggest_int("blocks", 1, 3)
        config["base_channels"] = trial.suggest_categorical("base_channels", [16, 32, 64])
    config |= suggest_training(trial)
    if config["optimizer"] == "sgd":
        config["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    return config


SPACES: dict[str, Callable[[optuna.Trial], dict[str, Any]]] = {
    "cnn": suggest_cnn,
    "mlp": suggest_mlp,
    "conditional": suggest_conditional,
}


def build_model(config: dict[str, Any]) -> nn.Sequential:
    """Return the model of a configuration; the same layers as fmnist-tune's."""
    activation = ACTIVATIONS[config["activation"]]
    layers: list[nn.Module] = []
    if config["model"] == "mlp":
        layers.append(nn.Flatten())
        n_in = 28 * 28
        for _ in range(config["depth"]):
            layers += [nn.Linear(n_in, config["width"]), activation(), nn.Dropout(config["dropout"])]
            n_in = config["width"]
        return nn.Sequential(*layers, nn.Linear(n_in, 10))
    channels, size = 1, 28
    for block in range(config["blocks"]):
        n_out = config["base_channels"] * 2**block
        layers += [nn.Conv2d(channels, n_out, 3, padding=1), nn.BatchNorm2d(n_out), activation(), nn.MaxPool2d(2)]
        channels, size = n_out, size // 2
    n_in = channels * size * size
    layers += [nn.Flatten(), nn.Dropout(config["dropout"])]
    if "head" in config:
        layers += [nn.Linear(n_in, config["head"]), activation(), nn.Dropout(config["dropout"])]
        n_in = config["head"]
    return nn.Sequential(*layers, nn.Linear(n_in, 10))


def load_data(root: str, split: str) -> tuple[Subset[tuple[Tensor, int]], Subset[tuple[Tensor, int]]]:
    """Return the training and the validation images.

    Args:
        root: torchvision's folder of the data set.
        split: a JSON file with the indices of both.
    """
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])
    data = FashionMNIST(root, train=True, transform=transform)
    train, val = json.loads(Path(split).read_text())
    return Subset(data, train), Subset(data, val)


def train(config: dict[str, Any], root: str, split: str) -> Iterator[float]:
    """Train a configuration and yield its validation accuracy after every epoch."""
    train_data, val_data = load_data(root, split)
    train_loader = DataLoader(train_data, batch_size=config["batch_size"], shuffle=True)
    val_loader = DataLoader(val_data, batch_size=1000)
    model = build_model(config)
    arguments = {"lr": config["lr"], "weight_decay": config["weight_decay"]}
    if "momentum" in config:
        arguments["momentum"] = config["momentum"]
    optimizer = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[config["optimizer"]](model.parameters(), **arguments)
    criterion = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            correct = sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)
        yield correct / len(val_data)


def log(path: str, accuracy: float) -> None:
    """Append an epoch's accuracy and the time."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"time": time.time(), "val_accuracy": accuracy}) + "\n")
