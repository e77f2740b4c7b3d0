"""Words for made web pages: common ones of a language, by which it is recognised, and invented ones among them."""

from __future__ import annotations

import random
from typing import NamedTuple


class Language(NamedTuple):
    """Common words of a language, what stands between words, and the legacy encodings of its older pages."""

    words: list[str]
    space: str
    stop: str
    legacy: tuple[str, ...]


def _language(words: str, space: str, stop: str, legacy: tuple[str, ...]) -> Language:
    return Language(words.split(), space, stop, legacy)


LANGUAGES = {
    "en": _language(
        """the of and to in a is that for it was on are as with they be at this have from or had by but some what
        there we can out other were all your when up use word how said each which their time will way about many then
        them would write like these long make thing see him two has look more day could go come did my sound no most
        number who over know water than call first people may down side been now find any new work part take get place
        made where after back little only round man year came show every good me give our under name very through just
        great think help low line before turn cause much mean differ move right boy old too does tell sentence set
        three want air well also play small end put home read hand port large spell add even land here must big high
        such follow act why ask men change went light kind off need house picture try again animal point mother world
        near build self earth father map river mountain “town” — don’t""",
        " ", ". ", ("windows-1252", "iso-8859-1"),
    ),
    "de": _language(
        """der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er
        hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum haben nur oder aber vor zur bis
        mehr durch man sein wurde sei hatte kann gegen vom können schon wenn habe seine Mark ihre dann unter wir soll
        ich eines Jahr zwei Jahren diese dieser wieder keine Uhr seiner worden will zwischen immer Millionen was sagte
        Straße Fluss Gebirge Karte Größe schön häufig Wäldern Städte führt gehört während später Königreich""",
        " ", ". ", ("windows-1252", "iso-8859-15"),
    ),
    "fr": _language(
        """de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec son ou
        aux mais comme été dont cette fait elle deux ont même aussi ses tout nous sa être où après entre sans années
        depuis très peu leur encore avait bien temps était leurs peut ces alors ainsi contre pays français jour monde
        première rivière montagne carte région siècle château élève général près âge forêt côté île""",
        " ", ". ", ("windows-1252", "iso-8859-1"),
    ),
    "pl": _language(
        """w i na z do się że nie o jest to po jak od za przez dla jego co a oraz są był ale przy który tym tak być
        już może jej było ich lub roku tego także tylko bardzo przed jako między można gdy więc życie wśród został
        część rzeka góry mapa miasto województwo powiat gmina źródło święto północ południe Łódź Kraków""",
        " ", ". ", ("iso-8859-2", "windows-1250"),
    ),
    "ru": _language(
        """и в не на он что с а по это как к но из у за от так же для все было бы мы только его когда уже или если
        до даже был во при нет есть быть году также которые может после того этот более между под чем время один два
        город река гора карта область век район население история территория находится является первый новый""",
        " ", ". ", ("windows-1251", "koi8-r"),
    ),
    "ja": _language(
        """この は が を に で と も です ます した する 日本 地図 東京 場所 写真 時間 人々 世界 歴史 川 山 町 それ
        あの について として から まで など また その 大きな 小さな 新しい 古い 見る 行く 来る 作る 使う 言う 思う""",
        "", "。", ("shift_jis", "euc-jp"),
    ),
    "zh": _language(
        """这 是 的 一 在 有 个 我们 他们 和 了 也 不 就 中国 地图 北京 城市 河流 山 世界 历史 时间 人民 生活 工作 发展
        经济 文化 可以 因为 所以 但是 如果 虽然 已经 没有 什么 这个 那个 地方 大 小 新 老 看 去 来 做 用 说""",
        "", "。", ("gb2312", "gbk"),
    ),
    "ko": _language(
        """이 그 저 것 수 등 들 및 에서 으로 하는 있는 있다 없다 했다 한다 대한 위한 통해 지도 서울 도시 강 산
        세계 역사 시간 사람 생활 문화 경제 발전 새로운 오래된 큰 작은 보다 가다 오다 만들다 쓰다 말하다 그리고""",
        " ", ". ", ("euc-kr",),
    ),
}  # fmt: skip
SHARES = {"en": 45, "de": 11, "fr": 9, "pl": 6, "ru": 12, "ja": 7, "zh": 7, "ko": 3}  # of pages, about as in crawls

_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwxz" for vowel in "aeiou"]
_INVENTED = 0.12  # of the words: names, which keep a page from compressing like a word list


def invented(draw: random.Random) -> str:
    """Return a word that no language has."""
    return "".join(draw.choices(_SYLLABLES, k=draw.randint(2, 4)))


def phrase(draw: random.Random, language: Language, words: int) -> str:
    """Return some words in a row."""
    chosen = draw.choices(language.words, k=words)
    for place in range(words):
        if draw.random() < _INVENTED:
            chosen[place] = invented(draw).capitalize()
    return language.space.join(chosen)


def sentences(draw: random.Random, language: Language, words: int) -> str:
    """Return about so many words in sentences of 5 to 25."""
    said = []
    while words > 0:
        length = draw.randint(5, 25)
        said.append(phrase(draw, language, length) + language.stop)
        words -= length
    return "".join(said).rstrip()
