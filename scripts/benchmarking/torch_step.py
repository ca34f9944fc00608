"""A packed batch -> the same training step in PyTorch, for comparison with ours.

The step that a careful user of PyTorch and transformers would write: SDPA, autocast,
fused updates of many tensors, and one wait for the device a step. The caller sets the
process-wide switches (threads, `torch.set_float32_matmul_precision`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax.errors import InputError, did_you_mean
from mtra_jax.methods.model import Space
from mtra_jax.models import pretrained
from mtra_jax.types import Batch, Params

try:
    import torch
except ImportError:  # optional: only `TorchTrainer` needs it
    torch = None

METHODS = ("ew", "mtra")


class TorchBatch(NamedTuple):
    """The B texts of one task on a device; N rows of S tokens, N = B where padded."""

    task: int
    tokens: torch.Tensor
    """int64 [N, S]"""
    positions: torch.Tensor | None
    """int64 [N, S], rows of the position table; None for transformers' own."""
    attention: torch.Tensor | None
    """bool [N, 1, S, S], True where a token sees another; None for all."""
    first_tokens: torch.Tensor | None
    """int64 [B], as in `types.Batch`; None where every row starts with its text."""
    labels: torch.Tensor
    """int64 [B], the classes; or float32 [B, d], the values."""
    targets: torch.Tensor
    """float32 [B, L], in the joint label space."""
    partner_targets: torch.Tensor
    """float32 [B, L], those of each text's partner."""


class Rows(NamedTuple):
    """The encoder's inputs on the host: the fields of `TorchBatch` with these names."""

    tokens: np.ndarray
    positions: np.ndarray | None
    attention: np.ndarray | None
    first_tokens: np.ndarray | None


class TorchTrainer:
    """Model, optimiser and step of MTRA (`method="mtra"`) or equal weighting (`"ew"`).

    The encoder comes from `encoder_directory`, which `pretrained.save_encoder` writes;
    the heads and the statistics network from `params`. `beta`, `epsilon` and `floor`
    are MTRA's (see `methods.mtra`), `head_dropout` the heads'; the encoder's own rates
    are those of its configuration. The learning rate is constant.

    `packed=True` keeps our rows, with a block-diagonal mask; `packed=False` pads the
    texts to the longest of the batch. `use_bfloat16` runs the encoder under autocast;
    heads, losses and parameters stay in float32, as ours do. `compile_model` compiles
    the encoder for shapes that change.

    Raises:
      InputError: PyTorch is not installed, `method` is unknown, or there is no compiler.

    Source: methods/mtra.py and methods/weighted.py; the numbers agree.
    """

    def __init__(
        self,
        encoder_directory: Path,
        params: Params,
        space: Space,
        *,
        method: str,
        beta: float,
        epsilon: float,
        floor: float,
        head_dropout: float,
        learning_rate: float,
        clip_norm: float,
        device: str,
        use_bfloat16: bool,
        compile_model: bool,
        packed: bool,
    ) -> None:
        if torch is None:
            raise InputError("PyTorch is not installed; expected torch, an extra")
        if method not in METHODS:
            raise InputError(f"method is {method!r}; {did_you_mean(method, METHODS)}")
        self.space, self.is_aligned, self.is_packed = space, method == "mtra", packed
        self.beta, self.epsilon, self.floor = beta, epsilon, floor
        self.head_dropout, self.clip_norm = head_dropout, clip_norm
        self.device, self.use_bfloat16 = torch.device(device), use_bfloat16

        self.config = pretrained.read_config(encoder_directory)
        self.encoder = load_encoder(encoder_directory).to(self.device)
        self.words = self.encoder.get_input_embeddings().weight
        heads = (_linear(params["heads"][name]) for name in space.names)
        self.heads = torch.nn.ModuleList(heads).to(self.device)
        layers = params["method"]["statistics"] if self.is_aligned else {}
        statistics = {name: _linear(layer) for name, layer in layers.items()}
        self.statistics = torch.nn.ModuleDict(statistics).to(self.device)

        modules = self.encoder, self.heads, self.statistics
        self.parameters = [p for module in modules for p in module.parameters()]
        # One kernel for many tensors; on a CPU a loop over tensors is quicker.
        self.optimiser = torch.optim.Adamax(
            self.parameters, lr=learning_rate, foreach=self.device.type == "cuda"
        )
        self.encode = self.encoder
        if compile_model:
            _check_compiler(self.device)
            self.encode = torch.compile(self.encoder, dynamic=True)

    # ---- batches

    def place(self, batch: Batch) -> TorchBatch:
        """Our host-side batch as tensors on the device.

        Raises:
          ValueError: the batch is empty, or not of one device, part and task.
        """
        if batch.tokens.shape[:3] != (1, 1, 1):
            shape = batch.tokens.shape[:3]
            raise ValueError(f"`batch` must have axes of (1, 1, 1); found {shape}.")
        local = Batch(*(np.asarray(array)[0, 0] for array in batch))
        local = Batch(*(array[0] for array in local[:5]), *local[5:])
        tasks = np.unique(local.tasks[local.where])
        if len(tasks) != 1:
            raise ValueError(f"`batch` must hold one task; found {tasks.tolist()}.")
        (task,) = tasks.tolist()
        rows = self._packed_rows(local) if self.is_packed else self._padded_rows(local)
        targets = local.targets[local.where]
        labels = targets[:, np.asarray(self.space.slot_tasks) == task]
        if self.space.is_classification[task]:
            labels = labels.argmax(axis=1)
        return TorchBatch(
            task,
            *map(self._to_device, rows),
            self._to_device(labels),
            self._to_device(targets),
            self._to_device(local.targets[local.partners[local.where]]),
        )

    def _packed_rows(self, local: Batch) -> Rows:
        return Rows(
            local.tokens.astype(np.int64),
            local.positions.astype(np.int64) + self.config.position_offset,
            # Padding attends to padding: a token that attends to nothing gives NaN in SDPA.
            local.segments[:, None, :, None] == local.segments[:, None, None, :],
            local.first_tokens[local.where].astype(np.int64),
        )

    def _padded_rows(self, local: Batch) -> Rows:
        is_text = local.segments.ravel() > 0
        columns = local.positions.ravel()[is_text]
        # Texts as they lie in the rows, and the place of each in the batch.
        order = np.argsort(local.first_tokens[local.where])
        places = order[np.cumsum(columns == 0) - 1]
        num_texts, longest = len(order), int(columns.max()) + 1
        tokens = np.full((num_texts, longest), self.config.pad_token_id, np.int64)
        tokens[places, columns] = local.tokens.ravel()[is_text]
        if len(columns) == tokens.size:
            return Rows(tokens, None, None, None)
        sees = np.zeros((num_texts, longest), bool)
        sees[places, columns] = True
        # transformers uses a mask of four axes as it is. It searches one of two axes for
        # padding, which waits for the device, and expands it to this one in each pass.
        return Rows(tokens, None, sees[:, None, None, :], None)

    def _to_device(self, array: np.ndarray | None) -> torch.Tensor | None:
        if array is None:
            return None
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    # ---- losses

    def losses(self, batch: TorchBatch) -> dict[str, float]:
        """The losses of the batch's task without dropout; changes nothing.

        "task" is ℓ_Task and "aligned" ℓ_TA; with MTRA also "mi", the bound in nats, and
        "perturbed", ℓ_SA.
        """
        self._train(False)
        loss, terms = self._loss(batch)
        if self.is_aligned:
            (gradient,) = torch.autograd.grad(loss, self.words)
            with self._perturbed(gradient), torch.no_grad():
                terms["perturbed"], _ = self._loss(batch)
        return {
            name: value.item() for name, value in {"aligned": loss, **terms}.items()
        }

    def _loss(self, batch: TorchBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """ℓ_TA (ℓ_Task with equal weighting), and its terms."""
        functional = torch.nn.functional
        z = self._represent(batch)
        hidden = functional.dropout(
            functional.relu(z), self.head_dropout, self.encoder.training
        )
        outputs = self.heads[batch.task](hidden)
        if self.space.is_classification[batch.task]:
            task = functional.cross_entropy(outputs, batch.labels)
        else:
            task = functional.mse_loss(outputs, batch.labels)
        if not self.is_aligned:
            return task, {"task": task}
        bound = self._bound(z, batch)
        return task - self.beta * bound, {"task": task, "mi": bound}

    def _represent(self, batch: TorchBatch) -> torch.Tensor:
        """z [B, H] in float32."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.use_bfloat16
        ):
            states = self.encode(
                batch.tokens,
                attention_mask=batch.attention,
                position_ids=batch.positions,
            ).last_hidden_state
        if batch.first_tokens is None:
            return states[:, 0].float()
        return states.flatten(0, 1).index_select(0, batch.first_tokens).float()

    def _bound(self, z: torch.Tensor, batch: TorchBatch) -> torch.Tensor:
        """mean V(y|z) − log mean exp V(y'|z), the targets y' those of the partners."""
        from_z = self.statistics["from_z"](z)

        def score(y: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(from_z + self.statistics["from_y"](y))
            return self.statistics["score"](hidden)[:, 0]

        log_sum = torch.logsumexp(score(batch.partner_targets), 0)
        return score(batch.targets).mean() - (log_sum - math.log(len(z)))

    @contextlib.contextmanager
    def _perturbed(self, gradient: torch.Tensor) -> Iterator[None]:
        """Moves the word embeddings by `epsilon` along `gradient`, and restores them exactly."""
        with torch.no_grad():
            before = self.words.clone()
            norm = torch.linalg.vector_norm(gradient)
            scale = torch.where(norm > 0, self.epsilon / norm, 0)
            self.words.addcmul_(gradient, scale)
        try:
            yield
        finally:
            with torch.no_grad():
                self.words.copy_(before)

    # ---- step

    def step(self, batch: TorchBatch) -> float:
        """One training step with dropout; returns the objective, for which it waits."""
        value = self.launch(batch).item()
        return _floored_log(value, self.floor) if self.is_aligned else value

    def launch(self, batch: TorchBatch) -> torch.Tensor:
        """The same step, without waiting for the device.

        Returns the objective; with MTRA the sum of the two losses, whose logarithm it is.
        """
        self._train(True)
        # With None instead of zero the optimiser skips the heads of absent tasks.
        self.optimiser.zero_grad(set_to_none=True)
        loss, _ = self._loss(batch)
        if not self.is_aligned:
            objective = loss / self.space.num_tasks
            objective.backward()
            self._update()
            return objective.detach()
        loss.backward()
        with self._perturbed(self.words.grad):
            perturbed, _ = self._loss(batch)
            perturbed.backward()
        total = loss.detach() + perturbed.detach()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # The derivative of the floored logarithm. As clipping does, many tensors at once.
        torch._foreach_mul_(gradients, 1 / total.clamp(min=self.floor))
        self._update()
        return total

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimiser.step()

    def _train(self, is_training: bool) -> None:
        if self.encoder.training != is_training:  # visits all modules
            self.encoder.train(is_training)


def load_encoder(directory: Path) -> Any:
    """The encoder in `directory` as transformers' model, without its pooling layer."""
    import transformers

    transformers.utils.logging.disable_progress_bar()  # of part of a second
    return transformers.AutoModel.from_pretrained(
        directory,
        add_pooling_layer=False,
        attn_implementation="sdpa",
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )


def _linear(layer: Params) -> Any:
    """`torch.nn.Linear` of our kernel [inputs, outputs] and, where there is one, bias."""
    kernel = np.asarray(layer["kernel"])
    linear = torch.nn.Linear(*kernel.shape, bias="bias" in layer)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(kernel.T))
        if "bias" in layer:
            linear.bias.copy_(torch.tensor(np.asarray(layer["bias"])))
    return linear


def _check_compiler(device: Any) -> None:
    """Compiles a sum, because `torch.compile` itself fails only in its first call.

    Earlier compilations are dropped, because PyTorch counts them per process: past its
    limit of 8 versions of a function it no longer compiles.
    """
    try:
        torch.compiler.reset()
        torch.compile(lambda x: x.sin() + x.cos())(torch.ones(2, device=device))
    except Exception as error:  # each stage raises other types
        reason = " ".join(str(error).split())
        raise InputError(
            f"torch.compile does not work on {device}; expected a compiler: "
            f"{type(error).__name__}: {reason:.200}"
        ) from error


def _floored_log(x: float, floor: float) -> float:
    return math.log(x) if x >= floor else math.log(floor) + (x - floor) / floor
