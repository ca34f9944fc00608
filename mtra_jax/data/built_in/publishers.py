"""The publishers of the benchmarks: addresses, layouts and the SHA-256 of every file.

TweetEval and EmoBank are pinned to the last commit of their main branches, as of November
2026. GitHub may pack an archive anew, so each file is checked and not the archive. The
digests were computed from clones at these commits, with two exceptions:

- TweetEval's `sentiment/train_text.txt` was not in the clone. Its digest is that of
  `tweet_eval/dataset_infos.json` in huggingface/datasets (commit 040102f), which agrees
  with ours on every other file. (This project was developed with 47,453 rows rebuilt from
  the SemEval releases, which have another digest.)
- google-research is too large to clone, so GoEmotions has the address of a branch. Its
  digests are those of `go_emotions/dataset_infos.json` in the same commit of
  huggingface/datasets.

EI-reg comes from its author's site, which has no versions. Its digests are those of the
files that this project was developed with.
"""

from collections.abc import Mapping
from typing import NamedTuple

TWEETEVAL_SHA256 = {
    "emotion/mapping.txt": "656dea85d149716af96206ca19bec0d94e9dc6de3f5079f5c7c2a241ec76cadb",
    "emotion/test_labels.txt": "245072348c711961785be6d395997f97cf7fcda3effeae7805664171dc75f913",
    "emotion/test_text.txt": "7e1070f5d3e3fcece5bc73680bff9981e90d8f7b2f1009bfe7a01d059d1c6091",
    "emotion/train_labels.txt": "987e767d8679e18abdf7de37a6d2bcd0a40a296ddd704e8d515cf0e3033c8d9c",
    "emotion/train_text.txt": "2c62f67aeb3eac1aea0e5a9c3d0f4bc337992581f3f858061786a1fb4d79d95e",
    "emotion/val_labels.txt": "313730630160b7e0a6b4235b800c76683f4aeeb72d094eb69646630cd5cfe338",
    "emotion/val_text.txt": "e2e30c86b8cbb97944d6543aedc06eace3bb275cb2f381aba787b838b4f23ca5",
    "hate/mapping.txt": "3fc75504ffae64ddc82e13afb5790af7798cd3167d7d35790abe78b39b991896",
    "hate/test_labels.txt": "c14adca6b3627616a835c5ccea8a1cceb0235cd79417257f093eb0e16a69c62f",
    "hate/test_text.txt": "bc4762876a8dd8baa55c3cd7b03108e3231a5d691e80b8b1ef97c5be31b9da9a",
    "hate/train_labels.txt": "4e8fde025a453a25c94632794254131dedeac4e57228ad64157c41571cc88f71",
    "hate/train_text.txt": "6572bb3a42143128a5dfa99af8debeb0668e637c34b2d1e3140dac47316fe2c2",
    "hate/val_labels.txt": "5092badf1a0e70036ea6264bcd0b78afc07d0f4a512fa6af34c2c4973600656b",
    "hate/val_text.txt": "1ff78b1ed4c5ce43284b9eba32eb7d60c6d45d0d1b3b4d6df456ae01640764f1",
    "irony/mapping.txt": "70e09046e181179b9870a2f59a3263bbb28c787831779e4ce4a18373d054296b",
    "irony/test_labels.txt": "08e2095e1725e74907a380614c220204e356bb46e3e8c93deb74e83e5b15ab38",
    "irony/test_text.txt": "53103da934a7308eee82f05f2a9781a8ea3e88604fdc1e02d3101108505c64be",
    "irony/train_labels.txt": "fc69e6106c0f1f433a91536e08f83c71a391d7b219f7684d42f243a8089af77d",
    "irony/train_text.txt": "a888125a44f7dfaa25b026318748d0e62cc9a300d20f66eafd62011a19eaea23",
    "irony/val_labels.txt": "ccf429f63b4e8d0e7f425ca09445f7c31f7cea8a1b7c283b015b117c4002fd07",
    "irony/val_text.txt": "8806cf3793e300a485cfae34892fc3a0a2f9a183deb06c750c6531515c83051e",
    "offensive/mapping.txt": "3e427f483dd5d5be21ae85dcf224c36b3d024af27999939fa0d438d695801c50",
    "offensive/test_labels.txt": "41d05a7aa0b01f5dafab21b95adb4f979cb4226c046ff315702774d10dac1605",
    "offensive/test_text.txt": "25b08c3333c26190f1023961c4508ec9aab24d4722b1a3ea7a6040724c120547",
    "offensive/train_labels.txt": "c0b7d6ebdaa4ebcf6fc557ef1e775d92eda160218a0e3b1dd48eb8234dc892a6",
    "offensive/train_text.txt": "78a7a32e38b10af7d8970b008bf17f661c8d0a90dad145fa0fa6a944669650db",
    "offensive/val_labels.txt": "ed2deb776bd1c52fb8221fadd3360e32d9dfe46842d78053528126e46363a258",
    "offensive/val_text.txt": "816f36d180c35f15a5104838cb73856a0bef42043482fe738f3481b06242a55c",
    "sentiment/mapping.txt": "c0572796fbe261d8ea5fd16c5061076fbba49bc69fc865d6abccaf60daacee24",
    "sentiment/test_labels.txt": "6afb4afe9374d1f983bcf9a7c79b108d0f37fdf020a83f30488309bed215db9d",
    "sentiment/test_text.txt": "09a93a55c63fd93f97485ef7302889d7edb4091cd49733aa37da094f0bfa0675",
    "sentiment/train_labels.txt": "122bfb1732fb6995b0e5c5f726c0ba457c469c3b6e60513007ce5037f23e65d4",
    "sentiment/train_text.txt": "368f01052ea6fd8ffc408a2a2e6ac9669e31542581a0396ef16591ea26eb98a6",
    "sentiment/val_labels.txt": "b4566926c72e2e4e2916c864def94e76c4cdde52446af2c7ba4fc2006e057e51",
    "sentiment/val_text.txt": "e5b021e6fc45064c260b09814b803d8f56cada519c4d952d72f43d48a350a964",
    "stance/abortion/test_labels.txt": "c90e6d36d863f876d6661620d37b613b4b07858a5277c8d6623713ee59ca451c",
    "stance/abortion/test_text.txt": "bf0e16a0b8ca4cf0ab90efbc560db3151c288fc842f5e3c6554e8589d521556a",
    "stance/abortion/train_labels.txt": "e6786a594bd9a083c524a0f420c690351140b52af288f487cb4772d29675b014",
    "stance/abortion/train_text.txt": "a421d5b8fd9f972970b9275b83f65745bf81986d2a412b4caa2ba071f3efa916",
    "stance/abortion/val_labels.txt": "8df57a50823d5f3683ecf75d824a42e3b08eb52e25e3e2d6928f523097a0c050",
    "stance/abortion/val_text.txt": "0428ab3f2894936f2445a9020763c2bd19ed42986872168bb65886dede5843fd",
    "stance/atheism/test_labels.txt": "4ef7c9398d265cfac625092c834e43cef9da9cb318e563493abb64f65dfe1b52",
    "stance/atheism/test_text.txt": "16c5336b2cba606ca63a6afcc50241be63a8fccf021628c6505449439b9d54b3",
    "stance/atheism/train_labels.txt": "a764aac1a75ccb32c4ffc4c03c66dc365cb50f013d3e94549bf775636cbc8373",
    "stance/atheism/train_text.txt": "0e82f1d4a16d79a38a68aee761762cf8a846bc8f7f9395670ca44e2ecf2f58f7",
    "stance/atheism/val_labels.txt": "638095b3582f927fd1481cdb8d1f9f670f8d27880baf32c0b26c5946fd8f8292",
    "stance/atheism/val_text.txt": "5fe14c4c01f87a45dba640dddbb1d1909a893f9565f159c48fa1ba35bb46c209",
    "stance/climate/test_labels.txt": "193c9f2358f61d9efe558324ec89ecaf08e600a44b68128f47838c01d9f98dfd",
    "stance/climate/test_text.txt": "41ee8ee2ad3c36e0629654fdb271f37775197c79be8b299adbeadd2003b63c53",
    "stance/climate/train_labels.txt": "d6274f55bc95f5a7f2ae591b886c1414a7664aaf4e0c609f4ba6cf377929af18",
    "stance/climate/train_text.txt": "4803211832d318026323a8e5014cff1b95e1c8c3854378101e5d1a8c82582eb7",
    "stance/climate/val_labels.txt": "0cb133ab9b137292f075210db45f7e293dc52798a4e21e59037bfcfe66c97aa6",
    "stance/climate/val_text.txt": "fc5714703add266801ee2fd98296ea20ec0879e89cdb9f906d9812d9f640f2ba",
    "stance/feminist/test_labels.txt": "ddbde6d253ee47c5d5ef8bc5386270fde45cf088d3be70bba9c382b8a024897a",
    "stance/feminist/test_text.txt": "1bfdbdc2af64fd62dcc775d1288e192ac8ff805ef27ccf3aaac54a98616eefda",
    "stance/feminist/train_labels.txt": "abd4f196d801423bb0daba8c0ecf5b3efba1f10e8f410c3dfa360b50c8b9c685",
    "stance/feminist/train_text.txt": "c176e6663973c8e78bfa92ba1e8874a70cc5358567d71584a90943bc6525eaab",
    "stance/feminist/val_labels.txt": "399e0d468d0e4ead7a445f69efdf35876c835acf4cefc00a16f451a5d42e5c13",
    "stance/feminist/val_text.txt": "3518b2ddcf696626a7243d7cea720a975718c7a52a5a086931be87897c1de58b",
    "stance/hillary/test_labels.txt": "068468f6a72b85dfb65bf10e45f2453fa082d1ea9d7a40e7f560d5b6d75027f3",
    "stance/hillary/test_text.txt": "5c4e020285a62cfd88f264849e1db242ded356c171b1a68dd0050b76635053aa",
    "stance/hillary/train_labels.txt": "0ea5753d13a717a9e91581d1d89c0b5206c8f905f0a717b2b27d02dbf419250d",
    "stance/hillary/train_text.txt": "0bd735de895cb74d63c224e64e3d955cac99be97aa225f803fe4d2f5978a2c99",
    "stance/hillary/val_labels.txt": "e5d44c771b7349a4a74309f56ca072fdf8f1c015068d519ca2ed3a931c833606",
    "stance/hillary/val_text.txt": "9714b7dcc8617e095433d7b63df8aa155eb84216b9ac9195105ab83d85cd248d",
    "stance/mapping.txt": "0f8a803dc1773c84279506f25d54b5a9eec7edfc277b41eb75076744dc89b26f",
}
GOEMOTIONS_SHA256 = {
    "dev.tsv": "575489c079c9de1097062a01738f998590d6b7ead66dd1c9fd1d2ba01fd8bc62",
    "test.tsv": "0587b2dd8b27b97352adbfc3fb083d46005c8946657fdc2b1ca8b1cc7f1f8be4",
    "train.tsv": "1c254a142be5c00e80d819b9ae1bbd36d94b2eeb8f4b1271846508d57e57d9c5",
}
EMOBANK_SHA256 = {
    "emobank.csv": "1ade4a4a453e880c0f39d0536d2b355e8a716e0cf88236c64cdb4d438cf9605b",
}
EI_REG_SHA256 = {
    "development/2018-EI-reg-En-anger-dev.txt": "bbce220a30bf3b89ef9d9615da68c88c96060fa167bb8dd93f913a8e336b6031",
    "development/2018-EI-reg-En-fear-dev.txt": "f9b523a310a1d612c4a8880035fd48c4b5533e2b4150c774ef57e7e454cb8a61",
    "development/2018-EI-reg-En-joy-dev.txt": "06fa31326139113566ea3bb02948117ce3b32fc6e869ff2f207caee822a9017e",
    "development/2018-EI-reg-En-sadness-dev.txt": "a83e6f7197e2085e3a68e79a746396d35caefd9f3b8994bdb763197fc21ba169",
    "test-gold/2018-EI-reg-En-anger-test-gold.txt": "880300608fefcefb29b88f8fc770da98d2d6cc499c6f1f9701c7fed670743c69",
    "test-gold/2018-EI-reg-En-fear-test-gold.txt": "d6369ee7095f47646edc01eb3289441ba8c0ab65bd3e888edbcd6a48783338bb",
    "test-gold/2018-EI-reg-En-joy-test-gold.txt": "640a5560944bd4e5e4e6e7a344d2f17acebc79fa2798bb7cf85c488aad79cbf6",
    "test-gold/2018-EI-reg-En-sadness-test-gold.txt": "cbfa9a6a5ddfb9c9591123b8eb2c3c5ff31b807b881fbe0c7a22f198731c94c2",
    "training/EI-reg-En-anger-train.txt": "401b871be92c09adf178ffdf6f5f39a27dba61e434874ea9fc9cd3b3fb4b318a",
    "training/EI-reg-En-fear-train.txt": "86b2b01b99bf8b4a8bb5f201d3d05c812a5aa6e23edeb981ac582003203cbc06",
    "training/EI-reg-En-joy-train.txt": "e58aa9ed0f5669716c8946cafd67469718a6201de7640677d3d69e9d3ad79aaf",
    "training/EI-reg-En-sadness-train.txt": "ddd81a4f8a33b28fd6e64d8dd4a9fa7adfd773b7709b55a80e62840bbda2aaf3",
}


class Publisher(NamedTuple):
    """Address and layout of a source: `address` is a zip archive's, or a folder's.

    `inside` is a folder of the archive, below its single top folder; its files are placed
    under `target` of the data root. `sha256` has the digests of the files by their paths
    below `target`; a file without a digest is not checked.
    """

    address: str
    inside: str
    target: str
    sha256: Mapping[str, str]


PUBLISHERS = {
    "tweeteval": Publisher(
        "https://github.com/cardiffnlp/tweeteval/archive"
        "/4fbd22cd78421f05b1ecdb4fc5725bc7a7bd8f66.zip",
        "datasets",
        "tweeteval/datasets",
        TWEETEVAL_SHA256,
    ),
    "goemotions": Publisher(
        "https://raw.githubusercontent.com/google-research/google-research/master"
        "/goemotions/data",
        "",
        "affecteval/goemotions",
        GOEMOTIONS_SHA256,
    ),
    "emobank": Publisher(
        "https://raw.githubusercontent.com/JULIELab/EmoBank"
        "/248ce2a43e165a66d31aeaed83cff9641d6654e0/corpus",
        "",
        "affecteval/emobank",
        EMOBANK_SHA256,
    ),
    "ei-reg": Publisher(
        "https://saifmohammad.com/WebDocs/AIT-2018/AIT2018-DATA"
        "/SemEval2018-Task1-all-data.zip",
        "English/EI-reg",
        "affecteval/ei-reg/EI-reg",
        EI_REG_SHA256,
    ),
}
