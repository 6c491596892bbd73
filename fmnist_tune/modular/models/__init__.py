"""Models of pairs of numbers."""

from fmnist_tune.modular.models.mlp import EmbeddingMlp, PairMlp
from fmnist_tune.modular.models.section import PairModel
from fmnist_tune.modular.models.transformer import Transformer
from fmnist_tune.registry import Registry

PAIR_MODELS: Registry[PairModel] = Registry(
    base=PairModel,
    built_in={"embedding_mlp": EmbeddingMlp, "transformer": Transformer, "mlp": PairMlp},
    group="fmnist_tune.pair_models",
)

__all__ = ["PAIR_MODELS", "PairModel"]
