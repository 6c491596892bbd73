"""The command line without Ray: results on stdout, one clear message for a mistake, nothing created by it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from fmnist_tune.cli import main
from fmnist_tune.cli.parser import build_parser
from tests.conftest import TINY_SPACE, CommandLine
from tests.studies import drive, open_study

Refused = Callable[..., str]  # words of a command that must be refused, to its message

COMMANDS = [
    "search", "resume", "studies", "show", "export", "retrain", "train", "report", "dashboard", "predict", "data", "check",
    "find-lr", "completion", "compare", "delete", "rename",
]  # fmt: skip


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_mistake(command: CommandLine, words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    arguments = command.arguments("check", Path("search_spaces/cnn.yaml").absolute(), *words)
    process = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.fixture
def refused(command: CommandLine) -> Refused:
    """Runs a command that must be refused; returns its message, after checking that it left nothing behind."""

    def run(*words: str | Path) -> str:
        before = sorted(command.folder.rglob("*"))
        done = command.here(*words)
        assert done.code == 2, (done.out, done.err)
        assert done.out == ""
        assert sorted(command.folder.rglob("*")) == before
        return done.err

    return run


@pytest.fixture
def space(command: CommandLine) -> Path:
    path = command.folder / "space.yaml"
    path.write_text(TINY_SPACE)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_takes_the_common_options(command: CommandLine, name: str) -> None:
    run = command.here(name, "--help")
    assert run.code == 0
    assert f"usage: fmnist-tune {name}" in run.out
    assert all(option in run.out for option in ("--studies-dir DIR", "--data-dir DIR", "--json"))


def test_the_installed_command_exits_with_the_code_of_what_happened(command: CommandLine, space: Path) -> None:
    installed = Path(sys.executable).with_name("fmnist-tune")
    codes = {}
    for words in (["check", space], ["check", "absent.yaml"], ["chek"]):
        run = subprocess.run([installed, *words], cwd=command.folder, capture_output=True, text=True, check=False)
        assert "Traceback" not in run.stderr
        codes[words[-1]] = run.returncode
    assert codes == {space: 0, "absent.yaml": 2, "chek": 2}
    bug = "from fmnist_tune.cli import main; main([0])"
    run = subprocess.run([sys.executable, "-c", bug], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "Traceback" in run.stderr


def test_help_takes_fashion_mnist_for_granted_nowhere() -> None:
    parser, commands = build_parser()
    naming = {name for name, command in commands.items() if "Fashion-MNIST" in command.format_help()}
    assert naming == {"data"}
    assert "on Fashion-MNIST or data of your own" in " ".join(parser.format_help().split())
    assert "clothes" not in commands["predict"].format_help()


def test_help_lists_every_command_and_imports_nothing_heavy(command: CommandLine) -> None:
    run = command.here("--help")
    assert all(name in run.out for name in COMMANDS)
    code = "import sys; from fmnist_tune import cli; print([m for m in ('torch', 'ray', 'optuna', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "missing.yaml"], "missing.yaml: no such file"),
        (["search", "spase.yaml"], "did you mean 'space.yaml'?"),
        (["search", "."], ".: a directory"),
        (["search", "space.yaml", "--timeout", "banana"], "'banana' is not a duration"),
        (["search", "space.yaml", "--timeout", "0s"], "'0s' is not a duration"),
        (["search", "space.yaml", "--trials", "0"], "'0' is not a whole number of at least 1"),
        (["search", "space.yaml", "--trials", "-3"], "--trials"),
        (["search", "space.yaml", "--workers", "two"], "'two' is not a whole number of at least 1"),
        (["search", "space.yaml", "--seed", "1.5"], "'1.5' is not a whole number of at least 0"),
        (["search", "space.yaml", "--study", "../../x"], "'../../x' is a path"),
        (["search", "space.yaml", "--study", ""], "'' cannot name a study"),
        (["search", "space.yaml", "--study", "artifacts"], "'artifacts' cannot name a study: the dashboard keeps"),
        (["dashboard", "--port", "70000"], "'70000' is not a port"),
        (["report", "absent"], "no studies yet"),
        (["predict", "absent", "picture.png"], "no studies yet"),
        (["predict", "absent"], "IMAGE"),
        (["search", "space.yaml", "--data-dir", "nowhere"], "--data-dir nowhere: no such directory"),
        (["search", "space.yaml", "--data-dir", "."], "no train-images-idx3-ubyte.gz"),
        (
            ["search", "space.yaml", "--storage", "banana"],
            "--storage banana: not the URL of a database, such as sqlite:///FILE",
        ),
        (["search"], "the following arguments are required: SPACE.yaml"),
        (["serach"], "unknown command 'serach'; commands are search, resume"),
        (["serach"], "; did you mean 'search'?"),
        (
            ["--json", "studies"],
            "unknown option --json; an option stands after its command: fmnist-tune studies ... --json",
        ),
        (["--vresion"], "unknown option --vresion; did you mean '--version'?"),
        (
            ["search", "--tials", "3", "space.yaml"],
            "fmnist-tune search: error: unknown option --tials; did you mean '--trials'?",
        ),
        (["studies", "tiny"], "fmnist-tune studies: error: too many arguments: tiny"),
        (
            ["show", "studies/tiny/"],
            "'studies/tiny/' is a path; a study is named without its folder; did you mean 'tiny'?",
        ),
        (["search", "space"], "space: no such file; did you mean 'space.yaml'?"),
        (["check", "SPACE.yml"], "SPACE.yml: no such file; did you mean 'space.yaml'?"),
        (["find-lr", "spaec"], "spaec: neither a file nor a study; did you mean 'space.yaml'?"),
        (["find-lr", "space.yaml", "--trial", "1"], "--trial 1: space.yaml is no study; only a study has trials"),
        (
            ["search", "space.yaml", "--data-dir", "space.yml"],
            "--data-dir space.yml: no such directory; did you mean 'space.yaml'?",
        ),
        (["resume", "tiny"], "studies/studies.db: no studies yet"),
        (["studies"], "studies/studies.db: no studies yet"),
        (["show", "tiny"], "no studies yet; start one with `fmnist-tune search"),
        (["export", "tiny"], "no studies yet"),
        (["check", "missing.yaml"], "missing.yaml: no such file"),
        (["data", "--data-dir", "space.yaml"], "space.yaml: the data set cannot be put there: File exists"),
        (["resume", "tiny", "--seed", "x"], "'x' is not a whole number of at least 0"),
        (["resume", "--study", "tiny"], "studies/studies.db: no studies yet"),
        (["resume", "tiny", "--study", "other"], "argument --study: not allowed with argument STUDY"),
        (["resume"], "one of the arguments STUDY --study is required"),
        (["retrain", "tiny", "--seed", "3"], "usage: fmnist-tune retrain"),
        (
            ["retrain", "tiny", "--seed", "3"],
            "fmnist-tune retrain: error: unknown option --seed; did you mean '--seeds'?",
        ),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    command: CommandLine, refused: Refused, space: Path, words: list[str], message: str
) -> None:
    if words[-2:] == ["--data-dir", "."] or "--storage" in words:
        words = (
            [*words, "--studies-dir", "."]
            if "--storage" not in words
            else [*words, "--data-dir", str(command.data_dir)]
        )
    assert message in refused(*words)


def test_a_command_in_a_message_names_the_same_studies(command: CommandLine, refused: Refused, space: Path) -> None:
    place = ("--studies-dir", "my studies")
    message = refused("show", "tiny", *place)
    assert "`fmnist-tune search search_spaces/cnn.yaml --studies-dir 'my studies'`" in message
    message = refused("train", space, *place, "--data-dir", command.data_dir)
    assert f"`fmnist-tune search {space} --studies-dir 'my studies'` runs it" in message
    (command.folder / "my studies" / "tiny").mkdir(parents=True)
    message = refused("predict", "tiny", "x.png", *place, "--storage", "sqlite:///x.db")
    assert "`fmnist-tune retrain tiny --studies-dir 'my studies' --storage sqlite:///x.db` makes it" in message


def test_an_invalid_space_is_refused_with_every_problem(command: CommandLine, refused: Refused, space: Path) -> None:
    space.write_text(TINY_SPACE.replace("name: mlp", "name: mpl").replace("epochs: 4", "epochs: x"))
    message = refused("search", space, "--data-dir", command.data_dir)
    assert "space.yaml: 2 problems" in message
    assert "did you mean 'mlp'?" in message


def test_a_recipe_is_not_searched(command: CommandLine, refused: Refused, space: Path) -> None:
    space.write_text("study: fixed\nmodel: {name: mlp}")
    assert "nothing is searched in it" in refused("search", space, "--data-dir", command.data_dir)


@pytest.mark.parametrize("kind", ["file", "proc"])
def test_an_unwritable_studies_dir_is_refused(command: CommandLine, refused: Refused, space: Path, kind: str) -> None:
    folder = space if kind == "file" else Path("/proc/fmnist-tune")
    message = refused("search", space, "--data-dir", command.data_dir, "--studies-dir", folder)
    assert f"{folder}: cannot be written to" in message
    assert "starting Ray" not in message


def test_a_database_that_is_none_is_refused_and_untouched(command: CommandLine, refused: Refused, space: Path) -> None:
    studies = command.folder / "studies"
    studies.mkdir()
    (studies / "studies.db").write_text("not a database")
    assert "not a study database" in refused("search", space, "--data-dir", command.data_dir)
    assert "not a study database" in refused("studies")
    assert (studies / "studies.db").read_text() == "not a database"


def test_a_damaged_data_file_is_named_and_refused(
    command: CommandLine, refused: Refused, space: Path, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(command.data_dir, tmp_path / "damaged"))
    path = damaged / "train-labels-idx1-ubyte.gz"
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    os.truncate(path, path.stat().st_size // 2)
    message = refused("search", space, "--data-dir", damaged)
    assert "train-labels-idx1-ubyte.gz: damaged or unreadable" in message


def test_a_program_can_run_commands_in_any_thread_and_keeps_its_signal_handlers(space: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["check", str(space)]) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(main, ["check", str(space)]).result() == 0


def test_check_prints_the_space(command: CommandLine, space: Path) -> None:
    run = command("check", space)
    assert run.code == 0
    assert "study tiny: 3 parameters; 4 trials; sampler tpe, pruner asha" in run.out
    assert "training.optimizer.lr" in run.out
    assert "0.001 .. 0.1 (log)" in run.out
    parameters = {p["path"]: p for p in command("check", space, "--json").json["parameters"]}
    assert parameters["training.batch_size"]["values"] == [32, 64]


def test_data_verifies_and_counts(command: CommandLine) -> None:
    run = command.here("data", "--data-dir", command.data_dir)
    assert run.code == 0
    assert "Ankle boot" in run.out
    assert command.here("data", "--data-dir", command.data_dir, "--json").json["classes"]["train"]["Bag"] == 60


def test_check_shows_what_is_fixed_and_what_holds_by_default(command: CommandLine, space: Path) -> None:
    space.write_text(
        TINY_SPACE.replace("name: mlp", "name: {choice: [mlp, cnn]}").replace("hidden: [8]", "activation: gelu")
    )
    lines = [" ".join(line.split()) for line in command("check", space).out.splitlines()]
    fixed, default = lines.index("fixed value"), lines.index("by default value")
    assert fixed < lines.index("training.epochs 4") < default
    assert fixed < lines.index("model.activation gelu") < default
    assert default < lines.index("model.depth 2 (model mlp)")
    assert default < lines.index("model.norm batch (model cnn)")
    assert default < lines.index("training.schedule constant")
    assert default < lines.index("resources.gpus auto")
    result = command("check", space, "--json").json
    assert {"path": "data.val_size", "value": 100} in result["fixed"]
    assert {"path": "training.early_stopping", "value": None, "models": [], "is_spare": False, "why": ""} in result[
        "defaults"
    ]


def test_a_study_of_the_name_of_a_missing_file_is_named_too(command: CommandLine, refused: Refused) -> None:
    folder = command.folder / "search_spaces"
    folder.mkdir()
    (folder / "s.yaml").write_text(TINY_SPACE)
    (command.folder / "studies").mkdir()
    open_study(command.folder / "studies")
    message = refused("search", "s")
    assert (
        "did you mean 'search_spaces/s.yaml'? there is a study 's': `fmnist-tune resume s` goes on with it" in message
    )
    assert "study 's.yaml': no such study; did you mean 's'?" in refused("show", "s.yaml")


def test_export_replaces_a_file_only_when_forced(command: CommandLine) -> None:
    (command.folder / "studies").mkdir()
    driver = drive(open_study(command.folder / "studies"))
    assignment = driver.next_assignment()
    assert assignment is not None
    file = command.folder / "mine.yaml"
    file.write_text("mine")
    words = ("export", "s", "--trial", "0", "--output")
    run = command(*words, "mine.yaml")
    assert (run.code, file.read_text()) == (2, "mine")
    assert "--output mine.yaml: mine.yaml is there already; --force replaces it" in run.err
    link = command.folder / "link.yaml"
    link.symlink_to(file)
    assert command(*words, "link.yaml", "--force").code == 0
    assert link.is_symlink()
    assert file.read_text().startswith("# Trial 0 of study s")
    assert command(*words, "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_the_package_runs_as_a_module_and_says_its_version(command: CommandLine) -> None:
    run = subprocess.run([sys.executable, "-m", "fmnist_tune", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"fmnist-tune {version('fmnist-tune')}\n"
    nothing = command.here()
    assert (nothing.code, nothing.out) == (2, "")
    assert all(name in nothing.err for name in COMMANDS)


def test_bash_completes_commands_options_files_and_studies(command: CommandLine, tmp_path: Path) -> None:
    for folder in ("studies/cnn", "studies/mlp-2", "studies/artifacts", "elsewhere/other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a.yaml").touch()
    (tmp_path / "shoe.png").touch()
    script = tmp_path / "complete.bash"
    script.write_text(command.here("completion", "bash").out)
    asked = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        declare "$(complete -p fmnist-tune | sed 's/.*-F \\([^ ]*\\).*/name=\\1/')"
        $name fmnist-tune "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        echo "${COMPREPLY[@]}"
    """

    def completed(*words: str) -> list[str]:
        arguments = ["bash", "-c", asked, "bash", str(script), "fmnist-tune", *words]
        run = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True)
        return sorted(run.stdout.split())

    assert completed("s") == ["search", "show", "studies"]
    assert completed("show", "--j") == ["--json"]
    assert completed("show", "") == ["cnn", "mlp-2"]
    assert completed("show", "--studies-dir", "elsewhere", "") == ["other"]
    assert completed("search", "") == ["a.yaml", "elsewhere", "studies"]
    assert completed("find-lr", "") == ["a.yaml", "cnn", "elsewhere", "mlp-2", "studies"]
    assert completed("predict", "cnn", "s") == ["shoe.png", "studies"]
    assert completed("find-lr", "--mode", "") == ["exponential", "linear"]


def test_a_library_that_cannot_be_imported_is_named(command: CommandLine) -> None:
    (command.folder / "torch.py").write_text("raise ImportError('libtorch_cpu.so: cannot open shared object file')")
    (command.folder / "recipe.yaml").write_text("study: r\nmodel: {name: mlp, hidden: [8]}\ntraining: {epochs: 1}\n")
    command.environment["PYTHONPATH"] = str(command.folder)
    run = command("find-lr", "recipe.yaml", "--data-dir", command.data_dir)
    assert run.code == 2
    assert "a library cannot be imported: libtorch_cpu.so: cannot open shared object file; install" in run.err
    assert "Traceback" not in run.err
