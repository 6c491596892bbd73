"""What to train next: curves extrapolated by a Gaussian process, weighed against the seconds they cost."""

from fmnist_tune.engine.decision import Engine
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.settings import Settings
from fmnist_tune.engine.state import Begin, Continue, Forecast, Point, Reason, SearchState, TrialState

__all__ = [
    "Begin",
    "Continue",
    "Encoding",
    "Engine",
    "Forecast",
    "Point",
    "Reason",
    "SearchState",
    "Settings",
    "TrialState",
]
