"""Where the tasks' row counts come from, and the counts of the tests that have a figure of their
own in each language.

A count is that of the official split, in the unit of its rows (questions, statements, sentences),
as a source states it; a split that no source was found for has none. Rows that a task drops (no
gold label, no picture) count.
"""

from collections.abc import Mapping

_DATASETS = (
    "huggingface/datasets d7dfbc83d68e"  # the last commit that held the data sets' own files
)

UD_TREEBANKS = f"{_DATASETS}, datasets/universal_dependencies/dataset_infos.json (UD 2.7)"
LASER = "facebookresearch/LASER 74bc6ae7ffb7, data/tatoeba/v1 (lines)"
MEWSLI_X = "google-research/google-research 47071fb, dense_representations_for_entity_retrieval/mel/mewsli-x.md"
TYDIQA = "tensorflow/datasets 0a77a814ef4f, docs/catalog/tydi_qa.md"


def infos(*names: str) -> str:
    """dataset_infos.json of these data sets, from which the hub's copies were made."""
    return "; ".join(f"{_DATASETS}, datasets/{name}/dataset_infos.json" for name in names)


def card(name: str, commit: str) -> str:
    """The card of a data set of the hub, at a commit."""
    return f"hub card of {name} at {commit}"


def by_language(table: str) -> Mapping[str, int]:
    """`code count` pairs as the rows of test splits."""
    words = table.split()
    return {f"test:{code}": int(count) for code, count in zip(words[::2], words[1::2], strict=True)}


#: The sentences of the test files that XTREME-R's own scripts make of UD 2.5 and 2.7
#: (download_data.sh, utils_preprocess.py), as a copy of their output has them; its blocks of lines
#: are counted. The hub's copy has other treebanks in de el fr lt ru zh.
UDPOS_TEST = by_language(
    """
    af 425 ar 1680 bg 1116 de 22358 el 456 en 5440 es 3147 et 3760 eu 1799 fa 600 fi 4422 fr 5009 he 491 hi 2684 hu 449
    id 1557 it 3518 ja 2372 kk 1047 ko 4276 lt 739 mr 47 nl 1471 pl 4942 pt 2681 ro 2272 ru 8976 ta 120 te 146 th 1000
    tl 55 tr 4785 uk 892 ur 535 vi 800 wo 470 yo 100 zh 3455
    """
)
UDPOS_SOURCE = (
    "wuhjie/few_shots_that_matters_wu 6bfe6324e428, data/udpos/test-*.tsv (blocks of lines)"
)

#: 10,000 sentences, but of these languages fewer.
_SMALL_TESTS = {
    **dict.fromkeys("af az bn hi kk ml mr ms sw ta te tl ur".split(), 1_000),
    **dict.fromkeys("gu jv my pa qu yo".split(), 100),
}


def wikiann_test(languages: tuple[str, ...]) -> Mapping[str, int]:
    """WikiANN's test sentences in these languages."""
    return {f"test:{code}": _SMALL_TESTS.get(code, 10_000) for code in languages}


TYDIQA_TEST = by_language("ar 921 bn 113 en 440 fi 782 id 565 ko 276 ru 812 sw 499 te 669")
