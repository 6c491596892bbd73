"""`completion`."""

from __future__ import annotations

import argparse

import shtab

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.parser import build_parser

# Studies are the folders in that of --studies-dir, without the dashboard's.
_BASH = """\
_fmnist_tune_studies() {
  local folder=studies i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == --studies-dir ]] && folder=${COMP_WORDS[i + 1]}
  done
  (cd -- "$folder" 2>/dev/null && compgen -d -- "$1" | grep -vx artifacts)
}
_fmnist_tune_spaces() {
  compgen -d -- "$1"
  compgen -f -X '!*.yaml' -- "$1"
  compgen -f -X '!*.yml' -- "$1"
}
_fmnist_tune_spaces_and_studies() {
  _fmnist_tune_spaces "$1"
  _fmnist_tune_studies "$1"
}
"""
_ZSH = """\
_fmnist_tune_studies() {
  local folder=studies i=${words[(I)--studies-dir]}
  (( i )) && folder=$words[i+1]
  local -a names=($folder/*(N/:t))
  compadd - ${names:#artifacts}
}
_fmnist_tune_spaces_and_studies() {
  _files -g '*.(yaml|yml)'
  _fmnist_tune_studies
}
"""


def completion(arguments: argparse.Namespace, started: float) -> int:
    """Print a script that completes commands, options, files and studies in a shell."""
    parser, _ = build_parser()
    print(shtab.complete(parser, arguments.shell, preamble=_BASH if arguments.shell == "bash" else _ZSH))
    return EXIT_OK
