"""Tabs and spaces, mixed so that the depth is anybody's guess."""


def mixed(flag):
        if flag:
	return 1
	else:
                return 2
