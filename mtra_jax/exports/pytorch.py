"""The tensors of a model -> the lines of PyTorch that compute its predictions."""

from collections.abc import Iterable

from mtra_jax.exports import weights
from mtra_jax.methods import stl_cnn

# Lines that turn the last hidden states into the features that the heads read.
_FIRST_TOKEN = "    features = hidden[:, 0]  # z, the representation\n"
_BOTTLENECK = f"""\
    z = hidden[:, 0]
    features = z @ weights["{weights.BOTTLENECK}.weight"].T
    features = features + weights["{weights.BOTTLENECK}.bias"]
"""
_FILTERS = """\
    mask = inputs["attention_mask"][:, None]
    hidden = (hidden * mask.transpose(1, 2)).transpose(1, 2)
    maxima = []
    for width in {widths}:
        name = f"method.tasks.{{tasks[0]['name']}}.width_{{width}}"
        wide = torch.nn.functional.pad(hidden, (0, width - 1))
        found = torch.conv1d(wide, weights[f"{{name}}.weight"], weights[f"{{name}}.bias"])
        maxima.append((found.relu() * mask).amax(-1))
    features = torch.cat(maxima, -1)
"""
_LINES = """\
import json
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

directory = "."  # of this file
weights = load_file(f"{{directory}}/heads.safetensors")
with open(f"{{directory}}/tasks.json", encoding="utf-8") as file:
    tasks = json.load(file)["tasks"]
tokenizer = AutoTokenizer.from_pretrained(f"{{directory}}/encoder")
encoder = AutoModel.from_pretrained(f"{{directory}}/encoder", add_pooling_layer=False).eval()

@torch.no_grad()
def predict(texts, second_texts=None):
    \"\"\"Probabilities or values [N, labels] of each task; `second_texts` for pairs.\"\"\"
    parts = [[t.strip() for t in part] for part in (texts, second_texts) if part]
    inputs = tokenizer(*parts, padding=True, truncation=True, max_length={max_length},
                       return_tensors="pt")
    hidden = encoder(**inputs).last_hidden_state
{features}\
    results = {{}}
    for task in tasks:
        head = f"heads.{{task['name']}}"
        output = features.relu() @ weights[f"{{head}}.weight"].T + weights[f"{{head}}.bias"]
        if task["kind"] == "regression":
            output = output * torch.tensor(task["deviations"] or [1.0])
            output = output + torch.tensor(task["means"] or [0.0])
        else:
            is_class = task["kind"] == "classification"
            output = output.softmax(-1) if is_class else output.sigmoid()
        results[task["name"]] = output
    return results
"""


def lines(names: Iterable[str], max_length: int) -> str:
    """Returns the lines for a model with tensors of these `names` in its file of heads.

    `max_length`: tokens of the longest text. The lines need `torch`, `transformers` and
    `safetensors` alone.
    """
    names = set(names)
    features = _FIRST_TOKEN
    if f"{weights.BOTTLENECK}.weight" in names:
        features = _BOTTLENECK
    elif any(name.endswith(f".width_{stl_cnn.WIDTHS[0]}.weight") for name in names):
        features = _FILTERS.format(widths=stl_cnn.WIDTHS)
    return _LINES.format(features=features, max_length=max_length)
