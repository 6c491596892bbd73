"""Search spaces: from YAML text to the frozen configuration of one trial."""

from fmnist_tune.config.parameters import Parameter, flatten
from fmnist_tune.config.space import SearchSpace, load_space, read_space
from fmnist_tune.config.yaml_text import dump_yaml

__all__ = ["Parameter", "SearchSpace", "dump_yaml", "flatten", "load_space", "read_space"]
