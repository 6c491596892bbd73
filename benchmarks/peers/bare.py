"""fmnist-tune's command, but no trial is known to do well: the first ones are drawn as the others are."""

from __future__ import annotations

import sys
from unittest import mock

from fmnist_tune import cli
from fmnist_tune.study.trial_writer import TrialWriter

if __name__ == "__main__":
    with mock.patch.object(TrialWriter, "known_good", []):
        sys.exit(cli.main())
