"""Written in Latin-1, without saying so."""

CITY = "Orléans"
