"""Small sequence models on synthetic sequences: what is easy for one of them is hard for another.

Only the second half is predicted, as the first is random; of a Markov chain, all of it.
"""

import flax.linen as nn
from jaxtyping import Array, Float, Int

from tasks.checks import check_choice, check_int, check_number
from tasks.datasets.sequences import load_sequences
from tasks.language_model import Embedding, LanguageModel
from tasks.text_lstm import LSTM
from tasks.text_rnn import RNN
from tasks.text_transformer import Transformer
from tasks.transformer import check_heads


class Bigram(nn.Module):
    """An embedding and a linear layer: each symbol predicts the next.

    Attributes:
        size: number of symbols.
        width: of the embedding.
    """

    size: int
    width: int

    @nn.compact
    def __call__(self, text: Int[Array, "batch length"]) -> Float[Array, "batch length size"]:
        """Logits of the next symbol at every position."""
        return nn.Dense(self.size)(Embedding(self.size, self.width)(text))


NETWORKS = ("bigram", "rnn", "lstm", "transformer")


def sequence_model(
    rule: str = "repeat",
    network: str = "transformer",
    num_symbols: int = 8,
    length: int = 16,
    width: int = 16,
    depth: int = 2,
    heads: int = 2,
    batch_size: int = 16,
    init_scale: float = 1.0,
    data_seed: int = 0,
) -> LanguageModel:
    """Network that predicts the next symbol of synthetic sequences.

    Args:
        rule: "repeat", "reverse", "sort", "add" or "chain"; see ``tasks.datasets.sequences``.
        network: "bigram", "rnn", "lstm" or "transformer".
        num_symbols: symbols to choose from.
        length: symbols of a sequence.
        width: of the embedding and the hidden states.
        depth: blocks of a transformer; the other networks have one layer.
        heads: attention heads of a transformer; divides ``width``.
        batch_size: sequences per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed makes other sequences.

    Raises:
        ValueError: a value is out of range or a name unknown.
    """
    check_choice("network", network, NETWORKS)
    check_heads(width, heads)
    check_int("depth", depth, 1)
    check_int("batch_size", batch_size, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_sequences(rule, num_symbols, length, data_seed)
    if network == "transformer":
        module = Transformer(num_symbols, width, depth, heads)
    else:
        module = {"bigram": Bigram, "rnn": RNN, "lstm": LSTM}[network](num_symbols, width)
    first = 0 if rule == "chain" else (length + 1) // 2 - 1
    return LanguageModel(data, module, length - 1, batch_size, init_scale, first)
