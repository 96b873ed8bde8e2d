"""Which languages an official average covers."""

import pytest

from xstilts.official.layout import averaged_languages, benchmark_of, official_languages

#: Hu et al. 2020, table 1, and Ruder et al. 2021, table 1.
COUNTS = {
    "xtreme": {"udpos": 33, "wikiann": 40, "tatoeba": 36, "tatoeba_squad": 36, "xquad": 11, "xnli": 15, "pawsx": 7, "mlqa": 7,
               "tydiqa": 9, "bucc_mining": 4},
    "xtreme-r": {"udpos": 38, "wikiann": 48, "tatoeba": 41, "tatoeba_squad": 41, "xquad": 12, "xnli": 15, "mlqa": 7, "tydiqa": 9,
                 "xcopa": 11, "lareqa": 11, "mewslix": 11},
}  # fmt: skip


@pytest.mark.parametrize(
    ("benchmark", "evaluation"), [(b, e) for b, counts in COUNTS.items() for e in counts]
)
def test_each_benchmark_has_its_own_number_of_languages(benchmark: str, evaluation: str) -> None:
    assert len(official_languages(benchmark, evaluation)) == COUNTS[benchmark][evaluation]


def test_the_recipe_set_of_the_paper_on_xtreme_belongs_to_xtreme() -> None:
    sets = ("phang_2020", "xtreme_r", "vlm", "miniature")
    assert [benchmark_of(name) for name in sets] == ["xtreme", "xtreme-r", "xtreme-r", "xtreme-r"]


def test_an_average_covers_the_scored_languages_that_its_benchmark_has() -> None:
    assert averaged_languages("xtreme", "xquad", ["ar", "en", "ro"]) == ["ar", "en"]
    assert averaged_languages("xtreme-r", "xquad", ["ar", "en", "ro"]) == ["ar", "en", "ro"]
    assert averaged_languages("xtreme", "xquad", ["en", "qaa", "qab"]) == ["en", "qaa", "qab"]
    assert (
        averaged_languages("xtreme", "xquad", ["ro"])
        == averaged_languages("xtreme", "mine", ["ro"])
        == ["ro"]
    )


def test_an_unknown_benchmark_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown benchmark 'glue'; allowed: xtreme, xtreme-r"):
        official_languages("glue", "xnli")
