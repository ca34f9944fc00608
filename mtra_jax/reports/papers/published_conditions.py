"""The papers' tables with other data, pairs of tasks and other values, see `published`."""

from mtra_jax.reports.papers.blocks import Block

SIZES, NOISE, SENSITIVITY = ("data_size",), ("label_noise",), ("sensitivity",)
PAIRS = ("pairs",)
BLOCKS = (
    Block("InfoMTL 6", ("data_size_infomtl",), "roberta", "tweeteval", has_tasks=False, text="""
        ew data 20 %                62.43   0.00
        uw data 20 %                61.78  -1.59
        pcgrad data 20 %            62.75  +1.48
        mt_vib data 20 %            60.00  -4.18
        hierarchical_mtl data 20 %  61.11  -2.30
        infomtl data 20 %           64.83  +4.07
        ew data 40 %                66.01   0.00
        uw data 40 %                64.35  -2.82
        pcgrad data 40 %            64.28  -2.93
        mt_vib data 40 %            63.58  -3.90
        hierarchical_mtl data 40 %  62.86  -5.07
        infomtl data 40 %           67.10  +2.16
        ew data 60 %                66.38   0.00
        uw data 60 %                66.17  -0.45
        pcgrad data 60 %            65.82  -1.21
        mt_vib data 60 %            66.31  +0.04
        hierarchical_mtl data 60 %  65.00  -1.95
        infomtl data 60 %           66.71  +0.50
        ew data 80 %                66.34   0.00
        uw data 80 %                66.93  +1.30
        pcgrad data 80 %            66.48  +0.81
        mt_vib data 80 %            65.34  -1.57
        hierarchical_mtl data 80 %  65.35  -1.33
        infomtl data 80 %           67.88  +2.53
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
