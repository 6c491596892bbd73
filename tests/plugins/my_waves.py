"""A task from outside: regression of a wave, validated by the share of the variance that is explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from fmnist_tune.config.schema import Optimizer
from fmnist_tune.section import Section
from fmnist_tune.tasks import EpochRun, Model, Objective, SectionRegistry, Task, TaskConfig, TaskTraining

if TYPE_CHECKING:
    from torch import nn


class Net(Model):
    """One hidden layer.

    Attributes:
        width: its units.
    """

    name: Literal["net"]
    width: Annotated[int, Field(ge=1)] = 8

    def build(self, spec: Any) -> nn.Module:
        from torch import nn

        return nn.Sequential(nn.Linear(1, self.width), nn.Tanh(), nn.Linear(self.width, 1))


class Training(TaskTraining):
    """How a net is trained.

    Attributes:
        steps: of an epoch.
        optimizer: one of torch.optim's.
    """

    steps: Annotated[int, Field(ge=1)] = 20
    optimizer: Optimizer = Optimizer(lr=0.05)


class Data(Section):
    """Which wave.

    Attributes:
        n: points that are trained on; as many others are for validation.
        frequency: of the wave.
    """

    n: Annotated[int, Field(ge=4)] = 64
    frequency: Annotated[float, Field(gt=0)] = 3.0


class WaveConfig(TaskConfig):
    """Everything that one training depends on, besides its seed."""

    models: ClassVar[SectionRegistry[Any]] = SectionRegistry(base=Net, built_in={"net": Net})

    training: Training = Training()
    data: Data = Data()


class Explained(Objective):
    """The share of the variance that is explained."""

    metric: ClassVar[str] = "val_r2"
    label: ClassVar[str] = "explained variance"

    def text(self, value: float) -> str:
        return f"{value:.3f}"


class Waves(Task):
    """Regression of a sine from its argument."""

    title: ClassVar[str] = "waves"
    config: ClassVar[type[TaskConfig]] = WaveConfig
    objective: ClassVar[Objective] = Explained()

    def new_run(self, config: Any, data: Any, *, seed: int, device: str, n_epochs: int) -> EpochRun:
        import torch

        from fmnist_tune.seeds import derive_seed
        from fmnist_tune.training.optimizers import build_optimizer

        class Run(EpochRun):
            x_N1 = torch.linspace(-1, 1, 2 * config.data.n, device=device)[:, None]
            y_N1 = torch.sin(config.data.frequency * x_N1)

            def loss(self, part: slice) -> torch.Tensor:
                loss: torch.Tensor = (self.model(self.x_N1[part]) - self.y_N1[part]).square().mean()
                return loss

            def figures(self, part: slice) -> tuple[float, float]:
                loss = self.loss(part).item()
                return loss, 1 - loss / self.y_N1[part].var().item()

            def train(self, epoch: int) -> tuple[float, float, int]:
                for _ in range(config.training.steps):
                    self.optimizer.zero_grad()
                    self.loss(slice(None, None, 2)).backward()
                    self.optimizer.step()
                return *self.figures(slice(None, None, 2)), config.training.steps * config.data.n

            def evaluate(self) -> tuple[float, float]:
                return self.figures(slice(1, None, 2))

        torch.manual_seed(derive_seed(seed, "init"))
        model = config.build().to(device)
        optimizer = build_optimizer(model.parameters(), config.training.optimizer)
        return Run(model, optimizer, seed=seed, device=device, n_epochs=n_epochs)
