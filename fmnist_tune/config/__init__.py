"""Search spaces: from YAML text to the frozen configuration of one trial."""

from fmnist_tune.config.parameters import Parameter, flatten
from fmnist_tune.config.space import SearchSpace, dump_yaml, load_space, read_space

__all__ = ["Parameter", "SearchSpace", "dump_yaml", "flatten", "load_space", "read_space"]
