"""The two papers' tables of representations, by experiment and row -> figures by column.

All of them are of RoBERTa on TweetEval.

Source: Hu et al. 2026 (ACL), tables 5 and 6; Hu et al. 2025 (AAAI), table 5.
"""

from mtra_jax.tasks import TWEETEVAL

Values = dict[str, dict[str, float]]


def _split(train: dict[str, float], validation: dict[str, float]) -> Values:
    return {"train": train, "validation": validation}


def _alignment(*figures: float) -> Values:
    """Figures in the order of table 5: training and validation, TA and SA loss each."""
    names = ("TA loss", "SA loss")
    train, validation = figures[:2], figures[2:]
    return _split(
        dict(zip(names, train, strict=True)), dict(zip(names, validation, strict=True))
    )


def _information(train: float, validation: float) -> Values:
    return _split({"mine": train}, {"mine": validation})


def _uniformity(*figures: float) -> Values:
    """Figures in the order of table 5: ARI and uniformity of each task."""
    pairs = zip(figures[::2], figures[1::2], strict=True)
    return {
        task.title: {"ARI": share, "Uni.": uniformity}
        for task, (share, uniformity) in zip(TWEETEVAL.tasks, pairs, strict=True)
    }


TABLES: dict[str, dict[str, Values]] = {
    "alignment": {  # MTRA 5
        "ew": _alignment(0.7048, 0.3358, 0.6243, 0.3353),
        "mtra": _alignment(0.3210, 0.2848, 0.6126, 0.2891),
        "mtra w/o SA": _alignment(0.3710, 0.3068, 0.6198, 0.3114),
        "mtra w/o TA & SA": _alignment(0.3733, 0.3682, 0.6313, 0.3689),
    },
    "informativeness": {  # MTRA 6
        "mtra": _information(0.0583, 0.0433),
        "mtra beta=1": _information(0.0583, 0.0433),
        "mtra w/o SA": _information(0.0351, 0.0261),
        "mtra beta=0.5": _information(0.0217, 0.0180),
        "mtra beta=2": _information(0.0404, 0.0329),
    },
    "uniformity": {  # InfoMTL 5
        "ew": _uniformity(
            *(5.23, -2.30, -0.32, -1.54, 1.06, -2.18),
            *(5.54, -2.19, 6.76, -2.15, 0.08, -2.35),
        ),
        "uw": _uniformity(
            *(8.89, -2.21, -0.82, -1.54, 0.68, -2.21),
            *(0.87, -2.18, 4.73, -2.13, 1.60, -2.21),
        ),
        "pcgrad": _uniformity(
            *(7.21, -2.36, -0.03, -1.60, -0.28, -2.35),
            *(4.02, -2.29, 2.97, -2.29, 2.13, -2.48),
        ),
        "mt_vib": _uniformity(
            *(1.98, -2.25, 0.14, -1.60, -0.09, -2.26),
            *(-0.17, -2.21, 1.54, -2.13, 0.01, -2.44),
        ),
        "hierarchical_mtl": _uniformity(
            *(5.89, -2.35, -0.01, -1.60, 0.04, -2.38),
            *(1.13, -2.32, 0.55, -2.21, -0.00, -2.66),
        ),
        "infomtl": _uniformity(
            *(51.38, -2.54, 0.29, -1.83, 11.40, -2.65),
            *(41.58, -2.69, 28.66, -2.71, 17.04, -2.71),
        ),
    },
}
