"""Writes oracle_encoder.npz: tiny BERT and RoBERTa weights, inputs, PyTorch's outputs.

python tests/models/make_oracle_encoder.py    # needs torch and transformers
"""

import json
from pathlib import Path

import numpy as np

SIZES = {
    "vocab_size": 48,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}
MODELS = {
    "bert": {"pad_token_id": 0},
    "roberta": {"pad_token_id": 1, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
}
LENGTHS = (18, 1, 7, 12, 2)


def main():
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    arrays = {}
    for kind, options in MODELS.items():
        config = AutoConfig.for_model(kind, **SIZES, **options)
        model = AutoModel.from_config(
            config, add_pooling_layer=False, attn_implementation="eager"
        ).eval()
        with torch.no_grad():
            # Every bias, scale and padding row off its start, and attention far
            # from uniform, so that each array matters to the result.
            for value in model.parameters():
                value.add_(torch.randn_like(value) * 0.3)
        for name, value in model.state_dict().items():
            arrays[f"{kind}/weights/{name}"] = value.numpy().copy()
        values = {**SIZES, **options, "model_type": kind}
        arrays[f"{kind}/config"] = np.array(json.dumps(values))
        model = model.double()
        for index, length in enumerate(LENGTHS):
            ids = torch.randint(2, SIZES["vocab_size"], (1, length))
            with torch.no_grad():
                hidden = model(ids, torch.ones_like(ids)).last_hidden_state
            arrays[f"{kind}/ids/{index}"] = ids[0].numpy().astype(np.int32)
            arrays[f"{kind}/hidden/{index}"] = hidden[0].numpy()
    np.savez_compressed(Path(__file__).with_name("oracle_encoder.npz"), **arrays)


if __name__ == "__main__":
    main()
