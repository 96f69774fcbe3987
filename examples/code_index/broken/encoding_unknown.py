# -*- coding: klingon-1 -*-
"""The first line names an encoding that does not exist."""

CITY = "Qo'noS"
