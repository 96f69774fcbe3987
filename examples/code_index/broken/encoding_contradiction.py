# -*- coding: latin-1 -*-
"""The mark at the start says UTF-8, the first line says Latin-1."""
