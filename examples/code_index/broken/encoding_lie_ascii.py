# -*- coding: ascii -*-
"""The first line promises ASCII."""

CITY = "Orléans"
