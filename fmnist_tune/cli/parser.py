"""The commands and their options; imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fmnist_tune.cli.argument_types import duration, port, rate, storage, study, whole
from fmnist_tune.files import user_path

# How an argument is completed: functions of the shells', and of ours in `completion.py`.
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files"}
FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"}
SPACES = {"bash": "_fmnist_tune_spaces", "zsh": "_files -g '*.(yaml|yml)'"}
STUDIES = {"bash": "_fmnist_tune_studies", "zsh": "_fmnist_tune_studies"}
SPACES_AND_STUDIES = {"bash": "_fmnist_tune_spaces_and_studies", "zsh": "_fmnist_tune_spaces_and_studies"}


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser, and that of each command; what they parse has the command's `module` and `command`."""
    parser = argparse.ArgumentParser(
        prog="fmnist-tune",
        description="Hyperparameter search for PyTorch classifiers, on Fashion-MNIST or data of your own.",
        epilog="Progress goes to stderr, results to stdout. Exit codes: 0 done, 1 a bug of ours, "
        "2 a mistake to repair, 130 interrupted (run the same command again to go on).",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_search_commands(commands)
    _add_studies_commands(commands)
    _add_management_commands(commands)
    _add_training_commands(commands)
    _add_result_commands(commands)
    _add_find_lr_command(commands)
    _add_input_commands(commands)
    return parser, commands.choices


def _add_search_commands(commands: Any) -> None:
    search = _command(commands, "search", "search", "run a study to its trials or timeout; run again, it goes on")
    _complete(search.add_argument("space", metavar="SPACE.yaml", help="the search space"), SPACES)
    search.add_argument("--study", type=study, help="name of the study, instead of the file's")
    warm_start = search.add_argument(
        "--warm-start",
        type=study,
        metavar="STUDY",
        help="take over another study's finished trials that fit the space",
    )
    _complete(warm_start, STUDIES)
    learn_from = search.add_argument(
        "--learn-from",
        type=study,
        nargs="+",
        metavar="STUDY",
        help="earlier studies, on any data, that tell what to expect; instead of the file's",
    )
    _complete(learn_from, STUDIES)
    _add_search_options(search, seed="seed of the sampler and the training, instead of the file's")

    resume = _command(commands, "search", "resume", "go on with a study; its search space is stored in it")
    which = resume.add_mutually_exclusive_group(required=True)
    _complete(which.add_argument("study", nargs="?", type=study, metavar="STUDY", default=argparse.SUPPRESS), STUDIES)
    option = which.add_argument("--study", type=study, help="the same as STUDY", default=argparse.SUPPRESS)
    _complete(option, STUDIES)
    _add_search_options(resume, seed="the study's own: checked, since it cannot change")


def _add_studies_commands(commands: Any) -> None:
    studies = _command(commands, "studies", "studies", "list the studies")
    _add_storage_option(studies)

    show = _command(commands, "studies", "show", "show a study's trials")
    _add_study(show)
    form = show.add_mutually_exclusive_group()
    form.add_argument("--wide", action="store_true", help="every column, however wide that gets (try `| less -S`)")
    form.add_argument("--csv", action="store_true", help="print every trial as a line of CSV")
    form.add_argument("--trial", type=whole(0), metavar="N", help="show this trial: why it was begun and continued")
    _add_storage_option(show)

    export = _command(commands, "studies", "export", "print a trial as a recipe in YAML")
    _add_study(export)
    export.add_argument("--trial", type=whole(0), metavar="N", help="the trial; the best one by default")
    output = export.add_argument("--output", type=user_path, metavar="FILE", help="write to a file instead of stdout")
    _complete(output, FILES)
    export.add_argument("--force", action="store_true", help="replace the file of --output if it is there")
    _add_storage_option(export)


def _add_management_commands(commands: Any) -> None:
    compare = _command(commands, "compare", "compare", "show studies side by side, and plot their progress")
    _complete(
        compare.add_argument("studies", type=study, nargs="+", metavar="STUDY", help="two studies or more"),
        STUDIES,
    )
    output = compare.add_argument(
        "--output", type=user_path, metavar="PNG", help="the plot (compare.png in the folder of the first study)"
    )
    _complete(output, FILES)
    compare.add_argument("--force", action="store_true", help="replace the file of --output if it is there")
    _add_storage_option(compare)

    delete = _command(commands, "manage", "delete", "delete a study: its trials, its files, what the dashboard shows")
    _add_study(delete)
    delete.add_argument("--yes", action="store_true", help="do not ask")
    _add_storage_option(delete)

    rename = _command(commands, "manage", "rename", "give a study another name")
    _add_study(rename)
    rename.add_argument("name", type=study, metavar="NEW", help="the new name")
    _add_storage_option(rename)


def _add_training_commands(commands: Any) -> None:
    retrain = _command(
        commands, "retrain", "retrain", "train the best trial on train + val over several seeds, then test it once"
    )
    _add_study(retrain)
    choice = retrain.add_mutually_exclusive_group()
    choice.add_argument("--trial", type=whole(0), metavar="N", help="the trial; the best one by default")
    choice.add_argument(
        "--top",
        type=whole(2),
        metavar="K",
        help="first train the K best trials over the seeds on the training split, and take the best on validation",
    )
    _add_training_options(retrain)

    train = _command(
        commands, "retrain", "train", "train a recipe on train + val over several seeds, then test it once"
    )
    recipe = train.add_argument("recipe", metavar="RECIPE.yaml", help="a search space in which nothing is searched")
    _complete(recipe, SPACES)
    train.add_argument("--study", type=study, help="name of the study, instead of the file's")
    _add_training_options(train)


def _add_result_commands(commands: Any) -> None:
    report = _command(commands, "report", "report", "write a report with plots and per-class figures")
    _add_study(report)
    _add_storage_option(report)

    dashboard = _command(
        commands, "dashboard", "dashboard", "browse the studies in optuna-dashboard, on this machine only"
    )
    dashboard.add_argument(
        "--port", type=port, default=8080, metavar="N", help="of the web page (8080; 0: any free one)"
    )
    _add_storage_option(dashboard)

    predict = _command(commands, "predict", "predict", "classify images with a study's retrained model")
    _add_study(predict)
    images = predict.add_argument(
        "images", type=user_path, nargs="+", metavar="IMAGE", help="PNG or JPEG files of any size"
    )
    _complete(images, FILES)
    predict.add_argument("--top", type=whole(1), default=3, metavar="K", help="how many classes to print (3)")
    predict.add_argument("--invert", action="store_true", help="for dark objects on a light ground")
    _add_storage_option(predict)


def _add_find_lr_command(commands: Any) -> None:
    find_lr = _command(
        commands,
        "find_lr",
        "find-lr",
        "sweep the learning rate of a recipe or a study's trial, plot the loss and suggest a rate",
    )
    recipe = find_lr.add_argument(
        "recipe",
        metavar="RECIPE.yaml|STUDY",
        help="a search space in which nothing is searched, or a study, whose best trial is taken",
    )
    _complete(recipe, SPACES_AND_STUDIES)
    find_lr.add_argument("--trial", type=whole(0), metavar="N", help="another trial of the study than its best one")
    find_lr.add_argument("--from", dest="low", type=rate, default=1e-5, metavar="LR", help="the first rate (1e-5)")
    find_lr.add_argument("--to", dest="high", type=rate, default=1.0, metavar="LR", help="the last rate (1)")
    find_lr.add_argument("--steps", type=whole(1), default=100, metavar="N", help="how many rates (100)")
    find_lr.add_argument(
        "--batches-per-step",
        type=whole(1),
        default=1,
        metavar="N",
        help="batches trained on at each rate (1)",
    )
    find_lr.add_argument(
        "--mode",
        choices=("exponential", "linear"),
        default="exponential",
        help="by the same factor (exponential), or by the same difference, from one rate to the next",
    )
    find_lr.add_argument("--seed", type=whole(0), default=0, help="of the initial weights and the batches (0)")
    output = find_lr.add_argument(
        "--output",
        type=user_path,
        metavar="PNG",
        help="the plot (lr_range.png in the study's folder); its numbers go beside it, to a .json of the same name",
    )
    _complete(output, FILES)
    find_lr.add_argument("--force", action="store_true", help="replace the files of --output if they are there")
    _add_storage_option(find_lr)


def _add_input_commands(commands: Any) -> None:
    _command(commands, "data", "data", "fetch and verify Fashion-MNIST, show its class distribution")
    check = _command(commands, "check", "check", "check a search space and print it as a table")
    _complete(check.add_argument("space", metavar="SPACE.yaml"), SPACES)

    completion = _command(
        commands, "completion", "completion", "print what completes commands in a shell, to be sourced"
    )
    completion.add_argument("shell", choices=("bash", "zsh"))


def _command(commands: Any, module: str, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command: the function of its name, `_` for `-`, in `fmnist_tune.cli.<module>`; imported when called."""
    description = f"{text[0].upper()}{text[1:]}."
    # Without abbreviations: `retrain --seed 3` would be taken for `--seeds 3`.
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
    parser.set_defaults(module=module, command=name.replace("-", "_"), storage=None)
    common = parser.add_argument_group("common options", "taken by every command, whether it has a use for them or not")
    studies_dir = common.add_argument(
        "--studies-dir",
        type=user_path,
        default=Path("studies"),
        metavar="DIR",
        help="folder of all studies (./studies)",
    )
    data_dir = common.add_argument(
        "--data-dir", type=user_path, metavar="DIR", help="your own copy of the data set; `data` fetches it there"
    )
    for action in (studies_dir, data_dir):
        _complete(action, FOLDERS)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument("--plain", action="store_true", help="no colours and no live view: progress as plain lines")
    common.add_argument("--quiet", action="store_true", help="no progress: only errors and the result")
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    _complete(parser.add_argument("study", type=study, metavar="STUDY"), STUDIES)


def _complete(action: argparse.Action, how: dict[str, str]) -> None:
    """Say how an argument is completed in a shell, as shtab reads it."""
    vars(action)["complete"] = how


def _add_storage_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        type=storage,
        metavar="URL",
        help="database of the studies (SQLite in the studies folder)",
    )


def _add_search_options(parser: argparse.ArgumentParser, *, seed: str) -> None:
    parser.add_argument("--seed", type=whole(0), metavar="N", help=seed)
    parser.add_argument(
        "--trials",
        type=whole(1),
        metavar="N",
        help="how many trials the study holds in the end: more than its file's extend it, fewer end this run alone",
    )
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME", help="longest time of this run alone: 90s, 10m, 1.5h"
    )
    _add_place_options(parser)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=whole(1), default=5, metavar="K", help="trained with the seeds 0 to K - 1 (5)")
    _add_place_options(parser)


def _add_place_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=whole(1), metavar="N", help="trainings at a time (as many as fit)")
    parser.add_argument("--address", metavar="RAY", help="a Ray cluster to join, such as auto or ray://host:10001")
    _add_storage_option(parser)
