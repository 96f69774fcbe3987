"""An escape names a character that does not exist."""

CHARACTER = "\N{FACE WITH NO NAME}"
