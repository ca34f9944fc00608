"""The keys of a configuration -> what each of them means, in a sentence or two."""

from collections.abc import Iterable

from mtra_jax.errors import did_you_mean

KEYS = {
    "benchmark": "Tasks that are trained together: tweeteval, affecteval, synthetic, or own "
    "for those of data.tasks.",
    "tasks": "Names of the benchmark's tasks to train; empty for all.",
    "seed": "Seed of new weights, the order of the examples, dropout and drawn examples.",
    "epochs": "Passes over the training examples, at most.",
    "patience": "Training ends after this many epochs without a better validation; as many as "
    "epochs for no early stop.",
    "selection": "Chooses the best epoch, on validation: loss (mean over tasks), log_sum (sum of "
    "their logarithms), average (Avg.), or TASK/METRIC for a figure of one task.",
    "batch_size": "Examples of a step, of all devices together.",
    "micro_batches": "Parts of a device's batch that are encoded one after the other (gradient "
    "accumulation): less memory, the same update; batch_size stays the whole.",
    "sampling": "per_task: a batch holds one task (MTRA, Algorithm 1). joint: a batch holds "
    "an equal share of every task. temperature: a batch holds one task, and the tasks' numbers "
    "of batches are proportional to min(examples, cap)^(1/temperature).",
    "sampling_temperature": "Temperature of sampling temperature, at least 1: 1 is proportional to "
    "the examples, larger values make the tasks' shares more equal.",
    "sampling_cap": "The largest number of training examples that counts when batches are shared among "
    "tasks; 0 for no limit. Later epochs use the other examples. Not with sampling joint.",
    "optimiser": "adamax, as in the paper, or adam, adamw, nadam, radam, adabelief, adadelta, lion, "
    "rmsprop, adagrad, sgd (momentum 0.9). Parameters of absent tasks rest with each.",
    "learning_rate": "Learning rate after the warm-up.",
    "warm_up": "Share of all planned steps over which the learning rate rises linearly "
    "to its value.",
    "schedule": "Learning rate after the warm-up: constant, or linear or cosine to 0 at the end of "
    "the last planned step.",
    "layer_decay": "Learning rate of a layer relative to the one above it, in (0, 1]; the top layer's "
    "relative to the heads', the embeddings' relative to the first layer's.",
    "weight_decay": "Decoupled weight decay as in AdamW, with every optimiser. Norms, biases and "
    "learned task weights do not decay, nor do parameters of absent tasks.",
    "clip_norm": "Largest L2 norm of the gradient; a longer one is scaled down to it. 1e9 for none.",
    "head_dropout": "Dropout rate before the heads' linear layers, in [0, 1).",
    "heads.start": "Biases of the heads before training: zero, or base_rate for those that predict "
    "the shares of the classes and labels and the mean values of the training set.",
    "class_weights": "Weights of the classes in the cross-entropy: none, or balanced for the inverse "
    "of their shares. A task of data.tasks may set its own, also as { label = weight }.",
    "label_smoothing": "Share of each target of the cross-entropy that is spread over all classes. A "
    "task of data.tasks may set its own.",
    "compute_dtype": "Precision of the encoder: float32, bfloat16, or auto (bfloat16 on "
    "accelerators). By JAX's default a float32 product rounds its inputs to TF32 on a GPU "
    "and to bfloat16 on a TPU; the environment variable "
    "JAX_DEFAULT_MATMUL_PRECISION=highest prevents it.",
    "devices": "Number of devices to use; 0 for all.",
    "mapping": "How a step is mapped over devices: pmap or shard_map, with the same numbers.",
    "gradient_pieces": "Whether devices average each layer's gradient as soon as it is made, "
    "instead of the whole gradient at the end.",
    "merged_kernels": "Whether the encoder multiplies with queries, keys and values at once and has "
    "norms that read less memory in the backward pass: for GPUs, slower on CPUs.",
    "max_bad_steps": "The run ends after this many steps in a row whose gradient is not finite.",
    "checkpoint_every": "Steps between checkpoints within an epoch; 0 for a checkpoint after each "
    "epoch only.",
    "loggers": "Where figures go besides metrics.jsonl: tensorboard, wandb, trackio, mlflow; "
    "empty for none.",
    "diagnostics.every": "Steps between two lines of diagnostics.jsonl: cosines and norms of the tasks' "
    "gradients, the share of conflicts, and the tasks' weights; 0 for none. A line costs a forward "
    "and a backward pass over up to four batches of each task.",
    "warm_start": "Directory of a finished run: its best epoch gives encoder and tokenizer, heads of "
    "the same tasks, and parameters of the same method. backbone.path is then not read.",
    "backbone.path": "Encoder to fine-tune: a directory, a hub name, or builtin:tiny. Empty for a "
    "new encoder of the sizes below.",
    "backbone.vocab_size": "Vocabulary size of a new encoder and its tokenizer.",
    "backbone.hidden_size": "Width of a new encoder.",
    "backbone.num_hidden_layers": "Number of layers of a new encoder.",
    "backbone.num_attention_heads": "Attention heads of a new encoder; they divide its width.",
    "backbone.intermediate_size": "Width of the feed-forward layers of a new encoder.",
    "backbone.dropout": "Dropout rate of a new encoder; a pretrained one has its checkpoint's.",
    "data.tasks": "TOML file that defines own tasks, for benchmark=own.",
    "data.dir": "Root of the benchmark's files, as `mtra-jax prepare` writes it, or hub.",
    "data.fraction": "Share of each task's training examples to use, drawn with the seed.",
    "data.limit": "Examples of each split of each task, at most; 0 for all. For quick trials.",
    "data.label_noise": "Share of the training examples whose label is drawn anew.",
    "data.standardize": "Whether regression tasks are trained on values less their mean, divided by "
    "their standard deviation; predictions and figures stay in the data's unit.",
    "data.max_length": "Longest text in tokens, special tokens included; longer texts are cut.",
    "data.max_shapes": "Most shapes of training batches, each of which is compiled; 0 chooses by "
    "cost.",
    "data.cache_dir": "Directory of tokenised texts and compiled programs; empty for none.",
    "method.name": "Method to train with; `mtra-jax config method` lists them.",
}
"""The options of a method are explained by the docstring of its factory."""


OTHER_NAMES = {
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "micro_batches",
    "lr": "learning_rate",
    "lr_scheduler_type": "schedule",
    "warmup_ratio": "warm_up",
    "warmup_steps": "warm_up",
    "max_grad_norm": "clip_norm",
    "optim": "optimiser",
    "optimizer": "optimiser",
    "early_stopping_patience": "patience",
    "early_stopping": "patience",
    "metric_for_best_model": "selection",
    "label_smoothing_factor": "label_smoothing",
    "bf16": "compute_dtype",
    "fp16": "compute_dtype",
    "precision": "compute_dtype",
    "max_seq_length": "data.max_length",
    "max_train_samples": "data.limit",
    "report_to": "loggers",
}
"""Names of Hugging Face's `TrainingArguments` and others -> the key that they mean."""


def similar(key: str, keys: Iterable[str]) -> str:
    """The `keys` that may be meant by `key`, as the end of an error message.

    >>> similar("gradient_accumulation_steps", KEYS)
    'did you mean micro_batches?'
    """
    group, _, name = key.rpartition(".")
    other = "" if group == "method" else OTHER_NAMES.get(name.lower())
    return f"did you mean {other}?" if other else did_you_mean(key, keys)
