# -*- coding: shift_jis -*-
"""The first line promises Shift JIS, in which no character begins like that."""

CITY = "Orlans"
