"""Models of pairs of numbers."""

from fmnist_tune.registry import SectionRegistry
from fmnist_tune.tasks.modular_addition.models.mlp import EmbeddingMlp, PairMlp
from fmnist_tune.tasks.modular_addition.models.section import PairModel
from fmnist_tune.tasks.modular_addition.models.transformer import Transformer

PAIR_MODELS: SectionRegistry[PairModel] = SectionRegistry(
    base=PairModel,
    built_in={"embedding_mlp": EmbeddingMlp, "transformer": Transformer, "mlp": PairMlp},
    group="fmnist_tune.pair_models",
    needs=("build",),
)

__all__ = ["PAIR_MODELS", "PairModel"]
