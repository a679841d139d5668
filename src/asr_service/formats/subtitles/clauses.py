"""The cost of a break between two pieces. Pure functions.

Follows the practice of subtitle editors (https://www.bbc.co.uk/accessibility/forproducts/guides/subtitles/#Line-breaks):
break after punctuation, before conjunctions and prepositions, never after an article, and rather at a pause.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr_service.formats.subtitles.pieces import Piece, unspaced


@dataclass(frozen=True, slots=True)
class _FunctionWords:
    """Function words of a language, in lower case."""

    conjunctions: frozenset[str]
    prepositions: frozenset[str]
    articles: frozenset[str]
    """Articles, and other words that belong to the next word."""

    def __contains__(self, word: str) -> bool:
        return word in self.conjunctions or word in self.prepositions or word in self.articles


def _words(conjunctions: str, prepositions: str, articles: str) -> _FunctionWords:
    return _FunctionWords(frozenset(conjunctions.split()), frozenset(prepositions.split()), frozenset(articles.split()))


_NONE = _words("", "", "")
_BY_LANGUAGE = {
    "en": _words(
        "and but or nor because although though while when where which who whose if that so than unless until since as",
        "of in on at by for with from to into about over under after before between through without against during",
        "the a an my your his her its our their this these those no every some any very not i he she it we they you "
        "is are was were be been am has have had will would can could should may might must do does did",
    ),
    "de": _words(
        "und aber oder denn sondern weil dass obwohl während wenn als wo ob damit",
        "in an auf mit von zu bei nach aus für über unter durch gegen ohne um vor zwischen im am zum zur vom beim",
        "der die das den dem des ein eine einen einem einer eines mein dein sein ihr unser kein keine nicht ich",
    ),
    "fr": _words(
        "et mais ou donc car que qui quand lorsque si comme parce puisque dont où",
        "de du des à au aux en dans sur sous avec sans pour par chez vers entre contre depuis pendant",
        "le la les un une mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette ces ne je tu il",
    ),
    "es": _words(
        "y e pero o u sino porque que quien cuando donde si aunque como mientras",
        "de del a al en con sin por para sobre entre hasta desde contra hacia",
        "el la los las un una unos unas mi tu su mis tus sus nuestro nuestra este esta ese esa no se lo",
    ),
    "pt": _words(
        "e mas ou porque que quem quando onde se embora como enquanto",
        "de do da dos das a ao à em no na nos nas com sem por pelo pela para sobre entre até desde",
        "o os as um uma uns umas meu minha seu sua nosso nossa este esta esse essa não",
    ),
    "it": _words(
        "e ed ma o oppure perché che chi quando dove se anche come mentre",
        "di del della dei delle a al alla in nel nella con senza su sul sulla per da dal dalla tra fra",
        "il lo la i gli le un uno una mio mia tuo tua suo sua nostro nostra questo questa non si",
    ),
    "nl": _words(
        "en maar of want omdat dat die wat wanneer waar als terwijl hoewel",
        "van in op aan met voor door bij naar uit over onder tegen zonder om tussen tot",
        "de het een mijn jouw zijn haar ons onze hun dit deze geen niet ik",
    ),
    "sv": _words(
        "och men eller för att som när där om eftersom medan fast än",
        "av i på med till från vid under över efter före mellan utan mot genom hos",
        "en ett den det de min din sin hans hennes vår er deras denna detta inte jag",
    ),
    "ru": _words(
        "и а но или что чтобы который которая которое которые когда где если потому хотя как пока",
        "в во на с со к ко у о об от до из за по под над при про без для через между",
        "не ни этот эта это эти мой моя наш ваш его её их я",
    ),
}  # fmt: skip

_SENTENCE_END = re.compile(r"[.!?…。！？｡؟۔।॥։።፧။។།][\"'”’»)\]」』）]*$")
_CLAUSE_END = re.compile(r"[,;:，；：、،؛—–՝፣፤၊][\"'”’»)\]」』）]*$")
_NO_SENTENCE_END = re.compile(r"(?i)^(\w\.)+$|^(mr|mrs|ms|dr|prof|st|no|vs|etc|bzw|nr|sr|sra|т|г)\.$|^\W*\.{3}$")

SENTENCE, CLAUSE, CONJUNCTION, PREPOSITION, ANYWHERE, AFTER_FUNCTION_WORD = 0.0, 2.0, 4.0, 6.0, 10.0, 15.0
"""The cost of a break at each of these places. ANYWHERE is between two words that are not function words."""
_NAME = 3.0
"""Added within a name: between two capitalised words."""
_SEGMENT = -1.0
"""Added between two segments."""
_PER_PAUSE_SECOND = -8.0
"""Added for each second of pause between the pieces."""
_MAX_PAUSE_S = 0.75
"""A longer pause counts as this long."""


def ends_sentence(word: str) -> bool:
    """Return True if the word ends with a full stop or the like, and is not an abbreviation."""
    return bool(_SENTENCE_END.search(word)) and not _NO_SENTENCE_END.search(word)


def break_costs(pieces: Sequence[Piece], language: str) -> list[float]:
    """Return the cost of a break after each piece but the last. It is 0 after a sentence."""
    function_words = _BY_LANGUAGE.get(language, _NONE)
    return [_cost(before, after, function_words) for before, after in pairwise(pieces)]


def _cost(before: Piece, after: Piece, function_words: _FunctionWords) -> float:
    if ends_sentence(before.text):
        return SENTENCE
    pause_s = min(max(after.start - before.end, 0.0), _MAX_PAUSE_S)
    bonus = _PER_PAUSE_SECOND * pause_s + _SEGMENT * after.opens_segment
    return max(_by_text(before, after, function_words) + bonus, SENTENCE)


def _by_text(before: Piece, after: Piece, function_words: _FunctionWords) -> float:
    if _CLAUSE_END.search(before.text):
        return CLAUSE
    if unspaced(before.text[-1]) or unspaced(after.text[0]):
        return CLAUSE if after.spaced else PREPOSITION  # Thai and Chinese put a space between clauses
    first, last = after.text.lower(), before.text.lower().strip("\"'“”«»¿¡([")
    if last in function_words:
        return AFTER_FUNCTION_WORD
    if first in function_words.conjunctions:
        return CONJUNCTION
    if first in function_words.prepositions:
        return PREPOSITION
    named = before.text[0].isupper() and after.text[0].isupper()
    return ANYWHERE + _NAME * named
