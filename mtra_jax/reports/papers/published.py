"""The two papers' tables of scores -> the figures of a row, beside which ours are shown.

`BLOCKS` holds the figures as they are printed: means ± standard deviations over three
seeds of the tasks in the order of the benchmark, then Avg., then Δp; or the last two
alone. "-": the paper lacks it. Rows have the names of `configs/experiments.py`.

Source: Hu et al. 2026 (ACL, "MTRA"); Hu et al. 2025 (AAAI, "InfoMTL").
"""

from collections.abc import Sequence

from mtra_jax.reports.papers import published_conditions
from mtra_jax.reports.papers.blocks import Block, Figures, read

MAIN, FINE = ("main", "fine_grained"), ("fine_grained",)
ABLATIONS = ("ablations",)
BLOCKS = (
    Block("MTRA 1", MAIN, "bert", "tweeteval", has_tasks=False, text="""
        ew                65.62±0.57   0.00
        si                65.67±0.66  +0.06
        tw                65.68±0.54  +0.11
        uw                66.97±0.51  +2.22
        gls               66.05±1.49  +0.60
        dwa               65.56±0.57  -0.09
        pcgrad            65.45±0.33  -0.50
        imtl_l            66.18±1.45  +0.86
        rlw               66.76±1.42  +1.86
        mt_vib            65.80±0.23  +0.66
        vmtl              65.80±1.59  +0.65
        hierarchical_mtl  66.42±0.10  +1.76
        infomtl           67.51±0.60  +3.70
        mtra              68.16±0.58  +4.37
    """),
    Block("MTRA 1", MAIN, "roberta", "tweeteval", has_tasks=False, text="""
        ew                66.17±0.43   0.00
        si                67.16±1.08  +1.75
        tw                67.08±1.17  +1.55
        uw                67.11±3.47  +1.92
        gls               67.32±0.38  +1.67
        dwa               66.94±1.13  +1.35
        pcgrad            67.42±0.30  +1.96
        imtl_l            66.54±1.50  +0.67
        rlw               67.07±0.73  +1.63
        mt_vib            67.14±0.87  +2.00
        vmtl              67.05±1.06  +1.81
        hierarchical_mtl  66.84±1.68  +1.60
        infomtl           68.50±0.58  +3.97
        mtra              69.96±1.62  +7.06
    """),
    Block("MTRA 1", MAIN, "bert", "affecteval", has_tasks=False, text="""
        ew                52.93±2.02   0.00
        si                53.49±1.89  +1.80
        tw                53.27±2.12  +0.82
        uw                53.79±1.85  +1.81
        gls               54.56±0.36  +9.82
        dwa               52.88±1.88  -0.25
        pcgrad            51.62±0.51  -3.09
        imtl_l            53.89±0.42  +3.41
        rlw               51.38±1.42  -3.03
        mt_vib            50.13±0.71  -5.09
        vmtl              50.02±0.76  -5.01
        hierarchical_mtl  50.55±0.65  -4.19
        infomtl           54.75±2.21  +8.13
        mtra              57.83±0.96  +15.96
    """),
    Block("MTRA 1", MAIN, "roberta", "affecteval", has_tasks=False, text="""
        ew                57.64±2.12   0.00
        si                57.94±2.02  +0.61
        tw                57.70±1.63  +0.09
        uw                59.69±1.10  +4.05
        gls               57.66±1.65  -0.23
        dwa               57.36±2.53  -0.51
        pcgrad            56.27±2.16  -2.73
        imtl_l            57.73±1.20  +0.05
        rlw               55.61±2.32  -4.26
        mt_vib            57.68±1.56  +0.36
        vmtl              57.52±0.48  +0.20
        hierarchical_mtl  55.18±0.58  -4.74
        infomtl           57.91±1.40  +0.57
        mtra              61.20±0.65  +7.18
    """),
    Block("MTRA 2 (a)", FINE, "roberta", "tweeteval", text="""
        ew       74.37±0.56 44.08±5.26 65.32±1.84 79.04±1.43 70.64±1.71 63.59±2.43 66.17±0.43  0.00
        si       75.81±1.05 46.19±6.01 66.17±5.81 78.58±2.00 71.00±1.80 65.24±2.31 67.16±1.08 +1.75
        uw       74.76±3.08 48.49±3.21 65.41±7.01 79.49±1.48 71.56±0.74 62.96±6.84 67.11±3.47 +1.92
        mt_vib   74.74±0.38 48.06±4.79 66.09±3.38 78.17±1.39 70.95±0.99 64.83±1.56 67.14±0.87 +2.00
        infomtl  76.90±0.62 48.44±2.15 68.94±1.86 79.78±0.86 71.92±0.36 65.02±1.81 68.50±0.58 +3.97
        mtra     76.97±1.54 55.48±4.24 68.11±2.59 80.10±0.10 72.05±0.81 67.02±2.61 69.96±1.62 +7.06
    """),
    Block("MTRA 2 (b)", FINE, "roberta", "affecteval", text="""
        ew       47.13±0.33 77.97±0.63 75.62±0.79 49.44±4.70 36.47±4.02 51.01±4.62 52.23±4.68 57.64±2.12  0.00
        si       47.08±0.72 78.22±0.49 75.61±1.39 50.35±5.02 37.26±4.78 51.55±3.99 52.60±3.82 57.94±2.02 +0.61
        uw       48.54±0.55 78.55±1.14 76.81±0.28 53.26±0.44 38.60±3.32 54.94±3.14 55.93±3.00 59.69±1.10 +4.05
        mt_vib   46.92±0.29 76.66±2.31 75.61±1.96 51.60±1.01 37.50±5.59 51.80±1.39 52.64±2.19 57.68±1.56 +0.36
        infomtl  49.21±0.71 78.17±0.59 73.81±4.77 48.21±4.46 35.02±3.33 51.72±2.83 52.09±2.96 57.91±1.40 +0.57
        mtra     48.48±0.87 78.90±1.39 79.59±1.21 55.40±0.65 44.45±0.93 57.38±1.39 57.81±1.05 61.20±0.65 +7.18
    """),
    Block("InfoMTL 2", FINE, "roberta", "tweeteval", text="""
        vmtl              74.07±0.72 47.44±3.42 68.55±2.80 77.95±0.22 70.52±1.04 63.76±2.86 67.05±1.06 +1.81
        hierarchical_mtl  74.09±1.73 48.52±4.26 64.92±6.14 78.26±1.63 71.45±0.44 63.82±0.54 66.84±1.68 +1.60
    """),
    # Table 3 has no Δp, and no EW, which is that of table 2. Its figures of language
    # models are from other papers. InfoMTL's table 3 also has InfoMTL on pairs of tasks,
    # which it does not name.
    Block("InfoMTL 3", ("paradigms",), "roberta", "tweeteval", text="""
        infomtl  76.90 48.44 68.94 79.78 71.92 65.02 68.50  -
    """),
    Block("MTRA 3", ("paradigms",), "roberta", "tweeteval", text="""
        ew       74.37±0.56 44.08±5.26 65.32±1.84 79.04±1.43 70.64±1.71 63.59±2.43 66.17±0.43  0.00
        stl      74.49 45.26 53.27 79.20 72.43 66.70 65.23  -
        stl_cnn  59.11 47.61 52.10 77.80 70.85 57.58 60.84  -
        mtra     76.97±1.54 55.48±4.24 68.11±2.59 80.10±0.10 72.05±0.81 67.02±2.61 69.96±1.62 +7.06
        Llama-3 4 demonstrations   58.07 - 35.80 - 58.78 - - -
        Qwen-2.5 4 demonstrations  63.61 - 65.80 - 52.39 - - -
        GPT-3.5 zero-shot          73.23 48.30 66.81 63.71 40.40 39.45 55.32 -
    """),
    Block("MTRA 4", ABLATIONS, "bert", "tweeteval", has_tasks=False, text="""
        ew                65.62±0.57   0.00
        mtra              68.16±0.58  +4.37
        mtra w/o TA       67.57±1.16  +3.05
        mtra w/o SA       66.93±0.91  +2.09
        mtra w/o TA & SA  65.67±0.66  +0.06
        mtra w/o all      65.62±0.57   0.00
    """),
    Block("MTRA 4", ABLATIONS, "bert", "affecteval", has_tasks=False, text="""
        ew                52.93±2.02   0.00
        mtra              57.83±0.96  +15.96
        mtra w/o TA       54.81±1.75  +5.27
        mtra w/o SA       57.01±1.09  +12.89
        mtra w/o TA & SA  53.49±1.89  +1.80
        mtra w/o all      52.93±2.02   0.00
    """),
    Block("MTRA 13 (a)", ABLATIONS, "roberta", "tweeteval", text="""
        mtra              76.97±1.54 55.48±4.24 68.11±2.59 80.10±0.10 72.05±0.81 67.02±2.61 69.96±1.62 +7.06
        mtra w/o TA       75.00±1.89 45.59±1.09 65.33±6.08 80.69±0.79 72.28±0.40 63.71±2.14 67.10±1.86 +1.48
        mtra w/o SA       75.45±1.15 47.80±1.74 66.56±6.16 77.64±2.72 70.78±0.91 65.07±1.14 67.22±0.96 +2.09
        mtra w/o TA & SA  75.81±1.05 46.19±6.01 66.17±5.81 78.58±2.00 71.00±1.80 65.24±2.31 67.16±0.96 +1.75
        mtra w/o all      74.37±0.56 44.08±5.26 65.32±1.84 79.04±1.43 70.64±1.71 63.59±2.43 66.17±0.43  0.00
    """),
    Block("MTRA 13 (b)", ABLATIONS, "roberta", "affecteval", text="""
        mtra              48.48±0.87 78.90±1.39 79.59±1.21 55.40±0.65 44.45±0.93 57.38±1.39 57.81±1.05 61.20±0.65 +7.18
        mtra w/o TA       48.40±1.13 79.36±1.78 76.92±0.82 51.83±2.08 39.21±1.53 53.95±1.69 54.54±1.72 59.50±0.40 +3.57
        mtra w/o SA       49.15±1.62 78.90±0.75 78.24±0.54 53.56±2.12 43.65±2.76 55.49±2.44 56.28±2.37 60.60±0.50 +6.06
        mtra w/o TA & SA  47.08±0.72 78.22±0.49 75.61±1.39 50.35±5.02 37.26±4.78 51.55±3.99 52.60±3.82 57.94±2.02 +0.61
        mtra w/o all      47.13±0.33 77.97±0.63 75.62±0.79 49.44±4.70 36.47±4.02 51.01±4.62 52.23±4.68 57.64±2.12  0.00
    """),
    Block("InfoMTL 4", ABLATIONS, "bert", "tweeteval", has_tasks=False, text="""
        infomtl                    67.51  +3.70
        infomtl w/o SIMax          66.01  +0.71
        infomtl w/o TIMin          67.02  +2.59
        infomtl w/o SIMax & TIMin  65.62   0.00
    """),
    Block("InfoMTL 9", ABLATIONS, "roberta", "tweeteval", text="""
        ew                         74.37±0.56 44.08±5.26 65.32±1.84 79.04±1.43 70.64±1.71 63.59±2.43 66.17±0.43  0.00
        infomtl                    76.90±0.62 48.44±2.15 68.94±1.86 79.78±0.86 71.92±0.36 65.02±1.81 68.50±0.58 +3.97
        infomtl w/o SIMax          76.02±1.10 49.30±3.75 64.63±3.14 79.44±1.93 71.67±1.25 64.47±1.65 67.59±1.06 +2.72
        infomtl w/o TIMin          76.37±0.37 46.82±4.98 64.12±7.01 80.25±0.89 71.39±0.49 66.34±0.74 67.55±0.31 +2.34
        infomtl w/o SIMax & TIMin  74.37±0.56 44.08±5.26 65.32±1.84 79.04±1.43 70.64±1.71 63.59±2.43 66.17±0.43  0.00
    """),
    *published_conditions.BLOCKS,
)  # fmt: skip
# Printed rows that are not trained: a table quotes them whether or not it has such rows.
LANGUAGE_MODELS = (
    "Llama-3 4 demonstrations",
    "Qwen-2.5 4 demonstrations",
    "GPT-3.5 zero-shot",
)
# Parameters in training and in testing, without the heads; memory of training beside EW's.
COSTS = {  # MTRA 19
    "ew": ("110M", "110M", "×1"),
    "pcgrad": ("110M", "110M", "×3"),
    "infomtl": ("110M + 576k", "110M", "×2.5"),
    "mtra": ("110M + 92k", "110M", "×1.5"),
}


def rows_of(
    experiment: str, backbone: str, benchmark: str, tasks: Sequence[str] = ()
) -> dict[str, Figures]:
    """The printed rows of an experiment by name; {} if the papers do not have the setting.

    `tasks`: those of a part of the benchmark; () for all of it. A row of several tables
    has the figures of the last one in `BLOCKS`, which is the most detailed.
    """
    setting = backbone, benchmark, tuple(tasks)
    rows: dict[str, Figures] = {}
    for block in BLOCKS:
        is_own = (block.backbone, block.benchmark, block.tasks) == setting
        if is_own and experiment in block.experiments:
            rows |= read(block)
    return rows
