"""How English letters may sound: for words that the dictionary lacks.

Every spelling comes with the sounds that it often has, and the audio decides between them. A table
of this size that had to decide itself would be wrong about every other name.
"""

from __future__ import annotations

import re

_TABLE = """
a AE EY AA AH AO | ai EY AY EH | ar AA_R EH_R ER | au AO AW | aw AO | ay EY AY | a$ AH
b B | bb B
c K S | cc K K_S CH | ce$ S | ch CH K SH | ci S_IY S_AY S_IH SH CH | ck K
d D | dd D | dge JH | dg JH | dt T
e EH IY AH IH EY - | ea IY EH EY IY_AH | ear IH_R ER EH_R | ed$ D T IH_D AH_D EH_D | ee IY
ei EY IY AY | er ER EH_R IH_R | es$ Z IH_Z S IY_Z | eu UW Y_UW OY | ew UW Y_UW | ey IY EY
e$ - IY EY | f F | ff F
g G JH | gg G | gh - G F | gn N G_N | gue$ G
h HH -
i IH AY IY AH | ia IY_AH AY_AH AH | ie IY AY IY_AH AY_AH IY_EH | igh AY | ir ER IH_R AY_R
io IY_OW AY_OW IY_AH AH | ing$ IH_NG | ism$ IH_Z_AH_M
j JH Y HH
k K | ^kn N K_N
l L | ll L Y | le$ AH_L L L_EY
m M | mm M | mb M M_B
n N NG | nn N | ng NG NG_G N_JH N_G
o OW AA AH AO UW | oa OW | oe OW UW OW_EH | oi OY | oo UW UH OW | or AO_R ER | ou AW OW UW AH UH
ow OW AW | oy OY | our AO_R ER UH_R AW_ER | o$ OW UW
p P | ph F | pp P | ^ps S P_S | ^pt T
q K | qu K_W K | que$ K
r R | rr R | re$ R ER R_EY | rh R
s S Z SH ZH | sc S S_K SH | sch SH S_K | sh SH | sion SH_AH_N ZH_AH_N | ss S SH | s$ Z S
t T D CH | tch CH | th TH DH T | tial SH_AH_L | tion SH_AH_N CH_AH_N | tt T D | ture CH_ER
u AH UW Y_UW UH IH W | ue UW Y_UW EH | ui UW W_IY IH | ur ER UH_R Y_UH_R | ure$ Y_ER ER
v V F
w W V - | wh W HH | wr R
x K_S G_Z SH | ^x Z
y IY AY IH Y | ^y Y | yr IH_R ER AY_R
z Z S T_S | zz Z T_S
' -
"""

Sounds = tuple[str, ...]

_SOUNDS = {
    spelling: tuple(() if way == "-" else tuple(way.split("_")) for way in ways)
    for entry in re.split(r"[|\n]", _TABLE.strip())
    for spelling, *ways in [entry.split()]
}
_LONGEST_FIRST = sorted(_SOUNDS, key=len, reverse=True)
_SPELLING = re.compile(
    "|".join(
        # A spelling of the beginning or of the end alone is not a whole word.
        f"(?P<_{index}>{spelling.replace('^', '(?<![a-z])').replace('$', '(?![a-z])')})"
        for index, spelling in enumerate(_LONGEST_FIRST)
    )
)

PHONES = sorted({phone for ways in _SOUNDS.values() for way in ways for phone in way})
"""The names of CMUdict for the sounds of American English, as far as they occur here."""


def sounds(word: str) -> list[tuple[Sounds, ...]]:
    """Return the parts of a word in lower case, each with the ways to say it."""
    return [
        _SOUNDS[_LONGEST_FIRST[int((match.lastgroup or "")[1:])]]
        for match in _SPELLING.finditer(word)
    ]
