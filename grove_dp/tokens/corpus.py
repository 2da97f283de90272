"""Texts on which two tokenizers that differ at all are likely to differ.

Small on purpose (some 20 KiB): it is encoded by both backends whenever a model is loaded. What it covers has
been where tokenizers went wrong before: splitting rules on code and digits, normal forms, joined emoji, right
to left scripts, long runs of one character, white space of all kinds, special tokens next to each other, cut
short, and inside words. The random part is drawn from a fixed seed: the same texts everywhere.
"""

import random
from collections.abc import Iterable

__all__ = ["probe_corpus"]

_PROSE = """The quick brown fox can't jump; it'd rather we'll see—"quoted", 'single', (nested [brackets]).
I'M SHOUTING. they're, you've, he'S, DON'T, o'clock, rock'n'roll. 3.14159, 1,234,567.89, 0x1F600,
1e-9, 2026-11-21T16:00:00Z
Zażółć gęślą jaźń. Straße, naïve façade, Ærøskøbing, Đà Nẵng, İstanbul ıIiİ, ﬁ ﬂ ﬃ
ligatures, ½ ² ³ ① Ⅳ ℃ ﷺ."""
_CODE = """def f(x: int, *, y=None) -> dict[str, "Any"]:
\treturn {**x, 'k': [i for i in range(10) if i % 2 == 0]}  # to do\r\n
\t\tif (a&&b||!c) { printf("%5.2f\\n", *p++); }   /* ok */ #include <stdio.h>
SELECT COUNT(*) FROM t WHERE a<>'x' AND b>=1;\n\n\n    <div class="a-b_c">&nbsp;</div>
{"a":[1,2,{"b":null}],"c":"\\u00e9"}
https://example.org/a/b?c=d&e=%20f#g
user.name+tag@example.org C:\\Users\\x\\y $HOME/.cache
./a.out 192.168.0.1:8080 ::1"""
_SCRIPTS = """漢字とかなカナが混じる文。 中文，标点；全角１２３ＡＢＣ！ 한국어 띄어쓰기 테스트입니다.
ไทยไม่มีช่องว่าง ភាសាខ្មែរ
العربية مِنَ اليَمِين إلى اليسار ١٢٣
עברית עִם נִקּוּד हिन्दी में संयुक्ताक्षर क्ष त्र
தமிழ் ગુજરાતી
ქართული Հայերեն አማርኛ ᚠᚢᚦ 𐍈 𝔘𝔫𝔦 𠮷野家"""
_EMOJI = (
    "👍🏽 👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 🇩🇪🇯🇵 ☺\ufe0f ☺ 1\ufe0f⃣ 🧑🏿\u200d🚀 ❤\ufe0f\u200d🔥 "
    "e\u0301 é A\u030a Å o\u0302\u0323 ộ \u1112\u1161\u11ab 한 Z\u0351\u036b\u0343\u0332 "
    "\u200b\u200d\u2060\ufeff\u00ad "
    "\u202eabc\u202c"
)
_SPACES = [" " * n + "x" + "\t" * n + "\n" * n + "y" for n in (1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 64, 130)]
_ODD = [
    "",
    " ",
    "\n",
    "\r\n\r\n",
    "\u00a0\u2003\u3000 \u2028\u2029\x85 x",
    "\x00\x01\x1f\x7f\x80\ufffd\U0010ffff",
    "a" * 400,
    "ab" * 200,
    "0123456789" * 20,
    "=" * 150 + "-" * 33 + "#" * 9,
    "The" * 60,
    " the" * 60,
    "\n \n  \n   \n",
    "x\n\n\n\n  y \n z",
    "'s't're've'm'll'd 'S'T",
    "Ａ１！ ①½ ﬁ K Å",
]


def probe_corpus(special: Iterable[str] = ()) -> list[str]:
    """Texts to compare two tokenizers on; *special* are the added tokens of the model."""
    tokens = sorted(special)[:48]
    drawn = random.Random(0x6772_6F76)
    return [
        _PROSE,
        _CODE,
        _SCRIPTS,
        _EMOJI,
        *_SPACES,
        *_ODD,
        *(_code_points(drawn) for _ in range(24)),
        *(_words(drawn) for _ in range(8)),
        *_around(tokens),
        *(_mixed(drawn, tokens) for _ in range(24 if tokens else 0)),
    ]


def _code_points(drawn: random.Random) -> str:
    """Any code points but surrogates, more often low ones."""
    limits = (0x80, 0x800, 0x3000, 0xD800, 0x11_0000)
    points = (drawn.randrange(drawn.choice(limits)) for _ in range(80))
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)


def _words(drawn: random.Random) -> str:
    letters = "etaoinshrdlucmfwypvbgkjqxzETAOIN0123456789_'"
    return " ".join("".join(drawn.choices(letters, k=drawn.randint(1, 14))) for _ in range(60))


def _around(tokens: list[str]) -> list[str]:
    """Each token alone, twice, in words, between white space, and cut short."""
    shapes = ("{0}", "{0}{0}", "a{0}b", " {0} ", "\n{0}\n", "  {0}\t{0}é")
    return [shape.format(token) for token in tokens for shape in shapes] + [token[:-1] for token in tokens]


def _mixed(drawn: random.Random, tokens: list[str]) -> str:
    pieces = [
        *tokens,
        "user\n",
        " ",
        "\n",
        "naïve",
        "é",
        "<|",
        "|>",
        "<",
        "漢字",
        "👩\u200d👧",
        "x = 1",
        "\n\n",
    ]
    return "".join(drawn.choices(pieces, k=30))
