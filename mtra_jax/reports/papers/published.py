"""The two papers' tables of scores -> the figures of a row, beside which ours are shown.

`BLOCKS` holds the figures as they are printed: means ± standard deviations over three
seeds of the tasks in the order of the benchmark, then Avg., then Δp; or the last two
alone. "-": the paper lacks it. Rows have the names of `configs/experiments.py`.

Source: Hu et al. 2026 (ACL, "MTRA"); Hu et al. 2025 (AAAI, "InfoMTL").
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mtra_jax.reports.statistics.seeds import AVG, Cell
from mtra_jax.tasks import BENCHMARKS


class Block(NamedTuple):
    """Rows of one table. `tasks`: those of a part of the benchmark; () for all of it."""

    table: str
    experiments: tuple[str, ...]
    backbone: str
    benchmark: str
    text: str
    tasks: tuple[str, ...] = ()
    has_tasks: bool = True


class Figures(NamedTuple):
    """A printed row. Keys of `cells`: (task, metric) and `AVG`, or `AVG` alone."""

    table: str
    cells: dict[tuple[str, str], Cell]
    delta_p: float | None


MAIN, FINE = ("main", "fine_grained"), ("fine_grained",)
SIZES, NOISE, SENSITIVITY = ("data_size",), ("label_noise",), ("sensitivity",)
ABLATIONS, PAIRS = ("ablations",), ("pairs",)
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
    # models are from other papers.
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
    Block("MTRA 14", SIZES, "roberta", "tweeteval", text="""
        ew data 20 %       66.01 53.12 56.09 75.57 70.20 53.60 62.43   0.00
        si data 20 %       64.35 52.96 55.84 76.32 70.07 53.84 62.23  -0.34
        uw data 20 %       65.75 43.59 55.24 79.15 70.77 56.16 61.78  -1.59
        mt_vib data 20 %   56.09 47.29 59.11 77.30 70.31 49.90 60.00  -4.18
        infomtl data 20 %  68.85 53.42 57.78 77.92 70.40 60.63 64.83  +4.07
        mtra data 20 %     68.01 53.27 58.87 77.43 70.76 59.23 64.59  +3.67
        ew data 60 %       73.59 47.68 63.45 77.85 71.76 63.95 66.38   0.00
        si data 60 %       73.23 46.45 64.03 78.45 71.74 63.93 66.31  -0.24
        uw data 60 %       74.20 47.24 62.98 79.25 71.91 61.47 66.17  -0.45
        mt_vib data 60 %   69.61 47.87 67.42 78.42 71.55 63.02 66.31  +0.04
        infomtl data 60 %  75.12 48.48 63.50 79.27 70.71 63.17 66.71  +0.50
        mtra data 60 %     75.43 49.18 65.89 78.20 70.97 63.17 67.14  +1.27
        ew data 80 %       73.59 44.52 66.27 78.50 71.90 63.23 66.34   0.00
        si data 80 %       74.34 48.31 67.71 78.51 71.15 63.97 67.33  +1.98
        uw data 80 %       75.06 47.98 65.87 79.00 70.28 63.39 66.93  +1.30
        mt_vib data 80 %   72.75 43.60 64.55 78.59 70.18 62.36 65.34  -1.57
        infomtl data 80 %  77.10 46.49 68.32 78.94 70.62 65.83 67.88  +2.53
        mtra data 80 %     76.17 50.77 69.42 79.46 70.57 64.36 68.46  +3.91
    """),
    Block("MTRA 15", SIZES, "roberta", "affecteval", text="""
        ew data 20 %       37.85 67.47 58.48 17.09 11.41 40.98 42.28 43.99   0.00
        si data 20 %       37.86 67.52 57.14 17.81 11.48 37.67 38.60 43.08  -1.86
        uw data 20 %       40.27 72.28 65.21 34.37 18.36 43.30 44.40 48.93 +19.17
        mt_vib data 20 %   36.31 63.35 61.25 14.62 17.92 45.72 47.21 44.35  +4.30
        infomtl data 20 %  39.01 71.93 64.87 32.44 26.27 45.47 45.81 49.44 +24.07
        mtra data 20 %     40.90 70.84 62.33 28.32 18.27 46.93 47.90 48.86 +17.77
        ew data 60 %       45.12 77.26 72.74 43.36 32.08 47.85 48.82 55.03   0.00
        si data 60 %       44.64 75.54 71.71 44.83 29.08 47.45 48.16 54.13  -1.71
        uw data 60 %       44.86 75.56 73.83 44.56 34.68 49.22 50.02 55.27  +1.00
        mt_vib data 60 %   43.21 71.47 73.34 40.53 27.53 49.01 50.17 52.85  -3.94
        infomtl data 60 %  44.93 76.50 74.01 39.14 37.80 44.35 45.17 54.13  -1.39
        mtra data 60 %     45.65 77.62 76.91 52.48 39.17 55.26 56.19 58.80  +8.31
        ew data 80 %       46.12 77.61 74.39 47.79 31.14 51.82 52.51 56.75   0.00
        si data 80 %       46.19 78.15 74.26 47.88 31.58 48.97 49.24 56.17  -1.13
        uw data 80 %       47.69 78.19 75.39 53.11 37.67 53.12 54.00 58.71  +4.49
        mt_vib data 80 %   45.73 73.47 73.89 47.56 28.30 49.65 50.55 54.80  -3.39
        infomtl data 80 %  45.78 77.59 74.56 49.48 37.50 50.42 50.86 56.96  +1.09
        mtra data 80 %     49.01 79.88 77.71 53.09 39.99 52.91 53.94 59.81  +6.57
    """),
    # Table 16 names six columns, and their sizes show that the last four are in another
    # order than the heads; Avg. does not depend on it.
    Block("MTRA 8", NOISE, "roberta", "tweeteval", has_tasks=False, text="""
        ew noise 20 %       68.03   0.00
        si noise 20 %       66.86  -2.07
        uw noise 20 %       67.62  -0.72
        mt_vib noise 20 %   66.95  -1.56
        infomtl noise 20 %  67.82  -0.31
        mtra noise 20 %     69.67  +2.55
        ew noise 40 %       67.05   0.00
        si noise 40 %       64.75  -3.20
        uw noise 40 %       67.17  +0.55
        mt_vib noise 40 %   67.57  +1.29
        infomtl noise 40 %  67.47  +1.09
        mtra noise 40 %     69.24  +4.01
        ew noise 60 %       66.70   0.00
        si noise 60 %       65.22  -2.39
        uw noise 60 %       64.36  -4.06
        mt_vib noise 60 %   65.65  -1.83
        infomtl noise 60 %  65.77  -1.92
        mtra noise 60 %     68.87  +3.17
    """),
    Block("MTRA 11 (a)", PAIRS, "roberta", "affecteval", tasks=("goemotions", "emobank"), text="""
        ew       46.69 73.10 48.17 33.09 49.07   0.00
        si       46.59 73.10 49.04 34.59 49.42  +0.95
        uw       48.91 77.70 53.97 44.87 53.88 +11.36
        mt_vib   46.28 74.65 48.84 30.83 48.86  -1.00
        infomtl  48.76 75.92 51.83 40.51 52.42  +7.86
        mtra     50.84 78.78 55.66 45.89 55.48 +14.77
    """),
    Block("MTRA 11 (b)", PAIRS, "roberta", "affecteval", tasks=("emotion", "ei-reg"), text="""
        ew       76.96 55.94 56.38 66.56   0.00
        si       78.07 55.44 56.36 66.99  +0.49
        uw       78.83 59.26 59.95 69.22  +4.28
        mt_vib   76.53 58.74 59.11 67.72  +2.18
        infomtl  78.71 54.48 55.19 66.77  -0.04
        mtra     79.73 58.52 59.43 69.35  +4.30
    """),
    # The heads of EmoBank there are A, V, D; the sizes of the figures are those of V, A, D.
    Block("MTRA 12 (a)", PAIRS, "roberta", "affecteval", tasks=("emobank", "ei-reg"), text="""
        ew       79.40 55.52 46.71 57.96 58.83 59.47   0.00
        si       80.50 56.35 49.38 59.82 60.50 61.12  +2.94
        uw       81.40 51.34 44.99 61.48 62.19 60.54  +1.50
        mt_vib   79.92 54.83 47.39 60.09 60.74 60.57  +1.88
        infomtl  80.93 56.17 50.46 59.71 60.32 61.27  +3.24
        mtra     81.28 56.04 50.86 61.38 62.35 62.29  +5.00
    """),
    Block("MTRA 12 (b)", PAIRS, "roberta", "affecteval", tasks=("goemotions", "emotion"), text="""
        ew       46.69 77.05 61.87   0.00
        si       47.13 77.09 62.11  +0.50
        uw       48.01 77.23 62.62  +1.53
        mt_vib   46.19 77.99 62.09  +0.08
        infomtl  51.49 78.24 64.87  +5.92
        mtra     50.20 79.55 64.87  +5.38
    """),
    Block("MTRA 17 (a), 18 (a)", SENSITIVITY, "roberta", "tweeteval", text="""
        ew                74.37 44.08 65.32 79.04 70.64 63.59 66.17   0.00
        mtra              76.97 55.48 68.11 80.10 72.05 67.02 69.96  +7.06
        mtra beta=1       76.97 55.48 68.11 80.10 72.05 67.02 69.96  +7.06
        mtra beta=2       77.24 45.16 61.99 79.91 70.55 65.56 66.74  +0.88
        mtra beta=0.5     77.10 48.15 64.90 80.64 72.34 65.07 68.03  +3.17
        mtra epsilon=5    76.97 55.48 68.11 80.10 72.05 67.02 69.96  +7.06
        mtra epsilon=1    76.25 48.74 70.32 80.03 71.54 68.13 69.17  +5.07
        mtra epsilon=0.1  76.48 47.39 68.94 80.27 71.80 65.61 68.42  +3.71
    """),
    Block("MTRA 17 (b), 18 (b)", SENSITIVITY, "roberta", "affecteval", text="""
        ew                47.13 77.97 75.62 49.44 36.47 51.01 52.23 57.64   0.00
        mtra              48.48 78.90 79.59 55.40 44.45 57.38 57.81 61.20  +7.18
        mtra beta=1       48.48 78.90 79.59 55.40 44.45 57.38 57.81 61.20  +7.18
        mtra beta=2       49.57 79.53 78.59 53.74 43.25 54.68 55.11 60.63  +5.99
        mtra beta=0.5     49.48 79.02 78.74 52.52 40.70 52.91 53.48 59.75  +4.18
        mtra epsilon=5    48.48 78.90 79.59 55.40 44.45 57.38 57.81 61.20  +7.18
        mtra epsilon=1    48.26 78.54 79.82 55.61 43.42 56.80 57.34 60.87  +6.52
        mtra epsilon=0.1  49.13 79.32 77.36 52.82 39.70 53.35 54.34 59.73  +4.07
    """),
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


def read(block: Block) -> dict[str, Figures]:
    """The rows of `block` by name."""
    keys = [AVG]
    if block.has_tasks:
        benchmark = BENCHMARKS[block.benchmark]
        tasks = benchmark.select(block.tasks or benchmark.task_names).tasks
        keys = [(task.name, m) for task in tasks for m in task.metrics] + keys
    rows = {}
    for line in block.text.strip().splitlines():
        name, text = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        *figures, delta_p = text.split()
        cells = dict(zip(keys, map(_cell, figures), strict=True))
        rows[name] = Figures(
            block.table, cells, None if delta_p == "-" else float(delta_p)
        )
    return rows


def _cell(text: str) -> Cell:
    if text == "-":
        return Cell(None, None)
    mean, _, std = text.partition("±")
    return Cell(float(mean), float(std) if std else None)
