"""Fixed tiny weights and batches -> whole MTRA training steps, by plain autograd.

A reference in PyTorch (float64, CPU), written from the paper alone and independent of this
package. `python tests/train/oracle_mtra.py` checks it (finite differences,
`torch.optim.Adamax`) and writes `oracle_mtra.npz` beside it; `compute()` returns the same
arrays. It follows the paper literally: two forward passes, the logarithm of their summed
losses, and autograd through both.

Source: MTRA, ACL 2026, by equation:
  Eq. 2  bound I_t = mean_i V(y_i|z_i) - log mean_i exp V(y_partner(i)|z_i)
  Eq. 3  l_TA = l_Task + beta l_MI: cross-entropy, or squared error averaged over examples
         and dimensions. Algorithm 1, lines 8 and 9
  Eq. 4  l_MI = -I_t. Its brackets are unbalanced as printed; Algorithm 1, line 8, is not
  Eq. 7  delta = +epsilon g / ||g||_2, g = d (sum_t l_TA,t) / d W_emb, a constant for
         differentiation; l_SA = l_TA with W_emb + delta. The paper prints a minus sign,
         which would be descent; the supremum over delta requires ascent
  Eq. 9  objective sum_t log(l_TA,t + l_SA,t), and below `floor` the tangent of log there
Update: clip by the global norm, then Kingma & Ba 2015, Algorithm 2 (Adamax).

Cases. `step0`, `step1`, `step2`: consecutive, on alpha, beta, alpha. All others start from
the initial state: `several` (all tasks in one batch), `no_ta` (l_TA := l_Task), `no_sa`
(log l_TA), `no_log` (l_TA + l_SA), `all_pairs` (the mean over all pairs (i, j) of a task,
i = j too, of exp V(y_j|z_i)), `tangent` (own `tangent/beta`, so large that the argument of
the log is below the floor).

Options that the paper leaves open, on one task, `pull` on several:
  smile     Song & Ermon 2020: the scores of shuffled pairs clipped at +-`smile/clip`; the
            gradient is that of `jsd`, as in the authors' code
  info_nce  van den Oord et al. 2018, Eq. 4: log B - L_B over the B texts of a task
  jsd       Hjelm et al. 2019, Eq. 4, plus 2 log 2
  cap       I_t limited to `cap/ceilings` [T], infinite for regression
  pull      beta times min(1, |d l_Task / d z| / |d I / d z|), a constant for
            differentiation, anew in each pass; `pull/shares` [T] of the first pass

Keys. `encoder/<name in BertModel>`, `heads/<task>/{weight,bias}`, `statistics/{W1,W2,b,w3}`
are the initial state; `config/<name>` numbers; `<case>/{tokens,offsets,tasks,targets,
partners}` the batch (text i is tokens[offsets[i]:offsets[i + 1]], and its label in the
marginal is targets[partners[i]]); `<case>/{task_losses,bounds,ta_losses,sa_losses}` [T] and
`<case>/{perturbation_gradient_norm,objective,gradient_norm}`, NaN where the case has no
such quantity; `<case>/gradients/<parameter>` before clipping, absent where PyTorch gives
None, and outside `step*` and `several` also for `encoder/encoder.layer.*`, to keep the file
small (`gradient_norm` is over all); `<case>/after/<parameter>` for `step*` and `several`.

Notes on comparisons. The gradient of `attention.self.key.bias` is 0 in exact arithmetic
(softmax ignores a shift of all keys) and rounding noise near 1e-17 here, which Adamax
divides by its eps of 1e-8: in float64 it has no visible effect, in float32 these biases
move at random. The initial weights are float64 with float32 values.
"""

import contextlib
import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

PATH = Path(__file__).with_suffix(".npz")

TASKS = ("alpha", "beta", "gamma")
SLOTS = {"alpha": slice(0, 3), "beta": slice(3, 5), "gamma": slice(5, 7)}
REGRESSION = "beta"
NUM_SLOTS = 7
STATISTICS_WIDTH = 8

ENCODER = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
METHOD = {"beta": 0.7, "epsilon": 0.9, "floor": 1e-2}
OPTIMISER = {
    "learning_rate": 1e-2,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "clip_norm": 1.0,
}
TANGENT_BETA = 50.0
CLIP = 0.5
CEILINGS = np.array([0.2, np.inf, 0.9])
SEED = 3161  # chosen so that the bounds are far from 0 and `tangent` is below the floor

WORDS = "encoder/embeddings.word_embeddings.weight"


@dataclasses.dataclass(frozen=True)
class Batch:
    """B texts with their task indices [B], joint targets [B, L] and partners [B]."""

    texts: list[np.ndarray]
    tasks: np.ndarray
    targets: np.ndarray
    partners: np.ndarray


@dataclasses.dataclass(frozen=True)
class Variant:
    """Options of MTRA and its ablations."""

    beta: float = METHOD["beta"]
    has_ta: bool = True
    has_sa: bool = True
    has_log: bool = True
    is_all_pairs: bool = False
    bound: str = "mine"
    has_cap: bool = False
    is_limited: bool = False


# ------------------------------------------------------------------ weights and batches


@contextlib.contextmanager
def one_thread():
    """Fixes the order of sums; waiting threads on busy cores also made it 50 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def encoder():
    from transformers import BertConfig, BertModel

    config = BertConfig(
        **ENCODER,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    return BertModel(config, add_pooling_layer=False).double().eval()


def draw_parameters(rng):
    """All parameters by key, in float64 with values that are exact in float32."""

    def normal(shape, mean=0.0, std=0.3):
        return torch.from_numpy(rng.normal(mean, std, shape).astype("f4").astype("f8"))

    params = {}
    for name, value in encoder().named_parameters():
        is_scale = name.endswith("LayerNorm.weight")
        params[f"encoder/{name}"] = normal(value.shape, 1.0 if is_scale else 0.0)
    width = ENCODER["hidden_size"]
    for task in TASKS:
        outputs = SLOTS[task].stop - SLOTS[task].start
        params[f"heads/{task}/weight"] = normal((outputs, width), std=0.4)
        params[f"heads/{task}/bias"] = normal((outputs,))
    params["statistics/W1"] = normal((STATISTICS_WIDTH, width))
    params["statistics/W2"] = normal((STATISTICS_WIDTH, NUM_SLOTS), std=1.0)
    params["statistics/b"] = normal((STATISTICS_WIDTH,))
    params["statistics/w3"] = normal((STATISTICS_WIDTH,), std=0.8)
    return params


def draw_batch(rng, sizes):
    """A batch with `sizes[task]` examples of each task, the tasks interleaved at random."""
    names = rng.permutation([task for task in TASKS for _ in range(sizes.get(task, 0))])
    tasks = np.array([TASKS.index(name) for name in names], np.int32)
    # Without token 0: PyTorch gives no gradient to the row of the padding token.
    texts = [
        rng.integers(1, ENCODER["vocab_size"], rng.integers(3, 10)).astype(np.int32)
        for _ in names
    ]
    targets = np.zeros((len(names), NUM_SLOTS))
    partners = np.arange(len(names), dtype=np.int32)
    for index, task in enumerate(TASKS):
        rows = np.flatnonzero(tasks == index)
        if task == REGRESSION:
            targets[rows, SLOTS[task]] = rng.normal(size=(len(rows), 2))
        else:
            classes = SLOTS[task].stop - SLOTS[task].start
            # Every class occurs if there are enough examples.
            labels = rng.permutation(np.arange(len(rows)) % classes)
            targets[rows, SLOTS[task].start + labels] = 1
        partners[rows] = rows[asymmetric_permutation(rng, len(rows))]
    return Batch(texts, tasks, targets, partners)


def asymmetric_permutation(rng, size):
    """A permutation that differs from its inverse, so that confusing the two shows."""
    if size == 0:
        return np.arange(0)
    while True:
        permutation = rng.permutation(size)
        if np.any(permutation[permutation] != np.arange(size)):
            return permutation


# ------------------------------------------------------------------ losses, Eq. 2 to 4


def encode(params, texts):
    """z [B, H], the last hidden state of each text's first token; each text alone."""
    weights = {
        name.removeprefix("encoder/"): value
        for name, value in params.items()
        if name.startswith("encoder/")
    }

    def first_token(tokens):
        inputs = {"input_ids": torch.from_numpy(tokens)[None].long()}
        output = torch.func.functional_call(encoder(), weights, kwargs=inputs)
        return output.last_hidden_state[0, 0]

    return torch.stack([first_token(tokens) for tokens in texts])


def score(params, z, y):
    """V(y|z) = w3^T relu(W1 z + W2 y + b), for matching leading axes."""
    w1, w2 = params["statistics/W1"], params["statistics/W2"]
    hidden = torch.relu(z @ w1.T + y @ w2.T + params["statistics/b"])
    return hidden @ params["statistics/w3"]


def task_loss(params, task, z, targets):
    """Cross-entropy or mean squared error of the Linear head on relu(z)."""
    weight, bias = params[f"heads/{task}/weight"], params[f"heads/{task}/bias"]
    outputs = torch.relu(z) @ weight.T + bias
    wanted = targets[:, SLOTS[task]]
    if task == REGRESSION:
        return ((outputs - wanted) ** 2).mean()
    labels = wanted.argmax(1)
    return -torch.log_softmax(outputs, 1)[torch.arange(len(labels)), labels].mean()


def bound(params, z, targets, shuffled, variant):
    """Eq. 2 over the examples of one task, in nats, or another estimate of I."""
    joint = score(params, z, targets)
    if variant.is_all_pairs or variant.bound == "info_nce":
        marginal = torch.stack([score(params, z_i, targets) for z_i in z])  # [B, B]
    else:
        marginal = score(params, z, shuffled)
    if variant.bound == "info_nce":
        matches = torch.log_softmax(marginal, dim=1).diagonal()
        return np.log(len(z)) + matches.mean()
    if variant.bound == "mine":
        return joint.mean() - torch.log(torch.exp(marginal).mean())
    softplus = torch.nn.functional.softplus
    jsd = 2 * np.log(2) - softplus(-joint).mean() - softplus(marginal).mean()
    if variant.bound == "jsd":
        return jsd
    clipped = torch.clamp(torch.exp(marginal), np.exp(-CLIP), np.exp(CLIP))
    smile = joint.mean() - torch.log(clipped.mean())
    return jsd + (smile - jsd).detach()


def pull(value, z):
    """The norm of the gradient of `value` by the representations."""
    return torch.linalg.vector_norm(torch.autograd.grad(value, z)[0])


def alignment_losses(params, batch, variant):
    """For each task in the batch: l_Task, the bound (None without TA) and l_TA."""
    z = encode(params, batch.texts)
    targets = torch.from_numpy(batch.targets)
    losses = {}
    for index, task in enumerate(TASKS):
        rows = np.flatnonzero(batch.tasks == index)
        if len(rows) == 0:
            continue
        z_t, y_t = z[rows], targets[rows]
        loss = task_loss(params, task, z_t, y_t)
        if not variant.has_ta:
            losses[task] = loss, None, loss
            continue
        shuffled = targets[batch.partners[rows]]
        information = bound(params, z_t, y_t, shuffled, variant)
        used, beta = information, variant.beta
        if variant.has_cap:
            used = torch.minimum(used, torch.tensor(CEILINGS[index]))
        if variant.is_limited:
            beta = beta * limited(params, task, z_t, y_t, shuffled, variant)
        losses[task] = loss, information, loss + beta * -used
    return losses


def limited(params, task, z, targets, shuffled, variant):
    """The share of beta with which the bound pulls on z no harder than the loss."""
    z = z.detach().requires_grad_()
    of_task = pull(task_loss(params, task, z, targets), z)
    of_bound = pull(bound(params, z, targets, shuffled, variant), z)
    return min(1.0, (of_task / of_bound).item())


def shares(params, batch, variant):
    """`pull/shares` of the unperturbed parameters [T]."""
    z, targets = encode(params, batch.texts), torch.from_numpy(batch.targets)
    result = np.zeros(len(TASKS))
    for index, task in enumerate(TASKS):
        rows = np.flatnonzero(batch.tasks == index)
        shuffled = targets[batch.partners[rows]]
        result[index] = limited(params, task, z[rows], targets[rows], shuffled, variant)
    return result


# ------------------------------------------------------------------ objective, Eq. 7 and 9


def continued_log(x):
    """log(x), continued below the floor by its tangent there."""
    floor = METHOD["floor"]
    if x.item() >= floor:
        return torch.log(x)
    return np.log(floor) + (x - floor) / floor


def word_gradient(params, batch, variant):
    """g of Eq. 7: the gradient of sum_t l_TA,t by the word-embedding matrix."""
    words = params[WORDS].detach().requires_grad_()
    losses = alignment_losses({**params, WORDS: words}, batch, variant)
    return torch.autograd.grad(sum(ta for _, _, ta in losses.values()), words)[0]


def objective(params, delta, batch, variant):
    """Eq. 9 with a constant `delta`: the objective and the losses in it."""
    clean = alignment_losses(params, batch, variant)
    if variant.has_sa:
        moved = {**params, WORDS: params[WORDS] + delta.detach()}
        moved = alignment_losses(moved, batch, variant)
    total = 0.0
    for task in clean:
        term = clean[task][2] + moved[task][2] if variant.has_sa else clean[task][2]
        total = total + (continued_log(term) if variant.has_log else term)
    return total, clean, moved if variant.has_sa else {}


def differentiate(params, batch, variant):
    """One evaluation: the gradient by key (None where unused) and the stored figures."""
    leaves = {key: p.detach().clone().requires_grad_() for key, p in params.items()}
    delta, norm = None, torch.tensor(torch.nan)
    if variant.has_sa:
        g = word_gradient(params, batch, variant)
        norm = torch.sqrt((g**2).sum())
        delta = METHOD["epsilon"] * g / norm
    total, clean, moved = objective(leaves, delta, batch, variant)
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    gradients = dict(zip(leaves, gradients, strict=True))

    def by_task(losses, part):
        parts = [losses[task][part] if task in losses else None for task in TASKS]
        return np.array([np.nan if loss is None else loss.item() for loss in parts])

    figures = {
        "task_losses": by_task(clean, 0),
        "bounds": by_task(clean, 1),
        "ta_losses": by_task(clean, 2),
        "sa_losses": by_task(moved, 2),
        "perturbation_gradient_norm": np.array(norm.item()),
        "objective": np.array(total.item()),
        "gradient_norm": np.array(global_norm(gradients)),
    }
    return gradients, figures


# ------------------------------------------------------------------ update


def global_norm(gradients):
    return sum((g**2).sum().item() for g in gradients.values() if g is not None) ** 0.5


def clip(gradients):
    """Scales all by min(1, c/norm), like torch's clip_grad_norm_ without its 1e-6."""
    scale = min(1.0, OPTIMISER["clip_norm"] / global_norm(gradients))
    return {key: None if g is None else g * scale for key, g in gradients.items()}


def adamax(params, gradients, state):
    """Kingma & Ba 2015, Algorithm 2, with eps inside the maximum, as in torch.

    `state[key]` is (m, u, t). A parameter without a gradient keeps its value and its state.
    """
    b1, b2, eps = OPTIMISER["b1"], OPTIMISER["b2"], OPTIMISER["eps"]
    params, state = dict(params), dict(state)
    for key, g in gradients.items():
        if g is None:
            continue
        zero = torch.zeros_like(g)
        m, u, t = state.get(key, (zero, zero, 0))
        m, u, t = b1 * m + (1 - b1) * g, torch.maximum(b2 * u, g.abs() + eps), t + 1
        params[key] = params[key] - OPTIMISER["learning_rate"] / (1 - b1**t) * m / u
        state[key] = m, u, t
    return params, state


# ------------------------------------------------------------------ the file


def pack(batch):
    lengths = [len(tokens) for tokens in batch.texts]
    return {
        "tokens": np.concatenate(batch.texts),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "tasks": batch.tasks,
        "targets": batch.targets,
        "partners": batch.partners,
    }


def inputs(seed=SEED):
    """The initial parameters and, by case, (batch, variant)."""
    rng = np.random.default_rng(seed)
    params = draw_parameters(rng)
    first = draw_batch(rng, {"alpha": 6})
    paper = Variant()
    cases = {
        "step0": (first, paper),
        "step1": (draw_batch(rng, {"beta": 5}), paper),
        "step2": (draw_batch(rng, {"alpha": 4}), paper),
        "several": (draw_batch(rng, {"alpha": 4, "beta": 3, "gamma": 3}), paper),
        "no_ta": (first, Variant(has_ta=False)),
        "no_sa": (first, Variant(has_sa=False)),
        "no_log": (first, Variant(has_log=False)),
        "all_pairs": (first, Variant(is_all_pairs=True)),
        "tangent": (first, Variant(beta=TANGENT_BETA)),
    }
    cases |= {
        **{name: (first, Variant(bound=name)) for name in ("smile", "info_nce", "jsd")},
        "cap": (first, Variant(has_cap=True)),
        "pull": (cases["several"][0], Variant(is_limited=True)),
    }
    return params, cases


def is_stored(case, key):
    """Whether the file has the gradient of `key`; it leaves some out for its size."""
    return is_update(case) or not key.startswith("encoder/encoder.layer.")


def is_update(case):
    """Whether the case has the parameters after the step."""
    return case.startswith("step") or case == "several"


@one_thread()
def compute() -> dict[str, np.ndarray]:
    """All arrays of the file, by the keys that the module's docstring lists."""
    initial, cases = inputs()
    arrays = {key: p.numpy() for key, p in initial.items()}
    for name, number in {**ENCODER, **METHOD, **OPTIMISER}.items():
        arrays[f"config/{name}"] = np.array(number)
    arrays["tangent/beta"] = np.array(TANGENT_BETA)
    arrays["smile/clip"] = np.array(CLIP)
    arrays["cap/ceilings"] = CEILINGS
    arrays["pull/shares"] = shares(initial, *cases["pull"])
    params, state = initial, {}
    for case, (batch, variant) in cases.items():
        if not case.startswith("step"):
            params, state = initial, {}
        gradients, figures = differentiate(params, batch, variant)
        for key, g in gradients.items():
            if g is not None and is_stored(case, key):
                figures[f"gradients/{key}"] = g.numpy()
        if is_update(case):
            params, state = adamax(params, clip(gradients), state)
            figures |= {f"after/{key}": p.numpy() for key, p in params.items()}
        for key, value in {**pack(batch), **figures}.items():
            arrays[f"{case}/{key}"] = value
    return arrays


# ------------------------------------------------------------------ checks of the oracle


def differentiable_cases():
    """The cases whose gradient is the derivative of the objective for a fixed delta."""
    params, cases = inputs()
    return params, {k: v for k, v in cases.items() if k not in ("smile", "pull")}


def check_directional_derivatives(step=1e-6):
    """Largest relative gap between central differences and gradients, delta held fixed."""
    params, cases = differentiable_cases()
    rng = np.random.default_rng(1)
    gaps = {}
    for case, (batch, variant) in cases.items():
        gradients, _ = differentiate(params, batch, variant)
        delta = None
        if variant.has_sa:
            g = word_gradient(params, batch, variant)
            delta = METHOD["epsilon"] * g / torch.linalg.vector_norm(g)
        for group in ("encoder/", "heads/", "statistics/", ""):
            used = [k for k, g in gradients.items() if g is not None and group in k]
            if not used:
                continue
            direction = {
                k: torch.from_numpy(rng.normal(size=params[k].shape)) for k in used
            }
            slope = sum((gradients[k] * direction[k]).sum().item() for k in used)

            def along(distance, d=direction, b=batch, v=variant, fixed=delta):
                moved = {
                    k: p + distance * d[k] if k in d else p for k, p in params.items()
                }
                return objective(moved, fixed, b, v)[0].item()

            numeric = (along(step) - along(-step)) / (2 * step)
            gaps[f"{case} {group}"] = abs(numeric - slope) / max(1.0, abs(slope))
    return gaps


def check_word_gradient(step=1e-6):
    """Largest relative gap between central differences and g of Eq. 7."""
    params, cases = differentiable_cases()
    rng = np.random.default_rng(2)
    gaps = []
    for batch, variant in cases.values():
        direction = torch.from_numpy(rng.normal(size=params[WORDS].shape))
        slope = (word_gradient(params, batch, variant) * direction).sum().item()
        ends = []
        for distance in (step, -step):
            moved = {**params, WORDS: params[WORDS] + distance * direction}
            losses = alignment_losses(moved, batch, variant)
            ends.append(sum(ta.item() for _, _, ta in losses.values()))
        numeric = (ends[0] - ends[1]) / (2 * step)
        gaps.append(abs(numeric - slope) / max(1.0, abs(slope)))
    return max(gaps)


def check_adamax():
    """Largest difference from torch.optim.Adamax over the three consecutive steps."""
    initial, cases = inputs()
    params, state, gap = initial, {}, 0.0
    theirs = {key: p.clone().requires_grad_() for key, p in initial.items()}
    optimiser = torch.optim.Adamax(
        theirs.values(),
        lr=OPTIMISER["learning_rate"],
        betas=(OPTIMISER["b1"], OPTIMISER["b2"]),
        eps=OPTIMISER["eps"],
    )
    for case in ("step0", "step1", "step2"):
        gradients = clip(differentiate(params, *cases[case])[0])
        params, state = adamax(params, gradients, state)
        for key, p in theirs.items():
            p.grad = gradients[key]
        optimiser.step()
        for key, p in theirs.items():
            gap = max(gap, (p.detach() - params[key]).abs().max().item())
    return gap


@one_thread()
def main():
    gaps = check_directional_derivatives()
    worst = max(gaps, key=gaps.get)
    print(f"finite differences: worst {gaps[worst]:.1e} ({worst})")
    assert gaps[worst] < 1e-7
    gap = check_word_gradient()
    print(f"finite differences of g: {gap:.1e}")
    assert gap < 1e-7
    gap = check_adamax()
    print(f"torch.optim.Adamax: {gap:.1e}")
    assert gap < 1e-12
    arrays = compute()
    for case in inputs()[1]:
        for name in ("task_losses", "bounds", "ta_losses", "sa_losses"):
            print(f"{case:10}{name:12}", np.round(arrays[f"{case}/{name}"], 4))
        for name in ("perturbation_gradient_norm", "objective", "gradient_norm"):
            print(f"{case:10}{name:27}{arrays[f'{case}/{name}']:.6f}")
    temporary = PATH.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(PATH)
    print(f"{PATH.name}: {PATH.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
