"""The 50 languages of XTREME-R, and the miniature's invented ones.

Families and scripts are standard knowledge; `cc100` is the pre-training size in GiB of XLM-R
(Conneau et al. 2020, Table 6), None where XLM-R saw none. `ud` is the name in google/xtreme's udpos
configs, `iso3` the code that Tatoeba uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """A language: ISO 639 code, English name, family, script, GiB in CC-100, Tatoeba's code."""

    code: str
    name: str
    family: str
    script: str
    cc100: float | None
    iso3: str

    @property
    def ud(self) -> str:
        return self.name


_TABLE = """
af Afrikaans IE:Germanic Latin 1.3 afr
ar Arabic Afro-Asiatic Arabic 28.0 ara
az Azerbaijani Turkic Latin 6.5 aze
bg Bulgarian IE:Slavic Cyrillic 57.5 bul
bn Bengali IE:Indo-Aryan Bengali 8.4 ben
de German IE:Germanic Latin 66.6 deu
el Greek IE:Greek Greek 46.9 ell
en English IE:Germanic Latin 300.8 eng
es Spanish IE:Romance Latin 53.3 spa
et Estonian Uralic Latin 6.1 est
eu Basque isolate Latin 2.0 eus
fa Persian IE:Iranian Perso-Arabic 111.6 pes
fi Finnish Uralic Latin 54.3 fin
fr French IE:Romance Latin 56.8 fra
gu Gujarati IE:Indo-Aryan Gujarati 1.9 guj
he Hebrew Afro-Asiatic Hebrew 31.6 heb
hi Hindi IE:Indo-Aryan Devanagari 20.2 hin
ht Haitian Creole Latin none hat
hu Hungarian Uralic Latin 58.4 hun
id Indonesian Austronesian Latin 148.3 ind
it Italian IE:Romance Latin 30.2 ita
ja Japanese Japonic Kanji+Kana 69.3 jpn
jv Javanese Austronesian Latin 0.2 jav
ka Georgian Kartvelian Georgian 9.1 kat
kk Kazakh Turkic Cyrillic 6.4 kaz
ko Korean Koreanic Hangul 54.2 kor
lt Lithuanian IE:Baltic Latin 13.7 lit
ml Malayalam Dravidian Malayalam 7.6 mal
mr Marathi IE:Indo-Aryan Devanagari 2.8 mar
ms Malay Austronesian Latin 8.5 zsm
my Burmese Sino-Tibetan Burmese 1.6 mya
nl Dutch IE:Germanic Latin 29.3 nld
pa Punjabi IE:Indo-Aryan Gurmukhi 0.8 pan
pl Polish IE:Slavic Latin 44.6 pol
pt Portuguese IE:Romance Latin 49.1 por
qu Quechua Quechuan Latin none que
ro Romanian IE:Romance Latin 61.4 ron
ru Russian IE:Slavic Cyrillic 278.0 rus
sw Swahili Niger-Congo Latin 1.6 swh
ta Tamil Dravidian Tamil 12.2 tam
te Telugu Dravidian Telugu 4.7 tel
th Thai Kra-Dai Thai 71.7 tha
tl Tagalog Austronesian Latin 3.1 tgl
tr Turkish Turkic Latin 20.9 tur
uk Ukrainian IE:Slavic Cyrillic 84.6 ukr
ur Urdu IE:Indo-Aryan Perso-Arabic 5.7 urd
vi Vietnamese Austro-Asiatic Latin 137.3 vie
wo Wolof Niger-Congo Latin none wol
yo Yoruba Niger-Congo Latin none yor
zh Chinese Sino-Tibetan Han 63.5 cmn
"""

#: The miniature's invented languages: codes that ISO 639 reserves for private use.
INVENTED: tuple[str, ...] = ("qaa", "qab", "qac", "qad")


def _row(line: str) -> Language:
    code, name, family, script, size, iso3 = line.split()
    return Language(code, name, family, script, None if size == "none" else float(size), iso3)


LANGUAGES: Mapping[str, Language] = {
    row.code: row for row in map(_row, _TABLE.strip().splitlines())
} | {
    code: Language(code, code.capitalize(), "invented", "invented", None, code) for code in INVENTED
}

UD_NAMES: Mapping[str, str] = {code: language.ud for code, language in LANGUAGES.items()}
ISO3: Mapping[str, str] = {code: language.iso3 for code, language in LANGUAGES.items()}
