"""The report's part on grokking: a task memorised first and generalised later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from fmnist_tune.document.blocks import Content, Fact, Finding, Section, Table
from fmnist_tune.errors import UserError
from fmnist_tune.report.drawing import INK, SLATE, TEAL, WIDTH, log_axis, new_figure, percent_axis, plot_of, styled
from fmnist_tune.study.layout import read_json
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.seed_results import HISTORY
from fmnist_tune.study.trial_data import history_of
from fmnist_tune.tasks.modular_addition.config import ModularConfig
from fmnist_tune.tasks.modular_addition.data import leak, split_pairs
from fmnist_tune.tasks.modular_addition.metrics import steps_over_seeds, steps_text
from fmnist_tune.tasks.modular_addition.outcome import milestones
from fmnist_tune.training.results import EpochResult
from fmnist_tune.units import percent

GROKKING = "grokking.png"


@dataclass(frozen=True)
class StepCurve:
    """A training by steps; every sequence has one entry for each evaluation.

    Attributes:
        name: shown to people.
        steps_to_memorise, steps_to_solve: None if it did not get there.
    """

    name: str
    steps: tuple[int, ...]
    train_loss: tuple[float, ...]
    val_loss: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    val_accuracy: tuple[float, ...]
    steps_to_memorise: int | None
    steps_to_solve: int | None


def step_curve(name: str, config: ModularConfig, history: Sequence[EpochResult]) -> StepCurve:
    """Return a training's curve by steps."""
    return StepCurve(
        name,
        tuple(result.epoch * config.training.eval_every for result in history),
        tuple(result.train_loss for result in history),
        tuple(result.val_loss for result in history),
        tuple(result.train_accuracy for result in history),
        tuple(result.val_accuracy for result in history),
        **milestones(config, history),
    )


def grokking_figure(curves: Sequence[StepCurve]) -> Figure:
    """Draw accuracy and loss over steps, on logarithmic axes of steps."""
    figure = new_figure(WIDTH, 5.0)
    accuracy, loss = (styled(axes) for axes in figure.subplots(2, 1, sharex=True))
    for i, curve in enumerate(curves):
        for axes, train, val in (
            (accuracy, curve.train_accuracy, curve.val_accuracy),
            (loss, curve.train_loss, curve.val_loss),
        ):
            axes.plot(curve.steps, train, color=SLATE, linewidth=1.3, alpha=0.8, label="training" if i == 0 else None)
            axes.plot(curve.steps, val, color=TEAL, linewidth=1.3, alpha=0.8, label="validation" if i == 0 else None)
            log_axis(axes.xaxis)
    loss.set_xlabel("steps", color=INK)
    accuracy.set_ylabel("accuracy", color=INK)
    accuracy.set_ylim(-0.02, 1.02)
    percent_axis(accuracy.yaxis)
    loss.set_ylabel("cross-entropy", color=INK)
    log_axis(loss.yaxis)
    accuracy.legend(frameon=False, fontsize=9)
    return figure


def grokking_content(record: StudyRecord) -> Content | None:
    """Return the report's content on the retrained seeds, or else on the best trial; None without either.

    Raises:
        UserError: a file of a retrained seed is missing.
    """
    metrics, best = record.retraining.result, record.best
    if metrics is not None:
        config = ModularConfig.model_validate(metrics["config"])
        curves = [
            step_curve(f"seed {seed}", config, _read_history(record, path))
            for seed, path in zip(metrics["seeds"], metrics["curves"], strict=True)
        ]
        what = "the recipe" if metrics["trial"] is None else f"trial {metrics['trial']}"
        what += f", {len(curves)} seed{'s' if len(curves) > 1 else ''}"
    elif best is not None:
        found = record.config_of(best)
        assert isinstance(found, ModularConfig)
        config = found
        curves = [step_curve(f"trial {best.number}", config, history_of(best))]
        what = f"trial {best.number}"
    else:
        return None
    header = ("", "99 % of training pairs", "99 % of validation pairs", "validation accuracy at the end")
    rows = tuple(
        (c.name, _steps(c.steps_to_memorise), _steps(c.steps_to_solve), percent(c.val_accuracy[-1])) for c in curves
    )
    plot = plot_of(GROKKING, "accuracy and loss over steps", grokking_figure, curves)
    text = (
        f"Accuracy and loss of {what} over optimizer steps, on a logarithmic axis; steps until 99 % were right below."
    )
    section = Section("Memorised, then understood", (text, plot, Table(header, rows)))
    solved = steps_text(steps_over_seeds([c.steps_to_solve for c in curves]))
    findings = [Finding(f"99 % validation accuracy {solved}.")]
    shared = leak(*split_pairs(config.data))
    if shared:
        findings.append(
            Finding(
                f"{percent(shared, 1)} of the validation pairs are in the training set (`data.draw`): the validation "
                "accuracy says little about generalisation.",
                is_warning=True,
            )
        )
    fact = Fact("99 % validation accuracy", solved.partition(" (")[0], what)
    return Content((fact,), tuple(findings), Section("Modular addition", (section,)), {})


def _read_history(record: StudyRecord, path: str) -> list[EpochResult]:
    file = record.paths.folder / path
    found = read_json(file)
    try:
        return HISTORY.validate_python(found["history"] if isinstance(found, dict) else None)
    except (KeyError, ValueError):
        cure = f"`{record.paths.command('retrain')}` makes it again"
        raise UserError(f"{file}: missing or damaged; {cure}") from None


def _steps(steps: int | None) -> str:
    return "never" if steps is None else f"{steps:,}"
