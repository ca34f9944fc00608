"""Sizes, times and a link -> seconds that a step waits for the means of its gradients.

    python scripts/benchmarking/mean_costs.py

prints the table of README.md beside this file. It is a model, not a measurement.
"""

from typing import NamedTuple


class Network(NamedTuple):
    """Bytes of the gradients, and seconds of one layer's backward pass."""

    num_layers: int
    layer_bytes: float
    words_bytes: float
    """The word embeddings, whose gradient MTRA needs before its second pass."""
    rest_bytes: float
    """All that is not in a layer, the word embeddings included."""
    backward_seconds: float


class Link(NamedTuple):
    """Bandwidth and latency of a mean over `num_devices`.

    A ring sends 2 (D − 1)/D bytes for each byte of the gradient.
    """

    bandwidth: float
    """Bytes per second of one device."""
    latency: float
    num_devices: int

    def seconds(self, num_bytes: float) -> float:
        """The time of one mean.

        >>> Link(bandwidth=1e9, latency=0.5, num_devices=2).seconds(1e9)
        1.5
        """
        shares = 2 * (self.num_devices - 1) / self.num_devices
        return self.latency + shares * num_bytes / self.bandwidth


def whole(network: Network, link: Link, passes: int) -> float:
    """Seconds of waiting if the means follow the backward passes; 2 passes are MTRA's.

    >>> sizes = Network(2, layer_bytes=1e9, words_bytes=1e9, rest_bytes=1e9,
    ...     backward_seconds=2.0)
    >>> whole(sizes, Link(1e9, 0.0, 2), passes=1), whole(sizes, Link(1e9, 0.0, 2), passes=2)
    (3.0, 4.0)
    """
    gradient = network.num_layers * network.layer_bytes + network.rest_bytes
    ascents = (passes - 1) * link.seconds(network.words_bytes)
    return link.seconds(gradient) + ascents


def in_pieces(network: Network, link: Link, passes: int) -> float:
    """Seconds of waiting if each layer's mean starts as soon as its gradient is made.

    Each pass averages all layers; means take turns, and do not slow the backward pass.

    >>> sizes = Network(2, layer_bytes=1e9, words_bytes=1e9, rest_bytes=1e9,
    ...     backward_seconds=2.0)
    >>> in_pieces(sizes, Link(1e9, 0.0, 2), passes=1)  # the last layer, and the rest
    2.0
    >>> in_pieces(sizes, Link(0.25e9, 0.0, 2), passes=1)  # 4 + 4 s, behind 2 s, and 4 s
    10.0
    """
    made = done = 0.0
    for _ in range(network.num_layers):
        made += network.backward_seconds
        done = max(done, made) + link.seconds(network.layer_bytes)
    behind = done - made
    ascents = (passes - 1) * (behind + link.seconds(network.words_bytes))
    return behind + link.seconds(network.rest_bytes) + ascents


LAYER = 4 * 7_087_872
WORDS = 4 * 50_265 * 768
REST = WORDS + 4 * (514 * 768 + 3 * 768)
"""RoBERTa-base in float32."""
# Two thirds of EW's step without the optimiser, by layer; see the figures of the H100.
BACKWARD = {"128 texts": 0.48e-3, "1,024 texts": 2.9e-3}
LINKS = {
    "NVLink, 8 GPUs, 350 GB/s": Link(350e9, 30e-6, 8),
    "InfiniBand, 16 GPUs, 45 GB/s": Link(45e9, 60e-6, 16),
    "Ethernet, 8 hosts, 11 GB/s": Link(11e9, 100e-6, 8),
}


def main() -> None:
    print("| link | texts of a device | method | at the end | in pieces |")
    print("| --- | --- | --- | ---: | ---: |")
    for link_name, link in LINKS.items():
        for texts, seconds in BACKWARD.items():
            network = Network(12, LAYER, WORDS, REST, seconds)
            for method, passes in (("EW", 1), ("MTRA", 2)):
                waits = (f(network, link, passes) for f in (whole, in_pieces))
                cells = " | ".join(f"{1e3 * wait:.1f} ms" for wait in waits)
                print(f"| {link_name} | {texts} | {method} | {cells} |")


if __name__ == "__main__":
    main()
